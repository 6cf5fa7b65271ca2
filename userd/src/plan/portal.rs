//! The way out of a world: its uplink, from the spec to the plan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netengine_proto::{
    bounded::Bounded,
    ids::WorldId,
    net::{IfAddr, IfName, Port, Transport},
    plan::{CableEnd, CablePlan, FlowKind, Node, NodePlan, PortRange, Route, UplinkPolicy, UplinkPort, UplinkRule},
};
use netengine_spec::{
    Spec,
    model::{EXPOSED, InternetMode, InternetRule, Publish},
};

use super::{
    ands::{self, mac},
    network::PlanError,
    phases,
};

/// The network of the uplink's link (RFC 7335: between a host and a translator on that host). Its first address is the far
/// end's, the second the router's.
const LINK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 0), 29);
/// The same for IPv6 (RFC 4193), for worlds that have it.
const LINK6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd4e, 0x6574, 0x656e, 0, 0, 0, 0, 0), 64);
/// Numbers of the MAC addresses of both ends, which no network's links have.
const MACS: [u16; 2] = [510, 511];

/// What a plan has of an uplink.
pub(super) struct WayOut {
    /// What may pass.
    pub policy: UplinkPolicy,
    /// The link.
    pub cable: CablePlan,
    /// The router's routes.
    pub routes: Vec<Route>,
    /// The far end.
    pub node: NodePlan,
}

/// Whether a world is to have an uplink, for services up to phase `up_to`.
pub fn needs_uplink(spec: &Spec, up_to: u8) -> bool {
    up_to >= phases::ANDS && spec.gateway_portal.needs_uplink()
}

/// The uplink of a world, if its spec asks for one. `core` is the vantage host that published ports lead to by default.
///
/// # Errors
/// [`PlanError`].
pub(super) fn way_out(spec: &Spec, up_to: u8, world: WorldId, core: Ipv4Addr) -> Result<Option<WayOut>, PlanError> {
    if !needs_uplink(spec, up_to) {
        return Ok(None);
    }
    let networks = spec.networks();
    let pools = spec.domain_registry.address_space.iter().map(|pool| pool.cidr);
    let mut nets: Vec<IpNet> = networks.iter().map(|network| network.subnet).chain(pools).map(IpNet::V4).collect();
    nets.extend(networks.iter().filter_map(|network| network.subnet6).map(IpNet::V6));
    let has_v6 = networks.iter().any(|network| network.subnet6.is_some());
    let links = [Some(IpNet::V4(LINK)), has_v6.then_some(IpNet::V6(LINK6))];
    let links: Vec<IpNet> = links.into_iter().flatten().collect();
    let overlaps = |link: &&IpNet| nets.iter().any(|net| net.contains(*link) || link.contains(net));
    if let Some(link) = links.iter().find(overlaps) {
        return Err(PlanError::UplinkOverlap(*link));
    }
    let link = IfName::numbered("up", 0);
    let mut addresses = vec![IfAddr::new(IpNet::new_assert(nth(LINK.into(), 2), LINK.prefix_len()))?];
    let mut routes = vec![Route { to: Ipv4Net::default().into(), via: nth(LINK.into(), 1) }];
    if has_v6 {
        addresses.push(IfAddr::new(IpNet::new_assert(nth(LINK6.into(), 2), LINK6.prefix_len()))?);
        routes.push(Route { to: Ipv6Net::default().into(), via: nth(LINK6.into(), 1) });
    }
    let end = |node, number, addresses| CableEnd {
        node,
        name: link.clone(),
        mac: mac(world, number),
        bridge: None,
        addresses,
    };
    let a = end(Node::Gateway, MACS[0], Bounded::new(addresses)?);
    let cable = CablePlan { a, b: end(Node::Uplink, MACS[1], Bounded::default()) };
    let node = NodePlan {
        node: Node::Uplink,
        forward: false,
        low_ports: false,
        routes: Bounded::default(),
        source_routes: Bounded::default(),
        policy: None,
        resolver: None,
    };
    let resolver = spec.gateway_portal.upstream_resolver().map(IpAddr::V4);
    let ports = spec.gateway_portal.published();
    let ports = Bounded::new(ports.iter().filter_map(|one| published(one, core)).collect())?;
    let policy = UplinkPolicy { link, out: Bounded::new(out(spec)?)?, ports, resolver };
    Ok(Some(WayOut { policy, cable, routes, node }))
}

fn nth(net: IpNet, number: u8) -> IpAddr {
    match net.network() {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4) + u32::from(number)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) + u128::from(number)).into(),
    }
}

fn published(one: &Publish, core: Ipv4Addr) -> Option<UplinkPort> {
    let (host, port) = (Port::new(one.host_port)?, Port::new(one.port)?);
    Some(UplinkPort { host, port, to: one.to.unwrap_or(core), from: one.from.map(|net| net.trunc()) })
}

fn out(spec: &Spec) -> Result<Vec<UplinkRule>, PlanError> {
    let everywhere = |kind| UplinkRule { kind, from: None, to: None };
    Ok(match spec.gateway_portal.mode() {
        InternetMode::Isolated | InternetMode::Mirrored => Vec::new(),
        InternetMode::Shadowed => {
            let web =
                EXPOSED.iter().filter_map(|port| Port::new(*port)).map(|port| PortRange { first: port, last: port });
            vec![everywhere(FlowKind::Ports(Transport::Tcp, Bounded::new(web.collect())?))]
        }
        InternetMode::Exposed => vec![everywhere(FlowKind::Any)],
        InternetMode::Custom => {
            let rule = |rule: &InternetRule| {
                let net = |net: Option<Ipv4Net>| net.map(|net| IpNet::V4(net.trunc()));
                let kind = ands::flow_kind(rule.proto, &rule.ports)?;
                Ok(UplinkRule { kind, from: net(rule.from), to: net(rule.to) })
            };
            let rules = &spec.gateway_portal.real_internet.rules;
            rules.iter().map(rule).collect::<Result<_, PlanError>>()?
        }
    })
}

/// What stands of the portal, in words for people; `None` for a world that is isolated.
pub fn told(spec: &Spec) -> Option<String> {
    let portal = &spec.gateway_portal;
    let upstream = portal.upstream_resolver().map(|ip| format!(", unknown names asked of {ip}")).unwrap_or_default();
    let mode = match portal.mode() {
        InternetMode::Isolated => return None,
        InternetMode::Shadowed => "shadowed: out to TCP ports 80 and 443".to_owned(),
        InternetMode::Mirrored => format!("mirrored: {} real host names lead into the world", portal.mirrors().len()),
        InternetMode::Exposed => "exposed: out freely".to_owned(),
        InternetMode::Custom => format!("custom: out by {} rules", portal.real_internet.rules.len()),
    };
    Some(mode + &upstream)
}

#[cfg(test)]
#[path = "portal_tests.rs"]
mod tests;
