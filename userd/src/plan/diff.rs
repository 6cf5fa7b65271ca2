//! Objects of a plan by name, and what differs between two plans.

use std::collections::BTreeMap;

use netengine_proto::{
    api::PlannedChange,
    bounded::Bounded,
    plan::{NetworkPlan, Node, peer_link},
    root::{Change, ChangeAction, ObjectKind, ObjectName},
};

/// How rootd names the table of a namespace, one per namespace.
const TABLE: &str = "policy";

/// The objects a plan makes, each with all of its attributes as text. The order is the order in which they are made.
pub fn objects(plan: &NetworkPlan) -> Vec<(ObjectName, String)> {
    let mut found = Vec::new();
    let mut add = |node: &Node, kind: ObjectKind, name: String, attributes: String| {
        found.push((ObjectName { node: node.to_string(), kind, name }, attributes));
    };
    for node in plan.nodes.iter() {
        let settings = format!("{} {}", node.forward, node.low_ports);
        add(&node.node, ObjectKind::Namespace, node.node.to_string(), settings);
    }
    for bridge in plan.bridges.iter() {
        add(&bridge.node, ObjectKind::Bridge, bridge.name.to_string(), bridge.mac.to_string());
        for address in bridge.addresses.iter() {
            add(&bridge.node, ObjectKind::Address, format!("{} {address}", bridge.name), String::new());
        }
    }
    for cable in plan.cables.iter() {
        // A cable is one object: the kernel makes and removes both its ends at once. It is named by its first end.
        let ends = [&cable.a, &cable.b].map(|end| format!("{} {} {} {:?}", end.node, end.name, end.mac, end.bridge));
        add(&cable.a.node, ObjectKind::Link, cable.a.name.to_string(), ends.join(", "));
        for end in [&cable.a, &cable.b] {
            for address in end.addresses.iter() {
                add(&end.node, ObjectKind::Address, format!("{} {address}", end.name), String::new());
            }
        }
    }
    for peer in plan.peers.iter() {
        // Made once the other world says the same of this one, and then by whoever comes second.
        let attributes = format!("{} {} {:?}", peer.owner, peer.via, peer.networks);
        add(&Node::Gateway, ObjectKind::Link, peer_link(peer.world).to_string(), attributes);
    }
    for node in plan.nodes.iter() {
        for route in node.routes.iter() {
            add(&node.node, ObjectKind::Route, format!("{} via {}", route.to, route.via), String::new());
        }
        // A table of its own: the kernel's number for it is not known before.
        for source in node.source_routes.iter() {
            let from = source.from;
            let default = if from.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            let names = [
                format!("{from} dev {} for {from}", source.link),
                format!("{default} via {} for {from}", source.via),
                format!("from {from}"),
            ];
            names.into_iter().for_each(|name| add(&node.node, ObjectKind::Route, name, String::new()));
        }
        if let Some(policy) = &node.policy {
            // The policy tells who speaks by each port, so a cable changes it too.
            let ends = plan.cables.iter().flat_map(|cable| [(&cable.a, &cable.b), (&cable.b, &cable.a)]);
            let ports = ends.filter(|(end, _)| end.node == node.node && end.bridge.is_some());
            let ports: Vec<_> = ports.map(|(end, other)| (&end.name, other.mac, &other.addresses)).collect();
            add(&node.node, ObjectKind::Table, TABLE.to_owned(), format!("{policy:?} {ports:?}"));
            // Only what the policy marked finds a route (rootd's RoutingRule).
            for family in ["inet", "inet6"] {
                for rule in ["iif lo table main", "fwmark 0x4e45 table main", "blackhole"] {
                    add(&node.node, ObjectKind::Route, format!("{family} {rule}"), String::new());
                }
            }
        }
    }
    found
}

/// What of a plan is not in another as it is: only that can differ. A node with a policy stays, because its table also depends on cables.
fn apart_from(plan: &NetworkPlan, other: &NetworkPlan) -> NetworkPlan {
    fn apart<'p, T: Clone + PartialEq, K: Ord, const MAX: usize>(
        all: &'p Bounded<T, MAX>,
        other: &'p Bounded<T, MAX>,
        key: impl Fn(&'p T) -> K,
        stays: impl Fn(&T) -> bool,
    ) -> Bounded<T, MAX> {
        let known: BTreeMap<K, &T> = other.iter().map(|one| (key(one), one)).collect();
        let differs = |one: &&'p T| stays(one) || known.get(&key(one)) != Some(one);
        Bounded::new(all.iter().filter(differs).cloned().collect()).unwrap_or_default()
    }
    NetworkPlan {
        world: plan.world,
        owner: plan.owner,
        nodes: apart(&plan.nodes, &other.nodes, |one| &one.node, |one| one.policy.is_some()),
        bridges: apart(&plan.bridges, &other.bridges, |one| (&one.node, &one.name), |_| false),
        cables: apart(&plan.cables, &other.cables, |one| (&one.a.node, &one.a.name), |_| false),
        peers: plan.peers.clone(),
    }
}

/// What has to happen for `before` to become `after`: deletions last.
pub fn diff(before: Option<&NetworkPlan>, after: &NetworkPlan) -> Vec<Change> {
    let (before, after) = match before {
        Some(before) if before == after => return Vec::new(),
        Some(before) => (objects(&apart_from(before, after)), objects(&apart_from(after, before))),
        None => (Vec::new(), objects(after)),
    };
    let old: BTreeMap<_, _> = before.iter().map(|(name, attributes)| (name, attributes)).collect();
    let new: BTreeMap<_, _> = after.iter().map(|(name, attributes)| (name, attributes)).collect();
    let made = after.iter().filter_map(|(name, attributes)| match old.get(name) {
        None => Some(Change { action: ChangeAction::Create, object: name.clone() }),
        Some(was) if *was != attributes => Some(Change { action: ChangeAction::Change, object: name.clone() }),
        Some(_) => None,
    });
    let gone = before.iter().rev().filter(|(name, _)| !new.contains_key(name));
    let gone = gone.map(|(name, _)| Change { action: ChangeAction::Delete, object: name.clone() });
    made.chain(gone).collect()
}

/// The word for a kind of object, as in JSON.
pub fn kind_word(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Namespace => "namespace",
        ObjectKind::Sysctl => "sysctl",
        ObjectKind::Bridge => "bridge",
        ObjectKind::Link => "link",
        ObjectKind::Address => "address",
        ObjectKind::Route => "route",
        ObjectKind::Table => "table",
        ObjectKind::Process => "process",
        ObjectKind::Directory => "directory",
    }
}

/// A change for people.
pub fn describe(phase: u8, change: &Change) -> PlannedChange {
    let action = match change.action {
        ChangeAction::Create => "create",
        ChangeAction::Change => "change",
        ChangeAction::Delete => "delete",
    };
    let object = describe_object(&change.object);
    PlannedChange { phase, action: action.to_owned(), kind: kind_word(change.object.kind).to_owned(), object }
}

/// An object for people: where, then what.
pub fn describe_object(object: &ObjectName) -> String {
    if object.node == object.name { object.name.clone() } else { format!("{} {}", object.node, object.name) }
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
