//! Peers that are slow, silent or too loud.

mod support;

use std::{sync::Arc, time::Duration};

use netengine_oidc::serve::{Clock, serve_connection};
use support::site;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinSet,
};

fn connect(site: &support::Site, all: &mut JoinSet<hyper::Result<()>>) -> DuplexStream {
    let (near, far) = duplex(256 * 1024);
    all.spawn(serve_connection(Arc::clone(&site.provider), Clock::default(), site.address.ip(), far));
    near
}

#[tokio::test(start_paused = true)]
async fn a_thousand_silent_peers_keep_nobody_waiting_and_are_let_go() {
    let site = site().await;
    let mut all = JoinSet::new();
    let silent: Vec<DuplexStream> = (0..1000).map(|_| connect(&site, &mut all)).collect();
    let mut dribbling = connect(&site, &mut all);
    dribbling.write_all(b"GET / HTTP/1.1\r\nHo").await.expect("written");
    let mut stuck = connect(&site, &mut all);
    let head = format!("POST /realms/acme/protocol/openid-connect/token HTTP/1.1\r\nhost: {}\r\n", site.address);
    stuck.write_all(format!("{head}content-length: 100\r\n\r\nhalf").as_bytes()).await.expect("written");
    let mut one = connect(&site, &mut all);
    let path = "/realms/acme/.well-known/openid-configuration";
    let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", site.address);
    one.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    one.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let over = tokio::time::timeout(Duration::from_secs(25), async { while all.join_next().await.is_some() {} });
    over.await.expect("every connection has ended");
    let mut answer = String::new();
    stuck.read_to_string(&mut answer).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_heads_and_broken_requests_end_the_connection_only() {
    let site = site().await;
    let mut all = JoinSet::new();
    let head = format!("POST /realms/acme/protocol/openid-connect/token HTTP/1.1\r\nhost: {}\r\n", site.address);
    let long = format!("GET /{} HTTP/1.1\r\nhost: {}\r\n\r\n", "a".repeat(100_000), site.address);
    for (request, status) in [
        (format!("{head}content-length: 10000000\r\n\r\n{}", "a".repeat(1000)), "HTTP/1.1 413"),
        (format!("{head}content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"), "HTTP/1.1 400"),
        (format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n"), "HTTP/1.1 413"),
        (long, "HTTP/1.1 4"),
        ("\x16\x03\x01\x02\x00\x01\x00".to_owned(), "HTTP/1.1 400"),
        ("GET /realms/acme/style.css HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(), "HTTP/1.1 421"),
    ] {
        let mut peer = connect(&site, &mut all);
        peer.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.starts_with(status) && !answer.contains("HTTP/1.1 404"), "{status}: {answer}");
    }
    while all.join_next().await.is_some() {}
    let path = "/realms/acme/protocol/openid-connect/certs";
    assert_eq!(site.ask("GET", path, &[], "", support::now()).await.status, 200, "others are served");
}
