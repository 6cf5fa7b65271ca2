//! The topologies every suite knows: `simple`, `gateway`, `bridge`.
//!
//! Names and Ethernet addresses are fixed, so that rulesets and raw frames can name them. The tested node is `fw`. Neighbours are permanent
//! on both sides of every link, so that nothing but the listed packets and their answers passes the rules.

use ipnet::IpNet;
use netengine_proto::bounded::Bounded;

use crate::{
    names::{LinkName, NodeName},
    topology::{Bridge, End, Interface, Link, Listeners, Neighbour, Node, Route, Topology},
};

/// The Ethernet address of `client` in every preset.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0c];
/// The Ethernet address of `server`.
pub const SERVER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x05];
/// The Ethernet address of the first interface of `fw`.
pub const FW_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xf0];
/// The Ethernet address of its second interface.
pub const FW_SECOND_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xf1];

impl Topology {
    /// client eth0 (10.0.0.1, fd00::1) -- fw eth0 (10.0.0.2/24, fd00::2/64), default routes of fw back to the client.
    pub fn simple() -> Self {
        let mut client = node("client", &[("eth0", CLIENT_MAC, &["10.0.0.1/24", "fd00::1/64"])]);
        client.neighbours = list(vec![near("10.0.0.2", FW_MAC, "eth0"), near("fd00::2", FW_MAC, "eth0")]);
        client.routes = defaults("10.0.0.2", "fd00::2", "eth0");
        let mut fw = node("fw", &[("eth0", FW_MAC, &["10.0.0.2/24", "fd00::2/64"])]);
        fw.neighbours = list(vec![near("10.0.0.1", CLIENT_MAC, "eth0"), near("fd00::1", CLIENT_MAC, "eth0")]);
        fw.routes = defaults("10.0.0.1", "fd00::1", "eth0");
        whole(vec![client, fw], vec![cable("client", "eth0", "fw", "eth0")])
    }

    /// client eth0 (10.0.1.1, fd00:1::1) -- fw eth0 (10.0.1.2/24, fd00:1::2/64), fw eth1 (10.0.2.1/24, fd00:2::1/64) -- server eth0
    /// (10.0.2.2, fd00:2::2). fw forwards; what it knows no route for goes to the client.
    pub fn gateway() -> Self {
        let mut client = node("client", &[("eth0", CLIENT_MAC, &["10.0.1.1/24", "fd00:1::1/64"])]);
        client.neighbours = list(vec![near("10.0.1.2", FW_MAC, "eth0"), near("fd00:1::2", FW_MAC, "eth0")]);
        client.routes = defaults("10.0.1.2", "fd00:1::2", "eth0");
        let mut fw = node(
            "fw",
            &[
                ("eth0", FW_MAC, &["10.0.1.2/24", "fd00:1::2/64"]),
                ("eth1", FW_SECOND_MAC, &["10.0.2.1/24", "fd00:2::1/64"]),
            ],
        );
        fw.forward = true;
        fw.neighbours = list(vec![
            near("10.0.1.1", CLIENT_MAC, "eth0"),
            near("fd00:1::1", CLIENT_MAC, "eth0"),
            near("10.0.2.2", SERVER_MAC, "eth1"),
            near("fd00:2::2", SERVER_MAC, "eth1"),
        ]);
        fw.routes = defaults("10.0.1.1", "fd00:1::1", "eth0");
        let mut server = node("server", &[("eth0", SERVER_MAC, &["10.0.2.2/24", "fd00:2::2/64"])]);
        server.neighbours =
            list(vec![near("10.0.2.1", FW_SECOND_MAC, "eth0"), near("fd00:2::1", FW_SECOND_MAC, "eth0")]);
        server.routes = defaults("10.0.2.1", "fd00:2::1", "eth0");
        let links = vec![cable("client", "eth0", "fw", "eth0"), cable("fw", "eth1", "server", "eth0")];
        whole(vec![client, fw, server], links)
    }

    /// client eth0 (10.0.3.1, fd00:3::1) -- p0, p1 in br0 of fw (no addresses) -- server eth0 (10.0.3.2, fd00:3::2).
    pub fn bridge() -> Self {
        let mut client = node("client", &[("eth0", CLIENT_MAC, &["10.0.3.1/24", "fd00:3::1/64"])]);
        client.neighbours = list(vec![near("10.0.3.2", SERVER_MAC, "eth0"), near("fd00:3::2", SERVER_MAC, "eth0")]);
        client.routes = defaults("10.0.3.2", "fd00:3::2", "eth0");
        let mut fw = node("fw", &[("p0", FW_MAC, &[]), ("p1", FW_SECOND_MAC, &[])]);
        fw.bridges = list(vec![Bridge { name: link("br0"), mac: FW_MAC, addresses: Bounded::default() }]);
        let ports = fw.interfaces.clone().into_inner();
        fw.interfaces = list(ports.into_iter().map(|port| Interface { bridge: Some(link("br0")), ..port }).collect());
        let mut server = node("server", &[("eth0", SERVER_MAC, &["10.0.3.2/24", "fd00:3::2/64"])]);
        server.neighbours = list(vec![near("10.0.3.1", CLIENT_MAC, "eth0"), near("fd00:3::1", CLIENT_MAC, "eth0")]);
        server.routes = defaults("10.0.3.1", "fd00:3::1", "eth0");
        whole(vec![client, fw, server], vec![cable("client", "eth0", "fw", "p0"), cable("fw", "p1", "server", "eth0")])
    }
}

fn whole(nodes: Vec<Node>, links: Vec<Link>) -> Topology {
    Topology { nodes: list(nodes), links: list(links), tested: name("fw") }
}

fn node(called: &str, interfaces: &[(&str, [u8; 6], &[&str])]) -> Node {
    let interfaces = interfaces.iter().map(|(name, mac, addresses)| Interface {
        name: link(name),
        mac: *mac,
        addresses: list(addresses.iter().map(|a| net(a)).collect()),
        bridge: None,
        mtu: None,
    });
    Node {
        name: name(called),
        interfaces: list(interfaces.collect()),
        bridges: Bounded::default(),
        routes: Bounded::default(),
        neighbours: Bounded::default(),
        forward: false,
        settings: Bounded::default(),
        listeners: Listeners::Auto,
        silent: false,
        rules: None,
    }
}

fn cable(a: &str, a_link: &str, b: &str, b_link: &str) -> Link {
    let end = |node: &str, interface: &str| End { node: name(node), interface: link(interface) };
    Link { a: end(a, a_link), b: end(b, b_link) }
}

fn near(address: &str, mac: [u8; 6], interface: &str) -> Neighbour {
    Neighbour { address: address.parse().expect("an address of a preset"), mac, interface: link(interface) }
}

fn defaults<const MAX: usize>(v4: &str, v6: &str, interface: &str) -> Bounded<Route, MAX> {
    let route = |to: &str, via: &str| Route {
        to: net(to),
        via: Some(via.parse().expect("an address of a preset")),
        interface: link(interface),
    };
    list(vec![route("0.0.0.0/0", v4), route("::/0", v6)])
}

fn name(text: &str) -> NodeName {
    NodeName::parse(text).expect("a name of a preset")
}

fn link(text: &str) -> LinkName {
    LinkName::parse(text).expect("a name of a preset")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("an address of a preset")
}

fn list<T, const MAX: usize>(entries: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(entries).expect("a preset is far below the bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_whole() {
        for topology in [Topology::simple(), Topology::gateway(), Topology::bridge()] {
            assert_eq!(topology.check(), Ok(()));
            let wire = postcard::to_stdvec(&topology).expect("encodes");
            assert_eq!(postcard::from_bytes::<Topology>(&wire).expect("decodes"), topology);
        }
    }

    #[test]
    fn a_topology_with_a_mistake_is_refused() {
        let mut topology = Topology::simple();
        topology.tested = name("nobody");
        assert!(topology.check().is_err());
        let mut topology = Topology::gateway();
        topology.links = list(topology.links.clone().into_inner().into_iter().take(1).collect());
        assert!(matches!(topology.check(), Err(crate::TopologyError::Cables(..))));
        let mut topology = Topology::simple();
        let mut nodes = topology.nodes.clone().into_inner();
        nodes.push(nodes[0].clone());
        topology.nodes = list(nodes);
        assert!(matches!(topology.check(), Err(crate::TopologyError::Twice { .. })));
    }
}
