//! Boundary packets from a ruleset: each port, address, type and state it names, and their neighbours.
//!
//! The rules' texts are read as nft lists them, the elements of named sets as the ruleset's own text has them. What is not understood gives no
//! packet; nothing here decides a verdict, the kernel does.

mod names;
mod rule;
mod suite;
mod values;

use std::{collections::BTreeSet, net::IpAddr};

use netengine_lab_proto::{Family, RuleInfo};

pub use self::suite::{Found, packets_of, suite};
use self::{rule::Named, values::address};
use crate::outline::tokens;

/// Packets of one rule at most.
const PER_RULE: usize = 96;
/// Packets in all.
const IN_ALL: usize = 4_000;

/// A packet that is worth a look, or a few that make a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proposed {
    /// `tcp`, `udp`, `icmp`, `icmpv6` or a number.
    pub protocol: &'static str,
    /// Source, when it is not the sender's own.
    pub src: Option<IpAddr>,
    /// Destination, when it is not the node that the topology aims at.
    pub dst: Option<IpAddr>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// Flags of TCP; SYN when absent.
    pub flags: Option<&'static str>,
    /// Type of ICMP; an echo request when absent.
    pub icmp: Option<u8>,
    /// The node it leaves from.
    pub from: Option<&'static str>,
    /// What follows it in the same connection.
    pub then: Then,
}

/// What follows a packet in its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// Nothing.
    Nothing,
    /// It is a handshake, and data follow.
    Data,
    /// The other end answers.
    Answer,
    /// The other end answers, and then tells of an ICMP error about it.
    Error,
}

/// Packets, and the rule that they are for; none for those that every ruleset should have an answer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// The rule.
    pub rule: Option<&'a RuleInfo>,
    /// The packets.
    pub packets: Vec<Proposed>,
}

/// Where a ruleset's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hooks {
    /// It has a forward hook: the topology is `gateway`.
    pub forward: bool,
    /// It has an output hook.
    pub output: bool,
    /// Its base chains are of family bridge: the topology is `bridge`.
    pub bridge: bool,
}

impl Hooks {
    /// From a ruleset's text.
    pub fn of(text: &str) -> Self {
        let tokens = tokens(text);
        let pairs = || tokens.windows(2).map(|pair| (pair[0].word(), pair[1].word()));
        let has = |hook: &str| pairs().any(|(word, next)| word == "hook" && next == hook);
        // `table FAMILY NAME`, and `add chain FAMILY ...`.
        let mut families = pairs().filter(|(word, _)| matches!(*word, "table" | "chain")).map(|(_, family)| family);
        let of_bridge = families.clone().any(|family| family == "bridge");
        let bridge = of_bridge && !families.any(|family| matches!(family, "ip" | "ip6" | "inet"));
        Self { forward: has("forward") && !bridge, output: has("output") && !bridge, bridge }
    }

    /// Those of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            forward: self.forward || other.forward,
            output: self.output || other.output,
            bridge: self.bridge && other.bridge,
        }
    }

    /// The topology that shows them.
    pub fn topology(self) -> &'static str {
        match self {
            Self { bridge: true, .. } => "bridge",
            Self { forward: true, .. } => "gateway",
            Self { .. } => "simple",
        }
    }
}

/// The packets for a ruleset: its rules, and its text, which names its sets. The order stays the same; no packet comes twice.
pub fn propose<'a>(rules: &'a [RuleInfo], text: &str, hooks: Hooks) -> Vec<Proposal<'a>> {
    let sets = rule::Sets::of(text);
    let mut known: BTreeSet<Proposed> = BTreeSet::new();
    let mut proposals = Vec::new();
    let mut add = |rule, packets: Vec<Proposed>| {
        let room = IN_ALL.saturating_sub(known.len());
        let new: Vec<_> = packets.into_iter().filter(|packet| !known.contains(packet)).take(room).collect();
        known.extend(new.iter().cloned());
        if !new.is_empty() {
            proposals.push(Proposal { rule, packets: new });
        }
    };
    let tracks = rules.iter().any(|rule| rule.text.split_whitespace().any(|word| word == "ct"));
    add(None, everywhere(hooks, tracks));
    for rule in rules {
        let named = Named::of(&format!("{}{}", rule::on_the_way(rule, rules, &sets), rule.text), &sets);
        let mut made: Vec<Proposed> = Vec::new();
        for is_v6 in families(rule.rule.family, hooks) {
            made.extend(named.packets(is_v6).into_iter().flat_map(|packet| ways(packet, is_v6, &named, hooks)));
        }
        let mut seen = BTreeSet::new();
        made.retain(|packet| seen.insert(packet.clone()));
        made.truncate(PER_RULE);
        add(Some(rule), made);
    }
    proposals
}

/// Whether a rule of this family sees IPv4, and IPv6.
fn families(family: Family, hooks: Hooks) -> impl Iterator<Item = bool> {
    let (v4, v6) = match family {
        Family::Ip => (true, false),
        Family::Ip6 => (false, true),
        Family::Arp => (false, false),
        Family::Inet | Family::Netdev | Family::Bridge => (true, true),
    };
    // The bridge's hosts have no addresses of IPv6.
    [(false, v4), (true, v6 && !hooks.bridge)].into_iter().filter_map(|(is_v6, is_seen)| is_seen.then_some(is_v6))
}

/// A packet as it meets each hook that the ruleset has: through the node, to it, back through it, and from it.
fn ways(packet: Proposed, is_v6: bool, named: &Named, hooks: Hooks) -> Vec<Proposed> {
    let aimed = |node: &str, packet: &Proposed| match packet.dst {
        None if is_v6 || node != "target" => Proposed { dst: address(hooks, node, is_v6), ..packet.clone() },
        _ => packet.clone(),
    };
    let mut made = vec![aimed("target", &packet)];
    if hooks.forward && packet.dst.is_none() {
        made.push(aimed("fw", &packet));
        // Rules that name interfaces tell one way from the other.
        if named.names_interfaces && packet.src.is_none() {
            made.push(Proposed { from: Some("server"), ..aimed("client", &packet) });
        }
    }
    if hooks.output && packet.src.is_none() && packet.flags.is_none() && packet.then == Then::Nothing {
        made.push(Proposed { from: Some("fw"), ..aimed("client", &packet) });
    }
    made
}

/// What every ruleset should have an answer to.
fn everywhere(hooks: Hooks, tracks: bool) -> Vec<Proposed> {
    let plain = Proposed {
        protocol: "tcp",
        src: None,
        dst: None,
        sport: None,
        dport: None,
        flags: None,
        icmp: None,
        from: None,
        then: Then::Nothing,
    };
    let mut all = Vec::new();
    for is_v6 in if hooks.bridge { vec![false] } else { vec![false, true] } {
        let icmp = if is_v6 { "icmpv6" } else { "icmp" };
        for (protocol, dport, flags) in [
            ("tcp", Some(22), None),
            ("tcp", Some(22), Some("A")),
            ("tcp", Some(22), Some("")),
            ("tcp", Some(65_535), None),
            ("udp", Some(53), None),
            (icmp, None, None),
        ] {
            all.extend(ways(Proposed { protocol, dport, flags, ..plain.clone() }, is_v6, &Named::default(), hooks));
        }
        if tracks {
            let (from, node) = if hooks.topology() == "simple" { ("fw", "client") } else { ("client", "target") };
            let dst = if is_v6 || from == "fw" { address(hooks, node, is_v6) } else { None };
            let opened = Proposed { dst, from: Some(from), ..plain.clone() };
            all.push(Proposed { dport: Some(22), then: Then::Data, ..opened.clone() });
            for then in [Then::Answer, Then::Error] {
                all.push(Proposed { protocol: "udp", dport: Some(53), then, ..opened.clone() });
            }
        }
    }
    all
}

#[cfg(test)]
#[path = "derive_tests.rs"]
mod tests;
