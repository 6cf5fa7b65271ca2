//! `exec.sock`: a user's own connection asks for one command. See `proto::exec` for the frames.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use netengine_proto::{
    bounded::Bounded,
    exec::{ExecFailure, ExecReply, ExecRequest, ExecStep},
    ids::{ProcessId, Ticket, Uid, WorldId},
    limits,
    names::HostName,
    plan::Node,
    root::{LimitKind, ProcessKind, RootError},
    trust::Trust,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{
    processes::{About, resolver_files},
    state::{Broker, World, random},
};
use crate::{
    sys::peer::{self, Peer},
    worker::{
        channel::{decode, encode},
        message::{SpawnRequest, User},
    },
};

/// The request must be complete within this.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// A right to run one command, until it is used or void.
#[derive(Debug, Clone)]
pub struct Grant {
    world: WorldId,
    owner: Uid,
    host: HostName,
    user: Uid,
    trust: Trust,
    until: Instant,
}

impl Broker {
    /// Grants a ticket.
    ///
    /// # Errors
    /// [`RootError::Refused`] for uid 0 and the overflow uid, [`RootError::NotFound`], [`RootError::Limit`].
    pub async fn grant_exec(
        &self,
        world: &World,
        host: HostName,
        user: Uid,
        trust: Trust,
    ) -> Result<Ticket, RootError> {
        if user == Uid::ROOT || user == Uid::OVERFLOW {
            return Err(RootError::Refused);
        }
        if !world.held.lock().await.nodes.contains_key(&Node::Host(host.clone())) {
            return Err(RootError::NotFound);
        }
        let now = Instant::now();
        let mut tickets = self.tickets.lock().expect("no panic while held");
        tickets.retain(|_, grant| grant.until > now);
        if tickets.len() >= limits::TICKETS_PENDING {
            return Err(RootError::Limit(LimitKind::Tickets));
        }
        let ticket = Ticket::from_bytes(random());
        let until = now + limits::TICKET_LIFE;
        tickets.insert(ticket, Grant { world: world.id, owner: world.owner, host, user, trust, until });
        Ok(ticket)
    }

    /// Takes a ticket: it is used up, whether the rest succeeds or not.
    fn redeem(&self, ticket: Ticket, user: Uid) -> Option<Grant> {
        let mut tickets = self.tickets.lock().expect("no panic while held");
        // Another user's attempt does not void the ticket: it would be a way to keep its owner out.
        if tickets.get(&ticket)?.user != user {
            return None;
        }
        tickets.remove(&ticket).filter(|grant| grant.until > Instant::now())
    }
}

/// Serves one connection until its command is handed to an attendant, or refused.
pub async fn serve(broker: &Arc<Broker>, mut stream: UnixStream, peer: Peer) {
    let started = match timeout(REQUEST_TIME, read_request(&mut stream)).await {
        Ok(Some(request)) => start(broker, &mut stream, &peer, request).await,
        Ok(None) | Err(_) => Err(ExecFailure::Malformed),
    };
    if let Err(failure) = started {
        let _ = timeout(REQUEST_TIME, tell(&mut stream, failure)).await;
    }
}

async fn read_request(stream: &mut UnixStream) -> Option<ExecRequest> {
    let length = stream.read_u32().await.ok()? as usize;
    if length > limits::EXEC_REQUEST_BYTES {
        return None;
    }
    // Pages are taken by what really arrives, not by what was claimed.
    let mut bytes = Vec::with_capacity(length);
    stream.take(length as u64).read_to_end(&mut bytes).await.ok()?;
    let request: ExecRequest = (bytes.len() == length).then(|| decode(&bytes).ok())??;
    (!request.arguments.is_empty()).then_some(request)
}

fn frame_of(failure: ExecFailure) -> std::io::Result<Vec<u8>> {
    let body = encode(&ExecReply::Failed(failure))?;
    let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
    Ok([&length.to_be_bytes()[..], &body].concat())
}

async fn tell(stream: &mut UnixStream, failure: ExecFailure) -> std::io::Result<()> {
    stream.write_all(&frame_of(failure)?).await
}

/// Tells a caller that there are too many of its connections, without waiting for it.
pub fn refuse(stream: &UnixStream) {
    if let Ok(frame) = frame_of(ExecFailure::Limit) {
        // The buffer of a new connection has room; a caller that is gone needs no answer.
        let _ = stream.try_write(&frame);
    }
}

async fn start(
    broker: &Arc<Broker>,
    stream: &mut UnixStream,
    peer: &Peer,
    request: ExecRequest,
) -> Result<(), ExecFailure> {
    let user = Uid(peer.uid);
    if user == Uid::ROOT {
        return Err(ExecFailure::Root);
    }
    let grant = broker.redeem(request.ticket, user).ok_or(ExecFailure::Ticket)?;
    let world = broker.world(grant.world, grant.owner).map_err(|_| ExecFailure::Ticket)?;
    let node = Node::Host(grant.host);
    let (ns, files) = {
        let held = world.held.lock().await;
        let held_node = held.nodes.get(&node).ok_or(ExecFailure::Ticket)?;
        let ns = held_node.ns.try_clone().map_err(|e| setup(ExecStep::Network, &e))?;
        (ns, resolver_files(&held, &node, &grant.trust).unwrap_or_default())
    };
    let caller = peer::process(&*stream).map_err(|e| setup(ExecStep::CallerFiles, &e))?;
    let connection: OwnedFd = stream.as_fd().try_clone_to_owned().map_err(|e| setup(ExecStep::Terminal, &e))?;
    let groups = Bounded::new(peer.groups.clone()).map_err(|_| ExecFailure::Malformed)?;
    let request = SpawnRequest::Command {
        user: User { uid: peer.uid, gid: peer.gid, groups },
        request: Box::new(request),
        files,
    };
    let id = ProcessId::from_bytes(random());
    let about = About { id, world: world.id, kind: ProcessKind::Command, node, user, key: None };
    let spawned = broker.spawn(about, &request, &ns, &[connection.as_fd(), caller.as_fd()]).await;
    spawned.map(drop).map_err(|error| match error {
        RootError::Limit(_) => ExecFailure::Limit,
        RootError::Kernel { errno, .. } => ExecFailure::Setup(ExecStep::Fork, errno),
        _ => ExecFailure::Setup(ExecStep::Fork, nix::libc::EAGAIN),
    })
}

fn setup(step: ExecStep, error: &std::io::Error) -> ExecFailure {
    ExecFailure::Setup(step, error.raw_os_error().unwrap_or(nix::libc::EIO))
}
