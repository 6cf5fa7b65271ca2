//! The workers, and their answers as results.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use netengine_proto::root::RootError;
use tokio::sync::Notify;

use super::{
    client::{Client, Gone},
    prove::Runs,
    watch::Watch,
};
use crate::{
    netlink::policy::TableState,
    plan::{observed::ObservedNode, settings::Settings},
    worker::{
        message::{
            Failure, NetReply, NetRequest, NsReply, NsRequest, ProbeReply, ProbeRequest, RuleName, Slot, SpawnReply,
            SpawnRequest,
        },
        probe_judge::ShotSeen,
    },
};

/// Sockets to the workers, made before they were forked.
#[derive(Debug)]
pub struct Sockets {
    /// To the net worker.
    pub net: OwnedFd,
    /// To the ns worker.
    pub ns: OwnedFd,
    /// To the spawn worker.
    pub spawn: OwnedFd,
    /// To the watch worker.
    pub watch: OwnedFd,
    /// To the probe worker.
    pub probe: OwnedFd,
}

/// The workers.
pub struct Workers {
    net: Client<NetRequest, NetReply>,
    ns: Client<NsRequest, NsReply>,
    spawn: Client<SpawnRequest, SpawnReply>,
    probe: Client<ProbeRequest, ProbeReply>,
    /// Proofs run one after the other: the probe worker keeps the links of one batch.
    pub proving: tokio::sync::Mutex<Runs>,
    /// The one that hears of changes.
    pub watch: Watch,
    /// Notified when any worker is gone.
    pub gone: Arc<Notify>,
}

/// Descriptors of a namespace and of sockets in it.
#[derive(Debug)]
pub struct MadeNode {
    /// The namespace.
    pub ns: OwnedFd,
    /// A route socket in it.
    pub route: OwnedFd,
    /// A netfilter socket in it.
    pub netfilter: OwnedFd,
}

impl From<Gone> for RootError {
    fn from(_: Gone) -> Self {
        RootError::Restarting
    }
}

impl From<Failure> for RootError {
    fn from(failure: Failure) -> Self {
        RootError::Kernel { operation: failure.operation, object: failure.object, errno: failure.errno }
    }
}

impl Workers {
    /// Connects to the workers.
    ///
    /// # Errors
    /// When a descriptor cannot be registered.
    pub fn new(sockets: Sockets) -> io::Result<Self> {
        let gone = Arc::new(Notify::new());
        Ok(Self {
            net: Client::new(sockets.net, gone.clone())?,
            ns: Client::new(sockets.ns, gone.clone())?,
            spawn: Client::new(sockets.spawn, gone.clone())?,
            probe: Client::new(sockets.probe, gone.clone())?,
            proving: tokio::sync::Mutex::default(),
            watch: Watch::new(sockets.watch, gone.clone())?,
            gone,
        })
    }

    /// Asks the net worker for something that has no result.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn net(&self, request: &NetRequest, descriptors: &[BorrowedFd<'_>]) -> Result<(), RootError> {
        match self.net.call(request, descriptors).await?.0 {
            NetReply::Done => Ok(()),
            NetReply::Failed(failure) => Err(failure.into()),
            NetReply::Observed(..) | NetReply::Rules(_) => Err(RootError::Restarting),
        }
    }

    /// Asks the net worker what a node holds.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn observe(&self, request: &NetRequest) -> Result<(ObservedNode, TableState), RootError> {
        match self.net.call(request, &[]).await?.0 {
            NetReply::Observed(node, table) => Ok((node, table)),
            NetReply::Failed(failure) => Err(failure.into()),
            NetReply::Done | NetReply::Rules(_) => Err(RootError::Restarting),
        }
    }

    /// Asks the net worker for the names of rules.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn rules(&self, request: &NetRequest) -> Result<Vec<RuleName>, RootError> {
        match self.net.call(request, &[]).await?.0 {
            NetReply::Rules(rules) => Ok(rules),
            NetReply::Failed(failure) => Err(failure.into()),
            NetReply::Done | NetReply::Observed(..) => Err(RootError::Restarting),
        }
    }

    /// Opens one socket in a namespace: `Frames`, `Traces` or `Uplink`.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn open_in(&self, ns: &OwnedFd, request: NsRequest) -> Result<OwnedFd, RootError> {
        match self.ns(request, &[ns.as_fd()]).await? {
            (NsReply::Made, mut sockets) => sockets.pop().ok_or(RootError::Restarting),
            _ => Err(RootError::Restarting),
        }
    }

    /// Asks the probe worker; an answer without probes is none.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn probe(&self, request: &ProbeRequest, sockets: &[OwnedFd]) -> Result<Vec<ShotSeen>, RootError> {
        let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        match self.probe.call(request, &sockets).await?.0 {
            ProbeReply::Done => Ok(Vec::new()),
            ProbeReply::Seen(seen) => Ok(seen),
            ProbeReply::Failed(failure) => Err(failure.into()),
        }
    }

    async fn ns(&self, request: NsRequest, ns: &[BorrowedFd<'_>]) -> Result<(NsReply, Vec<OwnedFd>), RootError> {
        match self.ns.call(&request, ns).await? {
            (NsReply::Failed(failure), _) => Err(failure.into()),
            answered => Ok(answered),
        }
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn create_node(&self, settings: Settings) -> Result<MadeNode, RootError> {
        made(self.ns(NsRequest::Create(settings), &[]).await?)
    }

    /// Opens sockets in a namespace that exists.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn open_node(&self, ns: &OwnedFd) -> Result<MadeNode, RootError> {
        made(self.ns(NsRequest::Open, &[ns.as_fd()]).await?)
    }

    /// Opens sockets that hear of changes in a namespace: a route socket, and a netfilter socket when it has a policy.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn open_watch(&self, ns: &OwnedFd, policy: bool) -> Result<Vec<OwnedFd>, RootError> {
        match self.ns(NsRequest::Watch { policy }, &[ns.as_fd()]).await? {
            (NsReply::Made, sockets) => Ok(sockets),
            _ => Err(RootError::Restarting),
        }
    }

    /// Opens the raw ICMPv6 socket of a router's program in a namespace; `None` where the kernel has no IPv6.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn open_solicitations(&self, ns: &OwnedFd) -> Result<Option<OwnedFd>, RootError> {
        match self.ns(NsRequest::Solicitations, &[ns.as_fd()]).await? {
            (NsReply::Made, mut sockets) => Ok(sockets.pop()),
            _ => Err(RootError::Restarting),
        }
    }

    /// Whether a namespace has these settings. They are kept open under `slot`.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn settings_equal(&self, ns: &OwnedFd, slot: Slot, settings: Settings) -> Result<bool, RootError> {
        match self.ns(NsRequest::Compare { slot, settings }, &[ns.as_fd()]).await?.0 {
            NsReply::Compared(answers) => answers.first().copied().flatten().ok_or(RootError::Restarting),
            _ => Err(RootError::Restarting),
        }
    }

    /// Whether namespaces have these settings, by what is kept open of each; `None` for those that must be asked by
    /// [`Self::settings_equal`].
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn kept_settings_equal(&self, asked: Vec<(Slot, Settings)>) -> Result<Vec<Option<bool>>, RootError> {
        let count = asked.len();
        match self.ns(NsRequest::CompareKept(asked), &[]).await?.0 {
            NsReply::Compared(answers) if answers.len() == count => Ok(answers),
            _ => Err(RootError::Restarting),
        }
    }

    /// Has the ns worker close what it keeps open of a namespace.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn forget_settings(&self, slot: Slot) -> Result<(), RootError> {
        self.ns(NsRequest::Forget(slot), &[]).await.map(drop)
    }

    /// Sets a namespace's settings.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn set_settings(&self, ns: &OwnedFd, settings: Settings) -> Result<(), RootError> {
        self.ns(NsRequest::Set(settings), &[ns.as_fd()]).await.map(drop)
    }

    /// Asks the spawn worker.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn spawn(&self, request: &SpawnRequest, descriptors: &[BorrowedFd<'_>]) -> Result<(), RootError> {
        match self.spawn.call(request, descriptors).await?.0 {
            SpawnReply::Done => Ok(()),
            SpawnReply::Failed(failure) => Err(failure.into()),
        }
    }
}

fn made((reply, fds): (NsReply, Vec<OwnedFd>)) -> Result<MadeNode, RootError> {
    match (reply, <[OwnedFd; 3]>::try_from(fds)) {
        (NsReply::Made, Ok([ns, route, netfilter])) => Ok(MadeNode { ns, route, netfilter }),
        _ => Err(RootError::Restarting),
    }
}
