//! Is a plan sound? Everything is refused before anything is touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netengine_proto::{
    limits,
    net::IfName,
    plan::{FlowKind, NetworkPlan, Node, Policy, peer_link},
    root::PlanFault,
};

use super::uplink;

/// Checks that the plan does not contradict itself. Bounds and grammars hold by its types already.
///
/// # Errors
/// The first [`PlanFault`].
pub fn check(plan: &NetworkPlan) -> Result<(), PlanFault> {
    let mut nodes = BTreeSet::new();
    for node in plan.nodes.iter() {
        if !nodes.insert(&node.node) {
            return Err(PlanFault::DuplicateNode(node.node.to_string()));
        }
    }
    let links: Vec<IfName> = plan.peers.iter().map(|peer| peer_link(peer.world)).collect();
    let mut seen = Seen::default();
    for bridge in plan.bridges.iter() {
        seen.link(&nodes, &bridge.node, &bridge.name)?;
        seen.bridges.insert((&bridge.node, &bridge.name));
        seen.addresses(&bridge.node, bridge.addresses.iter().map(|a| a.net()))?;
    }
    for end in plan.cables.iter().flat_map(|cable| [&cable.a, &cable.b]) {
        seen.link(&nodes, &end.node, &end.name)?;
        if let Some(bridge) = &end.bridge {
            if !seen.bridges.contains(&(&end.node, bridge)) {
                return Err(PlanFault::UnknownBridge(bridge.to_string()));
            }
            if !end.addresses.is_empty() {
                return Err(PlanFault::Contradiction(end.name.to_string()));
            }
        }
        seen.addresses(&end.node, end.addresses.iter().map(|a| a.net()))?;
    }
    seen.peers(plan, &links)?;
    for node in plan.nodes.iter() {
        for route in node.routes.iter() {
            if is_special(route.to) {
                return Err(PlanFault::SpecialRoute(route.to.to_string()));
            }
            if !seen.reaches(&node.node, route.via) || route.to.network().is_ipv4() != route.via.is_ipv4() {
                return Err(PlanFault::Unreachable(route.to.to_string()));
            }
        }
        for source in node.source_routes.iter() {
            if !seen.links.contains(&(&node.node, &source.link)) {
                return Err(PlanFault::UnknownLink(source.link.to_string()));
            }
            // The default route of the source's table needs its router on the source's own network.
            if !source.from.contains(&source.via) {
                return Err(PlanFault::Unreachable(source.from.to_string()));
            }
        }
        if let Some(policy) = &node.policy {
            if !node.source_routes.is_empty() {
                return Err(PlanFault::SourceRoutes(node.node.to_string()));
            }
            seen.policy(&node.node, policy)?;
            if !uplink::is_apart(policy) {
                return Err(PlanFault::Uplink);
            }
        }
    }
    uplink::check(plan)
}

/// A network that overlaps another one. Networks nest or lie apart, so that in order of their first address and then of
/// size each is compared with the widest one around it alone.
fn overlap(mut nets: Vec<IpNet>) -> Option<IpNet> {
    nets.sort_unstable_by_key(|net| (net.network(), net.prefix_len()));
    let mut around: Option<IpNet> = None;
    for net in nets {
        if around.is_some_and(|around| around.contains(&net.network())) {
            return Some(net);
        }
        around = Some(net);
    }
    None
}

/// Whether a route leads where no world's network is. The default route does not.
fn is_special(to: IpNet) -> bool {
    let default = to.prefix_len() == 0;
    !default
        && match to.network() {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0 || v4.octets()[0] >= 224,
            IpAddr::V6(v6) => {
                v6.is_unspecified()
                    || v6.is_loopback()
                    || v6.is_unicast_link_local()
                    || v6.is_multicast()
                    || v6.to_ipv4_mapped().is_some()
            }
        }
}

#[derive(Default)]
struct Seen<'a> {
    links: BTreeSet<(&'a Node, &'a IfName)>,
    bridges: BTreeSet<(&'a Node, &'a IfName)>,
    nets: BTreeMap<&'a Node, BTreeSet<IpNet>>,
    addresses: BTreeSet<(&'a Node, std::net::IpAddr)>,
}

impl<'a> Seen<'a> {
    /// Whether each other world is another one, and all networks within reach of the router lie apart. A router whose
    /// policy is missing joins nothing. `links` are those to the worlds, in their order.
    fn peers(&mut self, plan: &'a NetworkPlan, links: &'a [IfName]) -> Result<(), PlanFault> {
        if plan.peers.is_empty() {
            return Ok(());
        }
        let router = plan.nodes.iter().find(|node| node.node == Node::Gateway && node.policy.is_some());
        let router = &router.ok_or_else(|| PlanFault::MissingNode(Node::Gateway.to_string()))?.node;
        let mut nets: Vec<IpNet> = self.nets.get(router).into_iter().flatten().copied().collect();
        for (peer, link) in plan.peers.iter().zip(links) {
            let is_sound =
                peer.world != plan.world && !is_special(IpAddr::V4(peer.via).into()) && !peer.networks.is_empty();
            if !is_sound || !self.links.insert((router, link)) {
                return Err(PlanFault::Peer(peer.world.to_string()));
            }
            for network in peer.networks.iter() {
                if network.prefix_len() == 0 || is_special(*network) {
                    return Err(PlanFault::SpecialRoute(network.to_string()));
                }
                nets.push(network.trunc());
            }
        }
        match overlap(nets) {
            Some(network) => Err(PlanFault::PeerOverlap(network.to_string())),
            None => Ok(()),
        }
    }

    /// Whether a policy names links of its node, each domain once and none that may forward everything.
    fn policy(&self, node: &Node, policy: &Policy) -> Result<(), PlanFault> {
        let known = |name: &IfName| match self.links.contains(&(node, name)) {
            true => Ok(()),
            false => Err(PlanFault::UnknownLink(name.to_string())),
        };
        let mut taken = BTreeSet::new();
        for name in policy.forward.iter().flat_map(|pair| [&pair.from, &pair.to]) {
            known(name)?;
            taken.insert(name);
        }
        for domain in policy.domains.iter() {
            if !self.bridges.contains(&(node, &domain.link)) {
                return Err(PlanFault::NotABridge(domain.link.to_string()));
            }
            if !taken.insert(&domain.link) {
                return Err(PlanFault::Contradiction(domain.link.to_string()));
            }
            if domain.flows == 0 {
                return Err(PlanFault::NoFlows(domain.link.to_string()));
            }
        }
        let mut ranges = 0;
        for rule in policy.allow.iter() {
            known(&rule.from)?;
            known(&rule.to)?;
            let FlowKind::Ports(_, ports) = &rule.kind else { continue };
            if let Some(range) = ports.iter().find(|range| range.first > range.last) {
                return Err(PlanFault::PortRange(range.first.get(), range.last.get()));
            }
            ranges += ports.len();
        }
        if ranges > limits::POLICY_PORT_RANGES {
            return Err(PlanFault::PortRanges(limits::POLICY_PORT_RANGES));
        }
        Ok(())
    }

    fn link(&mut self, nodes: &BTreeSet<&Node>, node: &'a Node, name: &'a IfName) -> Result<(), PlanFault> {
        if !nodes.contains(node) {
            return Err(PlanFault::UnknownNode(node.to_string()));
        }
        if self.links.insert((node, name)) { Ok(()) } else { Err(PlanFault::DuplicateLink(name.to_string())) }
    }

    fn addresses(&mut self, node: &'a Node, nets: impl Iterator<Item = IpNet>) -> Result<(), PlanFault> {
        for net in nets {
            if !self.addresses.insert((node, net.addr())) {
                return Err(PlanFault::DuplicateAddress(net.to_string()));
            }
            self.nets.entry(node).or_default().insert(net.trunc());
        }
        Ok(())
    }

    /// Whether `via` is a neighbour of the node. A look-up for each length of prefix, not for each address: a hostile plan
    /// may have thousands of both routes and addresses.
    fn reaches(&self, node: &Node, via: std::net::IpAddr) -> bool {
        let Some(nets) = self.nets.get(node) else { return false };
        let bits = if via.is_ipv4() { 32 } else { 128 };
        let on_link =
            (0..=bits).filter_map(|length| IpNet::new(via, length).ok()).any(|net| nets.contains(&net.trunc()));
        on_link && !self.addresses.contains(&(node, via))
    }
}
