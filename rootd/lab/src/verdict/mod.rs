//! Verdicts from observations; pure.
//!
//! A window of packets was sent, and until the kernel had nothing left to do everything was observed: trace messages of nf_tables,
//! frames at the peers, packets at the tested node's own stack. [`judge`] gives each packet the observations that are its own, by nonce and header bytes,
//! and a verdict that trace and delivery agree on. Where they do not, or where anything was missed, the verdict is
//! [`Inconclusive`](netengine_lab_proto::Verdict::Inconclusive).

mod attribute;
mod connection;
mod decide;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use netengine_lab_proto::{
    Connection, CtDirection, CtState, Delivery, Family, Hook, Hop, LinkName, NodeName, PacketOutcome, Reply, RuleRef,
};
use netengine_packet::{conntrack::Event, read::Packet, trace::Trace};

use crate::text::{
    Listing, Outline,
    listing::{ChainKey, ListedRule},
};

pub use attribute::role;
pub use connection::Known;

/// A packet that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The node it was sent from.
    pub node: usize,
    /// From the tested node's own stack.
    pub local: bool,
    /// Its fields; none when the frame holds no IP packet.
    pub packet: Option<Packet>,
    /// Bytes from the network header on; of the first fragment.
    pub network: Vec<u8>,
    /// Sent in pieces, or a piece itself.
    pub fragment: bool,
    /// The error that sending it gave.
    pub errno: Option<i32>,
}

/// One observation, in the order they were read.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A trace message of a node.
    Trace(usize, Box<Trace>),
    /// A frame that arrived at a node's interface.
    Frame {
        /// The node.
        node: usize,
        /// Its interface.
        interface: LinkName,
        /// Its fields; none when it holds no IP packet.
        packet: Option<Packet>,
        /// Bytes from the network header on, up to 64.
        network: Vec<u8>,
        /// Its EtherType.
        ethertype: u16,
    },
    /// A packet that a node's own stack received.
    Local(usize, Packet),
    /// What happened to an entry of a node's conntrack.
    Connection(usize, Box<Event>),
}

/// All that was seen of packets that were sent together.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// The packets, in order.
    pub sent: Vec<Sent>,
    /// The observations, in order.
    pub seen: Vec<Seen>,
    /// Messages that the kernel could not deliver, or that were of no known kind.
    pub lost: u64,
    /// The kernel had nothing left to do.
    pub settled: bool,
}

/// What is known of a node.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// Its loaded ruleset.
    pub listing: Listing,
    /// The listing has only rules that somebody asked for, and the text says where they stand.
    pub outline: Option<Outline>,
    /// Its trace socket is read.
    pub traced: bool,
}

/// What is known of the network.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The nodes, in the topology's order.
    pub nodes: Vec<NodeFacts>,
    /// The tested one.
    tested: usize,
    /// Texts by rule.
    texts: BTreeMap<(usize, Family, String, u64), String>,
    /// A rule sets nftrace itself: silence of the trace proves nothing.
    untraces: bool,
    /// Conntrack sees IPv4, and IPv6, at the tested node.
    tracks: [bool; 2],
    /// The kernel's trace tells states, so that a packet without one is invalid to conntrack.
    pub tells_states: bool,
    /// The name of the table that switches tracing on.
    pub tracer: &'static str,
}

impl Facts {
    /// Indexes what is known.
    pub fn new(nodes: Vec<NodeFacts>, tested: usize, tracer: &'static str) -> Self {
        let mut texts = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            for ((family, table, _), rules) in &node.listing.rules {
                for rule in rules {
                    texts.insert((index, *family, table.clone(), rule.handle), rule.text.clone());
                }
            }
        }
        let untraces = texts.values().any(|text| text.contains("nftrace"));
        let of =
            |node: &NodeFacts| node.outline.as_ref().map_or_else(|| node.listing.tracks(), |outline| outline.tracks);
        let tracks = nodes.get(tested).map_or([false; 2], of);
        Self { nodes, tested, texts, untraces, tracks, tells_states: false, tracer }
    }

    /// The rules of the tested node that trace messages of a window name and that nobody has asked for yet.
    pub fn unlisted(&self, window: &Window) -> BTreeSet<(ChainKey, u64)> {
        if self.nodes.get(self.tested).is_none_or(|node| node.outline.is_none()) {
            return BTreeSet::new();
        }
        let traced = window.seen.iter().filter_map(|seen| match seen {
            Seen::Trace(node, trace) if *node == self.tested && trace.table != self.tracer => Some(trace),
            _ => None,
        });
        let rules =
            traced.filter_map(|trace| Some(((trace.family?, trace.table.clone(), trace.chain.clone()), trace.rule?)));
        rules
            .filter(|((family, table, _), rule)| {
                !self.texts.contains_key(&(self.tested, *family, table.clone(), *rule))
            })
            .collect()
    }

    /// Learns of rules of the tested node.
    pub fn learn(&mut self, rules: impl IntoIterator<Item = (ChainKey, ListedRule)>) {
        for (chain, rule) in rules {
            self.texts.insert((self.tested, chain.0, chain.1.clone(), rule.handle), rule.text.clone());
            if let Some(node) = self.nodes.get_mut(self.tested) {
                node.listing.rules.entry(chain).or_default().push(rule);
            }
        }
    }

    /// The tested node's name.
    pub fn tested_name(&self) -> &NodeName {
        &self.nodes[self.tested].name
    }

    /// The text of the rule a hop speaks of; handles are unique in their table.
    fn text(&self, node: usize, hop: &Hop) -> Option<&str> {
        self.texts.get(&(node, hop.family, hop.table.clone(), hop.rule?)).map(String::as_str)
    }

    fn hook(&self, node: usize, trace: &Trace) -> Option<Hook> {
        let key = (trace.family?, trace.table.clone(), trace.chain.clone());
        self.nodes.get(node)?.listing.bases.get(&key).map(|base| base.hook)
    }
}

/// What is one packet's own.
#[derive(Debug, Clone, Default)]
struct Evidence {
    /// Hops, with the node's number.
    hops: Vec<(usize, Hop)>,
    /// Chains of ours that saw it: the hooks it reached.
    reached: Vec<Hook>,
    /// Trace messages of any chain.
    traces: usize,
    /// Messages of a kind nobody knows.
    unknown: usize,
    ct_state: Option<CtState>,
    ct_direction: Option<CtDirection>,
    deliveries: Vec<Delivery>,
    reply: Option<Reply>,
    connection: Option<Connection>,
}

/// One outcome for each packet of the window, in order.
pub fn judge(window: &Window, facts: &Facts) -> Vec<PacketOutcome> {
    let (mut evidence, orphans) = attribute::attribute(window, facts);
    let rejected: Vec<bool> = evidence.iter().map(|own| decide::refusing_rule(own, facts)).collect();
    attribute::replies(window, facts, &mut evidence, &rejected);
    connection::attribute(window, &mut evidence);
    let missed = window.lost + orphans;
    window
        .sent
        .iter()
        .zip(evidence)
        .map(|(sent, own)| decide::decide(sent, own, window.settled, missed, facts))
        .collect()
}

/// The delivery of a packet with these fields.
fn delivery(facts: &Facts, node: usize, interface: Option<&LinkName>, packet: Option<&Packet>) -> Option<Delivery> {
    let ports = packet.and_then(|packet| packet.transport.ports());
    let address = |of: fn(&Packet) -> IpAddr| packet.map(of);
    Some(Delivery {
        node: facts.nodes.get(node)?.name.clone(),
        interface: interface.cloned(),
        src: address(|packet| packet.src),
        dst: address(|packet| packet.dst),
        sport: ports.map(|ports| ports.0),
        dport: ports.map(|ports| ports.1),
    })
}

/// The reference to what a hop speaks of.
pub fn reference(hop: &Hop) -> RuleRef {
    RuleRef {
        node: hop.node.clone(),
        family: hop.family,
        table: hop.table.clone(),
        chain: hop.chain.clone(),
        handle: hop.rule,
    }
}
