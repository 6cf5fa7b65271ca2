//! Where a packet of a host leaves, and to whom, by the plan. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use netengine_proto::{
    net::{IfName, Mac},
    plan::{CableEnd, NetworkPlan, Node},
};

/// A link of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its link.
    pub link: &'a IfName,
    /// The link's address.
    pub mac: Mac,
}

/// Who has this address.
pub fn owner(plan: &NetworkPlan, address: IpAddr) -> Option<Place<'_>> {
    let bridges = plan.bridges.iter().map(|b| (Place { node: &b.node, link: &b.name, mac: b.mac }, &b.addresses));
    let cables = ends(plan).map(|end| (Place { node: &end.node, link: &end.name, mac: end.mac }, &end.addresses));
    let mut all = bridges.chain(cables);
    all.find(|(_, addresses)| addresses.iter().any(|own| own.addr() == address)).map(|(place, _)| place)
}

fn ends(plan: &NetworkPlan) -> impl Iterator<Item = &CableEnd> {
    plan.cables.iter().flat_map(|cable| [&cable.a, &cable.b])
}

/// The link of the vantage host or the services `node` that has the address `source`.
pub fn sender<'a>(plan: &'a NetworkPlan, node: &Node, source: IpAddr) -> Option<Place<'a>> {
    owner(plan, source).filter(|place| place.node == node)
}

/// The router of `node` for what leaves with the source address `source`: its own address on the network of `source`.
pub fn router(plan: &NetworkPlan, node: &Node, source: IpAddr) -> Option<IpAddr> {
    let node = plan.nodes.iter().find(|known| known.node == *node)?;
    // What has several links chooses by source (`NodePlan::source_routes`).
    let chosen = node.source_routes.iter().find(|route| route.from.contains(&source)).map(|route| route.via);
    chosen.or_else(|| node.routes.iter().find(|route| route.via.is_ipv4() == source.is_ipv4()).map(|route| route.via))
}

/// Where a packet from `source` of `node` to `to` is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The link-layer address: of `to` itself on the same network, else of the router.
    pub mac: Mac,
    /// It is the destination's own, and not the router's: the packet is bridged, not routed.
    pub is_direct: bool,
}

/// `None` when nobody has the address.
pub fn next_hop(plan: &NetworkPlan, node: &Node, source: IpAddr, to: IpAddr) -> Option<Hop> {
    let own = ends(plan).flat_map(|end| end.addresses.iter()).find(|own| own.addr() == source)?;
    let is_near = own.net().contains(&to);
    let hop = owner(plan, if is_near { to } else { router(plan, node, source)? })?;
    Some(Hop { mac: hop.mac, is_direct: is_near && *hop.node != Node::Gateway })
}

/// An address of the network of `source` that the plan gives to nobody; `None` in a network that is full.
pub fn stranger(plan: &NetworkPlan, source: IpAddr) -> Option<IpAddr> {
    /// Addresses tried: a network holds fewer hosts.
    const TRIED: usize = 4096;
    let own = ends(plan).flat_map(|end| end.addresses.iter()).find(|own| own.addr() == source)?;
    let taken: BTreeSet<IpAddr> = ends(plan)
        .flat_map(|end| end.addresses.iter())
        .chain(plan.bridges.iter().flat_map(|bridge| bridge.addresses.iter()))
        .map(|address| address.addr())
        .collect();
    // The first address of an IPv6 network is all routers' (RFC 4291, 2.6.1).
    own.net().hosts().skip(1).take(TRIED).find(|address| !taken.contains(address))
}
