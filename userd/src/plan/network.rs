//! The network of a world: from its spec to one typed plan. The same spec, world and owner give the same plan.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netengine_proto::{
    bounded::{Bounded, TooMany},
    control::{AndNetwork, NamedHost},
    ids::{Uid, WorldId},
    names::{AndName, HostName, NetworkName},
    net::{IfAddr, IfAddrError, IfName, Mac, Port, Transport},
    plan::{
        BridgePlan, CableEnd, CablePlan, ForwardPair, InputPort, NetworkPlan, Node, NodePlan, Policy, Resolver, Route,
        SourceRoute,
    },
};
use netengine_spec::{Spec, model::NetworkView};

use super::{
    ands::{self, Macs},
    leases::Leases,
    phases::names_resolve,
    portal,
};

/// Where the router's resolver answers: DNS over UDP and TCP (RFC 1035, section 4.2), over TLS (RFC 7858), over HTTPS
/// (RFC 8484).
const RESOLVER_PORTS: [(Transport, u16); 4] =
    [(Transport::Udp, 53), (Transport::Tcp, 53), (Transport::Tcp, 853), (Transport::Tcp, 443)];

/// Where DHCP clients reach the router (RFC 2131, section 4.1).
const DHCP: (Transport, u16) = (Transport::Udp, 67);
/// Where hosts of ANDs ask it the time.
const TIME: (Transport, u16) = (Transport::Udp, super::NTP_PORT);

/// The network that always has a vantage host, and that worldd's default route leads through.
pub const CORE: &str = "core";

/// Why a spec that is right by itself cannot become a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The subnet has fewer addresses than hosts.
    #[error("network {0} has no address left for its vantage hosts and services")]
    Full(NetworkName),
    /// The name of a further vantage host is too long.
    #[error("the name of vantage host {0} is not a name")]
    Name(String),
    /// Two networks have a vantage host of the same name.
    #[error("two vantage hosts are named {0}")]
    SameHost(HostName),
    /// A network of the spec holds what an AND's IPv6 network would be.
    #[error("the IPv6 network {subnet6} of AND {and} overlaps subnet6 of network {network}")]
    Overlap {
        /// The AND.
        and: AndName,
        /// Its network.
        subnet6: Ipv6Net,
        /// The network it overlaps.
        network: NetworkName,
    },
    /// The network of the uplink's link is one of the world's.
    #[error("the world's networks overlap {0}, the network of its uplink")]
    UplinkOverlap(IpNet),
    /// An address is not fit for a host.
    #[error(transparent)]
    Address(#[from] IfAddrError),
    /// It cannot be written down.
    #[error("the spec cannot be written as JSON: {0}")]
    Spec(String),
    /// More than a plan holds.
    #[error("the world is too large: a list of its plan {0}")]
    TooLarge(#[from] TooMany),
}

/// The addresses a network has to give away, from its top downwards.
struct Pool {
    subnet: Ipv4Net,
    next: u32,
    used: BTreeSet<Ipv4Addr>,
}

impl Pool {
    fn new(view: &NetworkView, listen: impl Iterator<Item = Ipv4Addr>) -> Self {
        let used = listen.chain([view.gateway]).collect();
        // The last address is the broadcast address (RFC 919).
        Self { subnet: view.subnet, next: u32::from(view.subnet.broadcast()), used }
    }

    fn take(&mut self) -> Option<Ipv4Addr> {
        let lowest = u32::from(self.subnet.network()) + 1;
        while self.next > lowest {
            self.next -= 1;
            let address = Ipv4Addr::from(self.next);
            if self.used.insert(address) {
                return Some(address);
            }
        }
        None
    }
}

/// One network with its addresses dealt out.
struct Dealt {
    view: NetworkView,
    listen: Vec<Ipv4Addr>,
    own: Ipv4Addr,
    hosts: Vec<(HostName, Ipv4Addr)>,
}

fn deal(spec: &Spec) -> Result<Vec<Dealt>, PlanError> {
    let listen = spec.listen_addresses();
    let mut names = BTreeSet::new();
    let mut dealt = Vec::new();
    for view in spec.networks() {
        let listen: BTreeSet<Ipv4Addr> = listen.iter().map(|l| l.v4).filter(|v4| view.subnet.contains(v4)).collect();
        let mut pool = Pool::new(&view, listen.iter().copied());
        let mut take = || pool.take().ok_or_else(|| PlanError::Full(view.name.clone()));
        let own = take()?;
        // Live checks and `exec WORLD` need a host to run in, so core has one even when the spec asks for none.
        let count = if view.name.as_str() == CORE { view.vantage_hosts.max(1) } else { view.vantage_hosts };
        let mut hosts = Vec::new();
        for number in 1..=count {
            let text = if number == 1 { view.name.to_string() } else { format!("{}-{number}", view.name) };
            let name = HostName::parse(&text).map_err(|_| PlanError::Name(text))?;
            if !names.insert(name.clone()) {
                return Err(PlanError::SameHost(name));
            }
            hosts.push((name, take()?));
        }
        dealt.push(Dealt { view, listen: listen.into_iter().collect(), own, hosts });
    }
    Ok(dealt)
}

/// The IPv6 address that goes with an IPv4 address: the prefix, and the IPv4 address in the low 32 bits.
pub(super) fn v6_of(subnet: Ipv6Net, v4: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(subnet.network()) & !0xffff_ffff | u128::from(u32::from(v4)))
}

/// The interface addresses of the host with this IPv4 address.
fn addresses(view: &NetworkView, hosts: &[Ipv4Addr]) -> Result<Vec<IfAddr>, PlanError> {
    let mut found = Vec::new();
    for v4 in hosts {
        found.push(IfAddr::new(IpNet::new_assert((*v4).into(), view.subnet.prefix_len()))?);
    }
    if let Some(subnet6) = view.subnet6 {
        for v4 in hosts {
            found.push(IfAddr::new(IpNet::new_assert(v6_of(subnet6, *v4).into(), subnet6.prefix_len()))?);
        }
    }
    Ok(found)
}

/// The default routes by the router of a network.
fn default_routes(view: &NetworkView) -> Vec<Route> {
    let v4 = Route { to: Ipv4Net::default().into(), via: view.gateway.into() };
    let v6 =
        view.subnet6.map(|subnet| Route { to: Ipv6Net::default().into(), via: v6_of(subnet, view.gateway).into() });
    [Some(v4), v6].into_iter().flatten().collect()
}

/// What leaves with an address of this network leaves by this network, IPv4 and IPv6.
fn source_routes(view: &NetworkView, link: &IfName) -> Vec<SourceRoute> {
    let nets = [Some(view.subnet.into()), view.subnet6.map(IpNet::from)];
    let from = nets.into_iter().flatten().zip(default_routes(view));
    from.map(|(from, default)| SourceRoute { from, link: link.clone(), via: default.via }).collect()
}

/// worldd's own addresses in network `core`: where its services answer even when the spec names no address for them.
///
/// # Errors
/// As [`network_plan`].
pub fn own_addresses(spec: &Spec) -> Result<Vec<IpAddr>, PlanError> {
    let dealt = deal(spec)?;
    let core = dealt.iter().filter(|network| network.view.name.as_str() == CORE);
    let own = core.map(|network| addresses(&network.view, &[network.own])).collect::<Result<Vec<_>, _>>()?;
    Ok(own.into_iter().flatten().map(|address| address.addr()).collect())
}

/// The vantage hosts of a world with their addresses, for its name servers.
///
/// # Errors
/// As [`network_plan`].
pub fn named_hosts(spec: &Spec) -> Result<Vec<NamedHost>, PlanError> {
    let mut found = Vec::new();
    for network in deal(spec)? {
        for (name, v4) in &network.hosts {
            let held = addresses(&network.view, &[*v4])?;
            found.extend(held.iter().map(|held| NamedHost { name: name.to_string(), address: held.addr() }));
        }
    }
    Ok(found)
}

/// Ports and, twice as many, MAC addresses set aside for each network: worldd's link and at most 250 vantage hosts
/// (proto's spec model). A plan holds 64 networks, so all numbers fit.
const PORTS_PER_NETWORK: u16 = 256;

/// Numbers links and MAC addresses of one network of a world. They depend on nothing but the network's place and the
/// place in the network, so a further host in one network renames nothing in another.
struct Numbering {
    world: WorldId,
    network: u16,
    ports: u16,
    macs: u16,
}

impl Numbering {
    /// Half of the world's id and a number: unique within the world, the same in every plan of it, and hardly ever the
    /// same in two worlds.
    fn mac(&mut self) -> Mac {
        let number = self.network * 2 * PORTS_PER_NETWORK + self.macs;
        self.macs += 1;
        ands::mac(self.world, number)
    }

    fn port(&mut self) -> IfName {
        let number = self.network * PORTS_PER_NETWORK + self.ports;
        self.ports += 1;
        IfName::numbered("p", number)
    }
}

/// A vantage host with its default routes. The routers are its resolvers; nothing of the host's own resolv.conf is seen inside.
fn vantage(node: Node, routes: Vec<Route>) -> Result<NodePlan, PlanError> {
    let name_servers = Bounded::new(routes.iter().map(|route| route.via).collect())?;
    Ok(NodePlan {
        node,
        forward: false,
        // Clients of the world's ACME server answer challenges on port 80 and 443 (RFC 8555, section 8).
        low_ports: true,
        routes: Bounded::new(routes)?,
        source_routes: Bounded::default(),
        policy: None,
        resolver: Some(Resolver { name_servers }),
    })
}

/// The bridge of an AND, its vantage host, and the cable between them.
fn domain(and: &AndNetwork, leases: &Leases, world: WorldId) -> Result<(BridgePlan, CablePlan, NodePlan), PlanError> {
    let lease = *leases.get(&and.name).ok_or_else(|| PlanError::Name(and.name.to_string()))?;
    let (macs, node) = (Macs::of(world, lease), Node::Host(ands::host_name(and)?));
    let routers = ands::router_addresses(and);
    let bridge = BridgePlan {
        node: Node::Gateway,
        name: and.link.clone(),
        mac: macs.bridge,
        addresses: Bounded::new(ands::addresses(and, &routers)?)?,
    };
    let held: Vec<IpAddr> = and.hosts.iter().flat_map(|host| host.addresses.iter().copied()).collect();
    let a = CableEnd {
        node: Node::Gateway,
        name: ands::port(lease),
        mac: macs.port,
        bridge: Some(and.link.clone()),
        addresses: Bounded::default(),
    };
    let addresses = Bounded::new(ands::addresses(and, &held)?)?;
    let b = CableEnd { node: node.clone(), name: IfName::numbered("th", 0), mac: macs.host, bridge: None, addresses };
    let default = |via: IpAddr| match via {
        IpAddr::V4(_) => Route { to: Ipv4Net::default().into(), via },
        IpAddr::V6(_) => Route { to: Ipv6Net::default().into(), via },
    };
    Ok((bridge, CablePlan { a, b }, vantage(node, routers.into_iter().map(default).collect())?))
}

/// Derives a world's network from its spec, for services up to phase `up_to`, with the ANDs that have a lease.
///
/// # Errors
/// [`PlanError`] when a subnet is too small, a name does not fit, or the world is larger than a plan may be.
pub fn network_plan(
    spec: &Spec,
    up_to: u8,
    world: WorldId,
    owner: Uid,
    leases: &Leases,
) -> Result<NetworkPlan, PlanError> {
    network_with(spec, up_to, world, owner, leases, &ands::ands(spec, up_to, world, leases)?)
}

/// The same with its ANDs, each of which has a lease.
///
/// # Errors
/// As [`network_plan`].
pub(super) fn network_with(
    spec: &Spec,
    up_to: u8,
    world: WorldId,
    owner: Uid,
    leases: &Leases,
    domains: &[AndNetwork],
) -> Result<NetworkPlan, PlanError> {
    let dealt = deal(spec)?;
    let (mut bridges, mut cables, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut services_routes, mut services_sources) = (Vec::new(), Vec::new());
    for (network, index) in dealt.iter().zip(0u16..) {
        let view = &network.view;
        let mut numbering = Numbering { world, network: index, ports: 0, macs: 0 };
        let bridge = IfName::numbered("br", index);
        bridges.push(BridgePlan {
            node: Node::Gateway,
            name: bridge.clone(),
            mac: numbering.mac(),
            addresses: Bounded::new(addresses(view, &[view.gateway])?)?,
        });
        let mut cable = |node: Node, name: IfName, held: Vec<IfAddr>| {
            let (port, mac) = (numbering.port(), numbering.mac());
            let bridge = Some(bridge.clone());
            let a = CableEnd { node: Node::Gateway, name: port, mac, bridge, addresses: Bounded::default() };
            let b = CableEnd { node, name, mac: numbering.mac(), bridge: None, addresses: Bounded::new(held)? };
            cables.push(CablePlan { a, b });
            Ok::<_, PlanError>(())
        };
        let mut served = vec![network.own];
        served.extend(&network.listen);
        cable(Node::Services, IfName::numbered("sv", index), addresses(view, &served)?)?;
        // worldd answers by the network it was asked on, so that the router sees both directions of every flow.
        services_sources.extend(source_routes(view, &IfName::numbered("sv", index)));
        if view.name.as_str() == CORE {
            services_routes = default_routes(view);
        }
        for (name, v4) in &network.hosts {
            let node = Node::Host(name.clone());
            cable(node.clone(), IfName::numbered("th", 0), addresses(view, &[*v4])?)?;
            hosts.push(vantage(node, default_routes(view))?);
        }
    }

    let links: Vec<IfName> = bridges.iter().map(|bridge| bridge.name.clone()).collect();
    let pair = |from: &IfName, to: &IfName| ForwardPair { from: from.clone(), to: to.clone() };
    let others = |from| links.iter().filter(move |to| *to != from).map(move |to| pair(from, to));
    let forward = Bounded::new(links.iter().flat_map(others).collect())?;
    let mut known: BTreeSet<Node> = hosts.iter().map(|host| host.node.clone()).collect();
    for and in domains {
        let (bridge, cable, host) = domain(and, leases, world)?;
        if let Some(same) = known.replace(host.node.clone()) {
            return Err(match same {
                Node::Host(name) => PlanError::SameHost(name),
                other => PlanError::Name(other.to_string()),
            });
        }
        bridges.push(bridge);
        cables.push(cable);
        hosts.push(host);
    }
    let link = |name: &str| {
        let and = domains.iter().find(|and| and.name.as_str() == name).map(|and| &and.link);
        and.or_else(|| links.get(dealt.iter().position(|network| network.view.name.as_str() == name)?)).cloned()
    };
    let allow = Bounded::new(ands::allowed(spec, link)?)?;
    let tells_addresses = domains.iter().any(|and| and.dhcp.is_some());
    let answered = RESOLVER_PORTS.iter().filter(|_| names_resolve(up_to));
    let answered = answered
        .chain([DHCP].iter().filter(|_| tells_addresses))
        .chain([TIME].iter().filter(|_| spec.substrate.ntp.enabled && !domains.is_empty()))
        .filter_map(|&(transport, port)| Some(InputPort { transport, port: Port::new(port)? }));
    let input = Bounded::new(answered.collect())?;
    let core = dealt.iter().find(|network| network.view.name.as_str() == CORE);
    let core = core.and_then(|network| network.hosts.first()).map_or(Ipv4Addr::UNSPECIFIED, |(_, v4)| *v4);
    let (mut uplink, mut routes) = (None, Vec::new());
    if let Some(way) = portal::way_out(spec, up_to, world, core)? {
        cables.push(way.cable);
        hosts.push(way.node);
        (uplink, routes) = (Some(way.policy), way.routes);
    }
    let policies = domains.iter().map(|and| ands::policy(spec, and)).collect();
    let mut nodes = vec![
        NodePlan {
            node: Node::Gateway,
            forward: true,
            low_ports: true,
            routes: Bounded::new(routes)?,
            source_routes: Bounded::default(),
            policy: Some(Policy { input, forward, domains: Bounded::new(policies)?, allow, uplink }),
            resolver: None,
        },
        NodePlan {
            node: Node::Services,
            forward: false,
            low_ports: true,
            routes: Bounded::new(services_routes)?,
            source_routes: Bounded::new(services_sources)?,
            policy: None,
            resolver: None,
        },
    ];
    nodes.append(&mut hosts);
    Ok(NetworkPlan {
        world,
        owner,
        nodes: Bounded::new(nodes)?,
        bridges: Bounded::new(bridges)?,
        cables: Bounded::new(cables)?,
        peers: Bounded::default(),
    })
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
