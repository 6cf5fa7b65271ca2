//! A network namespace of our own with the name service of a spec in it, and other people's clients.
//!
//! Needs the right to make a network namespace (root): without it the tests fail, they are not skipped.

pub mod tls;

use std::{
    net::IpAddr,
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use netengine_dns::{
    authority::{Access, Authority, Clock},
    name::Name,
    plan::Plan,
    resolve::{Cache, Hint, Network, Resolver},
    serve::{Limiter, TcpLimits, Tls, serve_https, serve_tcp, serve_tls, serve_udp},
    wire::tsig::{Algorithm, Key},
    zone::{Catalog, NoJournal, Store},
};
use tokio::net::{TcpListener, UdpSocket};

/// `dig -y` of the key that may do everything.
pub const KEY: &str = "hmac-sha256:test.:dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHR0dHQ=";

pub struct System(pub Instant);

impl Clock for System {
    fn unix(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A plan from a spec in YAML.
pub fn plan(yaml: &str) -> Plan {
    let base = netengine_spec::Source { name: "spec".to_owned(), text: yaml.to_owned() };
    let sources = netengine_spec::Sources { base, overlay: None, sets: Vec::new() };
    Plan::of(&netengine_spec::load(&sources, &|_: &str| None).expect("a spec").spec, &[])
}

pub fn example(file: &str) -> Plan {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples").join(file);
    plan(&std::fs::read_to_string(path).expect("the example"))
}

/// Servers that run until the test's process ends.
pub struct Service {
    pub store: Arc<Store>,
    pub resolver: Arc<Resolver<Network, System>>,
    pub tls: tls::TestTls,
}

impl Service {
    /// Serves a catalog at its addresses and a resolver of `plan` at its gateways, in a new network namespace that this
    /// thread, and every process it starts, is in from now on.
    pub fn start(plan: &Plan, catalog: Catalog) -> Self {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
            .expect("cannot make a network namespace: run as root");
        run("ip", &["link", "set", "lo", "up"]);
        let store = Arc::new(Store::new(catalog, plan.policy(), NoJournal));
        let catalog = store.snapshot();
        for address in catalog.addresses().chain(plan.resolvers.iter().copied()) {
            run("ip", &["address", "add", &address.to_string(), "dev", "lo"]);
        }
        let authority =
            Authority::new(store.clone(), System(Instant::now()), Limiter::new(0, 2), "ns-of-a-test", &[7; 32]);
        let key = Name::parse("test").expect("a name");
        let mut access = Access::default();
        access.keys.insert(Key::new(key.clone(), Algorithm::Sha256, &[b't'; 32]));
        for zone in catalog.zones() {
            access.transfer.insert((key.clone(), zone.apex().clone()));
            access.update.insert((key.clone(), zone.apex().clone()));
        }
        authority.set_access(access);
        let hint = |(zone, servers): &(String, Vec<IpAddr>)| Hint {
            zone: Name::parse(zone).expect("a name"),
            servers: servers.clone(),
        };
        let hints = plan.hints.iter().map(hint).collect();
        let (cache, limiter) = (Cache::new(10_000), Limiter::new(0, 2));
        let resolver = Arc::new(Resolver::new(Network::default(), System(Instant::now()), hints, cache, limiter));
        let (ready, wait) = std::sync::mpsc::channel();
        let (plan, of_thread) = (plan.clone(), resolver.clone());
        let tls = tls::TestTls::new();
        let presented = tls.tls.clone();
        // A thread is in the namespace of the thread that made it.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(Arc::new(authority), (of_thread, presented), plan, ready));
        });
        wait.recv().expect("the servers are ready");
        Self { store, resolver, tls }
    }
}

async fn serve(
    authority: Arc<Authority<System>>,
    (resolver, tls): (Arc<Resolver<Network, System>>, Arc<Tls>),
    plan: Plan,
    ready: std::sync::mpsc::Sender<()>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    let limits = TcpLimits { connections: 1100, ..TcpLimits::default() };
    let addresses: Vec<IpAddr> = authority.store().snapshot().addresses().collect();
    for address in addresses {
        let (udp, tcp) = bind(address).await;
        tasks.spawn(serve_udp(udp, address, authority.clone()));
        tasks.spawn(serve_tcp(tcp, address, authority.clone(), limits));
    }
    for &address in &plan.resolvers {
        let (udp, tcp) = bind(address).await;
        tasks.spawn(serve_udp(udp, address, resolver.clone()));
        tasks.spawn(serve_tcp(tcp, address, resolver.clone(), limits));
        let listen = async |port| TcpListener::bind((address, port)).await.expect("binds");
        tasks.spawn(serve_tls(listen(853).await, address, tls.clone(), resolver.clone(), limits));
        tasks.spawn(serve_https(listen(443).await, address, tls.clone(), resolver.clone(), limits));
    }
    let mut deltas = authority.store().follow();
    tasks.spawn(async move {
        while let Ok(delta) = deltas.recv().await {
            resolver.forget(&delta);
        }
        Ok(())
    });
    ready.send(()).expect("the test waits");
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task fails").expect("no socket fails");
    }
}

async fn bind(address: IpAddr) -> (UdpSocket, TcpListener) {
    let udp = UdpSocket::bind((address, 53)).await.expect("binds");
    (udp, TcpListener::bind((address, 53)).await.expect("binds"))
}

/// A Python with dnspython, in a directory that must live as long. To be made before [`Service::start`]: it is fetched while
/// there is a network.
pub fn python() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let python = directory.path().join("bin/python").to_string_lossy().into_owned();
    run("python3", &["-m", "venv", &directory.path().to_string_lossy()]);
    run(&python, &["-m", "pip", "install", "--quiet", "dnspython==2.8.0"]);
    (directory, python)
}

/// Runs a client that must be installed and succeed; returns what it says.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = attempt(program, arguments, "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Runs a client with this input; it may fail.
pub fn attempt(program: &str, arguments: &[&str], input: &str) -> Output {
    use std::io::Write;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    // The client may end without reading.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the client ends")
}

pub fn dig(arguments: &[&str]) -> String {
    run("dig", &[&["+tries=1", "+time=3", "-r"], arguments].concat())
}

/// Short answers, one a line, sorted.
pub fn short(server: &str, arguments: &[&str]) -> Vec<String> {
    let server = format!("@{server}");
    let said = dig(&[&[server.as_str(), "+short"], arguments].concat());
    let mut lines: Vec<String> = said.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The outcome's name and the flags.
pub fn status(server: &str, arguments: &[&str]) -> (String, String) {
    let server = format!("@{server}");
    let said = dig(&[&[server.as_str()], arguments].concat());
    let field = |after: &str, until: char| {
        said.split_once(after).map_or("", |(_, rest)| rest.split(until).next().unwrap_or("")).trim().to_owned()
    };
    (field("status: ", ','), field(";; flags: ", ';'))
}
