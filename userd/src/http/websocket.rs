//! Events as WebSocket messages (RFC 6455), from the server only: each is a text frame with `{"event", "data"}`. A client sends nothing but control
//! frames; whatever else it sends ends the connection.
//!
//! The few lines that this takes are here, and no library: nothing but heads of frames is ever read of a peer.

use std::{future::Future, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{Stream, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use netengine_proto::api::{Problem, ProblemKind};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, interval_at, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Admitted;
use crate::problem::problem;

/// A peer that takes nothing for so long is gone.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// A ping this often lets a dead connection be noticed.
const PING: Duration = Duration::from_secs(15);
/// A peer says good-bye within this.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// What a key is hashed with (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a control frame's payload at most (section 5.5).
const CONTROL_BYTES: usize = 125;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING_FRAME: u8 = 9;
const PONG: u8 = 10;

/// Reasons to close (section 7.4.1).
const DONE: u16 = 1000;
const GOING: u16 = 1001;
const WRONG: u16 = 1002;
const DATA: u16 = 1003;

/// A counted connection and who waits for its tasks: what goes on after an upgrade stays counted and is waited for.
#[derive(Clone)]
pub(super) struct Upgrades(Arc<Admitted>, TaskTracker);

impl Upgrades {
    /// Of an admitted connection.
    pub(super) fn new(admitted: Admitted, tasks: TaskTracker) -> Self {
        Self(Arc::new(admitted), tasks)
    }

    fn spawn(self, work: impl Future<Output = ()> + Send + 'static) {
        let Self(admitted, tasks) = self;
        tasks.spawn(async move {
            work.await;
            drop(admitted);
        });
    }
}

/// Whether a request asks for a WebSocket.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    has(headers, header::UPGRADE, "websocket")
}

/// Whether a list in a header has this word.
fn has(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// Answers the request, and sends what the stream gives once the connection is a WebSocket; closes it at the stream's end or when `stop` is
/// cancelled.
///
/// # Errors
/// Class `usage` when the request is no sound handshake.
pub(super) fn answer(
    mut request: Request,
    upgrades: Upgrades,
    stop: CancellationToken,
    events: impl Stream<Item = (&'static str, Value)> + Send + 'static,
) -> Result<Response, Problem> {
    let wrong = |cause: &str| {
        let help = "RFC 6455 tells how; without `Upgrade` the same comes as server-sent events";
        problem(ProblemKind::Usage, "cannot open a WebSocket", cause, help)
    };
    let headers = request.headers();
    if !has(headers, header::CONNECTION, "upgrade") {
        return Err(wrong("the header `Connection` does not say `Upgrade`"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(wrong("`Sec-WebSocket-Version` is not 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).map(str::trim);
    let key = key.filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16));
    let accept = accept(key.ok_or_else(|| wrong("`Sec-WebSocket-Key` is not 16 bytes in base64"))?);
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return Err(wrong("the connection cannot be upgraded"));
    };
    upgrades.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => serve(TokioIo::new(upgraded), stop, events).await,
            Err(error) => tracing::debug!(%error, "a WebSocket did not come about"),
        }
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Body::empty());
    response.map_err(|error| wrong(&error.to_string()))
}

/// The answer to a key (section 4.2.2).
fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes()))
}

async fn serve(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    stop: CancellationToken,
    events: impl Stream<Item = (&'static str, Value)>,
) {
    tokio::pin!(events);
    let mut pings = interval_at(Instant::now() + PING, PING);
    let mut read = Vec::new();
    let reason = loop {
        let sent = tokio::select! {
            event = events.next() => match event {
                Some((name, data)) => frame(TEXT, json!({"event": name, "data": data}).to_string().as_bytes()),
                // Also when the daemon stops: the stream ends then.
                None => break if stop.is_cancelled() { GOING } else { DONE },
            },
            _ = pings.tick() => frame(PING_FRAME, b""),
            heard = hear(&mut socket, &mut read) => match heard {
                Some(Ok(Heard::Ping(payload))) => frame(PONG, &payload),
                Some(Ok(Heard::Pong)) => continue,
                // Who says good-bye gets it back; who is gone gets nothing.
                Some(Ok(Heard::Close)) => {
                    let _ = put(&mut socket, &frame(CLOSE, &DONE.to_be_bytes())).await;
                    return;
                }
                Some(Err(reason)) => break reason,
                None => return,
            },
        };
        if !put(&mut socket, &sent).await {
            return;
        }
    };
    if put(&mut socket, &frame(CLOSE, &reason.to_be_bytes())).await {
        let farewell = async {
            while let Some(Ok(heard)) = hear(&mut socket, &mut read).await {
                if matches!(heard, Heard::Close) {
                    break;
                }
            }
        };
        let _ = timeout(CLOSE_TIME, farewell).await;
    }
}

/// Whether it was sent in time.
async fn put(socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    let sent = timeout(WRITE_TIME, async {
        socket.write_all(bytes).await?;
        socket.flush().await
    });
    matches!(sent.await, Ok(Ok(())))
}

/// The next frame of the peer, or the reason to close; none when the connection ended. May be dropped at any await: what was read is kept.
async fn hear(socket: &mut (impl AsyncRead + Unpin), read: &mut Vec<u8>) -> Option<Result<Heard, u16>> {
    loop {
        match take(read) {
            Ok(None) => {}
            Ok(Some(heard)) => return Some(Ok(heard)),
            Err(reason) => return Some(Err(reason)),
        }
        // At most a control frame is waited for, so this holds at most one and what came with it.
        match socket.read_buf(read).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// What a peer may say.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Close,
    Ping(Vec<u8>),
    Pong,
}

/// Takes a frame from the front of what was read, when all of it is there (section 5.2).
///
/// # Errors
/// The reason to close.
fn take(read: &mut Vec<u8>) -> Result<Option<Heard>, u16> {
    let [first, second, ..] = read[..] else { return Ok(None) };
    let (is_whole, opcode, length) = (first & 0x80 != 0, first & 0x0f, usize::from(second & 0x7f));
    if first & 0x70 != 0 || second & 0x80 == 0 {
        return Err(WRONG);
    }
    if opcode < CLOSE {
        return Err(DATA);
    }
    if !is_whole || length > CONTROL_BYTES || opcode > PONG {
        return Err(WRONG);
    }
    if read.len() < 6 + length {
        return Ok(None);
    }
    let mask = [read[2], read[3], read[4], read[5]];
    let payload: Vec<u8> =
        read[6..6 + length].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    read.drain(..6 + length);
    Ok(Some(match opcode {
        CLOSE => Heard::Close,
        PING_FRAME => Heard::Ping(payload),
        _ => Heard::Pong,
    }))
}

/// A whole frame of a server.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=CONTROL_BYTES => bytes.push(length as u8),
        length @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_of_a_client_are_control_frames_or_a_reason_to_close() {
        // "Hello" masked, as in section 5.7.
        let hello = [0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let ping = [&[0x89, 0x85], &hello[..]].concat();
        for cut in 0..ping.len() {
            assert_eq!(take(&mut ping[..cut].to_vec()), Ok(None), "{cut}");
        }
        let mut two = [&ping[..], &[0x88, 0x80, 0, 0, 0, 0]].concat();
        assert_eq!(take(&mut two), Ok(Some(Heard::Ping(b"Hello".to_vec()))));
        assert_eq!(take(&mut two), Ok(Some(Heard::Close)));
        assert_eq!((take(&mut two), two.len()), (Ok(None), 0));
        for (bytes, reason) in [
            ([0x81, 0x85], DATA),
            ([0x02, 0xff], DATA),
            ([0x89, 0x05], WRONG),
            ([0x09, 0x85], WRONG),
            ([0xc9, 0x85], WRONG),
            ([0x89, 0xfe], WRONG),
            ([0x8b, 0x80], WRONG),
        ] {
            assert_eq!(take(&mut bytes.to_vec()), Err(reason), "{bytes:02x?}");
        }
    }

    #[test]
    fn frames_of_the_server_tell_their_length_in_the_shortest_form() {
        assert_eq!(frame(TEXT, b"Hello"), [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(frame(TEXT, &[0; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(frame(TEXT, &[0; 0xffff])[..4], [0x81, 126, 0xff, 0xff]);
        assert_eq!(frame(TEXT, &[0; 0x1_0000])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
