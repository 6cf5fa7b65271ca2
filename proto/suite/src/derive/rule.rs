//! What a rule names, as nft lists it.

use std::{collections::BTreeMap, net::IpAddr};

use netengine_lab_proto::RuleInfo;

use super::{
    Proposed, Then, names,
    values::{address_edges, addresses, port_edges, ports},
};
use crate::outline::{self, Token, elements, tokens};

/// Flags of TCP that rules about flags tell apart.
const FLAGS: [&str; 7] = ["S, A", "A", "R", "F", "S, F", "F, P, U", ""];
/// Tuples of concatenations and of sets that are looked at.
const TUPLES: usize = 24;
/// Chains between a base chain and a rule that are looked at.
const CHAINS: usize = 8;

/// A field of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Sport,
    Dport,
    Source,
    Destination,
    Protocol,
    Icmp,
    Icmpv6,
    /// One that packets here do not vary in.
    Other,
}

/// The named sets and maps of a ruleset, and its `define`s.
#[derive(Debug, Default)]
pub struct Sets(BTreeMap<String, Vec<Vec<String>>>);

impl Sets {
    /// From a ruleset's text.
    pub fn of(text: &str) -> Self {
        let all = tokens(text);
        let mut defined: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
        for (at, token) in all.iter().enumerate().filter(|(_, token)| token.word() == "define") {
            let (Some(name), rest) = (all.get(at + 1).map(Token::word), outline::statement(&all[at..])) else {
                continue;
            };
            let _ = token;
            let elements = elements(rest);
            let written = if elements.is_empty() { vec![rest.get(3..).unwrap_or_default()] } else { elements };
            defined.insert(name, written.into_iter().flat_map(|element| expanded(element, &defined)).collect());
        }
        let mut sets: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
        for set in outline::sets(text) {
            let elements = set.elements.iter().flat_map(|element| expanded(element, &defined));
            sets.entry(set.name.to_owned()).or_default().extend(elements);
        }
        Self(sets)
    }
}

/// The words of an element; those of what it stands for, when it is a name.
fn expanded(element: &[Token<'_>], defined: &BTreeMap<&str, Vec<Vec<String>>>) -> Vec<Vec<String>> {
    if let [only] = element
        && let Some(values) = only.word().strip_prefix('$').and_then(|name| defined.get(name))
    {
        return values.clone();
    }
    vec![words(element)]
}

fn words(tokens: &[Token<'_>]) -> Vec<String> {
    tokens.iter().map(Token::word).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// What a packet must match to come to a rule's chain, as the first rule says that jumps there, and the one that jumps to that one's.
pub fn on_the_way(rule: &RuleInfo, rules: &[RuleInfo], sets: &Sets) -> String {
    let (mut way, mut chain) = (String::new(), rule.rule.chain.as_str());
    for _ in 0..CHAINS {
        let of_table = |other: &&RuleInfo| {
            let (a, b) = (&other.rule, &rule.rule);
            a.family == b.family && a.table == b.table && a.chain != chain
        };
        let Some((before, from)) = rules
            .iter()
            .filter(of_table)
            .find_map(|other| Some((towards(&other.text, chain, sets)?, &other.rule.chain)))
        else {
            break;
        };
        way = format!("{before} {way}");
        chain = from;
    }
    way
}

/// What a rule asks of a packet that it sends to a chain; none when it sends none there.
fn towards(text: &str, chain: &str, sets: &Sets) -> Option<String> {
    let all = tokens(text);
    let leads = |words: &[&str]| words.windows(2).any(|pair| matches!(pair[0], "jump" | "goto") && pair[1] == chain);
    let key = |words: &[&str]| words.iter().take_while(|word| **word != ":").copied().collect::<Vec<_>>().join(" ");
    if let Some(map) = all.iter().position(|token| token.word() == "vmap") {
        let named = all.get(map + 1).and_then(|token| token.word().strip_prefix('@'));
        let elements = match named {
            Some(name) => sets.0.get(name).cloned().unwrap_or_default(),
            None => elements(&all[map..]).into_iter().map(words).collect(),
        };
        let elements = elements.iter().map(|element| element.iter().map(String::as_str).collect::<Vec<_>>());
        let element = elements.into_iter().find(|element| leads(element))?;
        return Some(format!("{} {}", &text[..all[map].at.start], key(&element)));
    }
    let pair = all.windows(2).find(|pair| matches!(pair[0].word(), "jump" | "goto") && pair[1].word() == chain)?;
    Some(text[..pair[0].at.start].to_owned())
}

/// What a rule names.
#[derive(Debug, Default)]
pub struct Named {
    protocols: Vec<&'static str>,
    /// Fields with the tuples of values that they are matched with, in order.
    matches: Vec<(Vec<Field>, Vec<Vec<String>>)>,
    flags: bool,
    tracks: bool,
    /// It tells interfaces apart.
    pub names_interfaces: bool,
}

impl Named {
    /// From a rule's text.
    pub fn of(text: &str, sets: &Sets) -> Self {
        let all = tokens(text);
        let mut named = Self::default();
        let mut rest = &all[..];
        let word = |tokens: &[Token<'_>], at: usize| tokens.get(at).map_or("", Token::word).to_owned();
        while let Some(first) = rest.first().map(Token::word) {
            match first {
                "iifname" | "oifname" | "iif" | "oif" => named.names_interfaces = true,
                "ct" => named.tracks = true,
                "flags" => named.flags = true,
                // What a rule adds to a set, and where it translates to, is no match.
                "add" | "update" | "delete" if word(rest, 1).starts_with('@') => rest = &rest[2..],
                "to" => {
                    rest = &rest[1..];
                    if selector(rest).is_none() {
                        rest = rest.get(1..).unwrap_or_default();
                    }
                    continue;
                }
                _ => {}
            }
            let Some((mut fields, mut used)) = selector(rest) else {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            if let Some(protocol) = names::protocol(first).filter(|_| fields != [Field::Protocol]) {
                named.protocols.push(protocol);
            }
            while word(rest, used) == "." {
                let Some((more, length)) = selector(&rest[used + 1..]) else { break };
                named.protocols.extend(names::protocol(&word(rest, used + 1)).filter(|_| more != [Field::Protocol]));
                fields.extend(more);
                used += 1 + length;
            }
            rest = &rest[used..];
            while matches!(word(rest, 0).as_str(), "!=" | "==" | "<" | ">" | "<=" | ">=" | "map" | "vmap") {
                rest = &rest[1..];
            }
            let value = word(rest, 0);
            let tuples = if let Some(set) = value.strip_prefix('@') {
                sets.0.get(set).cloned().unwrap_or_default()
            } else if value == "{" {
                elements(rest).into_iter().map(words).collect()
            } else {
                let mut length = 1;
                while word(rest, length) == "." {
                    length += 2;
                }
                vec![words(rest.get(..length).unwrap_or(rest))]
            };
            if value == "{" {
                let inner: usize = elements(rest).iter().map(|element| element.len()).sum();
                rest = rest.get(1 + inner..).unwrap_or_default();
            } else {
                rest = rest.get(1..).unwrap_or_default();
            }
            if fields == [Field::Protocol] {
                named.protocols.extend(tuples.iter().filter_map(|tuple| names::protocol(tuple.first()?)));
            } else if fields.iter().any(|field| *field != Field::Other) {
                named.matches.push((fields, tuples.iter().map(|tuple| values(tuple)).collect()));
            }
        }
        named
    }

    /// The packets of one family: each field at its edges, the others within what the rule names.
    pub fn packets(&self, is_v6: bool) -> Vec<Proposed> {
        let protocols = self.protocols_of(is_v6);
        let mut made = Vec::new();
        for protocol in protocols {
            let base = Proposed {
                protocol,
                src: None,
                dst: None,
                sport: None,
                dport: None,
                flags: None,
                icmp: None,
                from: None,
                then: Then::Nothing,
            };
            let mut within = vec![base];
            let mut edges = Vec::new();
            for (fields, tuples) in &self.matches {
                let before = within.clone();
                let mut inside = Vec::new();
                for tuple in tuples.iter().take(TUPLES) {
                    let mut all: Vec<Proposed> = before.iter().take(1).cloned().collect();
                    let mut around = Vec::new();
                    for (field, value) in fields.iter().zip(tuple) {
                        let settings = settings(*field, value, is_v6);
                        let Some((first, others)) = settings.split_first() else { continue };
                        // Of one tuple each field is varied with the others at its own values.
                        around = around.iter().map(|packet| set(packet, first, protocol)).collect();
                        around.extend(
                            all.iter().flat_map(|packet| others.iter().map(|other| set(packet, other, protocol))),
                        );
                        all = all.iter().map(|packet| set(packet, first, protocol)).collect();
                    }
                    inside.extend(all);
                    edges.extend(around);
                }
                inside.dedup();
                // What was varied before goes with what this one names.
                if let Some((first, tuple)) = tuples.first().map(|tuple| (fields, tuple)) {
                    for (field, value) in first.iter().zip(tuple) {
                        if let Some(setting) = settings(*field, value, is_v6).first() {
                            let unset = |packet: &Proposed| is_unset(packet, *field);
                            edges
                                .iter_mut()
                                .filter(|packet| unset(packet))
                                .for_each(|packet| *packet = set(packet, setting, protocol));
                        }
                    }
                }
                if !inside.is_empty() {
                    within = inside;
                }
            }
            let mut all = within;
            all.extend(edges);
            if self.flags && protocol == "tcp" {
                let first = all[0].clone();
                all.extend(FLAGS.iter().map(|flags| Proposed { flags: Some(*flags), ..first.clone() }));
            }
            if self.tracks && protocol == "tcp" && !self.matches.is_empty() {
                let first = all[0].clone();
                all.extend((first.src.is_none()).then_some(Proposed { then: Then::Data, ..first }));
            }
            made.extend(all);
        }
        made
    }

    fn protocols_of(&self, is_v6: bool) -> Vec<&'static str> {
        let is_ported = self
            .matches
            .iter()
            .flat_map(|(fields, _)| fields)
            .any(|field| matches!(field, Field::Sport | Field::Dport));
        let mut own: Vec<&'static str> = self.protocols.clone();
        own.retain(|protocol| *protocol != if is_v6 { "icmp" } else { "icmpv6" });
        own.dedup();
        match (own.is_empty(), self.protocols.is_empty(), is_ported) {
            (false, ..) => own,
            // It is of ICMP of the other family alone.
            (true, false, _) => Vec::new(),
            (true, true, true) => vec!["tcp", "udp"],
            (true, true, false) => vec!["tcp"],
        }
    }
}

/// The words of one value of each field: up to `:`, and without what else stands in an element.
fn values(tuple: &[String]) -> Vec<String> {
    let key = tuple.iter().take_while(|word| *word != ":");
    let words: Vec<&String> = key.collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        found.push((*word).clone());
        if words.get(at + 1).is_none_or(|word| *word != ".") {
            break;
        }
        at += 2;
    }
    found
}

/// The field that these words begin with, and how many words name it.
fn selector(tokens: &[Token<'_>]) -> Option<(Vec<Field>, usize)> {
    let word = |at: usize| tokens.get(at).map_or("", Token::word);
    let field = match (word(0), word(1)) {
        ("tcp" | "udp" | "th" | "sctp" | "dccp" | "udplite", "dport") => Field::Dport,
        ("tcp" | "udp" | "th" | "sctp" | "dccp" | "udplite", "sport") => Field::Sport,
        ("ip" | "ip6", "saddr") => Field::Source,
        ("ip" | "ip6", "daddr") => Field::Destination,
        ("ip", "protocol") | ("meta", "l4proto") | ("ip6", "nexthdr") => Field::Protocol,
        ("icmp", "type") => Field::Icmp,
        ("icmpv6", "type") => Field::Icmpv6,
        ("meta", "iifname" | "oifname" | "mark" | "nfproto" | "protocol")
        | ("ct", "state" | "status" | "mark" | "direction") => Field::Other,
        ("iifname" | "oifname" | "iif" | "oif", _) => return Some((vec![Field::Other], 1)),
        _ => return None,
    };
    Some((vec![field], 2))
}

/// A field with a value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Setting {
    Sport(u16),
    Dport(u16),
    Source(IpAddr),
    Destination(IpAddr),
    Icmp(u8),
}

/// The edges of a value, the first within it.
fn settings(field: Field, value: &str, is_v6: bool) -> Vec<Setting> {
    let port = |make: fn(u16) -> Setting| ports(value).map(|range| port_edges(range).into_iter().map(make).collect());
    let at = |make: fn(IpAddr) -> Setting| {
        let range = addresses(value).filter(|(first, last)| first.is_ipv6() == is_v6 && last.is_ipv6() == is_v6)?;
        Some(address_edges(range).into_iter().map(make).collect())
    };
    let icmp = |of_v6: bool| names::icmp(value, of_v6).filter(|_| of_v6 == is_v6).map(|kind| vec![Setting::Icmp(kind)]);
    let found: Option<Vec<Setting>> = match field {
        Field::Sport => port(Setting::Sport),
        Field::Dport => port(Setting::Dport),
        Field::Source => at(Setting::Source),
        Field::Destination => at(Setting::Destination),
        Field::Icmp => icmp(false),
        Field::Icmpv6 => icmp(true),
        Field::Protocol | Field::Other => None,
    };
    found.unwrap_or_default()
}

fn is_unset(packet: &Proposed, field: Field) -> bool {
    match field {
        Field::Sport => packet.sport.is_none(),
        Field::Dport => packet.dport.is_none(),
        Field::Source => packet.src.is_none(),
        Field::Destination => packet.dst.is_none(),
        Field::Icmp | Field::Icmpv6 => packet.icmp.is_none(),
        Field::Protocol | Field::Other => false,
    }
}

/// The packet with this, as far as its protocol has it.
fn set(packet: &Proposed, setting: &Setting, protocol: &str) -> Proposed {
    let mut packet = packet.clone();
    let (is_ported, is_icmp) = (matches!(protocol, "tcp" | "udp"), matches!(protocol, "icmp" | "icmpv6"));
    match *setting {
        Setting::Sport(port) if is_ported => packet.sport = Some(port),
        Setting::Dport(port) if is_ported => packet.dport = Some(port),
        Setting::Icmp(kind) if is_icmp => packet.icmp = Some(kind),
        Setting::Source(address) => packet.src = Some(address),
        Setting::Destination(address) => packet.dst = Some(address),
        Setting::Sport(_) | Setting::Dport(_) | Setting::Icmp(_) => {}
    }
    packet
}
