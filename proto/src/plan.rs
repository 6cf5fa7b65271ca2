//! A world's network as one typed value.
//!
//! userd derives it from the spec, rootd makes the kernel equal to it. Applying the same plan twice changes nothing.
//! All bridges, links, routes and rules lie inside the world's own namespaces; nothing here can name a host object.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use serde::{Deserialize, Serialize};

use crate::{
    bounded::Bounded,
    ids::{Uid, WorldId},
    limits,
    names::HostName,
    net::{IfAddr, IfName, Mac, Port, Transport},
};

/// One network namespace of a world.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Node {
    /// The router: all bridges, the policy, the networks' gateway addresses.
    Gateway,
    /// Where worldd runs: all listen addresses of the spec.
    Services,
    /// A vantage host.
    Host(HostName),
    /// The far end of the router's uplink: nothing but one link, whose frames a forwarder outside carries on.
    Uplink,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Gateway => f.write_str("gw"),
            Node::Services => f.write_str("svc"),
            Node::Host(name) => write!(f, "host:{name}"),
            Node::Uplink => f.write_str("uplink"),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A world's whole network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// Which world.
    pub world: WorldId,
    /// Who owns it; rootd matches it against its own record on every later call.
    pub owner: Uid,
    /// The namespaces. Each node appears once.
    pub nodes: Bounded<NodePlan, { limits::NODES_PER_WORLD }>,
    /// The bridges. Names are unique within their node.
    pub bridges: Bounded<BridgePlan, { limits::LINKS_PER_WORLD }>,
    /// The virtual cables between nodes.
    pub cables: Bounded<CablePlan, { limits::LINKS_PER_WORLD }>,
    /// Other worlds that this one is joined with, once their plans say the same of this one. Each world once.
    pub peers: Bounded<PeerPlan, { limits::PEERS }>,
}

/// Another world, as this one's router knows it.
///
/// It takes two plans to join worlds: rootd lays the cable between the two routers only while each world's plan names the
/// other with its true owner, and claims no network that the other's router does not have. Until then this says nothing.
/// The router's link is named [`peer_link`], and a policy may name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerPlan {
    /// The other world.
    pub world: WorldId,
    /// Its owner.
    pub owner: Uid,
    /// An address of its router, which its link to this world has as well: the next hop of the routes to its IPv4 networks.
    /// Those of IPv6 lead to the link-local address of [`peer_mac`].
    pub via: Ipv4Addr,
    /// Its networks that routes lead to. Each is one of its router's, and overlaps none of this world's.
    pub networks: Bounded<ipnet::IpNet, { limits::PEER_NETWORKS }>,
}

/// The router's link to another world: `nex` and the beginning of that world's id, so it is the same in every plan.
pub fn peer_link(peer: WorldId) -> IfName {
    let id = peer.to_string();
    IfName::parse(&format!("nex{}", &id[..12])).expect("hexadecimal digits fit the grammar")
}

/// The MAC address of the link of `own` router to the world `peer`. Those of the two ends always differ, and with them the
/// ends' link-local addresses.
pub fn peer_mac(own: WorldId, peer: WorldId) -> Mac {
    let ([_, a, b, c, ..], [_, d, e, ..]) = (*own.bytes(), *peer.bytes());
    let side = if own < peer { 0 } else { 4 };
    Mac::local([side, a, b, c, d, e])
}

/// One namespace and what is set in it beside links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Which node.
    pub node: Node,
    /// Forward packets between links (`net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`).
    pub forward: bool,
    /// Let unprivileged processes bind ports below 1024 (`net.ipv4.ip_unprivileged_port_start` = 0).
    pub low_ports: bool,
    /// Routes beside those that the addresses bring.
    pub routes: Bounded<Route, { limits::ROUTES_PER_NODE }>,
    /// Routes by source address, for a node with a link on several networks: an answer leaves by the network whose
    /// address was asked, so that the router sees both directions of a flow.
    pub source_routes: Bounded<SourceRoute, { limits::ROUTES_PER_NODE }>,
    /// The packet policy; `None` leaves the namespace without a table.
    pub policy: Option<Policy>,
    /// What commands in this node see as /etc/resolv.conf.
    pub resolver: Option<Resolver>,
}

/// A route to `to` by the neighbour `via`, which must be reachable on a link of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The destination; `0.0.0.0/0` and `::/0` are the default routes.
    pub to: ipnet::IpNet,
    /// The next hop, of the same family as `to`.
    pub via: IpAddr,
}

/// What leaves with a source address in `from` goes by `link`: to `from` itself directly, anywhere else by `via`.
///
/// One routing table with these two routes and one rule (ip-rule(8)).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceRoute {
    /// The network of the source addresses.
    pub from: ipnet::IpNet,
    /// A link of the node with an address in `from`.
    pub link: IfName,
    /// The network's router.
    pub via: IpAddr,
}

/// A bridge inside a node (no STP, no delay, up).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgePlan {
    /// The node that holds it.
    pub node: Node,
    /// Its link name.
    pub name: IfName,
    /// Its MAC address, fixed so that neighbours' caches survive a repair.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Bounded<IfAddr, { limits::ADDRESSES_PER_LINK }>,
}

/// A veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CablePlan {
    /// One end.
    pub a: CableEnd,
    /// The other end; may lie in the same or another node.
    pub b: CableEnd,
}

/// One end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CableEnd {
    /// The node it lies in.
    pub node: Node,
    /// Its link name, unique within the node.
    pub name: IfName,
    /// Its MAC address.
    pub mac: Mac,
    /// The bridge of the same node it is a port of.
    pub bridge: Option<IfName>,
    /// Its addresses; a bridge port has none.
    pub addresses: Bounded<IfAddr, { limits::ADDRESSES_PER_LINK }>,
}

/// The packet policy of a router: one table, an input and a forward chain, both dropping what nothing accepts.
///
/// Order of both chains: established and related, invalid dropped, then what is listed here. Before all of it, a packet
/// whose source is not one of the port it came by is dropped: each port of a bridge speaks for the MAC address and the
/// addresses that the plan gives to the other end of its cable, and for nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Ports the router itself answers on; ICMP and ICMPv6 are always answered.
    pub input: Bounded<InputPort, { limits::INPUT_PORTS }>,
    /// New flows allowed from one link to another, one entry of a verdict map each. The same link twice means traffic
    /// between ports of one bridge that is routed, which only happens by redirection.
    pub forward: Bounded<ForwardPair, { limits::FORWARD_PAIRS }>,
    /// The Administrative Network Domains, each by the link of its bridge. A link is in `forward` or here, not in both.
    pub domains: Bounded<DomainPolicy, { limits::DOMAINS }>,
    /// Further new flows that are accepted, whatever the domains say.
    pub allow: Bounded<AllowRule, { limits::ALLOW_RULES }>,
    /// The way out of the world; without it there is none. Only owners that an administrator allowed have one.
    pub uplink: Option<UplinkPolicy>,
}

/// What may pass a router's uplink: new flows of these kinds and no others, whatever else the policy says. A domain that may
/// not open flows opens none here, and one that lets none in lets none in from here.
///
/// What leaves does so with the router's address on the link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkPolicy {
    /// The router's link to [`Node::Uplink`]: one end of the one cable between the two.
    pub link: IfName,
    /// Flows that leave.
    pub out: Bounded<UplinkRule, { limits::UPLINK_RULES }>,
    /// Ports of the host that lead into the world.
    pub ports: Bounded<UplinkPort, { limits::UPLINK_PORTS }>,
    /// A resolver outside that the router itself asks; it may do nothing else there.
    pub resolver: Option<IpAddr>,
}

/// New flows that may leave by the uplink.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UplinkRule {
    /// Which flows.
    pub kind: FlowKind,
    /// Where they come from; `None` is the whole world.
    pub from: Option<ipnet::IpNet>,
    /// Where they go; `None` is everywhere. Of the same family as `from`.
    pub to: Option<ipnet::IpNet>,
}

/// A TCP port of the host that leads into the world.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UplinkPort {
    /// The host's port, within the range that an administrator allows.
    pub host: Port,
    /// The port it leads to. Two entries differ in both.
    pub port: Port,
    /// The address in the world.
    pub to: Ipv4Addr,
    /// From where it may be reached; `None` is everywhere.
    pub from: Option<ipnet::Ipv4Net>,
}

/// What an Administrative Network Domain (AND) may do. A new flow from one link to another is accepted if the first may
/// open flows and the second lets them in; links that are no domain's do both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainPolicy {
    /// Its bridge.
    pub link: IfName,
    /// Whether its hosts may open flows that leave it.
    pub opens: bool,
    /// Whether unsolicited flows are let in. What is not is dropped by a rule of the domain's own that counts.
    pub admits: bool,
    /// Whether flows leave with the router's address (source NAT).
    pub masquerades: bool,
    /// Flows that its hosts may have open at once through the router; more are dropped, so that one domain cannot use up
    /// the connection table of all.
    pub flows: u32,
}

/// New flows of a kind from one link to another are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AllowRule {
    /// The link a flow enters by.
    pub from: IfName,
    /// The link it leaves by.
    pub to: IfName,
    /// Which flows.
    pub kind: FlowKind,
}

/// A kind of flow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowKind {
    /// Every protocol.
    Any,
    /// ICMP, and ICMPv6 over IPv6.
    Icmp,
    /// A transport protocol with destination ports; no ports are all ports.
    Ports(Transport, Bounded<PortRange, { limits::PORT_RANGES }>),
}

/// Ports `first` to `last`, both included; `first` is not above `last` (checked with the plan).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest.
    pub first: Port,
    /// The highest.
    pub last: Port,
}

/// A port the router answers on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputPort {
    /// The transport protocol.
    pub transport: Transport,
    /// The port.
    pub port: Port,
}

/// New flows from `from` to `to` are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForwardPair {
    /// The link a flow enters by.
    pub from: IfName,
    /// The link it leaves by.
    pub to: IfName,
}

/// What a command in a vantage host sees instead of the host's resolv.conf. What it trusts comes with its ticket
/// ([`crate::trust::Trust`]), because the world's keys are made after its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Recursive resolvers.
    pub name_servers: Bounded<IpAddr, { limits::NAME_SERVERS }>,
}
