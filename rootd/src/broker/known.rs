//! What is known of a world's namespaces: seen once, and valid until something else is heard of them.

use std::collections::BTreeMap;

use netengine_proto::{
    ids::CallKey,
    plan::{Node, NodePlan},
    root::Change,
};

use crate::{
    netlink::policy::TableState,
    plan::{diff::Seen, settings::Settings},
    worker::{channel::encode, message::NetRequest, watch_fact::Fact},
};

/// Of one world. Empty after a start: then everything is looked at.
#[derive(Debug, Default)]
pub struct Known {
    seen: BTreeMap<Node, Seen>,
    against: BTreeMap<Node, Against>,
    /// The plan that all of this was compared with and does not differ from, by the call that gave it.
    equal_to: Option<CallKey>,
    /// The difference from the plan that userd was last told of.
    pub told: Vec<Change>,
}

/// What a node was compared with when it was seen.
#[derive(Debug)]
struct Against {
    /// What its table was asked to say.
    table: Vec<u8>,
    settings: Settings,
    rules: bool,
}

impl Against {
    /// As `question` ([`NetRequest::Observe`]) asks of the node.
    fn of(plan: &NodePlan, question: &NetRequest) -> Option<Self> {
        let NetRequest::Observe { policy, rules, .. } = question else { return None };
        Some(Self { table: encode(policy).ok()?, settings: settings(plan), rules: *rules })
    }
}

/// The settings that a plan gives a node.
pub fn settings(node: &NodePlan) -> Settings {
    Settings { forward: node.forward, low_ports: node.low_ports }
}

impl Known {
    /// What was seen of each node.
    pub fn seen(&self) -> &BTreeMap<Node, Seen> {
        &self.seen
    }

    /// Whether what is known of a node still answers `question`, by what was `heard` since.
    pub fn is_current(&mut self, plan: &NodePlan, question: &NetRequest, heard: &[Fact]) -> bool {
        let (Some(seen), Some(then)) = (self.seen.get_mut(&plan.node), self.against.get_mut(&plan.node)) else {
            return false;
        };
        let Some(now) = Against::of(plan, question) else { return false };
        if then.settings != now.settings || then.rules != now.rules {
            return false;
        }
        if !heard.iter().all(|fact| fact.agrees_with(&seen.node)) {
            return false;
        }
        // A table that was seen with another policy in mind is told apart from this one without being read again: it is
        // replaced, whatever it says.
        if then.table != now.table {
            self.equal_to = None;
            then.table = now.table;
            if seen.table != TableState::Absent {
                seen.table = TableState::Differs;
            }
        }
        true
    }

    /// A node was seen, as `question` asked.
    pub fn learn(&mut self, plan: &NodePlan, question: &NetRequest, seen: Seen) {
        if let Some(against) = Against::of(plan, question) {
            self.equal_to = None;
            self.seen.insert(plan.node.clone(), seen);
            self.against.insert(plan.node.clone(), against);
        }
    }

    /// The settings of a node were compared again.
    pub fn learn_settings(&mut self, node: &Node, equal: bool) {
        if let Some(seen) = self.seen.get_mut(node)
            && seen.settings_differ == equal
        {
            self.equal_to = None;
            seen.settings_differ = !equal;
        }
    }

    /// All that is known was compared with the plan of this call, and nothing differs.
    pub fn learn_equal(&mut self, plan: CallKey) {
        self.equal_to = Some(plan);
    }

    /// Whether nothing was learned or forgotten since [`Self::learn_equal`] of this call's plan.
    pub fn is_equal_to(&self, plan: CallKey) -> bool {
        self.equal_to == Some(plan)
    }

    /// A node is changed now, or gone.
    pub fn forget(&mut self, node: &Node) {
        self.equal_to = None;
        self.seen.remove(node);
        self.against.remove(node);
    }
}

#[cfg(test)]
mod tests {
    use netengine_proto::{bounded::Bounded, ids::WorldId, names::HostName, plan::Policy};

    use super::*;
    use crate::{netlink::policy::NodePolicy, plan::observed::ObservedNode};

    fn node() -> NodePlan {
        NodePlan {
            node: Node::Host(HostName::parse("core").expect("a name")),
            forward: false,
            low_ports: true,
            routes: Bounded::default(),
            source_routes: Bounded::default(),
            policy: None,
            resolver: None,
        }
    }

    fn question(policy: bool) -> NetRequest {
        let world = WorldId::from_bytes([1; 8]);
        let policy = policy.then(|| NodePolicy { policy: Policy::default(), ports: Vec::new() });
        NetRequest::Observe { slot: 1, world, policy, rules: false }
    }

    fn seen() -> Seen {
        Seen { node: ObservedNode::default(), table: TableState::Absent, settings_differ: false }
    }

    #[test]
    fn what_was_equal_to_a_plan_is_not_so_after_anything_else_was_learned() {
        let (plan, other) = (CallKey::from_bytes([1; 16]), CallKey::from_bytes([2; 16]));
        let known = || {
            let mut known = Known::default();
            known.learn(&node(), &question(false), seen());
            known.learn_equal(plan);
            known
        };
        assert!(known().is_equal_to(plan) && !known().is_equal_to(other));
        let after = |change: &dyn Fn(&mut Known)| {
            let mut known = known();
            change(&mut known);
            known.is_equal_to(plan)
        };
        let name = node().node;
        assert!(after(&|known| known.learn_settings(&name, true)), "they were equal before");
        assert!(after(&|known| assert!(known.is_current(&node(), &question(false), &[]))));
        assert!(!after(&|known| known.learn_settings(&name, false)));
        assert!(!after(&|known| known.forget(&name)));
        assert!(!after(&|known| known.learn(&node(), &question(false), seen())));
        assert!(!after(&|known| assert!(known.is_current(&node(), &question(true), &[]))), "another policy");
        assert!(!after(&|known| known.learn_equal(other)));
    }
}
