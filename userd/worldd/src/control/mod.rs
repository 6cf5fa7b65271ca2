//! The control socket: who may speak, and how requests become replies.
//!
//! The kernel tells the peer's uid (unix(7): SO_PEERCRED) before a byte is read; any other than userd's is closed unread.
//! Each connection is a task of its own: whatever it sends, or if its handling panics, only that connection ends.

pub mod frame;

use std::{cell::Cell, io, rc::Rc, time::Duration};

use netengine_proto::{
    control::{CONTROL_VERSION, ControlReply, ControlRequest, Health},
    ids::Uid,
    limits,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{error, info, warn};

use crate::{arguments::Role, prober, services};
use frame::FrameError;

/// How long the accept loop rests when descriptors have run out (accept(2): EMFILE, ENFILE) instead of spinning.
const REST: Duration = Duration::from_millis(500);

/// Everything a connection needs.
#[derive(Clone)]
pub struct Desk {
    /// What this process is.
    pub role: Role,
    /// The owner of the running services.
    pub services: mpsc::Sender<services::Job>,
    /// Set to true to end the process.
    pub stop: watch::Sender<bool>,
}

/// Counts connections, for the bound and for the prober's life.
#[derive(Debug, Clone)]
pub struct Connections(Rc<Cell<usize>>, watch::Sender<usize>);

impl Connections {
    /// None yet; the receiver sees each new count.
    pub fn new() -> (Self, watch::Receiver<usize>) {
        let (sender, receiver) = watch::channel(0);
        (Self(Rc::default(), sender), receiver)
    }

    fn enter(&self) -> Option<Present> {
        (self.0.get() < limits::CONTROL_CONNECTIONS).then(|| {
            self.set(self.0.get() + 1);
            Present(self.clone())
        })
    }

    fn set(&self, count: usize) {
        self.0.set(count);
        self.1.send_replace(count);
    }
}

/// One connection that is counted as long as this lives, a panic included.
struct Present(Connections);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.set(self.0.0.get() - 1);
    }
}

/// Accepts until the listener fails for good; each connection of `peer` within the bound becomes a task of `converse`.
///
/// Dropping the future ends all of them.
///
/// # Errors
/// An error of accept(2) that is neither the client's fault nor a lack of descriptors or memory.
pub async fn accept_all<Conversation: Future<Output = ()> + 'static>(
    listener: UnixListener,
    peer: Uid,
    connections: Connections,
    converse: impl Fn(UnixStream) -> Conversation,
) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    if let Some(present) = admit(&stream, peer, &connections) {
                        let conversation = converse(stream);
                        tasks.spawn_local(async move {
                            let _present = present;
                            conversation.await;
                        });
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(nix::libc::EMFILE | nix::libc::ENFILE | nix::libc::ENOBUFS | nix::libc::ENOMEM) => {
                        warn!("cannot accept a control connection now: {error}");
                        tokio::time::sleep(REST).await;
                    }
                    Some(nix::libc::ECONNABORTED | nix::libc::EINTR) => {}
                    _ => return Err(error),
                },
            },
            Some(ended) = tasks.join_next() => {
                if let Err(fault) = ended {
                    error!("a control connection ended by a fault: {fault}");
                }
            }
        }
    }
}

/// Whether this connection is to be read at all. Dropping the stream closes it.
fn admit(stream: &UnixStream, peer: Uid, connections: &Connections) -> Option<Present> {
    let uid = match stream.peer_cred() {
        Ok(credentials) => Uid(credentials.uid()),
        Err(error) => {
            warn!("cannot learn who connected: {error}");
            return None;
        }
    };
    if uid != peer {
        warn!("closed a control connection of uid {uid} unread");
        return None;
    }
    let present = connections.enter();
    if present.is_none() {
        warn!("closed a control connection: {} are open", limits::CONTROL_CONNECTIONS);
    }
    present
}

/// One connection from its first byte to its last.
pub async fn converse(mut stream: UnixStream, desk: Desk) {
    let mut stop = desk.stop.subscribe();
    loop {
        let request = tokio::select! {
            biased;
            request = frame::read(&mut stream) => request,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let request = match request {
            Ok(request) => request,
            Err(FrameError::Closed) => return,
            Err(error) => {
                warn!("closed a control connection: {error}");
                return;
            }
        };
        let stopping = matches!(request, ControlRequest::Stop);
        let reply = reply(request, &desk).await;
        if let Err(error) = frame::write(&mut stream, &reply).await {
            warn!("closed a control connection: {error}");
        } else if !stopping {
            continue;
        }
        if stopping {
            info!("asked to stop");
            desk.stop.send_replace(true);
        }
        return;
    }
}

/// The one reply to one request. `Stop` takes effect after its reply has left.
async fn reply(request: ControlRequest, desk: &Desk) -> ControlReply {
    match (request, &desk.role) {
        (ControlRequest::Hello, role) => ControlReply::Hello {
            version: CONTROL_VERSION,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            role: role.name().to_owned(),
        },
        (ControlRequest::Stop, _) => ControlReply::Stopping,
        (ControlRequest::Probe(request), Role::Prober(_)) => prober::run(request).await,
        (ControlRequest::Probe(_), _) => ControlReply::Refused("live checks run in a prober only".to_owned()),
        (ControlRequest::Health | ControlRequest::Summary, Role::Prober(_)) => ControlReply::Health(Health::default()),
        (ControlRequest::Apply(_), Role::Prober(_)) => ControlReply::Refused("a prober serves nothing".to_owned()),
        (ControlRequest::Apply(desired), _) => services::ask(&desk.services, services::Request::Apply(desired)).await,
        (ControlRequest::Health, _) => services::ask(&desk.services, services::Request::Health).await,
        (ControlRequest::Summary, _) => services::ask(&desk.services, services::Request::Summary).await,
        (ControlRequest::Certificates { .. } | ControlRequest::Certificate(_), Role::Prober(_)) => {
            ControlReply::Refused("no certificates are issued here".to_owned())
        }
        (ControlRequest::Certificates { before }, _) => {
            services::ask(&desk.services, services::Request::Certificates(before)).await
        }
        (ControlRequest::Certificate(serial), _) => {
            services::ask(&desk.services, services::Request::Certificate(serial)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::LocalSet,
    };

    use super::*;

    /// Accepts for `peer`; each conversation panics on the byte `!` and echoes any other.
    async fn with_listener<T>(peer: Uid, client: impl AsyncFnOnce(&std::path::Path) -> T) -> T {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).expect("binds");
        let (connections, _counts) = Connections::new();
        let echo = |mut stream: UnixStream| async move {
            let byte = stream.read_u8().await.expect("a byte");
            assert!(byte != b'!', "as asked");
            stream.write_u8(byte).await.expect("writes");
        };
        let work = async {
            tokio::select! {
                failed = accept_all(listener, peer, connections, echo) => panic!("{failed:?}"),
                result = client(&path) => result,
            }
        };
        LocalSet::new().run_until(work).await
    }

    async fn echoed(path: &std::path::Path, byte: u8) -> Option<u8> {
        let mut stream = UnixStream::connect(path).await.expect("connects");
        // A connection that is closed unread may refuse the write already.
        let _ = stream.write_u8(byte).await;
        stream.read_u8().await.ok()
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_own_connection() {
        let me = Uid(nix::unistd::geteuid().as_raw());
        with_listener(me, async |path| {
            // More faults than connections are allowed: each gives its place back.
            for _ in 0..3 * limits::CONTROL_CONNECTIONS {
                assert_eq!(echoed(path, b'!').await, None);
            }
            assert_eq!(echoed(path, b'x').await, Some(b'x'));
        })
        .await;
    }

    #[tokio::test]
    async fn only_the_peers_uid_is_read() {
        let other = Uid(nix::unistd::geteuid().as_raw() + 1);
        with_listener(other, async |path| assert_eq!(echoed(path, b'x').await, None)).await;
    }
}
