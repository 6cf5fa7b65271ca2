//! Accept loops: who may connect is decided by the kernel's word before the first byte is read.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use netengine_proto::{ids::Uid, limits, root::Root};
use tarpc::server::{BaseChannel, Channel};
use tokio::net::{UnixListener, UnixStream};

use super::{exec, guard::Guarded, service::Service, state::Broker};
use crate::sys::peer;

/// Connections on `exec.sock` at the same time; each is one command.
const EXEC_CONNECTIONS: usize = limits::PROCESSES_TOTAL;

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `rootd.sock`: userd alone.
    Root,
    /// `exec.sock`: any user but root, with a ticket.
    Exec,
}

/// Takes a listening socket over from the service manager.
///
/// # Errors
/// When it is not a listening Unix stream socket.
pub fn listener(socket: OwnedFd) -> io::Result<UnixListener> {
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Accepts for ever. One task per connection: what goes wrong in one ends that one.
pub async fn serve(broker: Arc<Broker>, listener: UnixListener, door: Door) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => admit(&broker, stream, door, &open),
            Err(error) => match error.raw_os_error() {
                // The peer was gone before it was accepted.
                Some(nix::libc::ECONNABORTED | nix::libc::EINTR) => {}
                // Out of descriptors or memory: no spinning; those that are open go on.
                _ => {
                    if broker.gate.open("accept") {
                        tracing::warn!(%error, "cannot accept; trying again");
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            },
        }
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>, bound: usize) -> Option<Self> {
        let within = |now| (now < bound).then_some(now + 1);
        open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).ok().map(|_| Self(open.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn admit(broker: &Arc<Broker>, stream: UnixStream, door: Door, open: &Arc<AtomicUsize>) {
    let refuse = |why: &'static str, uid: Option<u32>| {
        if broker.gate.open(why) {
            tracing::warn!(why, uid, ?door, "connection refused");
        }
    };
    let Ok(peer) = peer::credentials(&stream) else { return refuse("no credentials", None) };
    if peer.uid == Uid::OVERFLOW.0 {
        return refuse("user of another user namespace", Some(peer.uid));
    }
    match door {
        Door::Root if peer.uid != broker.config.userd_uid => refuse("not userd", Some(peer.uid)),
        Door::Root => match Counted::new(open, limits::ROOT_CONNECTIONS) {
            Some(counted) => drop(tokio::spawn(connection(broker.clone(), stream, counted))),
            None => refuse("too many connections", Some(peer.uid)),
        },
        Door::Exec => match Counted::new(open, EXEC_CONNECTIONS) {
            Some(counted) => {
                let broker = broker.clone();
                tokio::spawn(async move {
                    let _counted = counted;
                    exec::serve(&broker, stream, peer).await;
                });
            }
            None => refuse("too many commands", Some(peer.uid)),
        },
    }
}

async fn connection(broker: Arc<Broker>, stream: UnixStream, _counted: Counted) {
    let service = Service::new(broker);
    let channel =
        BaseChannel::with_defaults(Guarded::new(stream)).max_concurrent_requests(limits::ROOT_CALLS_IN_FLIGHT);
    let mut calls = tokio::task::JoinSet::new();
    let mut requests = Box::pin(channel.execute(service.serve()));
    while let Some(call) = requests.next().await {
        calls.spawn(call);
        while calls.try_join_next().is_some() {}
    }
    // Calls already begun are finished by their own tasks; their answers have nobody to go to.
    calls.abort_all();
}
