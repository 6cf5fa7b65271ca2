//! Each challenge met and not met, against servers that do what servers of the net do.

use std::{net::SocketAddr, sync::Arc};

use netengine_pki::{
    acme::{ChallengeKind, Id, Kind, Probe, Verdict},
    jose::{encode, sha256},
    name::{Identifier, Scope},
    validate::{Connect, Network, Ports},
};
use netengine_spec::text::DnsName;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::dns::{self, Zone};

const AUTHORIZATION: &str = "token.thumbprint";

fn probe(kind: ChallengeKind, name: &str) -> Probe {
    Probe {
        authorization: Id::new([0; 16]),
        kind,
        identifier: Identifier::ip(name).or_else(|_| Identifier::dns(name)).expect("an identifier"),
        wildcard: false,
        token: "token".to_owned(),
        key_authorization: AUTHORIZATION.to_owned(),
        account_url: "https://ca/account/1".to_owned(),
    }
}

async fn look(zone: Zone, ports: Ports, probe: &Probe) -> Verdict {
    let scope = Scope {
        zones: Vec::new(),
        tlds: vec![DnsName::parse("test").expect("a name")],
        networks: vec!["127.0.0.0/8".parse().expect("a network")],
    };
    let resolver = dns::serve(zone).await;
    Network::new(resolver, scope, ports, "ca.test").expect("TLS").check(probe).await
}

#[track_caller]
fn refused(verdict: Verdict, kind: Kind, why: &str) {
    let problem = verdict.expect_err("refused");
    assert_eq!(problem.kind, kind, "{problem}");
    assert!(problem.detail.contains(why), "{problem}");
}

/// Serves each connection what `answer` makes of its request, until the runtime ends; the port.
async fn web(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let text = answer(&String::from_utf8_lossy(&request[..length]));
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

async fn http(answer: impl Fn(&str) -> String + Send + Sync + 'static, name: &str) -> Verdict {
    let http = web(answer).await;
    look(Zone::default(), Ports { http, tls: 1 }, &probe(ChallengeKind::Http01, name)).await
}

#[tokio::test]
async fn http_01_is_met_by_the_file_with_white_space_behind_it_and_behind_redirects() {
    let serves = |request: &str| match request.split(' ').nth(1) {
        Some("/.well-known/acme-challenge/token") if request.contains("host: a.test\r\n") => redirect("/there"),
        Some("/there") => redirect("http://b.test/file?x=1"),
        Some("/file?x=1") if request.contains("host: b.test\r\n") => ok(&format!("{AUTHORIZATION}\r\n \t\n")),
        _ => ok("wrong"),
    };
    assert_eq!(http(serves, "a.test").await, Ok(()));
    assert_eq!(http(|_| ok(AUTHORIZATION), "127.0.0.1").await, Ok(()));
}

#[tokio::test]
async fn http_01_is_not_met_by_anything_else() {
    for body in ["", "token", " token.thumbprint", "token.thumbprinx", "token.thumbprint\nmore"] {
        refused(http(move |_| ok(body), "a.test").await, Kind::IncorrectResponse, "does not hold");
    }
    let missing = |_: &str| "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned();
    refused(http(missing, "a.test").await, Kind::IncorrectResponse, "status 404");
    refused(http(|_| ok(&"a".repeat(5000)), "a.test").await, Kind::IncorrectResponse, "too much");
    refused(http(|_| "220 smtp.test\r\n".to_owned(), "a.test").await, Kind::Connection, "HTTP");
    refused(http(|_| String::new(), "a.test").await, Kind::Connection, "HTTP");
    let header = |_: &str| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(40_000));
    refused(http(header, "a.test").await, Kind::Connection, "HTTP");
}

#[tokio::test]
async fn redirects_lead_nowhere_outside_the_world() {
    for (to, kind, why) in [
        ("http://example.com/", Kind::RejectedIdentifier, "outside"),
        ("http://192.0.2.1/", Kind::RejectedIdentifier, "outside"),
        ("http://elsewhere.test/", Kind::Connection, "lies in this world"),
        ("http://a.test:22/", Kind::IncorrectResponse, "no usable place"),
        ("https://a.test:8443/", Kind::IncorrectResponse, "no usable place"),
        ("ftp://a.test/", Kind::IncorrectResponse, "no usable place"),
        ("file:///etc/passwd", Kind::IncorrectResponse, "no usable place"),
        ("//example.com/", Kind::IncorrectResponse, "too many"),
        ("http://a.test/", Kind::IncorrectResponse, "too many"),
        ("", Kind::IncorrectResponse, "no usable place"),
    ] {
        refused(http(move |_| redirect(to), "a.test").await, kind, why);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.expect("a connection"));
        }
    });
    let ports = Ports { http: port, tls: port };
    // An address needs no looking up: on a paused clock no real packet would be waited for.
    let verdict = look(Zone::default(), ports, &probe(ChallengeKind::Http01, "127.0.0.1")).await;
    assert_eq!(verdict.expect_err("given up").kind, Kind::Connection);
    let verdict = look(Zone::default(), ports, &probe(ChallengeKind::TlsAlpn01, "127.0.0.1")).await;
    assert!(matches!(verdict.expect_err("given up").kind, Kind::Tls | Kind::Connection));
    silent.abort();
}

#[tokio::test]
async fn names_that_do_not_lead_into_the_world_are_not_connected_to() {
    refused(http(|_| ok(AUTHORIZATION), "elsewhere.test").await, Kind::Connection, "lies in this world");
    refused(http(|_| ok(AUTHORIZATION), "absent.test").await, Kind::Dns, "no address");
    refused(http(|_| ok(AUTHORIZATION), "broken.test").await, Kind::Dns, "failure");
    let closed = Ports { http: 1, tls: 1 };
    let verdict = look(Zone::default(), closed, &probe(ChallengeKind::Http01, "a.test")).await;
    refused(verdict, Kind::Connection, "connection refused");
}

#[tokio::test]
async fn dns_01_is_met_by_one_of_the_records() {
    let wanted = encode(sha256(AUTHORIZATION.as_bytes()));
    let dns = async |texts: &[&str]| {
        let mut zone = Zone::default();
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        zone.texts.insert("_acme-challenge.a.test".to_owned(), texts);
        look(zone, Ports::default(), &probe(ChallengeKind::Dns01, "a.test")).await
    };
    assert_eq!(dns(&["other", &wanted]).await, Ok(()));
    refused(dns(&["other", &wanted[1..]]).await, Kind::IncorrectResponse, "right one");
    refused(dns(&[&format!("{wanted} ")]).await, Kind::IncorrectResponse, "right one");
    refused(dns(&[]).await, Kind::Dns, "no TXT record");
}

#[tokio::test]
async fn caa_records_above_the_name_are_obeyed() {
    let http = web(|_| ok(AUTHORIZATION)).await;
    let with = async |at: &str, value: &str| {
        let mut zone = Zone::default();
        zone.caa.insert(at.to_owned(), vec![("issue".to_owned(), value.to_owned())]);
        look(zone, Ports { http, tls: 1 }, &probe(ChallengeKind::Http01, "www.a.test")).await
    };
    assert_eq!(with("a.test", "ca.test").await, Ok(()));
    assert_eq!(with("b.test", ";").await, Ok(()));
    for at in ["www.a.test", "a.test", "test"] {
        refused(with(at, "other.example").await, Kind::Caa, at);
    }
}

/// Answers TLS with a certificate of these names and this digest, agreeing to these protocols; the port.
async fn tls(names: &[&str], digest: &[u8], critical: bool, alpn: &[&[u8]]) -> u16 {
    let key = KeyPair::generate().expect("a key");
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    let mut extension = CustomExtension::new_acme_identifier(&sha256(digest));
    extension.set_criticality(critical);
    params.custom_extensions.push(extension);
    let certificate = params.self_signed(&key).expect("a certificate");
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))));
    config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (stream, _): (TcpStream, SocketAddr) = listener.accept().await.expect("a connection");
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0]).await;
                }
            });
        }
    });
    port
}

async fn alpn(name: &str, names: &[&str], digest: &str, critical: bool, protocols: &[&[u8]]) -> Verdict {
    let tls = tls(names, digest.as_bytes(), critical, protocols).await;
    look(Zone::default(), Ports { http: 1, tls }, &probe(ChallengeKind::TlsAlpn01, name)).await
}

#[tokio::test]
async fn tls_alpn_01_is_met_by_exactly_the_certificate_of_the_standard() {
    let acme: &[&[u8]] = &[b"acme-tls/1"];
    assert_eq!(alpn("a.test", &["a.test"], AUTHORIZATION, true, acme).await, Ok(()));
    assert_eq!(alpn("127.0.0.1", &["127.0.0.1"], AUTHORIZATION, true, acme).await, Ok(()));
    let wrong = Kind::IncorrectResponse;
    refused(alpn("a.test", &["a.test"], "other", true, acme).await, wrong, "not the right one");
    refused(alpn("a.test", &["a.test"], AUTHORIZATION, false, acme).await, wrong, "not critical");
    refused(alpn("a.test", &["a.test", "b.test"], AUTHORIZATION, true, acme).await, wrong, "exactly this");
    refused(alpn("a.test", &["b.test"], AUTHORIZATION, true, acme).await, wrong, "exactly this");
    refused(alpn("a.test", &["127.0.0.1"], AUTHORIZATION, true, acme).await, wrong, "exactly this");
    refused(alpn("a.test", &["a.test"], AUTHORIZATION, true, &[]).await, wrong, "acme-tls/1");
    refused(alpn("a.test", &["a.test"], AUTHORIZATION, true, &[b"h2"]).await, Kind::Tls, "handshake");
    let plain = web(|_| ok(AUTHORIZATION)).await;
    let ports = Ports { http: 1, tls: plain };
    refused(look(Zone::default(), ports, &probe(ChallengeKind::TlsAlpn01, "a.test")).await, Kind::Tls, "handshake");
}
