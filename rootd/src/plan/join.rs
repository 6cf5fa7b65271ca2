//! Which worlds are joined, by what their plans say of each other. Pure.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use netengine_proto::{
    ids::{Uid, WorldId},
    net::{IfAddr, IfName, Mac},
    plan::{NetworkPlan, Node, PeerPlan, peer_link, peer_mac},
};

use crate::netlink::policy::link_local;

/// What a world's plan says that others' plans are held against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stance {
    /// Whom it names.
    pub peers: Vec<PeerPlan>,
    networks: BTreeSet<IpNet>,
    addresses: BTreeSet<IpAddr>,
}

impl Stance {
    /// Of this plan: its router's own networks are those of its bridges.
    pub fn of(plan: &NetworkPlan) -> Self {
        let bridges = plan.bridges.iter().filter(|bridge| bridge.node == Node::Gateway);
        let held: Vec<IpNet> =
            bridges.flat_map(|bridge| bridge.addresses.iter().map(|address| address.net())).collect();
        Self {
            peers: plan.peers.to_vec(),
            networks: held.iter().map(IpNet::trunc).collect(),
            addresses: held.iter().map(IpNet::addr).collect(),
        }
    }

    /// What this plan says of a world, if that world is what it says.
    fn names(&self, world: WorldId, owner: Uid, other: &Stance) -> Option<&PeerPlan> {
        let named = self.peers.iter().find(|peer| peer.world == world && peer.owner == owner)?;
        let has_all = named.networks.iter().all(|network| other.networks.contains(&network.trunc()));
        (has_all && other.addresses.contains(&IpAddr::V4(named.via))).then_some(named)
    }
}

/// One side of two worlds.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The world.
    pub world: WorldId,
    /// Its owner.
    pub owner: Uid,
    /// Its plan.
    pub stance: &'a Stance,
}

/// Another world that a router has a link to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The other world.
    pub world: WorldId,
    /// The router's link.
    pub link: IfName,
    /// Its MAC address.
    pub mac: Mac,
    /// Its IPv4 address: the router's own on the network that the other knows it by. A link answers ARP for its own addresses
    /// alone (`plan::settings`), and what the router itself sends to the other world leaves from this one.
    pub address: IfAddr,
    /// The link in the other router.
    pub far_link: IfName,
    /// Its MAC address.
    pub far_mac: Mac,
    /// The far link as it is: its index, and that of its own other end; 0 for none.
    pub far: Option<(u32, u32)>,
    /// The other's networks, each with the next hop.
    pub routes: Vec<(IpNet, IpAddr)>,
}

/// How `own` is joined with `other`; `None` unless both plans say so and are true.
pub fn joined(own: Side<'_>, other: Side<'_>) -> Option<Joined> {
    let named = own.stance.names(other.world, other.owner, other.stance)?;
    let known_as = other.stance.names(own.world, own.owner, own.stance)?;
    let far_mac = peer_mac(other.world, own.world);
    let via6: Ipv6Addr = link_local(far_mac.octets());
    let via = |network: &IpNet| if network.addr().is_ipv4() { named.via.into() } else { IpAddr::V6(via6) };
    Some(Joined {
        world: other.world,
        link: peer_link(other.world),
        mac: peer_mac(own.world, other.world),
        address: IfAddr::new(IpAddr::V4(known_as.via).into()).ok()?,
        far_link: peer_link(own.world),
        far_mac,
        far: None,
        routes: named.networks.iter().map(|network| (network.trunc(), via(network))).collect(),
    })
}
