//! Uplinks: who may have one, and starting the forwarder behind it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use netengine_proto::{
    ids::{CallKey, ProcessId, Uid},
    net::Port,
    plan::{CableEnd, NetworkPlan, Node, UplinkPolicy},
    root::{Operation, PlanFault, ProcessKind, RootError, UplinkOffer},
};
use tokio::{io::Interest, net::UnixStream};

use super::{
    processes::About,
    state::{Broker, HeldWorld, World, random},
};
use crate::{
    plan::uplink::uplink_of,
    sys::fds,
    uplink::{allowance::Allowance, serve::UplinkStart},
    worker::{channel::encode, message::NsRequest},
};

/// Whether a plan's uplink is one that an administrator allows.
///
/// # Errors
/// [`PlanFault`].
pub fn check_allowed(plan: &NetworkPlan, allowance: &Allowance) -> Result<(), PlanFault> {
    let Some((policy, ..)) = uplink_of(plan) else { return Ok(()) };
    if !allowance.users.contains(&plan.owner.0) {
        return Err(PlanFault::UplinkNotAllowed);
    }
    let outside = |port: &Port| allowance.inbound.is_none_or(|range| !(range.first..=range.last).contains(&port.get()));
    match policy.ports.iter().map(|port| port.host).find(outside) {
        Some(port) => Err(PlanFault::UplinkPort(port.get())),
        None => Ok(()),
    }
}

impl Broker {
    /// What an administrator allows an owner's worlds.
    ///
    /// # Errors
    /// [`RootError`] when that cannot be read.
    pub async fn uplink_offer(&self, owner: Uid) -> Result<UplinkOffer, RootError> {
        let allowance = self.allowance().await?;
        let allowed = allowance.users.contains(&owner.0);
        let inbound = allowance.inbound.filter(|_| allowed);
        let ports = inbound.and_then(|range| Some((Port::new(range.first)?, Port::new(range.last)?)));
        let address = inbound.map_or(Ipv4Addr::UNSPECIFIED, |range| range.address);
        Ok(UplinkOffer { allowed, ports, address })
    }

    /// Has the uplink service start a forwarder for the world's uplink.
    ///
    /// # Errors
    /// [`RootError::NotFound`] for a world without an uplink, or as any program.
    pub(super) async fn start_uplink(
        self: &Arc<Self>,
        key: CallKey,
        world: &World,
        held: &HeldWorld,
    ) -> Result<ProcessId, RootError> {
        let (_, plan) = held.plan.as_ref().ok_or(RootError::NotFound)?;
        // A plan of before a restart may have been allowed then.
        let (policy, own, far) = uplink_of(plan).ok_or(RootError::NotFound)?;
        let allowance = self.allowance().await?;
        check_allowed(plan, &allowance).map_err(RootError::InvalidPlan)?;
        let node = held.nodes.get(&Node::Uplink).ok_or(RootError::NotFound)?;
        let start = start_of(policy, own, far, &allowance).ok_or(RootError::NotFound)?;
        let frames = self.workers.open_in(&node.ns, NsRequest::Uplink(far.name.clone())).await?;
        let id = ProcessId::from_bytes(random());
        let kind = ProcessKind::Uplink;
        let about = About { id, world: world.id, kind, node: Node::Uplink, user: world.owner, key: Some(key) };
        let (process, leash) = self.begin(about).await?;
        self.starts_uplink(id, &allowance);
        // From here on whoever judges the uplinks finds this one; what was withdrawn just before is found here.
        check_allowed(plan, &*self.allowance().await?).map_err(RootError::InvalidPlan)?;
        let asked = self.ask_uplink(&start, &frames, &leash).await;
        // Closed here and not sent, it tells the watcher that nothing was started.
        drop(leash);
        asked.map_err(|error| RootError::Kernel {
            operation: Operation::StartProgram,
            object: "uplink".into(),
            errno: error.raw_os_error().unwrap_or(nix::libc::EIO),
        })?;
        self.settled(&process).await
    }

    async fn ask_uplink(&self, start: &UplinkStart, frames: &OwnedFd, leash: &OwnedFd) -> io::Result<()> {
        let service = UnixStream::connect(&self.config.uplink_socket).await?;
        let bytes = encode(start)?;
        let send = || fds::send(&service, &bytes, &[frames.as_fd(), leash.as_fd()]);
        service.async_io(Interest::WRITABLE, send).await.map(drop)
    }
}

/// What the forwarder is told. The far end's addresses are the first of the link's networks, which the router does not have.
fn start_of(policy: &UplinkPolicy, own: &CableEnd, far: &CableEnd, allowance: &Allowance) -> Option<UplinkStart> {
    let first = |address: IpAddr, net: IpAddr| match (address, net) {
        (IpAddr::V4(router), IpAddr::V4(net)) => Some((router.into(), Ipv4Addr::from(u32::from(net) + 1).into())),
        (IpAddr::V6(router), IpAddr::V6(net)) => {
            Some((IpAddr::from(router), IpAddr::from(std::net::Ipv6Addr::from(u128::from(net) + 1))))
        }
        _ => None,
    };
    let (mut v4, mut v6) = (None, None);
    for address in own.addresses.iter() {
        match first(address.addr(), address.net().network()) {
            Some((IpAddr::V4(router), IpAddr::V4(peer))) => v4 = Some((router, peer, address.net().prefix_len())),
            Some((IpAddr::V6(router), IpAddr::V6(peer))) => v6 = Some((router, peer)),
            _ => {}
        }
    }
    let (router, peer, prefix) = v4?;
    Some(UplinkStart {
        mac: far.mac.octets(),
        router,
        peer,
        prefix,
        v6,
        listen: allowance.inbound.map_or(Ipv4Addr::UNSPECIFIED, |range| range.address),
        ports: policy.ports.iter().map(|port| (port.host.get(), port.port.get())).collect(),
        reach: allowance.reach.clone(),
    })
}
