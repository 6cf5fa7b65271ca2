//! A namespace with a confined prober, and servers in it that the test runs itself.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    process::Child,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use netengine_dns::{
    authority::{Access, Authority, Clock},
    name::Name,
    record::{Record, Rtype, Soa},
    serve::{Limiter, TcpLimits, serve_tcp, serve_udp},
    wire::tsig::{Algorithm, Key},
    zone::{Catalog, NoJournal, SerialPolicy, Store, View, Zone},
};
use netengine_proto::{
    bounded::Bounded,
    control::{ControlReply, ControlRequest, Fault, Probe, ProbeRequest, ProbeResult, TimedProbe},
    trust::Trust,
};
use nix::sched::{CloneFlags, setns};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    sync::oneshot,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use crate::harness::{Control, World};

/// Where names are resolved.
pub const RESOLVER: [u8; 4] = [127, 0, 0, 53];
/// No test waits longer for a server that is to stay silent.
pub const SILENCE_MS: u32 = 300;

/// The stage; everything on it ends with it.
pub struct Stage {
    // Dropped first: the prober ends with its last connection.
    control: Control,
    child: Child,
    stop: Option<oneshot::Sender<()>>,
    servers: Option<JoinHandle<()>>,
    _world: World,
}

/// A probe, whether it passes or which fault it finds, and words of its detail.
pub type Case<'a> = (Probe, Result<(), Option<Fault>>, &'a str);

impl Stage {
    /// Runs `serve` inside; what it returns is for the test, its tasks serve until the stage is dropped.
    pub fn new<T, F>(serve: impl FnOnce() -> F + Send + 'static) -> (Self, T)
    where
        T: Send + 'static,
        F: Future<Output = (T, JoinSet<()>)>,
    {
        let world = World::start();
        let namespace = File::open(format!("/proc/{}/ns/net", world.pid())).expect("the namespace");
        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let servers = std::thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("setns");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (told, _tasks) = serve().await;
                ready.send(told).expect("the test waits");
                // Sent or dropped: the stage is over.
                let _ = stopped.await;
            });
        });
        let told = is_ready.recv().expect("the servers serve");
        let (child, control) = super::start(&world);
        (Self { control, child, stop: Some(stop), servers: Some(servers), _world: world }, told)
    }

    /// Runs probes with this trust.
    pub fn probe_with(&mut self, trust: Trust, probes: Vec<TimedProbe>) -> Vec<ProbeResult> {
        let request = ProbeRequest { trust, resolvers: vec![RESOLVER.into()], probes };
        match self.control.ask(&ControlRequest::Probe(request)) {
            ControlReply::Probed(results) => results,
            other => panic!("{other:?}"),
        }
    }

    /// Runs all probes at once and compares each result.
    pub fn expect(&mut self, trust: Trust, cases: Vec<Case<'_>>) {
        let timed = cases.iter().map(|(probe, ..)| TimedProbe { timeout_ms: 5000, probe: probe.clone() });
        let results = self.probe_with(trust, timed.collect());
        assert_eq!(results.len(), cases.len());
        for ((probe, wanted, words), result) in cases.iter().zip(&results) {
            assert_is(result, *wanted, words, probe);
        }
    }
}

/// Compares one result.
pub fn assert_is(result: &ProbeResult, wanted: Result<(), Option<Fault>>, words: &str, probe: &Probe) {
    println!("{} us: {:?}: {}", result.micros, result.fault, result.detail);
    assert_eq!((result.passed, result.fault), (wanted.is_ok(), wanted.err().flatten()), "{probe:?}: {result:?}");
    assert!(result.detail.contains(words), "{words:?} is not in {result:?}");
    assert!(result.detail.chars().all(|c| matches!(c, ' '..='~')), "{result:?}");
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(servers) = self.servers.take() {
            assert!(servers.join().is_ok() || std::thread::panicking(), "a server has failed");
        }
        // It may have ended already, as a prober does that nobody talks to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct System(Instant);

impl Default for System {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for System {
    fn unix(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The zone `test` of this serial with these address records.
pub fn authority(at: [u8; 4], serial: u32, hosts: &[(&str, [u8; 4])]) -> Arc<Authority<System>> {
    let name = |text: &str| Name::parse(text).expect("a name");
    let (primary, mailbox) = (name("ns.test."), name("admin.test."));
    let soa = Soa { primary, mailbox, serial, refresh: 3600, retry: 600, expire: 86400, minimum: 60 };
    let mut draft = Zone::new(name("test."), soa, 3600).edit();
    let mut add = |owner: &str, rtype, data: &str| {
        let _ = draft.add(Record::parse(owner, 300, rtype, data).expect("a record")).expect("it fits");
    };
    add("test.", Rtype::NS, "ns.test.");
    add("ns.test.", Rtype::A, &IpAddr::from(at).to_string());
    for (host, address) in hosts {
        add(&format!("{host}.test."), Rtype::A, &IpAddr::from(*address).to_string());
    }
    add("alias.test.", Rtype::CNAME, "ns.test.");
    for n in 0..3000 {
        add(&format!("h{n}.many.test."), Rtype::TXT, "a record to fill messages with");
    }
    let zone = draft.into_zone();
    let mut catalog = Catalog::default();
    catalog.insert_view(at.into(), View::new([zone.apex()]));
    catalog.insert_zone(zone);
    let store = Arc::new(Store::new(catalog, SerialPolicy::Timestamp, NoJournal));
    let authority = Authority::new(store, System::default(), Limiter::new(0, 2), "test", &[7; 32]);
    let mut access = Access::default();
    for key in ["may.", "other."] {
        access.keys.insert(Key::new(name(key), Algorithm::Sha256, &[b't'; 32]));
    }
    access.transfer.insert((name("may."), name("test.")));
    authority.set_access(access);
    Arc::new(authority)
}

/// Serves names by UDP.
pub async fn names_by_udp(tasks: &mut JoinSet<()>, at: [u8; 4], authority: Arc<Authority<System>>) {
    let socket = UdpSocket::bind((IpAddr::from(at), 53)).await.expect("port 53");
    tasks.spawn(async move { serve_udp(socket, at.into(), authority).await.expect("serves") });
}

/// Serves names by TCP.
pub async fn names_by_tcp(tasks: &mut JoinSet<()>, at: [u8; 4], authority: Arc<Authority<System>>) {
    let listener = TcpListener::bind((IpAddr::from(at), 53)).await.expect("port 53");
    tasks.spawn(async move {
        serve_tcp(listener, at.into(), authority, TcpLimits::default()).await.expect("serves");
    });
}

/// A certificate authority of the test.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let der = params.self_signed(&key).expect("a certificate").der().to_vec();
        Self { issuer: Issuer::new(params, key), der }
    }

    pub fn trust(&self) -> Trust {
        trust(self.der.clone())
    }

    /// A server's TLS for this name; over its time when `expired`.
    pub fn acceptor(&self, name: &str, expired: bool) -> TlsAcceptor {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(leaf.der().to_vec())], key)
            .expect("a server");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Trust in one certificate.
pub fn trust(der: Vec<u8>) -> Trust {
    let certificates = Bounded::new(vec![Bounded::new(der).expect("short")]).expect("one");
    Trust { certificates, ..Trust::default() }
}

/// What a scripted web server says to a path: status, headers as lines, body.
pub type Script = BTreeMap<&'static str, (u16, String, String)>;

/// A scripted answer.
pub fn says(status: u16, media: &str, body: &str) -> (u16, String, String) {
    (status, format!("content-type: {media}\r\n"), body.to_owned())
}

/// Serves a script over TLS, one request for each connection.
pub async fn web(tasks: &mut JoinSet<()>, at: [u8; 4], tls: TlsAcceptor, script: Script) {
    let listener = TcpListener::bind((IpAddr::from(at), 443)).await.expect("port 443");
    tasks.spawn(async move {
        let mut running = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let (tls, script) = (tls.clone(), script.clone());
            running.spawn(async move {
                // A client that does not like the certificate goes away here.
                let Ok(mut stream) = tls.accept(stream).await else { return };
                let mut request = Vec::new();
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    let mut buffer = [0; 4096];
                    match stream.read(&mut buffer).await {
                        Ok(length) if length > 0 => request.extend_from_slice(&buffer[..length]),
                        _ => return,
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let path = request.split(' ').nth(1).expect("a path");
                let (status, headers, body) = script.get(path).cloned().unwrap_or_else(|| says(404, "text/plain", ""));
                let length = body.len();
                let body = if request.starts_with("HEAD") { "" } else { &body };
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.expect("sends");
                // The client may be gone before we say so too.
                let _ = stream.shutdown().await;
            });
        }
    });
}

/// Answers each connection with `bytes`, without reading, and closes; `None` accepts and says nothing for ever.
pub async fn raw(tasks: &mut JoinSet<()>, at: ([u8; 4], u16), bytes: Option<&'static [u8]>) {
    let listener = TcpListener::bind(SocketAddr::from(at)).await.expect("a port");
    tasks.spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let mut stream = stream.into_std().expect("a stream");
            stream.set_nonblocking(false).expect("blocking");
            match bytes {
                Some(bytes) => {
                    let mut request = [0; 512];
                    let _ = stream.read(&mut request).expect("a request");
                    stream.write_all(bytes).expect("sends");
                }
                None => kept.push(stream),
            }
        }
    });
}
