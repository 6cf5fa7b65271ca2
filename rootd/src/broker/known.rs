//! What is known of a world's namespaces: seen once, and valid until something else is heard of them.

use std::collections::BTreeMap;

use netengine_proto::{
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
            self.seen.insert(plan.node.clone(), seen);
            self.against.insert(plan.node.clone(), against);
        }
    }

    /// The settings of a node were compared again.
    pub fn learn_settings(&mut self, node: &Node, equal: bool) {
        if let Some(seen) = self.seen.get_mut(node) {
            seen.settings_differ = !equal;
        }
    }

    /// A node is changed now, or gone.
    pub fn forget(&mut self, node: &Node) {
        self.seen.remove(node);
        self.against.remove(node);
    }
}
