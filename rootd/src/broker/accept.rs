//! Accept loops: who may connect is decided by the kernel's word before the first byte is read.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use netengine_proto::{ids::Uid, limits, root::Root};
use tarpc::server::{BaseChannel, Channel};
use tokio::net::{UnixListener, UnixStream};

use super::{exec, guard::Guarded, service::Service, state::Broker};
use crate::sys::peer;

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
    let open = Open::default();
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

/// Open connections of one door, by uid.
#[derive(Debug, Clone, Default)]
struct Open(Arc<Mutex<HashMap<u32, usize>>>);

/// One of them, counted for as long as it lives.
#[derive(Debug)]
struct Counted(Open, u32);

impl Open {
    /// Counts one more of `uid`, if less than `each` of it and less than `total` of all are open.
    fn one_more(&self, uid: u32, each: usize, total: usize) -> Option<Counted> {
        let mut open = self.0.lock().expect("no panic while held");
        let all: usize = open.values().sum();
        let of_uid = open.entry(uid).or_default();
        if all >= total || *of_uid >= each {
            return None;
        }
        *of_uid += 1;
        Some(Counted(self.clone(), uid))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.0.0.lock().expect("no panic while held");
        if let Some(of_uid) = open.get_mut(&self.1) {
            *of_uid -= 1;
        }
        open.retain(|_, of_uid| *of_uid > 0);
    }
}

fn admit(broker: &Arc<Broker>, stream: UnixStream, door: Door, open: &Open) {
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
        Door::Root => match open.one_more(peer.uid, limits::ROOT_CONNECTIONS, limits::ROOT_CONNECTIONS) {
            Some(counted) => drop(tokio::spawn(connection(broker.clone(), stream, counted))),
            None => refuse("too many connections", Some(peer.uid)),
        },
        Door::Exec => match open.one_more(peer.uid, limits::EXEC_CONNECTIONS_PER_USER, limits::EXEC_CONNECTIONS) {
            Some(counted) => {
                let broker = broker.clone();
                tokio::spawn(async move {
                    let _counted = counted;
                    exec::serve(&broker, stream, peer).await;
                });
            }
            None => {
                exec::refuse(&stream);
                refuse("too many commands", Some(peer.uid));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_keep_others_out() {
        let open = Open::default();
        let mut held: Vec<_> = (0..10).filter_map(|_| open.one_more(1, 4, 6)).collect();
        assert_eq!(held.len(), 4);
        held.extend((0..10).filter_map(|_| open.one_more(2, 4, 6)));
        assert_eq!(held.len(), 6, "the bound over all holds too");
        held.remove(0);
        assert!(open.one_more(3, 4, 6).is_some(), "what is closed makes room");
        drop(held);
        assert!(open.0.lock().expect("whole").is_empty());
    }
}
