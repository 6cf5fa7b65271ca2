//! Events as WebSocket messages (RFC 6455), from the server only: each is a text message with `{"event", "data"}`. A client sends nothing but
//! control frames; whatever else it sends ends the connection.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        FromRequestParts, Request,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    http::{HeaderMap, header},
    response::Response,
};
use futures::{Stream, StreamExt};
use netengine_proto::api::{Problem, ProblemKind};
use serde_json::{Value, json};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::{bytes::Bytes, sync::CancellationToken, task::TaskTracker};

use super::Admitted;
use crate::problem::problem;

/// A peer that takes nothing for so long is gone.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// A ping this often lets a dead connection be noticed.
const PING: Duration = Duration::from_secs(15);
/// A peer says good-bye within this.
const CLOSE_TIME: Duration = Duration::from_secs(5);
/// Bytes of what a peer may say at most: a control frame's payload (section 5.5).
const HEARD_BYTES: usize = 125;

/// A counted connection and who waits for its tasks: what goes on after an upgrade stays counted and is waited for.
#[derive(Clone)]
pub(super) struct Upgrades(Arc<Admitted>, TaskTracker);

impl Upgrades {
    /// Of an admitted connection.
    pub(super) fn new(admitted: Admitted, tasks: TaskTracker) -> Self {
        Self(Arc::new(admitted), tasks)
    }
}

/// Whether a request asks for a WebSocket.
pub(super) fn is_asked(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::UPGRADE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("websocket"))
}

/// Answers the request, and sends what the stream gives once the connection is a WebSocket; closes it at the stream's end or when `stop` is
/// cancelled.
///
/// # Errors
/// Class `usage` when the request is no sound handshake.
pub(super) async fn answer(
    request: Request,
    upgrades: Upgrades,
    stop: CancellationToken,
    events: impl Stream<Item = (&'static str, Value)> + Send + 'static,
) -> Result<Response, Problem> {
    let upgrade = WebSocketUpgrade::from_request_parts(&mut request.into_parts().0, &()).await;
    let upgrade = upgrade.map_err(|wrong| {
        let help = "RFC 6455 tells how; without `Upgrade` the same comes as server-sent events";
        problem(ProblemKind::Usage, "cannot open a WebSocket", wrong.body_text(), help)
    })?;
    let upgrade = upgrade.max_message_size(HEARD_BYTES).max_frame_size(HEARD_BYTES).read_buffer_size(2 * HEARD_BYTES);
    let failed = |error: axum::Error| tracing::debug!(%error, "a WebSocket did not come about");
    let Upgrades(admitted, tasks) = upgrades;
    let awaited = tasks.token();
    Ok(upgrade.on_failed_upgrade(failed).on_upgrade(async move |socket| {
        serve(socket, stop, events).await;
        drop((admitted, awaited));
    }))
}

async fn serve(mut socket: WebSocket, stop: CancellationToken, events: impl Stream<Item = (&'static str, Value)>) {
    tokio::pin!(events);
    let mut pings = interval_at(Instant::now() + PING, PING);
    let reason = loop {
        let message = tokio::select! {
            event = events.next() => match event {
                Some((name, data)) => Message::text(json!({"event": name, "data": data}).to_string()),
                // Also when the daemon stops: the stream ends then.
                None => break if stop.is_cancelled() { close_code::AWAY } else { close_code::NORMAL },
            },
            _ = pings.tick() => Message::Ping(Bytes::new()),
            heard = socket.recv() => match heard {
                // A ping was answered.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                // So is a good-bye, with the next read.
                Some(Ok(Message::Close(_))) => return drop(timeout(CLOSE_TIME, socket.recv()).await),
                Some(Ok(Message::Text(_) | Message::Binary(_))) => break close_code::UNSUPPORTED,
                Some(Err(_)) => break close_code::PROTOCOL,
                None => return,
            },
        };
        if !put(&mut socket, message).await {
            return;
        }
    };
    let farewell = Message::Close(Some(CloseFrame { code: reason, reason: Default::default() }));
    if put(&mut socket, farewell).await {
        let answered = async { while let Some(Ok(_)) = socket.recv().await {} };
        let _ = timeout(CLOSE_TIME, answered).await;
    }
}

/// Whether it was sent in time.
async fn put(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(WRITE_TIME, socket.send(message)).await, Ok(Ok(())))
}
