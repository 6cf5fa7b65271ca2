//! What must be done so that the kernel equals a plan.
//!
//! A link is ours when it carries our alias, or when it has our group and no alias yet (made, not yet named, before a
//! crash). One that was to be removed with others, before a crash, is removed. A link with a planned name that is not ours is never adopted: it is a conflict. Addresses on our links
//! and routes of our origin follow the plan exactly; all else is foreign and stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netengine_proto::{
    ids::WorldId,
    net::{IfAddr, IfName, Mac},
    plan::{CableEnd, CablePlan, NetworkPlan, Node, NodePlan},
    root::{Change, ChangeAction, ObjectKind, ObjectName},
};

use super::{
    join::Joined,
    observed::{LinkKind, MAIN_TABLE, ObservedLink, ObservedNode, RoutingRule, TableRoute},
    settings::Settings,
};
use crate::netlink::{
    policy::TableState,
    request::{LEAVING_GROUP, LINK_GROUP},
};

/// Everything seen of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Links, addresses, routes.
    pub node: ObservedNode,
    /// The policy table.
    pub table: TableState,
    /// Settings that differ from the plan.
    pub settings_differ: bool,
}

/// One thing to do in one node. Links are named by index; names are for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the requests in netlink::request")]
pub enum Action {
    Settings(Settings),
    Policy,
    DeletePolicy,
    DeleteRule(RoutingRule),
    DeleteRoute(TableRoute),
    DeleteAddress {
        index: u32,
        name: String,
        address: IfAddr,
    },
    DeleteLink {
        index: u32,
        name: String,
    },
    CreateBridge {
        index: u32,
        name: IfName,
        mac: Mac,
    },
    CreateCable {
        index: u32,
        name: IfName,
        mac: Mac,
        peer: Node,
        peer_index: u32,
        peer_name: IfName,
        peer_mac: Mac,
    },
    /// Removes what is left of a cable in another world's router.
    DeleteFar {
        world: WorldId,
        index: u32,
        name: String,
    },
    /// Makes a cable to another world's router, which chooses the index of its end.
    CreateFar {
        index: u32,
        name: IfName,
        mac: Mac,
        world: WorldId,
        far_name: IfName,
        far_mac: Mac,
    },
    SetLink {
        index: u32,
        name: String,
        created: bool,
        alias: bool,
        master: Option<u32>,
        mac: Option<Mac>,
        up: bool,
    },
    AddAddress {
        index: u32,
        name: String,
        address: IfAddr,
    },
    AddRoute(TableRoute),
    AddRule(RoutingRule),
}

/// What must be done, and what is there that is not ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Actions by node, each list in the order it must be done. All nodes' cables come before any node's link settings.
    pub actions: BTreeMap<Node, Vec<Action>>,
    /// Links that are not ours.
    pub foreign: Vec<ObjectName>,
    /// A link that is not ours has a planned name.
    pub conflict: Option<ObjectName>,
}

impl Difference {
    /// Whether nothing must be done.
    pub fn is_empty(&self) -> bool {
        self.actions.values().all(Vec::is_empty)
    }

    /// Whether nothing must be done, and nothing is there that is not ours.
    pub fn finds_nothing(&self) -> bool {
        self.is_empty() && self.foreign.is_empty() && self.conflict.is_none()
    }

    /// The actions as a report.
    pub fn changes(&self) -> Vec<Change> {
        self.actions
            .iter()
            .flat_map(|(node, actions)| actions.iter().filter_map(|action| change(node, action)))
            .collect()
    }
}

fn name(node: &Node, kind: ObjectKind, name: impl Into<String>) -> ObjectName {
    ObjectName { node: node.to_string(), kind, name: name.into() }
}

fn change(node: &Node, action: &Action) -> Option<Change> {
    use ChangeAction::{Change as Alter, Create, Delete};
    let (action, object) = match action {
        Action::Settings(_) => (Alter, name(node, ObjectKind::Sysctl, "settings")),
        Action::Policy => (Create, name(node, ObjectKind::Table, "policy")),
        Action::DeletePolicy => (Delete, name(node, ObjectKind::Table, "policy")),
        Action::DeleteRoute(r) => (Delete, name(node, ObjectKind::Route, r.to_string())),
        Action::AddRoute(r) => (Create, name(node, ObjectKind::Route, r.to_string())),
        Action::DeleteRule(r) => (Delete, name(node, ObjectKind::Route, r.to_string())),
        Action::AddRule(r) => (Create, name(node, ObjectKind::Route, r.to_string())),
        Action::DeleteAddress { name: link, address, .. } => {
            (Delete, name(node, ObjectKind::Address, format!("{link} {address}")))
        }
        Action::AddAddress { name: link, address, .. } => {
            (Create, name(node, ObjectKind::Address, format!("{link} {address}")))
        }
        Action::DeleteLink { name: link, .. } => (Delete, name(node, ObjectKind::Link, link)),
        Action::CreateBridge { name: link, .. } => (Create, name(node, ObjectKind::Bridge, link.as_str())),
        Action::DeleteFar { name: link, .. } => (Delete, name(node, ObjectKind::Link, link)),
        Action::CreateFar { name: link, .. } => (Create, name(node, ObjectKind::Link, link.as_str())),
        Action::CreateCable { name: link, .. } => (Create, name(node, ObjectKind::Link, link.as_str())),
        Action::SetLink { created: true, .. } => return None,
        Action::SetLink { name: link, .. } => (Alter, name(node, ObjectKind::Link, link)),
    };
    Some(Change { action, object })
}

/// A link as planned, bridge or cable end alike.
struct Wanted<'a> {
    name: &'a IfName,
    kind: LinkKind,
    mac: Mac,
    bridge: Option<&'a IfName>,
    addresses: &'a [IfAddr],
}

/// The number of the cable to the `nth` joined world: behind those of the plan.
fn far_cable(plan: &NetworkPlan, nth: usize) -> usize {
    plan.cables.len() + nth
}

/// Links of one node by plan: bridges first, then cable ends, each with the number of its cable, then those to the
/// routers of joined worlds.
fn wanted<'a>(plan: &'a NetworkPlan, joined: &'a [Joined]) -> HashMap<&'a Node, Vec<(Wanted<'a>, Option<usize>)>> {
    let mut nodes: HashMap<&Node, Vec<(Wanted<'_>, Option<usize>)>> = HashMap::new();
    for node in plan.nodes.iter() {
        nodes.insert(&node.node, Vec::new());
    }
    for bridge in plan.bridges.iter() {
        let link = Wanted {
            name: &bridge.name,
            kind: LinkKind::Bridge,
            mac: bridge.mac,
            bridge: None,
            addresses: &bridge.addresses,
        };
        nodes.entry(&bridge.node).or_default().push((link, None));
    }
    for (cable, plan) in plan.cables.iter().enumerate() {
        for end in [&plan.a, &plan.b] {
            let link = Wanted {
                name: &end.name,
                kind: LinkKind::Veth,
                mac: end.mac,
                bridge: end.bridge.as_ref(),
                addresses: &end.addresses,
            };
            nodes.entry(&end.node).or_default().push((link, Some(cable)));
        }
    }
    if let Some(router) = nodes.get_mut(&Node::Gateway) {
        for (nth, peer) in joined.iter().enumerate() {
            let link = Wanted {
                name: &peer.link,
                kind: LinkKind::Veth,
                mac: peer.mac,
                bridge: None,
                addresses: std::slice::from_ref(&peer.address),
            };
            router.push((link, Some(far_cable(plan, nth))));
        }
    }
    nodes
}

/// Compares `plan`, with the worlds `joined` by it, with what was seen; a node absent from `seen` is a namespace that was
/// just made and is empty.
pub fn diff(plan: &NetworkPlan, joined: &[Joined], alias: &str, seen: &BTreeMap<Node, Seen>) -> Difference {
    let mut difference = Difference::default();
    let wanted = wanted(plan, joined);
    let mut links = Links::default();
    for node_plan in plan.nodes.iter() {
        let node = &node_plan.node;
        let observed = seen.get(node).map(|seen| seen.node.links.as_slice()).unwrap_or_default();
        links.read(node, observed, alias, &wanted[node], &mut difference);
    }
    // A cable stands only if both its ends do and are each other's; otherwise what is left of it is removed and it is made
    // anew. Indexes are per namespace, so both directions are asked.
    let is_cable = |cable: &CablePlan| {
        let end = |end: &'_ CableEnd| links.usable.get(&(&end.node, &end.name)).map(|link| (link.index, link.peer));
        matches!((end(&cable.a), end(&cable.b)), (Some(a), Some(b)) if a.1 == b.0 && b.1 == a.0)
    };
    let mut broken: BTreeSet<usize> =
        plan.cables.iter().enumerate().filter(|(_, cable)| !is_cable(cable)).map(|(number, _)| number).collect();
    for number in &broken {
        let cable = &plan.cables[*number];
        for end in [&cable.a, &cable.b] {
            if let Some(link) = links.usable.remove(&(&end.node, &end.name)) {
                let action = Action::DeleteLink { index: link.index, name: link.name.clone() };
                difference.actions.entry(end.node.clone()).or_default().push(action);
            }
        }
    }
    for (nth, peer) in joined.iter().enumerate() {
        let own = links.usable.get(&(&Node::Gateway, &peer.link)).copied();
        if own.zip(peer.far).is_some_and(|(own, (index, other))| own.peer == index && other == own.index) {
            continue;
        }
        broken.insert(far_cable(plan, nth));
        let router = difference.actions.entry(Node::Gateway).or_default();
        if let Some(link) = links.usable.remove(&(&Node::Gateway, &peer.link)) {
            router.push(Action::DeleteLink { index: link.index, name: link.name.clone() });
        }
        if let Some((index, _)) = peer.far {
            router.push(Action::DeleteFar { world: peer.world, index, name: peer.far_link.to_string() });
        }
    }
    for node_plan in plan.nodes.iter() {
        let node = &node_plan.node;
        let actions = node_actions(node_plan, &wanted[node], &broken, (plan, joined), &mut links, seen.get(node));
        difference.actions.entry(node.clone()).or_default().extend(actions);
    }
    if difference.conflict.is_some() {
        // Refused as a whole, before anything is touched.
        difference.actions.clear();
    }
    difference
}

/// Everything of ours that exists, by what was seen.
pub fn objects(plan: &NetworkPlan, joined: &[Joined], alias: &str, seen: &BTreeMap<Node, Seen>) -> Vec<ObjectName> {
    let wanted = wanted(plan, joined);
    let (mut links, mut objects) = (Links::default(), Vec::new());
    for node_plan in plan.nodes.iter() {
        let node = &node_plan.node;
        let Some(seen) = seen.get(node) else { continue };
        links.read(node, &seen.node.links, alias, &wanted[node], &mut Difference::default());
        report(node, &wanted[node], &links, seen, &mut objects);
    }
    objects
}

/// Which links are usable as they are, and which indexes are free.
#[derive(Default)]
struct Links<'a> {
    usable: HashMap<(&'a Node, &'a IfName), &'a ObservedLink>,
    taken: HashMap<&'a Node, BTreeSet<u32>>,
    fresh: HashMap<(&'a Node, &'a IfName), u32>,
}

impl<'a> Links<'a> {
    fn read(
        &mut self,
        node: &'a Node,
        observed: &'a [ObservedLink],
        alias: &str,
        wanted: &[(Wanted<'a>, Option<usize>)],
        difference: &mut Difference,
    ) {
        let taken = self.taken.entry(node).or_default();
        let by_name: HashMap<&str, &Wanted<'a>> =
            wanted.iter().rev().map(|(wanted, _)| (wanted.name.as_str(), wanted)).collect();
        for link in observed {
            taken.insert(link.index);
            if matches!(link.kind, LinkKind::Loopback | LinkKind::KernelTunnel) {
                continue;
            }
            let is_leaving = link.group == LEAVING_GROUP;
            let is_unnamed = link.alias.is_none() && (is_leaving || link.group == LINK_GROUP);
            let ours = is_unnamed || link.alias.as_deref() == Some(alias);
            let planned = by_name.get(link.name.as_str()).copied();
            match (ours, planned) {
                (true, Some(wanted)) if wanted.kind == link.kind && !is_leaving => {
                    self.usable.insert((node, wanted.name), link);
                }
                (true, _) => {
                    let action = Action::DeleteLink { index: link.index, name: link.name.clone() };
                    difference.actions.entry(node.clone()).or_default().push(action);
                }
                (false, planned) => {
                    let object = name(node, ObjectKind::Link, link.name.clone());
                    if planned.is_some() {
                        difference.conflict = Some(object.clone());
                    }
                    difference.foreign.push(object);
                }
            }
        }
    }

    /// The index a link has or will have. New ones are chosen here, so that one batch can make and set a link.
    fn index(&mut self, node: &'a Node, link: &'a IfName) -> u32 {
        const FIRST: u32 = 100;
        if let Some(found) = self.usable.get(&(node, link)) {
            return found.index;
        }
        let taken = self.taken.entry(node).or_default();
        *self.fresh.entry((node, link)).or_insert_with(|| {
            let after = taken.range(FIRST..).next_back().map_or(FIRST, |last| last + 1);
            taken.insert(after);
            after
        })
    }
}

fn node_actions<'a>(
    node_plan: &'a NodePlan,
    wanted: &[(Wanted<'a>, Option<usize>)],
    broken: &BTreeSet<usize>,
    (plan, joined): (&'a NetworkPlan, &'a [Joined]),
    links: &mut Links<'a>,
    seen: Option<&Seen>,
) -> Vec<Action> {
    let node = &node_plan.node;
    let empty = ObservedNode::default();
    let observed = seen.map_or(&empty, |seen| &seen.node);
    let settings = Settings { forward: node_plan.forward, low_ports: node_plan.low_ports };
    let mut actions = Vec::new();
    if seen.is_some_and(|seen| seen.settings_differ) {
        actions.push(Action::Settings(settings));
    }
    // The policy comes first: nothing is forwarded before it is in force.
    let table = seen.map_or(TableState::Absent, |seen| seen.table);
    match (&node_plan.policy, table) {
        (Some(_), TableState::Absent | TableState::Differs) => actions.push(Action::Policy),
        (None, TableState::Differs) => actions.push(Action::DeletePolicy),
        _ => {}
    }
    let (mut routes, rules) = wanted_routes(node_plan, links);
    if *node == Node::Gateway {
        routes.extend(joined.iter().flat_map(|peer| far_routes(peer, links)));
    }
    let wanted_rules: BTreeSet<_> = rules.iter().copied().collect();
    let wanted_routes: BTreeSet<_> = routes.iter().copied().collect();
    let is_left = |rule: &&RoutingRule| !wanted_rules.contains(rule);
    actions.extend(observed.rules.iter().filter(is_left).copied().map(Action::DeleteRule));
    let is_left = |route: &&TableRoute| !wanted_routes.contains(route);
    actions.extend(observed.routes.iter().filter(is_left).copied().map(Action::DeleteRoute));
    for (link, cable) in wanted {
        if let Some(peer) = cable.and_then(|cable| joined.get(cable.checked_sub(plan.cables.len())?)) {
            if cable.is_some_and(|cable| broken.contains(&cable)) {
                actions.push(Action::CreateFar {
                    index: links.index(node, link.name),
                    name: link.name.clone(),
                    mac: link.mac,
                    world: peer.world,
                    far_name: peer.far_link.clone(),
                    far_mac: peer.far_mac,
                });
            }
        } else if let Some(cable) = cable {
            let CableEnds { first, other } = ends(plan, *cable, node, link.name);
            if broken.contains(cable) && first {
                actions.push(Action::CreateCable {
                    index: links.index(node, link.name),
                    name: link.name.clone(),
                    mac: link.mac,
                    peer: other.node.clone(),
                    peer_index: links.index(&other.node, &other.name),
                    peer_name: other.name.clone(),
                    peer_mac: other.mac,
                });
            }
        } else if !links.usable.contains_key(&(node, link.name)) {
            actions.push(Action::CreateBridge {
                index: links.index(node, link.name),
                name: link.name.clone(),
                mac: link.mac,
            });
        }
    }
    let held = addresses_by_link(observed);
    for (link, _) in wanted {
        actions.extend(link_actions(node, link, links, &held));
    }
    let there: BTreeSet<_> = observed.routes.iter().collect();
    actions.extend(routes.into_iter().filter(|route| !there.contains(route)).map(Action::AddRoute));
    let there: BTreeSet<_> = observed.rules.iter().collect();
    actions.extend(rules.into_iter().filter(|rule| !there.contains(rule)).map(Action::AddRule));
    actions
}

/// The routes and rules of a node as the kernel shall have them. A source route's table is numbered by its link.
fn wanted_routes<'a>(node_plan: &'a NodePlan, links: &mut Links<'a>) -> (Vec<TableRoute>, Vec<RoutingRule>) {
    const FIRST_TABLE: u32 = 10_000;
    let mut routes: Vec<_> = node_plan.routes.iter().copied().map(TableRoute::from).collect();
    let mut rules = Vec::new();
    if node_plan.policy.is_some() {
        rules.extend(RoutingRule::OF_POLICY);
    }
    for source in node_plan.source_routes.iter() {
        let link = links.index(&node_plan.node, &source.link);
        let (table, from) = (FIRST_TABLE + link, source.from.trunc());
        let any = if from.addr().is_ipv4() { Ipv4Net::default().into() } else { Ipv6Net::default().into() };
        routes.push(TableRoute { table, to: from, via: None, link: Some(link) });
        routes.push(TableRoute { table, to: any, via: Some(source.via), link: Some(link) });
        rules.push(RoutingRule::Source { from, table });
    }
    (routes, rules)
}

/// The routes to a joined world's networks. Its router's addresses are on no network of ours, so each names the link.
fn far_routes<'a>(peer: &'a Joined, links: &mut Links<'a>) -> Vec<TableRoute> {
    let link = Some(links.index(&Node::Gateway, &peer.link));
    let route =
        |(to, via): &(ipnet::IpNet, std::net::IpAddr)| TableRoute { table: MAIN_TABLE, to: *to, via: Some(*via), link };
    peer.routes.iter().map(route).collect()
}

struct CableEnds<'a> {
    first: bool,
    other: &'a CableEnd,
}

fn ends<'a>(plan: &'a NetworkPlan, cable: usize, node: &Node, link: &IfName) -> CableEnds<'a> {
    let cable = &plan.cables[cable];
    let first = cable.a.node == *node && cable.a.name == *link;
    CableEnds { first, other: if first { &cable.b } else { &cable.a } }
}

/// The addresses of each link, by its index.
fn addresses_by_link(observed: &ObservedNode) -> HashMap<u32, Vec<IpNet>> {
    let mut held: HashMap<u32, Vec<IpNet>> = HashMap::new();
    for (index, net) in &observed.addresses {
        held.entry(*index).or_default().push(*net);
    }
    held
}

fn link_actions<'a>(
    node: &'a Node,
    link: &Wanted<'a>,
    links: &mut Links<'a>,
    held: &HashMap<u32, Vec<IpNet>>,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let found = links.usable.get(&(node, link.name)).copied();
    let index = links.index(node, link.name);
    let master = link.bridge.map_or(0, |bridge| links.index(node, bridge));
    let link_name = link.name.as_str().to_owned();
    let (alias, mac, up, master) = match found {
        None => (true, None, link.kind == LinkKind::Veth, (master != 0).then_some(master)),
        Some(found) => (
            found.alias.is_none(),
            (found.mac != link.mac.octets()).then_some(link.mac),
            !found.up,
            (found.master != master).then_some(master),
        ),
    };
    if alias || mac.is_some() || up || master.is_some() {
        let created = found.is_none();
        actions.push(Action::SetLink { index, name: link_name.clone(), created, alias, master, mac, up });
    }
    let present: BTreeSet<_> = match found {
        None => BTreeSet::new(),
        Some(_) => held.get(&index).into_iter().flatten().copied().collect(),
    };
    let planned: BTreeSet<_> = link.addresses.iter().map(|address| address.net()).collect();
    for net in &present {
        if !planned.contains(net) {
            // What cannot be one of our addresses was put there by hand; the link is ours, so it goes too.
            if let Ok(address) = IfAddr::new(*net) {
                actions.push(Action::DeleteAddress { index, name: link_name.clone(), address });
            }
        }
    }
    for address in link.addresses.iter().filter(|address| !present.contains(&address.net())) {
        actions.push(Action::AddAddress { index, name: link_name.clone(), address: *address });
    }
    actions
}

fn report(
    node: &Node,
    wanted: &[(Wanted<'_>, Option<usize>)],
    links: &Links<'_>,
    seen: &Seen,
    objects: &mut Vec<ObjectName>,
) {
    objects.push(name(node, ObjectKind::Namespace, node.to_string()));
    let held = addresses_by_link(&seen.node);
    for (link, _) in wanted {
        if let Some(found) = links.usable.get(&(node, link.name)) {
            let kind = if link.kind == LinkKind::Bridge { ObjectKind::Bridge } else { ObjectKind::Link };
            objects.push(name(node, kind, link.name.as_str()));
            let own = held.get(&found.index).into_iter().flatten();
            objects.extend(own.map(|net| name(node, ObjectKind::Address, format!("{} {net}", link.name))));
        }
    }
    objects.extend(seen.node.routes.iter().map(|r| name(node, ObjectKind::Route, r.to_string())));
    objects.extend(seen.node.rules.iter().map(|r| name(node, ObjectKind::Route, r.to_string())));
    if seen.table != TableState::Absent {
        // Of family inet and of family bridge; they are changed together.
        objects.extend(["policy", "ports"].map(|table| name(node, ObjectKind::Table, table)));
    }
}
