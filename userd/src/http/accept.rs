//! Accepts connections and serves each in its own task: a peer that is slow, hostile or makes a handler panic costs only
//! its own connection.

use std::{io, time::Duration};

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use netengine_proto::{ids::Uid, limits};
use nix::errno::Errno;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{App, router, websocket::Upgrades};
use crate::{decide::Principal, start::sockets::SocketRole};

/// Pause when descriptors or memory are used up; connections that end meanwhile free them.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(500);

/// Sent to a peer past its number of connections, without reading what it sends.
const TOO_MANY: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 118\r\n\r\n\
{\"kind\":\"quota\",\"what\":\"cannot connect\",\"cause\":\"too many connections\",\"help\":\"close some of your other connections\"}\n";

/// What an error of accept(2) means.
#[derive(Debug, PartialEq, Eq)]
enum AcceptFault {
    /// The peer went away before it was accepted.
    Gone,
    /// Descriptors or memory are used up; accepting works again later.
    Exhausted,
    /// The listener itself is broken.
    Fatal,
}

fn judge(error: &io::Error) -> AcceptFault {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNABORTED | Errno::EINTR | Errno::EAGAIN | Errno::EPROTO | Errno::EPERM) => AcceptFault::Gone,
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => AcceptFault::Exhausted,
        _ => AcceptFault::Fatal,
    }
}

/// Serves one listener until `stop`, then lets responses under way finish.
///
/// # Errors
/// When the listener is broken.
pub async fn accept_loop(
    listener: UnixListener,
    role: SocketRole,
    app: App,
    stop: CancellationToken,
) -> io::Result<()> {
    let connections = TaskTracker::new();
    let ended = loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => admit(stream, role, &app, &connections, &stop),
            Err(error) => match judge(&error) {
                AcceptFault::Gone => {}
                AcceptFault::Exhausted => {
                    tracing::warn!(%error, "cannot accept connections for now");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
                AcceptFault::Fatal => break Err(error),
            },
        }
    };
    connections.close();
    connections.wait().await;
    ended
}

/// Decides by the kernel's word on the peer, before its first byte is read, whether to serve it.
fn admit(stream: UnixStream, role: SocketRole, app: &App, connections: &TaskTracker, stop: &CancellationToken) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let uid = Uid(credentials.uid());
    if uid == Uid::OVERFLOW {
        tracing::warn!("refused a peer of another user namespace");
        return;
    }
    let Some(admitted) = app.admit(uid) else {
        let _ = stream.try_write(TOO_MANY.as_bytes());
        return;
    };
    let principal = match role {
        SocketRole::User => Principal::user(uid),
        SocketRole::Admin => Principal::admin(uid),
    };
    let upgrades = Upgrades::new(admitted, connections.clone());
    let layers = router(app.clone(), stop.clone()).layer(Extension(principal)).layer(Extension(upgrades.clone()));
    let service = TowerToHyperService::new(layers);
    let stop = stop.clone();
    connections.spawn(async move {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits::API_HEADER_TIME).max_buf_size(64 * 1024);
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        tokio::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(%uid, %error, "connection ended");
        }
        drop(upgrades);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_errors_are_told_apart() {
        let fault = |errno: Errno| judge(&io::Error::from_raw_os_error(errno as i32));
        assert_eq!(fault(Errno::ECONNABORTED), AcceptFault::Gone);
        assert_eq!(fault(Errno::EMFILE), AcceptFault::Exhausted);
        assert_eq!(fault(Errno::ENFILE), AcceptFault::Exhausted);
        assert_eq!(fault(Errno::EINVAL), AcceptFault::Fatal);
        assert_eq!(fault(Errno::EBADF), AcceptFault::Fatal);
    }

    #[test]
    fn the_refusal_says_its_own_length() {
        let (head, body) = TOO_MANY.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<netengine_proto::api::Problem>(body).is_ok());
    }
}
