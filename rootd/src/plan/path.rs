//! Where a packet of a host leaves, and to whom, by the plan. Pure.

use std::net::IpAddr;

use netengine_proto::{
    names::HostName,
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

/// The link of the vantage host `host` that has the address `source`.
pub fn sender<'a>(plan: &'a NetworkPlan, host: &HostName, source: IpAddr) -> Option<Place<'a>> {
    owner(plan, source).filter(|place| matches!(place.node, Node::Host(name) if name == host))
}

/// The router of `host` for destinations of the family of `source`: its own address on the network of `source`.
pub fn router(plan: &NetworkPlan, host: &HostName, source: IpAddr) -> Option<IpAddr> {
    let node = plan.nodes.iter().find(|node| matches!(&node.node, Node::Host(name) if name == host))?;
    node.routes.iter().find(|route| route.via.is_ipv4() == source.is_ipv4()).map(|route| route.via)
}

/// The link-layer address that a packet from `source` of `host` to `to` is sent to: of `to` itself on the same network,
/// else of the router. `None` when nobody has it.
pub fn next_hop(plan: &NetworkPlan, host: &HostName, source: IpAddr, to: IpAddr) -> Option<Mac> {
    let own = ends(plan).flat_map(|end| end.addresses.iter()).find(|own| own.addr() == source)?;
    let hop = if own.net().contains(&to) { to } else { router(plan, host, source)? };
    owner(plan, hop).map(|place| place.mac)
}
