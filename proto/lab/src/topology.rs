//! Nodes, their addresses and what joins them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use netengine_proto::bounded::Bounded;
use serde::{Deserialize, Serialize};

use crate::{
    case::RulesetText,
    limits::{
        INTERFACE_ADDRESSES, LINKS, NODE_BRIDGES, NODE_INTERFACES, NODE_LISTENERS, NODE_NEIGHBOURS, NODE_ROUTES,
        NODE_SETTINGS, NODES,
    },
    names::{LinkName, NodeName, SettingName},
};

/// A network of nodes, one of them tested.
///
/// [`Topology::check`] says whether it is whole; an engine takes no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The nodes; each is a network namespace of its own.
    pub nodes: Bounded<Node, NODES>,
    /// The cables; each joins two interfaces, and an interface has one at most.
    #[serde(default)]
    pub links: Bounded<Link, LINKS>,
    /// The node that gets the case's ruleset.
    pub tested: NodeName,
}

/// A host, router or switch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Unique in the topology.
    pub name: NodeName,
    /// Interfaces beside `lo`.
    #[serde(default)]
    pub interfaces: Bounded<Interface, NODE_INTERFACES>,
    /// Bridges.
    #[serde(default)]
    pub bridges: Bounded<Bridge, NODE_BRIDGES>,
    /// Routes beside those of the addresses' prefixes.
    #[serde(default)]
    pub routes: Bounded<Route, NODE_ROUTES>,
    /// Permanent neighbour entries: with them no ARP or neighbour discovery passes the rules under test.
    #[serde(default)]
    pub neighbours: Bounded<Neighbour, NODE_NEIGHBOURS>,
    /// Forwards IPv4 and IPv6.
    #[serde(default)]
    pub forward: bool,
    /// Settings, written after everything else was built.
    #[serde(default)]
    pub settings: Bounded<Setting, NODE_SETTINGS>,
    /// Sockets that answer.
    #[serde(default)]
    pub listeners: Listeners,
    /// Never answers: it only sends what is listed. Its addresses are known to its neighbours, but not to its own stack.
    #[serde(default)]
    pub silent: bool,
    /// A ruleset of this node, loaded before the case's own (which only the tested node gets).
    #[serde(default)]
    pub rules: Option<RulesetText>,
}

/// An Ethernet interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Unique in the node.
    pub name: LinkName,
    /// Unicast.
    pub mac: [u8; 6],
    /// Addresses with their prefixes.
    #[serde(default)]
    pub addresses: Bounded<IpNet, INTERFACE_ADDRESSES>,
    /// The bridge of the same node that it is a port of.
    #[serde(default)]
    pub bridge: Option<LinkName>,
    /// Bytes, 1280 to 65535; 1500 when absent.
    #[serde(default)]
    pub mtu: Option<u16>,
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// Unique in the node.
    pub name: LinkName,
    /// Unicast.
    pub mac: [u8; 6],
    /// Addresses of the bridge itself.
    #[serde(default)]
    pub addresses: Bounded<IpNet, INTERFACE_ADDRESSES>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Where to; `0.0.0.0/0` or `::/0` for the default.
    pub to: IpNet,
    /// The next hop, of the same family; none when `to` is on the link.
    #[serde(default)]
    pub via: Option<IpAddr>,
    /// The interface or bridge of this node.
    pub interface: LinkName,
}

/// A permanent neighbour entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// The interface or bridge of this node.
    pub interface: LinkName,
}

/// A setting (sysctl) with its value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// From the list of [`SettingName`].
    pub name: SettingName,
    /// All settings of the list are numbers.
    pub value: i32,
}

/// Which sockets a node has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listeners {
    /// One for each port that the case's TCP and UDP packets aim at.
    #[default]
    Auto,
    /// These and no others; none when empty.
    Listed(Bounded<Listener, NODE_LISTENERS>),
}

/// A listening socket, on all addresses of the node, IPv4 and IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// TCP completes handshakes; UDP echoes what it receives.
    pub protocol: ListenerProtocol,
    /// 1 to 65535.
    pub port: u16,
}

/// The protocols listeners speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListenerProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A cable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One end.
    pub a: End,
    /// The other.
    pub b: End,
}

/// An end of a cable.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The node.
    pub node: NodeName,
    /// Its interface.
    pub interface: LinkName,
}

/// What is wrong with a topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// Two things of one name.
    #[error("two {kind} are called {name:?}")]
    Twice {
        /// Nodes, or interfaces of one node.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A name that nothing has.
    #[error("{place} names {name:?}, which does not exist")]
    Absent {
        /// Where it is named.
        place: String,
        /// The name.
        name: String,
    },
    /// An interface with no cable, or with two.
    #[error("interface {0} of node {1} has {2} links, not one")]
    Cables(LinkName, NodeName, usize),
    /// Both ends in one node.
    #[error("a link joins node {0} with itself")]
    Loop(NodeName),
    /// A value out of range.
    #[error("{place}: {what}")]
    Value {
        /// Where.
        place: String,
        /// What is wrong.
        what: &'static str,
    },
}

impl Topology {
    /// Says whether all names are unique and exist, every interface has one cable, and all values are in range.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), TopologyError> {
        let mut names = BTreeSet::new();
        for node in self.nodes.iter() {
            if !names.insert(&node.name) {
                return Err(TopologyError::Twice { kind: "nodes", name: node.name.to_string() });
            }
            node.check()?;
        }
        if !names.contains(&self.tested) {
            return Err(absent("tested".into(), &self.tested));
        }
        for link in self.links.iter() {
            if link.a.node == link.b.node {
                return Err(TopologyError::Loop(link.a.node.clone()));
            }
            for end in [&link.a, &link.b] {
                let node = self.node(&end.node).ok_or_else(|| absent("a link".into(), &end.node))?;
                if node.interface(&end.interface).is_none() {
                    return Err(absent(format!("a link of node {}", end.node), &end.interface));
                }
            }
        }
        for node in self.nodes.iter() {
            for interface in node.interfaces.iter() {
                let ends = self.links.iter().flat_map(|link| [&link.a, &link.b]);
                let cables = ends.filter(|end| end.node == node.name && end.interface == interface.name).count();
                if cables != 1 {
                    return Err(TopologyError::Cables(interface.name.clone(), node.name.clone(), cables));
                }
            }
        }
        Ok(())
    }

    /// The node of that name.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// The other end of the cable at `end`.
    pub fn peer(&self, end: &End) -> Option<&End> {
        self.links.iter().find_map(|link| match () {
            () if link.a == *end => Some(&link.b),
            () if link.b == *end => Some(&link.a),
            () => None,
        })
    }
}

impl Node {
    /// The interface of that name.
    pub fn interface(&self, name: &LinkName) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == *name)
    }

    fn has_link(&self, name: &LinkName) -> bool {
        self.interface(name).is_some() || self.bridges.iter().any(|bridge| bridge.name == *name)
    }

    fn check(&self) -> Result<(), TopologyError> {
        let place = |what: &str| format!("{what} of node {}", self.name);
        let mut names = BTreeSet::new();
        let interfaces = self.interfaces.iter().map(|i| (&i.name, i.mac));
        for (name, mac) in interfaces.chain(self.bridges.iter().map(|b| (&b.name, b.mac))) {
            if !names.insert(name) {
                return Err(TopologyError::Twice { kind: "interfaces of one node", name: name.to_string() });
            }
            if mac[0] & 1 == 1 || mac == [0; 6] {
                return Err(value(place(name.as_str()), "its Ethernet address is not unicast"));
            }
        }
        for interface in self.interfaces.iter() {
            if let Some(bridge) = &interface.bridge
                && !self.bridges.iter().any(|b| b.name == *bridge)
            {
                return Err(absent(place(interface.name.as_str()), bridge));
            }
            if interface.mtu.is_some_and(|mtu| mtu < 1280) {
                return Err(value(place(interface.name.as_str()), "its MTU is below 1280, the least of IPv6"));
            }
        }
        let addresses = self.interfaces.iter().map(|i| &i.addresses).chain(self.bridges.iter().map(|b| &b.addresses));
        for address in addresses.flat_map(|list| list.iter()) {
            let addr = address.addr();
            if addr.is_unspecified() || addr.is_multicast() || addr == IpAddr::V4(Ipv4Addr::BROADCAST) {
                return Err(value(place("an address"), "it is unspecified, multicast or broadcast"));
            }
        }
        for route in self.routes.iter() {
            if !self.has_link(&route.interface) {
                return Err(absent(place("a route"), &route.interface));
            }
            if route.via.is_some_and(|via| via.is_ipv4() != route.to.addr().is_ipv4()) {
                return Err(value(place("a route"), "its next hop is of another family"));
            }
        }
        for neighbour in self.neighbours.iter() {
            if !self.has_link(&neighbour.interface) {
                return Err(absent(place("a neighbour"), &neighbour.interface));
            }
        }
        if let Listeners::Listed(list) = &self.listeners
            && list.iter().any(|listener| listener.port == 0)
        {
            return Err(value(place("a listener"), "port 0 is not a port"));
        }
        Ok(())
    }
}

fn absent(place: String, name: &impl ToString) -> TopologyError {
    TopologyError::Absent { place, name: name.to_string() }
}

fn value(place: String, what: &'static str) -> TopologyError {
    TopologyError::Value { place, what }
}
