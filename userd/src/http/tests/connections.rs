//! Real connections: how many, how slow, and that one uid's do not cost another's.

use std::{path::Path, time::Duration};

use netengine_proto::limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use super::*;
use crate::{http::accept_loop, start::sockets::SocketRole};

struct Server {
    lab: Lab,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start() -> Self {
        let lab = Lab::new().await;
        let listener = UnixListener::bind(lab.directory.path().join("user.sock")).expect("bound");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(accept_loop(listener, SocketRole::User, app(&lab), stop.clone()));
        Self { lab, stop, serving }
    }

    async fn connect(&self) -> UnixStream {
        connect(&self.lab.directory.path().join("user.sock")).await
    }
}

async fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.expect("connected")
}

/// Everything the peer sends until it closes.
async fn rest(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut text)).await;
    read.expect("closed in time").expect("read");
    text
}

const REQUEST: &[u8] = b"GET /api/v1/worlds HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn the_connection_past_the_bound_is_refused_and_a_closed_one_makes_room() {
    let server = Server::start().await;
    let mut held = Vec::new();
    for _ in 0..limits::API_CONNECTIONS_PER_USER {
        let mut stream = server.connect().await;
        // An answer shows that it was accepted and counted.
        stream.write_all(REQUEST).await.expect("sent");
        let mut byte = [0];
        stream.read_exact(&mut byte).await.expect("answered");
        held.push(stream);
    }
    let refused = rest(&mut server.connect().await).await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    drop(held.pop());
    // The server learns of the end by itself; until then it refuses.
    let served = async {
        loop {
            let mut stream = server.connect().await;
            let _ = stream.write_all(b"GET /api/v1/worlds HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            let mut text = String::new();
            if stream.read_to_string(&mut text).await.is_ok() && text.starts_with("HTTP/1.1 200") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.expect("room again");
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let server = Server::start().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /api/v1/version HTTP/1.1\r\nx: ").await.expect("sent");
    let begun = std::time::Instant::now();
    let text = rest(&mut slow).await;
    assert!(!text.contains("200 OK"), "{text}");
    assert!(begun.elapsed() < limits::API_HEADER_TIME + Duration::from_secs(3));
}

#[tokio::test]
async fn responses_are_finished_when_the_daemon_is_told_to_end() {
    let server = Server::start().await;
    let mut idle = server.connect().await;
    idle.write_all(REQUEST).await.expect("sent");
    let mut byte = [0];
    idle.read_exact(&mut byte).await.expect("answered");
    let mut follower = server.connect().await;
    follower.write_all(b"GET /api/v1/events?follow=true HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    follower.read_exact(&mut byte).await.expect("answered");
    server.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), server.serving).await.expect("in time");
    ended.expect("joined").expect("no error");
    // The end of the stream of events is a whole one: the last chunk is there.
    assert!(rest(&mut follower).await.ends_with("0\r\n\r\n"));
}
