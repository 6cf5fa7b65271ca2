//! Promises of check and diff, on plans small and random.

use std::collections::BTreeMap;

use netengine_proto::{
    bounded::Bounded,
    ids::{Uid, WorldId},
    net::{IfAddr, IfName, Mac, Transport},
    plan::{
        AllowRule, BridgePlan, CableEnd, CablePlan, DomainPolicy, FlowKind, ForwardPair, NetworkPlan, Node, NodePlan,
        Policy, PortRange, Route, SourceRoute,
    },
    root::PlanFault,
};
use proptest::prelude::*;

use super::{
    check::check,
    diff::{Action, Seen, diff},
    observed::{LinkKind, ObservedLink, ObservedNode},
    settings::Settings,
};
use crate::netlink::{
    policy::TableState,
    request::{LEAVING_GROUP, LINK_GROUP},
};

const ALIAS: &str = "netengine:0000000000000000:1000:0000000000000000";

fn bounded<T, const MAX: usize>(entries: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(entries).unwrap_or_else(|_| panic!("few entries"))
}

fn host(name: &str) -> Node {
    Node::Host(netengine_proto::names::HostName::parse(name).expect("a name"))
}

fn node(node: Node, routes: Vec<Route>) -> NodePlan {
    NodePlan {
        node,
        forward: false,
        low_ports: false,
        routes: bounded(routes),
        source_routes: Bounded::default(),
        policy: None,
        resolver: None,
    }
}

fn address(text: &str) -> IfAddr {
    IfAddr::new(text.parse().expect("an address")).expect("fit for a host")
}

fn end(node: Node, name: IfName, last: u8, bridge: Option<IfName>, addresses: Vec<IfAddr>) -> CableEnd {
    CableEnd { node, name, mac: Mac::local([2, 0, 0, 0, 0, last]), bridge, addresses: bounded(addresses) }
}

/// One router with one bridge, `hosts` hosts on it.
pub(crate) fn plan(hosts: u8) -> NetworkPlan {
    let bridge = IfName::numbered("br", 0);
    let via = "10.0.0.1".parse().expect("an address");
    let default = Route { to: "0.0.0.0/0".parse().expect("a prefix"), via };
    let mut nodes = vec![node(Node::Gateway, vec![])];
    let mut cables = vec![];
    for n in 0..hosts {
        let name = host(&format!("h{n}"));
        nodes.push(node(name.clone(), vec![default]));
        let a = end(Node::Gateway, IfName::numbered("p", n.into()), n, Some(bridge.clone()), vec![]);
        let own = address(&format!("10.0.0.{}/24", n + 2));
        cables.push(CablePlan { a, b: end(name, IfName::numbered("th", 0), n + 100, None, vec![own]) });
    }
    let bridges = vec![BridgePlan {
        node: Node::Gateway,
        name: bridge,
        mac: Mac::local([2, 0, 0, 0, 1, 0]),
        addresses: bounded(vec![address("10.0.0.1/24")]),
    }];
    let (world, owner) = (WorldId::from_bytes([0; 8]), Uid(1000));
    let (nodes, bridges, cables, peers) = (bounded(nodes), bounded(bridges), bounded(cables), Bounded::default());
    NetworkPlan { world, owner, nodes, bridges, cables, peers }
}

/// A model of the kernel: what the actions of a diff make of a node.
#[derive(Default, Clone)]
struct Model(BTreeMap<Node, Seen>);

impl Model {
    fn node(&mut self, node: &Node) -> &mut Seen {
        self.0.entry(node.clone()).or_insert_with(|| Seen {
            node: ObservedNode::default(),
            table: TableState::Absent,
            settings_differ: false,
        })
    }

    fn remove_link(&mut self, node: &Node, index: u32) {
        let seen = self.node(node);
        seen.node.links.retain(|link| link.index != index);
        seen.node.addresses.retain(|(on, _)| *on != index);
        for link in &mut seen.node.links {
            if link.master == index {
                link.master = 0;
            }
        }
        // Routes by a next hop on that link vanish with it; here: all, as every test host has one link.
        if seen.node.addresses.is_empty() {
            seen.node.routes.clear();
        }
    }

    fn add_link(&mut self, node: &Node, index: u32, name: &IfName, kind: LinkKind, mac: Mac, peer: u32) {
        let seen = self.node(node);
        assert!(seen.node.links.iter().all(|l| l.index != index && l.name != name.as_str()), "{name} made twice");
        seen.node.links.push(ObservedLink {
            index,
            name: name.to_string(),
            kind,
            mac: mac.octets(),
            alias: None,
            group: LINK_GROUP,
            master: 0,
            peer,
            // A veth end comes up only when both ends exist.
            up: kind == LinkKind::Bridge,
        });
    }

    fn apply(&mut self, plan: &NetworkPlan, actions: &BTreeMap<Node, Vec<Action>>) {
        for node in plan.nodes.iter() {
            self.node(&node.node);
        }
        let each = || actions.iter().flat_map(|(node, actions)| actions.iter().map(move |action| (node, action)));
        for (node, action) in each() {
            match action {
                Action::DeleteLink { index, .. } => self.remove_link(node, *index),
                Action::DeleteAddress { index, address, .. } => {
                    self.node(node).node.addresses.retain(|entry| *entry != (*index, address.net()));
                }
                Action::DeleteRoute(route) => self.node(node).node.routes.retain(|r| r != route),
                Action::DeleteRule(rule) => self.node(node).node.rules.retain(|r| r != rule),
                Action::Settings(_) => self.node(node).settings_differ = false,
                _ => {}
            }
        }
        for (node, action) in each() {
            match action {
                Action::CreateBridge { index, name, mac } => {
                    self.add_link(node, *index, name, LinkKind::Bridge, *mac, 0)
                }
                Action::CreateCable { index, name, mac, peer, peer_index, peer_name, peer_mac } => {
                    self.add_link(node, *index, name, LinkKind::Veth, *mac, *peer_index);
                    self.add_link(peer, *peer_index, peer_name, LinkKind::Veth, *peer_mac, *index);
                }
                _ => {}
            }
        }
        for (node, action) in each() {
            let seen = self.node(node);
            match action {
                Action::SetLink { index, alias, master, mac, up, .. } => {
                    let link = seen.node.links.iter_mut().find(|l| l.index == *index).expect("the link exists");
                    if *alias {
                        link.alias = Some(ALIAS.into());
                    }
                    link.master = master.unwrap_or(link.master);
                    link.mac = mac.map_or(link.mac, |mac| mac.octets());
                    link.up |= up;
                }
                Action::AddAddress { index, address, .. } => seen.node.addresses.push((*index, address.net())),
                Action::AddRoute(route) => seen.node.routes.push(*route),
                Action::AddRule(rule) => seen.node.rules.push(*rule),
                _ => {}
            }
        }
    }

    fn converge(&mut self, plan: &NetworkPlan) -> usize {
        for round in 0..5 {
            let difference = diff(plan, &[], ALIAS, &self.0);
            assert_eq!(difference.conflict, None);
            if difference.is_empty() && self.0.len() == plan.nodes.len() {
                return round;
            }
            self.apply(plan, &difference.actions);
        }
        panic!("does not converge");
    }
}

#[test]
fn an_empty_kernel_becomes_the_plan_in_one_step_and_then_nothing_differs() {
    let mut model = Model::default();
    assert_eq!(model.converge(&plan(5)), 1);
    assert_eq!(model.converge(&plan(5)), 0);
}

#[test]
fn a_link_that_is_not_ours_is_a_conflict_and_is_never_touched() {
    let mut model = Model::default();
    model.converge(&plan(1));
    let gateway = model.node(&Node::Gateway);
    let taken = gateway.node.links.iter_mut().find(|l| l.name == "nebr0").expect("the bridge");
    taken.alias = Some("somebody's".into());
    let difference = diff(&plan(1), &[], ALIAS, &model.0);
    assert_eq!(difference.conflict.map(|object| object.name), Some("nebr0".into()));
    assert!(difference.actions.is_empty(), "{:?}", difference.actions);
}

#[test]
fn a_smaller_plan_removes_what_is_too_much_and_leaves_the_rest() {
    let mut model = Model::default();
    model.converge(&plan(3));
    let difference = diff(&plan(2), &[], ALIAS, &model.0);
    let all: Vec<_> = difference.actions.values().flatten().collect();
    assert!(matches!(all[..], [Action::DeleteLink { name, .. }] if name == "nep2"), "{all:?}");
}

#[test]
fn ends_of_two_cables_under_one_name_each_are_no_cable() {
    let plan = plan(2);
    let mut model = Model::default();
    model.converge(&plan);
    // Each gateway's port leads to the other host.
    let gateway = &mut model.node(&Node::Gateway).node.links;
    let (a, b) = (gateway[1].index, gateway[2].index);
    for (link, index) in [(1, b), (2, a)] {
        gateway[link].index = index;
    }
    assert!(!diff(&plan, &[], ALIAS, &model.0).is_empty());
    model.converge(&plan);
    assert!(diff(&plan, &[], ALIAS, &model.0).is_empty());
}

fn damage() -> impl Strategy<Value = Vec<(u8, prop::sample::Index)>> {
    prop::collection::vec((0u8..9, any::<prop::sample::Index>()), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_damage_is_repaired(hosts in 1u8..6, damage in damage()) {
        let plan = plan(hosts);
        let mut model = Model::default();
        model.converge(&plan);
        let whole = model.0.clone();
        for (kind, pick) in damage {
            let nodes: Vec<_> = model.0.keys().cloned().collect();
            let node = nodes[pick.index(nodes.len())].clone();
            let links = model.node(&node).node.links.clone();
            if links.is_empty() { continue }
            let link = &links[pick.index(links.len())];
            let at = |model: &mut Model| model.node(&node).node.links.iter().position(|l| l.index == link.index).expect("there");
            let place = at(&mut model);
            let seen = model.node(&node);
            match kind {
                0 => model.remove_link(&node, link.index),
                1 => seen.node.links[place].up = false,
                2 => seen.node.links[place].master = 0,
                3 => seen.node.links[place].mac = [2, 9, 9, 9, 9, 9],
                4 => seen.node.addresses.clear(),
                5 => seen.node.routes.clear(),
                6 => seen.node.links[place].group = LEAVING_GROUP,
                7 => (seen.node.links[place].group, seen.node.links[place].alias) = (LEAVING_GROUP, None),
                _ => seen.settings_differ = true,
            }
        }
        model.converge(&plan);
        let shape = |model: &BTreeMap<Node, Seen>| model.iter().map(|(node, seen)| {
            let mut links: Vec<_> = seen.node.links.iter().map(|l| (l.name.clone(), l.mac, l.up, l.master != 0, l.group, l.alias.clone())).collect();
            let mut addresses: Vec<_> = seen.node.addresses.iter().map(|(_, net)| *net).collect();
            links.sort();
            addresses.sort();
            (node.clone(), links, addresses, seen.node.routes.len())
        }).collect::<Vec<_>>();
        prop_assert_eq!(shape(&model.0), shape(&whole));
    }
}

#[test]
fn contradictions_are_refused() {
    let good = plan(2);
    assert_eq!(check(&good), Ok(()));
    let broken = |alter: fn(&mut NetworkPlan)| {
        let mut plan = plan(2);
        alter(&mut plan);
        check(&plan).expect_err("was accepted")
    };
    assert!(matches!(
        broken(|plan| {
            let mut nodes = plan.nodes.to_vec();
            nodes.push(nodes[1].clone());
            plan.nodes = bounded(nodes);
        }),
        PlanFault::DuplicateNode(_)
    ));
    assert!(matches!(broken(|plan| plan.nodes = bounded(plan.nodes[..1].to_vec())), PlanFault::UnknownNode(_)));
    assert!(matches!(broken(|plan| plan.bridges = Bounded::default()), PlanFault::UnknownBridge(_)));
    assert!(matches!(
        broken(|plan| {
            let mut cables = plan.cables.to_vec();
            cables[1].a.name = cables[0].a.name.clone();
            plan.cables = bounded(cables);
        }),
        PlanFault::DuplicateLink(_)
    ));
    assert!(matches!(
        broken(|plan| {
            let mut cables = plan.cables.to_vec();
            cables[0].a.addresses = bounded(vec![address("10.9.9.9/24")]);
            plan.cables = bounded(cables);
        }),
        PlanFault::Contradiction(_)
    ));
    assert!(matches!(
        broken(|plan| {
            let mut nodes = plan.nodes.to_vec();
            let via = "192.0.2.1".parse().expect("an address");
            nodes[1].routes = bounded(vec![Route { to: "0.0.0.0/0".parse().expect("a prefix"), via }]);
            plan.nodes = bounded(nodes);
        }),
        PlanFault::Unreachable(_)
    ));
}

#[test]
fn a_policy_names_bridges_of_its_node_and_sound_rules() {
    let link = IfName::numbered("br", 0);
    let port = |number: u16| number.try_into().expect("a port");
    let domain =
        |link: &IfName, flows| DomainPolicy { link: link.clone(), opens: true, admits: true, masquerades: true, flows };
    let rule = |to: &IfName, kind| AllowRule { from: link.clone(), to: to.clone(), kind };
    let ports = |first, last| {
        FlowKind::Ports(Transport::Tcp, bounded(vec![PortRange { first: port(first), last: port(last) }; 64]))
    };
    let pair = || ForwardPair { from: link.clone(), to: link.clone() };
    let said = |policy: Policy| {
        let mut plan = plan(2);
        let mut nodes = plan.nodes.to_vec();
        nodes[0].policy = Some(policy);
        plan.nodes = bounded(nodes);
        check(&plan)
    };
    let with = |domains: Vec<DomainPolicy>, allow: Vec<AllowRule>, forward: Vec<ForwardPair>| {
        said(Policy {
            domains: bounded(domains),
            allow: bounded(allow),
            forward: bounded(forward),
            ..Policy::default()
        })
    };
    let (cable, nowhere) = (IfName::numbered("p", 0), IfName::numbered("br", 9));
    assert_eq!(with(vec![domain(&link, 1)], vec![rule(&link, ports(1, 65_535))], vec![]), Ok(()));
    assert!(matches!(with(vec![domain(&cable, 1)], vec![], vec![]), Err(PlanFault::NotABridge(_))));
    assert!(matches!(with(vec![domain(&nowhere, 1)], vec![], vec![]), Err(PlanFault::NotABridge(_))));
    assert!(matches!(with(vec![domain(&link, 1), domain(&link, 1)], vec![], vec![]), Err(PlanFault::Contradiction(_))));
    assert!(matches!(with(vec![domain(&link, 1)], vec![], vec![pair()]), Err(PlanFault::Contradiction(_))));
    assert!(matches!(with(vec![domain(&link, 0)], vec![], vec![]), Err(PlanFault::NoFlows(_))));
    assert!(matches!(with(vec![], vec![rule(&nowhere, FlowKind::Any)], vec![]), Err(PlanFault::UnknownLink(_))));
    assert_eq!(with(vec![], vec![rule(&link, ports(2, 1))], vec![]), Err(PlanFault::PortRange(2, 1)));
    // Row 37: a rule in the kernel for each range, so all of them are bounded before anything is touched.
    let many = vec![rule(&link, ports(1, 2)); netengine_proto::limits::POLICY_PORT_RANGES / 64 + 1];
    assert!(matches!(with(vec![], many, vec![]), Err(PlanFault::PortRanges(_))));
}

// Row 44.
#[test]
fn routes_lead_to_no_special_addresses_and_past_no_policy() {
    let said = |to: &str, via: &str| {
        let mut plan = plan(2);
        let mut nodes = plan.nodes.to_vec();
        let route = Route { to: to.parse().expect("a prefix"), via: via.parse().expect("an address") };
        nodes[1].routes = bounded(vec![route]);
        plan.nodes = bounded(nodes);
        check(&plan)
    };
    for to in ["169.254.169.254/32", "169.254.0.0/16", "127.0.0.1/32", "0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"]
    {
        assert!(matches!(said(to, "10.0.0.1"), Err(PlanFault::SpecialRoute(_))), "{to}");
    }
    for to in ["fe80::/64", "::1/128", "ff02::1/128", "::ffff:10.0.0.0/104"] {
        assert!(matches!(said(to, "fd00::1"), Err(PlanFault::SpecialRoute(_))), "{to}");
    }
    assert_eq!(said("0.0.0.0/0", "10.0.0.1"), Ok(()));
    assert_eq!(said("192.168.0.0/16", "10.0.0.1"), Ok(()));
    let mut plan = plan(1);
    let mut nodes = plan.nodes.to_vec();
    nodes[0].policy = Some(Policy::default());
    nodes[0].source_routes = bounded(vec![SourceRoute {
        from: "10.0.0.0/24".parse().expect("a prefix"),
        link: IfName::numbered("br", 0),
        via: "10.0.0.2".parse().expect("an address"),
    }]);
    plan.nodes = bounded(nodes);
    assert!(matches!(check(&plan), Err(PlanFault::SourceRoutes(_))));
}

// Row 45.
#[test]
fn the_settings_are_a_closed_list_of_plain_places() {
    for (forward, low_ports) in [(false, false), (false, true), (true, false), (true, true)] {
        let all: Vec<_> = Settings { forward, low_ports }.all().collect();
        assert_eq!(all.len(), 10);
        for (place, value) in all {
            let family = place.split('/').next();
            assert!(matches!(family, Some("ipv4" | "ipv6" | "bridge")), "{place}");
            assert!(place.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte)), "{place}");
            assert!(value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'\t'), "{value}");
        }
    }
}
