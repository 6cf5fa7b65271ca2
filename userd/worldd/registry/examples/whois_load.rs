//! How many WHOIS queries a second one core answers: `cargo run --release --example whois_load [SECONDS] [CLIENTS]`.
//!
//! The server has one thread of its own; the clients are on another. A world of 2,000 domains, one query a connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use netengine_dns::{
    plan::Plan,
    zone::{NoJournal, Store},
};
use netengine_registry::{
    decide::Limits,
    names::DnsNames,
    registry::Registry,
    store::SqliteStore,
    whois::{self, serve},
};
use netengine_spec::{Source, Sources};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const DOMAINS: usize = 2000;

fn text() -> String {
    let domains: Vec<_> = (0..DOMAINS).map(|n| format!("{{domain: d{n}.corp, org: acme}}")).collect();
    format!(
        "metadata: {{name: load}}
substrate: {{gateway: {{platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}}}
dns: {{tlds: [{{name: internal, listen_ip: 10.0.0.4}}, {{name: corp, listen_ip: 10.0.0.5}}]}}
pki: {{}}
identity_platform: {{}}
world_registry: {{organizations: [{{name: acme, capabilities: [register_domains]}}]}}
domain_registry: {{tld_delegations: [{{tld: corp, governed_by: platform}}], initial_domains: [{}]}}
identity_inworld: {{}}
ands: {{}}
world_services: {{}}
org_apps: {{}}
gateway_portal: {{}}
operator: {{}}
",
        domains.join(", ")
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let (seconds, clients): (u64, u64) = (arguments.next().unwrap_or(5), arguments.next().unwrap_or(16));
    let sources = Sources { base: Source { name: "load".into(), text: text() }, overlay: None, sets: Vec::new() };
    let spec = netengine_spec::load(&sources, &|_: &str| None).expect("a spec").spec;
    let (told, heard) = std::sync::mpsc::channel();
    // It serves until the program ends.
    std::thread::spawn(move || {
        runtime().block_on(async {
            let plan = Plan::of(&spec, &[]);
            let zones = Arc::new(Store::new(plan.catalog(1).expect("zones"), plan.policy(), NoJournal));
            let dir = tempfile::tempdir().expect("a directory");
            let store = SqliteStore::open(&dir.path().join("world.db")).await.expect("a database");
            let names = Arc::new(DnsNames::new(zones, &spec));
            let begun = Instant::now();
            let registry = Registry::open(store, names.clone(), &spec, Limits::default()).await.expect("a registry");
            let filled = begun.elapsed();
            let begun = Instant::now();
            registry.fill(&spec).await.expect("filled");
            println!("{DOMAINS} domains filled in {filled:?}, again in {:?}", begun.elapsed());
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            told.send(listener.local_addr().expect("an address")).expect("the main thread waits");
            let _ = serve(listener, registry, whois::Limits::default()).await;
        });
    });
    let address = heard.recv().expect("an address");
    let answered = AtomicU64::new(0);
    let begun = Instant::now();
    let end = begun + Duration::from_secs(seconds);
    runtime().block_on(async {
        let all = (0..clients).map(|client| {
            let answered = &answered;
            async move {
                let mut text = String::new();
                for n in client.. {
                    if Instant::now() >= end {
                        break;
                    }
                    let name = format!("d{}.corp", n * 7 % DOMAINS as u64);
                    let mut stream = TcpStream::connect(address).await.expect("connected");
                    stream.write_all(format!("{name}\r\n").as_bytes()).await.expect("sent");
                    text.clear();
                    stream.read_to_string(&mut text).await.expect("read");
                    assert!(text.starts_with(&format!("Domain Name: {name}\r\n")), "{text}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        futures::future::join_all(all).await;
    });
    let rate = answered.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} WHOIS queries a second, {clients} clients");
}
