//! What is served over sockets: swapping the certificate, many idle connections, half of a request.

use std::{sync::Arc, time::Duration};

use netengine_pki::{
    acme::{Policy, Probe, Verdict},
    ca::{Config, Profile, Profiles, Publication},
    http::{Limit, SwappedCertificate, publication_router, router, serve, serve_tls, server_config},
    name::{Identifier, Scope},
    service::{OwnCertificate, Renewal, Service, keep_fresh},
    store::MemoryStore,
    validate::Connect,
};
use netengine_spec::{model::KeyStorageMode, text::DnsName};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

struct Never;

impl Connect for Never {
    async fn check(&self, _: &Probe) -> Verdict {
        unreachable!("no challenge is begun")
    }
}

async fn service() -> Arc<Service<MemoryStore>> {
    let scope = Scope { tlds: vec![DnsName::parse("test").expect("a name")], ..Scope::default() };
    let config = Config {
        common_name: "Root".to_owned(),
        organization: String::new(),
        country: "XX".to_owned(),
        root_lifetime_secs: 86_400 * 365,
        intermediate: true,
        storage: KeyStorageMode::Ephemeral,
        scope: scope.clone(),
        publication: Publication { base: "http://ca.test".to_owned(), crl: true, ocsp: true },
    };
    let policy = Policy::new(scope, "ca.test");
    let opened = Service::open(config, policy, "https://ca.test", MemoryStore::default(), Never).await;
    let (service, background) = opened.expect("an authority");
    tokio::spawn(background.run());
    service
}

async fn own(service: &Service<MemoryStore>) -> OwnCertificate {
    let profiles = Profiles::default();
    let names = [Identifier::dns("ca.test").expect("a name")].into();
    service.issue_own(names, profiles.get("shortlived").expect("a profile")).await.expect("a certificate")
}

/// Connects as a client that trusts the world's root and nothing else.
async fn connect(service: &Service<MemoryStore>, port: u16) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let root = service.authority().signer(netengine_pki::ca::Level::Root).certificate().to_vec();
    roots.add(CertificateDer::from(root)).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    let name = ServerName::try_from("ca.test").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a certificate that verifies")
}

fn served(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("certificates")[0].to_vec()
}

/// One request on a connection that stays open.
async fn directory(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    stream.write_all(b"GET /acme/acme/directory HTTP/1.1\r\nhost: ca.test\r\n\r\n").await.expect("sent");
    let mut said = Vec::new();
    while !said.ends_with(b"}}") {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await.expect("an answer");
        assert!(length > 0, "the connection was closed: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..length]);
    }
    assert!(said.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_swapped_certificate_drops_no_connection() {
    let service = service().await;
    let (first, second) = (own(&service).await, own(&service).await);
    let certificate = SwappedCertificate::new(&first).expect("a key");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tls = server_config(certificate.clone()).expect("TLS");
    tokio::spawn(serve_tls(listener, tls, router(service.clone()), Limit::default()));

    let mut old = connect(&service, port).await;
    assert_eq!(served(&old), first.chain[0]);
    directory(&mut old).await;
    certificate.swap(&second).expect("a key");
    directory(&mut old).await;
    let mut new = connect(&service, port).await;
    assert_eq!(served(&new), second.chain[0]);
    directory(&mut new).await;
    directory(&mut old).await;
}

#[tokio::test]
async fn a_thousand_idle_and_half_open_connections_keep_nobody_out() {
    let service = service().await;
    let certificate = SwappedCertificate::new(&own(&service).await).expect("a key");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tls = server_config(certificate).expect("TLS");
    tokio::spawn(serve_tls(listener, tls, router(service.clone()), Limit::default()));
    let mut idle = Vec::new();
    for n in 0..1000 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        // Nothing, the beginning of a handshake, or what is no TLS at all.
        let begun: &[u8] = [&b""[..], &[22, 3, 1, 2, 0, 1], b"GET / HTTP/1.1\r\n"][n % 3];
        stream.write_all(begun).await.expect("sent");
        idle.push(stream);
    }
    directory(&mut connect(&service, port).await).await;
}

#[tokio::test]
async fn connections_that_send_no_request_are_closed_and_make_room() {
    let service = service().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let limit = Limit { connections: 2, handshake: Duration::from_millis(50), head: Duration::from_millis(50) };
    tokio::spawn(serve(listener, publication_router(service.clone()), limit));
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
        stream.write_all(b"GET /pki/root.der HTT").await.expect("sent");
        slow.push(stream);
    }
    // Behind them in the queue: served when they were given up.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    stream.write_all(b"GET /pki/root.der HTTP/1.0\r\n\r\n").await.expect("sent");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.expect("an answer");
    assert!(said.starts_with(b"HTTP/1.0 200 OK"), "{}", String::from_utf8_lossy(&said));
    assert!(said.ends_with(service.authority().signer(netengine_pki::ca::Level::Root).certificate()));
    for mut stream in slow {
        let mut rest = Vec::new();
        // Closed, with or without a word.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_certificate_that_is_due_is_renewed_while_it_is_served() {
    let service = service().await;
    // Valid from five minutes ago for five minutes more: by any policy two thirds of that are late.
    let short = Profile { description: String::new(), lifetime_secs: 300, client_auth: false };
    let names = std::collections::BTreeSet::from([Identifier::dns("ca.test").expect("a name")]);
    let first = service.issue_own(names.clone(), &short).await.expect("a certificate");
    let certificate = SwappedCertificate::new(&first).expect("a key");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tls = server_config(certificate.clone()).expect("TLS");
    tokio::spawn(serve_tls(listener, tls, router(service.clone()), Limit::default()));
    let renewal = Renewal { interval: Duration::from_secs(3600), warning_secs: 86_400 };
    let long = Profile { lifetime_secs: 86_400, ..short };
    tokio::spawn({
        let (service, certificate) = (service.clone(), certificate.clone());
        async move { keep_fresh(&service, names, long, renewal, &certificate, first).await }
    });
    while service.list(None, 10).len() < 2 {
        tokio::task::yield_now().await;
    }
    // The new one is served as soon as it is kept, and it is not due.
    loop {
        let mut stream = connect(&service, port).await;
        directory(&mut stream).await;
        let listed = service.list(None, 10);
        assert_eq!(listed.len(), 2);
        let newest = listed.iter().max_by_key(|one| one.certificate.not_after).expect("two");
        let (_, der) = service.show(newest.certificate.serial).await.expect("read").expect("there");
        if served(&stream) == der {
            break;
        }
    }
}
