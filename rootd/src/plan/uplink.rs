//! The uplink of a plan: one cable from the router to a node that holds nothing else.

use std::{collections::BTreeSet, net::IpAddr};

use netengine_proto::{
    limits,
    net::IfAddr,
    plan::{CableEnd, FlowKind, NetworkPlan, Node, NodePlan, Policy, UplinkPolicy},
    root::PlanFault,
};

/// What may pass the uplink, the router's end of its cable and the far one.
pub fn uplink_of(plan: &NetworkPlan) -> Option<(&UplinkPolicy, &CableEnd, &CableEnd)> {
    let gateway = plan.nodes.iter().find(|node| node.node == Node::Gateway)?;
    let policy = gateway.policy.as_ref()?.uplink.as_ref()?;
    let mut ends = plan.cables.iter().flat_map(|cable| [(&cable.a, &cable.b), (&cable.b, &cable.a)]);
    let (own, far) = ends.find(|(own, far)| own.node == Node::Gateway && far.node == Node::Uplink)?;
    (own.name == policy.link).then_some((policy, own, far))
}

/// Checks that there is the whole of an uplink or nothing of it.
///
/// # Errors
/// The first [`PlanFault`].
pub fn check(plan: &NetworkPlan) -> Result<(), PlanFault> {
    let at = |node: &Node| *node == Node::Uplink;
    let wanted = plan.nodes.iter().any(|node| node.policy.as_ref().is_some_and(|policy| policy.uplink.is_some()));
    let links = plan.cables.iter().flat_map(|cable| [&cable.a, &cable.b]).filter(|end| at(&end.node)).count();
    let Some(node) = plan.nodes.iter().find(|node| at(&node.node)) else {
        return if wanted { Err(PlanFault::Uplink) } else { Ok(()) };
    };
    let is_bare = |node: &NodePlan| {
        !node.forward
            && node.routes.is_empty()
            && node.source_routes.is_empty()
            && node.policy.is_none()
            && node.resolver.is_none()
    };
    let is_alone = links == 1 && !plan.bridges.iter().any(|bridge| at(&bridge.node));
    let Some((policy, own, far)) = uplink_of(plan) else { return Err(PlanFault::Uplink) };
    let is_sound = is_bare(node) && is_alone && far.addresses.is_empty() && own.bridge.is_none();
    // The far end has the first address of the link's network.
    let is_second = |address: &IfAddr| match (address.addr(), address.net().network()) {
        (IpAddr::V4(own), IpAddr::V4(net)) => u32::from(own) - u32::from(net) > 1,
        (IpAddr::V6(own), IpAddr::V6(net)) => u128::from(own) - u128::from(net) > 1,
        _ => false,
    };
    if !is_sound || own.addresses.is_empty() || own.addresses.len() > 2 || !own.addresses.iter().all(is_second) {
        return Err(PlanFault::Uplink);
    }
    check_policy(policy)
}

fn check_policy(policy: &UplinkPolicy) -> Result<(), PlanFault> {
    let (mut hosts, mut ports, mut ranges) = (BTreeSet::new(), BTreeSet::new(), 0);
    for port in policy.ports.iter() {
        if !hosts.insert(port.host) || !ports.insert(port.port) {
            return Err(PlanFault::UplinkPort(port.host.get()));
        }
    }
    for rule in policy.out.iter() {
        if let (Some(from), Some(to)) = (rule.from, rule.to)
            && from.addr().is_ipv4() != to.addr().is_ipv4()
        {
            return Err(PlanFault::Uplink);
        }
        let FlowKind::Ports(_, named) = &rule.kind else { continue };
        if let Some(range) = named.iter().find(|range| range.first > range.last) {
            return Err(PlanFault::PortRange(range.first.get(), range.last.get()));
        }
        ranges += named.len();
    }
    if ranges > limits::POLICY_PORT_RANGES {
        return Err(PlanFault::PortRanges(limits::POLICY_PORT_RANGES));
    }
    Ok(())
}

/// Whether the rest of a policy leaves the uplink's link alone.
pub fn is_apart(policy: &Policy) -> bool {
    let Some(uplink) = &policy.uplink else { return true };
    let named = policy.forward.iter().flat_map(|pair| [&pair.from, &pair.to]);
    let named = named.chain(policy.allow.iter().flat_map(|rule| [&rule.from, &rule.to]));
    named.chain(policy.domains.iter().map(|domain| &domain.link)).all(|link| *link != uplink.link)
}
