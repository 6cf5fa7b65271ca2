//! A topology as it is written to one that can be built.

use std::collections::BTreeMap;

use ipnet::IpNet;
use netengine_lab_proto::{
    Bridge, End, Interface, Link, LinkName, Listener, ListenerProtocol, Listeners, Neighbour, Node, NodeName, Route,
    RulesetText, Setting, SettingName, Topology,
};
use netengine_proto::bounded::Bounded;

use crate::file;

/// The node that gets the case's ruleset.
const TESTED: &str = "fw";

/// The topology of a choice.
///
/// # Errors
/// What is wrong, for people.
pub fn chosen(choice: &file::TopologyChoice, named: &BTreeMap<String, file::Topology>) -> Result<Topology, String> {
    match choice {
        file::TopologyChoice::Inline(written) => build(written),
        // In whatever letters, as the other tool takes them; names of the suite's own are as written.
        file::TopologyChoice::Named(name) => match (named.get(name), name.to_lowercase().as_str()) {
            (Some(written), _) => build(written),
            (None, "simple") => Ok(Topology::simple()),
            (None, "gateway") => Ok(Topology::gateway()),
            (None, "bridge") => Ok(Topology::bridge()),
            (None, _) => {
                let known: Vec<&str> =
                    ["simple", "gateway", "bridge"].into_iter().chain(named.keys().map(String::as_str)).collect();
                Err(format!("unknown topology {name:?}; there are {}", known.join(", ")))
            }
        },
    }
}

fn list<T, const MAX: usize>(what: &str, entries: Vec<T>) -> Result<Bounded<T, MAX>, String> {
    Bounded::new(entries).map_err(|error| format!("{what} {error}"))
}

fn link_name(text: &str) -> Result<LinkName, String> {
    LinkName::parse(text).map_err(|error| format!("the interface {text:?} {error}"))
}

fn build(written: &file::Topology) -> Result<Topology, String> {
    let mut cables: Vec<Link> = Vec::new();
    for [a, b] in &written.links {
        cables.push(Link { a: end(a)?, b: end(b)? });
    }
    let mut nodes = Vec::new();
    for (number, (name, node)) in written.nodes.iter().enumerate() {
        nodes.push(node_of(number, name, node, &cables, &written.bridges)?);
    }
    for holder in written.bridges.keys() {
        let end = end(holder)?;
        if !written.nodes.contains_key(end.node.as_str()) {
            return Err(format!("the bridge {holder:?} lies in no node"));
        }
    }
    let tested = NodeName::parse(TESTED).map_err(|error| format!("{TESTED} {error}"))?;
    let topology = Topology { nodes: list("nodes", nodes)?, links: list("links", cables)?, tested };
    topology.check().map_err(|error| error.to_string())?;
    Ok(topology)
}

fn end(text: &str) -> Result<End, String> {
    let (node, interface) = text.split_once(':').ok_or_else(|| format!("{text:?} is not `node:interface`"))?;
    let node = NodeName::parse(node).map_err(|error| format!("the node {node:?} {error}"))?;
    Ok(End { node, interface: link_name(interface)? })
}

fn node_of(
    number: usize,
    name: &str,
    written: &file::Node,
    cables: &[Link],
    bridges: &BTreeMap<String, Vec<String>>,
) -> Result<Node, String> {
    let node = NodeName::parse(name).map_err(|error| format!("the node {name:?} {error}"))?;
    let mut master: BTreeMap<String, LinkName> = BTreeMap::new();
    let mut held = Vec::new();
    let own = bridges.iter().filter_map(|(holder, ports)| Some((holder.split_once(':')?, ports)));
    for (bridge_number, ((_, bridge), ports)) in own.filter(|((holder, _), _)| *holder == name).enumerate() {
        let called = link_name(bridge)?;
        master.extend(ports.iter().map(|port| (port.clone(), called.clone())));
        let mac = mac_of(written, bridge, number, 128 + bridge_number)?;
        held.push(Bridge { name: called, mac, addresses: addresses_of(written, bridge)? });
    }
    let ends = cables.iter().flat_map(|cable| [&cable.a, &cable.b]).filter(|end| end.node == node);
    let mut interfaces = Vec::new();
    for (place, end) in ends.enumerate() {
        let name = end.interface.as_str();
        interfaces.push(Interface {
            name: end.interface.clone(),
            mac: mac_of(written, name, number, place)?,
            addresses: addresses_of(written, name)?,
            bridge: master.get(name).cloned(),
            mtu: None,
        });
    }
    let known = |name: &String| {
        interfaces.iter().any(|i| i.name.as_str() == name) || held.iter().any(|b| b.name.as_str() == name)
    };
    if let Some(unknown) = written.addresses.keys().chain(written.macs.keys()).find(|name| !known(name)) {
        return Err(format!("node {name} has no interface {unknown:?}: no link or bridge names it"));
    }
    let mut node = Node {
        name: node,
        interfaces: list("interfaces", interfaces)?,
        bridges: list("bridges", held)?,
        routes: Bounded::default(),
        neighbours: Bounded::default(),
        forward: written.forward,
        settings: settings(&written.sysctls)?,
        listeners: if written.listeners.is_empty() { Listeners::Auto } else { listed(&written.listeners)? },
        silent: false,
        rules: written.rules.clone().map(RulesetText::new).transpose().map_err(|error| format!("rules {error}"))?,
    };
    let mut routes = Vec::new();
    for (to, via) in &written.routes {
        let to = match to.as_str() {
            "default" if via.is_ipv4() => "0.0.0.0/0",
            "default" => "::/0",
            other => other,
        };
        let to: IpNet = to.parse().map_err(|_| format!("{to:?} is not a prefix"))?;
        let (via, interface) = (Some(*via), link_to(&node, *via)?);
        routes.push(Route { to, via, interface });
    }
    let mut neighbours = Vec::new();
    for (address, mac) in &written.neighbours {
        let (interface, mac) = (link_to(&node, *address)?, parse_mac(mac)?);
        neighbours.push(Neighbour { address: *address, mac, interface });
    }
    node.routes = list("routes", routes)?;
    node.neighbours = list("neighbours", neighbours)?;
    Ok(node)
}

/// The link of a node on whose network an address lies.
fn link_to(node: &Node, address: std::net::IpAddr) -> Result<LinkName, String> {
    let interfaces = node.interfaces.iter().map(|i| (&i.name, &i.addresses));
    let mut links = interfaces.chain(node.bridges.iter().map(|b| (&b.name, &b.addresses)));
    let found = links.find(|(_, held)| held.iter().any(|net| net.contains(&address)));
    found.map(|(name, _)| name.clone()).ok_or_else(|| format!("{address} is on no network of node {}", node.name))
}

fn addresses_of<const MAX: usize>(node: &file::Node, link: &str) -> Result<Bounded<IpNet, MAX>, String> {
    let written = node.addresses.get(link).map(Vec::as_slice).unwrap_or_default();
    let parsed = written.iter().map(|text| text.parse().map_err(|_| format!("{text:?} is not an address with prefix")));
    list("addresses", parsed.collect::<Result<_, _>>()?)
}

/// As written, else one that depends on the places of node and link alone.
fn mac_of(node: &file::Node, link: &str, number: usize, place: usize) -> Result<[u8; 6], String> {
    match node.macs.get(link) {
        Some(written) => parse_mac(written),
        None => Ok([0x02, 0, 0, 1, number as u8, place as u8]),
    }
}

fn parse_mac(text: &str) -> Result<[u8; 6], String> {
    let bytes = file::from_hex(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| format!("{text:?} is not an Ethernet address"))
}

/// Settings of a node.
///
/// # Errors
/// What is wrong, for people.
pub fn settings<const MAX: usize>(written: &BTreeMap<String, file::Scalar>) -> Result<Bounded<Setting, MAX>, String> {
    let setting = |(name, value): (&String, &file::Scalar)| {
        let parsed = SettingName::parse(name).map_err(|error| format!("{name:?} {error}"))?;
        let value = value.0.parse().map_err(|_| format!("the value of {name} is not a number"))?;
        Ok::<_, String>(Setting { name: parsed, value })
    };
    list("sysctls", written.iter().map(setting).collect::<Result<_, _>>()?)
}

/// Listeners by their words.
///
/// # Errors
/// What is wrong, for people.
pub fn listed(words: &[String]) -> Result<Listeners, String> {
    let listener = |word: &String| {
        let wrong = || format!("{word:?} is not `tcp:PORT` or `udp:PORT`");
        let (protocol, port) = word.split_once(':').ok_or_else(wrong)?;
        let protocol = match protocol {
            "tcp" => ListenerProtocol::Tcp,
            "udp" => ListenerProtocol::Udp,
            _ => return Err(wrong()),
        };
        let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        Ok(Listener { protocol, port })
    };
    Ok(Listeners::Listed(list("listeners", words.iter().map(listener).collect::<Result<_, _>>()?)?))
}
