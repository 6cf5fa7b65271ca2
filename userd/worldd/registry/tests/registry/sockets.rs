//! WHOIS on real sockets: Debian's client, and clients that mean no good. RDAP by a client of others.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use netengine_registry::{
    http::{AUDIENCE, registrar_router},
    rdap::{self, Base},
    registry::Registry,
    whois::{Limits, serve},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    process::Command,
    time::timeout,
};

use crate::world::{world, world_with};

/// Longer than anything here may take; reaching it is a failure.
const LONG: Duration = Duration::from_secs(30);

async fn whois(registry: &Arc<Registry>, limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, registry.clone(), limits));
    address
}

async fn http(router: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let limit = netengine_pki::http::Limit { head: Duration::from_secs(2), ..Default::default() };
    tokio::spawn(netengine_pki::http::serve(listener, router, limit));
    address
}

/// Sends bytes, reads to the end.
async fn ask(address: SocketAddr, line: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(line).await.expect("sent");
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.expect("in time").expect("text");
    text
}

#[tokio::test]
async fn debians_client_is_answered() {
    let world = world().await;
    let leased = world.registry.lease("acme-hq", "business").await.expect("a lease");
    let address = whois(&world.registry, Limits::default()).await;
    let asn = format!("AS{}", leased.asn);
    for (query, expected) in [
        ("acme.corp", "Registrant Organization: acme-corp"),
        ("ACME.CORP", "Domain Name: acme.corp"),
        ("none.corp", "No match for \"none.corp\"."),
        ("acme-corp", "Capability: register_domains"),
        ("corp", "Top-Level Domain: corp"),
        ("10.20.0.7", "NetName: acme-hq"),
        ("10.20.9.7", "NetName: business-pool"),
        ("10.0.0.9", "NetName: core"),
        ("fd00:10::a00:9", "CIDR: fd00:10::/64"),
        ("192.0.2.1", "No match for \"192.0.2.1\"."),
        (asn.as_str(), "ASName: acme-hq"),
        ("nameserver ns.corp", "Domain: acme.corp"),
        ("help", "an organisation"),
    ] {
        let port = address.port().to_string();
        let run = Command::new("whois").args(["-h", "127.0.0.1", "-p", &port, query]).output();
        let done = timeout(LONG, run).await.expect("in time").expect("Debian's whois is installed");
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && text.contains(expected), "{query}: {text}");
    }
}

#[tokio::test]
async fn lines_that_are_no_question_are_answered_or_ended() {
    let world = world().await;
    let address = whois(&world.registry, Limits { read: Duration::from_millis(200), ..Limits::default() }).await;
    for line in [
        &b"\r\n"[..],
        b"\0\0\r\n",
        b"\xff\xfe\n",
        b"a b c d e f\n",
        b"domain \r\n",
        b"AS99999999999\r\n",
        b"1.2.3.4/99\n",
    ] {
        assert!(ask(address, line).await.starts_with("No match for \""), "{line:?}");
    }
    let injected = ask(address, b"x\rDomain Name: evil\x1b[2J\r\n").await;
    assert!(
        !injected.contains('\x1b') && !injected.lines().any(|line| line.starts_with("Domain Name")),
        "{injected:?}"
    );
    assert!(ask(address, b"acme.c").await.contains("did not come in time"), "a line without an end");

    // A megabyte without an end: the answer or the end comes after the first kilobyte, and others are served.
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let sent = timeout(LONG, stream.write_all(&vec![b'a'; 1 << 20])).await.expect("in time");
    let mut text = Vec::new();
    let got = timeout(LONG, stream.read_to_end(&mut text)).await.expect("in time");
    let refused = String::from_utf8_lossy(&text).contains("at most 1024 bytes");
    assert!(refused || sent.is_err() || got.is_err(), "{sent:?} {got:?} {text:?}");
    assert!(ask(address, b"acme.corp\r\n").await.contains("acme-corp"));
    let line = [vec![b'a'; 1022], b"\r\n".to_vec()].concat();
    assert!(ask(address, &line).await.starts_with("No match"), "a kilobyte is a line");
}

#[tokio::test]
async fn a_thousand_idle_connections_of_one_host_leave_room_for_others() {
    let world = world().await;
    let address = whois(&world.registry, Limits { read: Duration::from_secs(60), ..Limits::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(timeout(LONG, TcpStream::connect(address)).await.expect("in time").expect("connected"));
    }
    // Another host is served while they hang there.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("bound");
    let mut stream = timeout(LONG, socket.connect(address)).await.expect("in time").expect("connected");
    stream.write_all(b"acme.corp\r\n").await.expect("sent");
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.expect("in time").expect("text");
    assert!(text.contains("Registrant Organization: acme-corp"), "{text}");
    // Beyond its share, the one host's connections were closed.
    let mut closed = 0;
    for stream in &mut idle {
        let mut byte = [0];
        closed += usize::from(matches!(stream.try_read(&mut byte), Ok(0)));
    }
    assert_eq!(closed, 1000 - Limits::default().per_source);
}

#[tokio::test]
async fn malformed_and_slow_http_disturbs_nobody() {
    let world = world().await;
    let verify = netengine_registry::authenticate::OidcAuthenticate::new(None, None, AUDIENCE);
    let address = http(registrar_router(world.registry.clone(), verify)).await;
    let mut half_open = Vec::new();
    for start in [&b""[..], b"GET", b"POST /v1/domains HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"] {
        for _ in 0..100 {
            let mut stream = TcpStream::connect(address).await.expect("connected");
            stream.write_all(start).await.expect("sent");
            half_open.push(stream);
        }
    }
    for bad in [
        &b"\r\n\r\n\r\n\r\n\0"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/domains HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\0",
    ] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(bad).await.expect("sent");
        let mut answer = Vec::new();
        let ended = timeout(LONG, stream.read_to_end(&mut answer)).await.expect("ended in time");
        assert!(
            ended.is_err() || answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    for host in ["registrar.platform.internal", "evil.example", ""] {
        let request = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = ask(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("evil"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_library_of_others_reads_rdap() {
    // The client refuses to look up private networks.
    let world = world_with(&["domain_registry.address_space=[{cidr: 44.20.0.0/16, label: business-pool}]"]).await;
    world.registry.lease("acme-hq", "business").await.expect("a lease");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let base = Base { url: format!("http://{address}/rdap"), whois: Some("whois.platform.internal".to_owned()) };
    let router = axum::Router::new().nest("/rdap", rdap::router(world.registry.clone(), base));
    tokio::spawn(netengine_pki::http::serve(listener, router, netengine_pki::http::Limit::default()));

    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("registry-clients");
    let prepared = Command::new("sh").arg(clients.join("prepare")).arg(&place).output().await.expect("sh runs");
    assert!(prepared.status.success(), "prepare: {}", String::from_utf8_lossy(&prepared.stderr));
    let run = Command::new(place.join("bin/python"))
        .arg(clients.join("whoisit_rdap.py"))
        .arg(format!("http://{address}/rdap"))
        .output();
    let done = timeout(LONG, run).await.expect("in time").expect("the client runs");
    let said = format!("{}\n{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("all done"), "{said}");
}
