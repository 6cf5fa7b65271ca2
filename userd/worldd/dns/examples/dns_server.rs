//! The name service alone, for tests with other people's clients: `dns_server spec FILE PORT` serves what the spec plans at
//! its addresses, `dns_server names COUNT ADDRESS PORT` one zone `example.` of that many names. The key `test.` with the
//! secret of 32 bytes `t` (`dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHQ=`) may transfer and update every zone. Says `ready`.

use std::{
    error::Error,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use netengine_dns::{
    authority::{Access, Authority, Clock},
    name::Name,
    plan::Plan,
    record::{Record, Rtype, Soa},
    resolve::{Cache, Hint, Network, Resolver},
    serve::{Limiter, TcpLimits, serve_tcp, serve_udp},
    wire::tsig::{Algorithm, Key},
    zone::{Catalog, NoJournal, SerialPolicy, Store, View, Zone},
};
use netengine_spec::{Source, Sources};
use tokio::net::{TcpListener, UdpSocket};

struct System(Instant);

impl Clock for System {
    fn unix(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn numbered(count: u32) -> Result<Zone, Box<dyn Error>> {
    let (primary, mailbox) = (Name::parse("ns.example.")?, Name::parse("admin.example.")?);
    let soa = Soa { primary, mailbox, serial: 1, refresh: 3600, retry: 600, expire: 86400, minimum: 60 };
    let mut draft = Zone::new(Name::parse("example.")?, soa, 3600).edit();
    for (owner, rtype, data) in [
        ("example.", Rtype::NS, "ns.example."),
        ("ns.example.", Rtype::A, "127.0.0.1"),
        ("example.", Rtype::MX, "10 Mail.Example."),
        ("example.", Rtype::TXT, "v=spf1 mx -all"),
        ("example.", Rtype::CAA, "0 issue \"ca.example\""),
        ("_sip._tcp.example.", Rtype::SRV, "1 2 5060 mail.example."),
        ("mail.example.", Rtype::A, "10.1.1.1"),
        ("www.example.", Rtype::CNAME, "mail.example."),
        ("*.wild.example.", Rtype::TXT, "anything"),
        ("sub.example.", Rtype::NS, "ns.sub.example."),
        ("ns.sub.example.", Rtype::A, "10.9.9.9"),
    ] {
        let _ = draft.add(Record::parse(owner, 300, rtype, data)?)?;
    }
    for n in 0..count {
        let [_, b, c, d] = n.to_be_bytes();
        let _ = draft.add(Record::parse(&format!("h{n}.example."), 300, Rtype::A, &format!("10.{b}.{c}.{d}"))?)?;
    }
    Ok(draft.into_zone())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut resolve: (Vec<Hint>, Vec<IpAddr>) = Default::default();
    let (catalog, port): (Catalog, u16) = match text.as_slice() {
        ["names", count, address, port] => {
            let mut catalog = Catalog::default();
            let zone = numbered(count.parse()?)?;
            catalog.insert_view(address.parse()?, View::new([zone.apex()]));
            catalog.insert_zone(zone);
            (catalog, port.parse()?)
        }
        ["spec", file, port] => {
            let base = Source { name: (*file).to_owned(), text: std::fs::read_to_string(file)? };
            let spec = netengine_spec::load(&Sources { base, overlay: None, sets: Vec::new() }, &|_: &str| None);
            let plan = Plan::of(&spec.map_err(|found| format!("{found:?}"))?.spec, &[]);
            for (zone, servers) in &plan.hints {
                resolve.0.push(Hint { zone: Name::parse(zone)?, servers: servers.clone() });
            }
            resolve.1 = plan.resolvers.clone();
            (plan.catalog(1)?, port.parse()?)
        }
        _ => return Err("usage: dns_server spec FILE PORT | names COUNT ADDRESS PORT".into()),
    };
    let mut access = Access::default();
    let key = Name::parse("test.")?;
    access.keys.insert(Key::new(key.clone(), Algorithm::Sha256, &[b't'; 32]));
    for zone in catalog.zones() {
        access.transfer.insert((key.clone(), zone.apex().clone()));
        access.update.insert((key.clone(), zone.apex().clone()));
    }
    let addresses: Vec<IpAddr> = catalog.addresses().collect();
    let store = Arc::new(Store::new(catalog, SerialPolicy::Timestamp, NoJournal));
    let authority = Authority::new(store, System(Instant::now()), Limiter::new(0, 2), "test-server", &[7; 32]);
    authority.set_access(access);
    let authority = Arc::new(authority);
    let mut tasks = tokio::task::JoinSet::new();
    for address in addresses {
        let udp = UdpSocket::bind((address, port)).await?;
        let tcp = TcpListener::bind((address, port)).await?;
        tasks.spawn(serve_udp(udp, address, authority.clone()));
        tasks.spawn(serve_tcp(tcp, address, authority.clone(), TcpLimits::default()));
    }
    let (hints, gateways) = resolve;
    let network = Network { port, ..Network::default() };
    let (cache, limiter) = (Cache::new(10_000), Limiter::new(0, 2));
    let resolver = Arc::new(Resolver::new(network, System(Instant::now()), hints, cache, limiter));
    for address in gateways {
        let udp = UdpSocket::bind((address, port)).await?;
        let tcp = TcpListener::bind((address, port)).await?;
        tasks.spawn(serve_udp(udp, address, resolver.clone()));
        tasks.spawn(serve_tcp(tcp, address, resolver.clone(), TcpLimits::default()));
    }
    let mut deltas = authority.store().follow();
    tasks.spawn(async move {
        while let Ok(delta) = deltas.recv().await {
            resolver.forget(&delta);
        }
        Ok(())
    });
    println!("ready");
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
