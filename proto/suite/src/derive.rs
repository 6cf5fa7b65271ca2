//! Boundary packets from a ruleset: each port and address it names, and their neighbours.
//!
//! The rules' texts are read as nft lists them. What is not understood gives no packet; nothing here decides a verdict, the kernel does.

use std::{
    collections::BTreeSet,
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netengine_lab_proto::{RuleInfo, Verdict};

use crate::verdict::word;

/// Packets of one rule at most.
const PER_RULE: usize = 64;
/// Packets in all.
const IN_ALL: usize = 4_000;

/// A packet that is worth a look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proposed {
    /// `tcp`, `udp`, `icmp` or `icmpv6`.
    pub protocol: &'static str,
    /// Source, when the rule names some.
    pub src: Option<IpAddr>,
    /// Destination.
    pub dst: Option<IpAddr>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// Flags of TCP; SYN when absent.
    pub flags: Option<&'static str>,
    /// The node it leaves from.
    pub from: Option<&'static str>,
}

/// Where a ruleset's packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hooks {
    /// It has a forward hook: the topology is `gateway`.
    pub forward: bool,
    /// It has an output hook.
    pub output: bool,
}

impl Hooks {
    /// From a ruleset's text.
    pub fn of(text: &str) -> Self {
        let has = |hook: &str| {
            let mut words = text.split_whitespace();
            std::iter::from_fn(|| words.find(|word| *word == "hook").and_then(|_| words.next()))
                .any(|word| word == hook)
        };
        Self { forward: has("forward"), output: has("output") }
    }

    /// The topology that shows them.
    pub fn topology(self) -> &'static str {
        if self.forward { "gateway" } else { "simple" }
    }
}

/// The packets of a ruleset, in an order that stays the same.
pub fn propose(rules: &[RuleInfo], hooks: Hooks) -> Vec<Proposed> {
    let mut found: BTreeSet<Proposed> = BTreeSet::new();
    let plain =
        |protocol| Proposed { protocol, src: None, dst: None, sport: None, dport: None, flags: None, from: None };
    // What every ruleset should have an answer to.
    for (protocol, dport, flags) in [
        ("tcp", Some(22), None),
        ("tcp", Some(22), Some("A")),
        ("tcp", Some(22), Some("")),
        ("tcp", Some(65_535), None),
        ("udp", Some(53), None),
        ("icmp", None, None),
        ("icmpv6", None, None),
    ] {
        found.insert(Proposed { dport, flags, ..plain(protocol) });
    }
    for rule in rules {
        found.extend(of_rule(&Named::of(&rule.text)).into_iter().take(PER_RULE));
    }
    let to_router = |packet: &Proposed| {
        let router: IpAddr = match packet.src {
            Some(IpAddr::V6(_)) => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2).into(),
            _ if packet.protocol == "icmpv6" => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2).into(),
            _ => Ipv4Addr::new(10, 0, 1, 2).into(),
        };
        Proposed { dst: Some(router), ..packet.clone() }
    };
    let mut all: Vec<Proposed> = found.iter().cloned().collect();
    if hooks.forward {
        all.extend(found.iter().filter(|packet| packet.dst.is_none()).map(to_router));
    }
    if hooks.output {
        let own = |packet: &&Proposed| packet.src.is_none() && packet.flags.is_none();
        all.extend(found.iter().filter(own).map(|packet| Proposed { from: Some("fw"), ..packet.clone() }));
    }
    all.truncate(IN_ALL);
    all
}

/// What a rule names.
#[derive(Debug, Default)]
struct Named {
    protocols: Vec<&'static str>,
    dports: Vec<(u16, u16)>,
    sports: Vec<(u16, u16)>,
    sources: Vec<(IpAddr, IpAddr)>,
    destinations: Vec<(IpAddr, IpAddr)>,
}

impl Named {
    fn of(text: &str) -> Self {
        let spaced = text.replace(',', " ");
        let mut words = spaced.split_whitespace().peekable();
        let mut named = Self::default();
        while let Some(before) = words.next() {
            match before {
                "tcp" => named.protocols.push("tcp"),
                "udp" => named.protocols.push("udp"),
                "icmp" => named.protocols.push("icmp"),
                "icmpv6" => named.protocols.push("icmpv6"),
                "dport" | "sport" | "saddr" | "daddr" => {
                    words.next_if_eq(&"!=");
                    let values: Vec<&str> = if words.next_if_eq(&"{").is_some() {
                        words.by_ref().take_while(|word| *word != "}").filter(|word| *word != ":").collect()
                    } else {
                        words.next().into_iter().collect()
                    };
                    match before {
                        "dport" => named.dports.extend(values.iter().filter_map(|value| ports(value))),
                        "sport" => named.sports.extend(values.iter().filter_map(|value| ports(value))),
                        "saddr" => named.sources.extend(values.iter().filter_map(|value| addresses(value))),
                        _ => named.destinations.extend(values.iter().filter_map(|value| addresses(value))),
                    }
                }
                _ => {}
            }
        }
        named
    }
}

fn ports(value: &str) -> Option<(u16, u16)> {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    // nft lists ports by number unless it is told otherwise.
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn addresses(value: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = value.split_once('-') {
        return Some((first.parse().ok()?, last.parse().ok()?));
    }
    let net: IpNet = value.parse().or_else(|_| value.parse::<IpAddr>().map(IpNet::from)).ok()?;
    Some((net.network(), net.broadcast()))
}

/// The edges of a range and their neighbours.
fn port_edges((first, last): (u16, u16)) -> impl Iterator<Item = u16> {
    [first.checked_sub(1), Some(first), Some(last), last.checked_add(1)].into_iter().flatten().filter(|port| *port != 0)
}

fn address_edges((first, last): (IpAddr, IpAddr)) -> impl Iterator<Item = IpAddr> {
    let step = |address: IpAddr, up: bool| -> Option<IpAddr> {
        match address {
            IpAddr::V4(v4) => {
                let number = u32::from(v4);
                let next = if up { number.checked_add(1) } else { number.checked_sub(1) }?;
                Some(Ipv4Addr::from(next).into())
            }
            IpAddr::V6(v6) => {
                let number = u128::from(v6);
                let next = if up { number.checked_add(1) } else { number.checked_sub(1) }?;
                Some(Ipv6Addr::from(next).into())
            }
        }
    };
    let usable = |address: &IpAddr| !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
    let all = [step(first, false), Some(first), Some(last), step(last, true)];
    all.into_iter().flatten().filter(move |address| usable(address) && *address != IpAddr::V4(Ipv4Addr::BROADCAST))
}

fn of_rule(named: &Named) -> Vec<Proposed> {
    let is_ported = !named.dports.is_empty() || !named.sports.is_empty();
    let protocols: &[&'static str] = match (&named.protocols[..], is_ported) {
        ([], true) => &["tcp", "udp"],
        ([], false) => &["tcp"],
        (given, _) => given,
    };
    fn or_none<T: Clone>(values: Vec<T>) -> Vec<Option<T>> {
        if values.is_empty() { vec![None] } else { values.into_iter().map(Some).collect() }
    }
    let dports = or_none(named.dports.iter().flat_map(|range| port_edges(*range)).collect());
    let sports = or_none(named.sports.iter().flat_map(|range| port_edges(*range)).collect());
    let sources = or_none(named.sources.iter().flat_map(|range| address_edges(*range)).collect());
    let destinations = or_none(named.destinations.iter().flat_map(|range| address_edges(*range)).collect());
    let mut made = Vec::new();
    for protocol in protocols {
        for src in &sources {
            for dst in &destinations {
                if let (Some(src), Some(dst)) = (src, dst)
                    && src.is_ipv4() != dst.is_ipv4()
                {
                    continue;
                }
                let is_v6 = src.or(*dst).map(|address| address.is_ipv6());
                let protocol = match (*protocol, is_v6) {
                    ("icmp", Some(true)) => "icmpv6",
                    ("icmpv6", Some(false)) => "icmp",
                    (protocol, _) => protocol,
                };
                let is_ported = matches!(protocol, "tcp" | "udp");
                for dport in dports.iter().filter(|_| is_ported).chain((!is_ported).then_some(&None)) {
                    for sport in sports.iter().filter(|_| is_ported).chain((!is_ported).then_some(&None)) {
                        let (src, dst, sport, dport) = (*src, *dst, *sport, *dport);
                        made.push(Proposed { protocol, src, dst, sport, dport, flags: None, from: None });
                    }
                }
            }
        }
    }
    made
}

impl Proposed {
    /// The packet as a suite's entry, without what is expected.
    fn keys(&self) -> String {
        let mut out = format!("protocol: {}", self.protocol);
        let mut key = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(out, ", {name}: {value}");
            }
        };
        key("from", self.from.map(str::to_owned));
        key("src_ip", self.src.map(|address| format!("'{address}'")));
        key("dst_ip", self.dst.map(|address| format!("'{address}'")));
        key("src_port", self.sport.map(|port| port.to_string()));
        key("dst_port", self.dport.map(|port| port.to_string()));
        key("tcp_flags", self.flags.map(|flags| format!("[{flags}]")));
        out
    }
}

/// A suite of one case for each packet, so that none changes what the next meets. `verdicts` are what was found; without them, each
/// packet is expected to be accepted. The ruleset is named by its file.
pub fn suite(rules_file: &str, hooks: Hooks, packets: &[Proposed], verdicts: Option<&[Verdict]>) -> String {
    let quoted = format!("'{}'", rules_file.replace('\'', "''"));
    let mut out = String::from(
        "# Derived from the ruleset: the verdicts are what the kernel gave. Read them before you rely on them.\n",
    );
    let _ = writeln!(out, "rules_file: {quoted}\ndefaults: {{topology: {}}}\ntests:", hooks.topology());
    for (number, packet) in packets.iter().enumerate() {
        let verdict = verdicts.and_then(|verdicts| verdicts.get(number)).copied().unwrap_or(Verdict::Accept);
        if verdict == Verdict::Inconclusive {
            let _ = writeln!(out, "  # not observed: {{{}}}", packet.keys());
            continue;
        }
        let expected = word(verdict).to_lowercase();
        let keys = packet.keys();
        let _ = writeln!(out, "  - packets: [{{{keys}, expect: {{verdict: {expected}}}}}]");
    }
    out
}

#[cfg(test)]
mod tests {
    use netengine_lab_proto::{Family, NodeName, RuleRef};

    use super::*;
    use crate::load;

    fn rule(text: &str) -> RuleInfo {
        let node = NodeName::parse("fw").expect("a name");
        let rule = RuleRef { node, family: Family::Ip, table: "t".into(), chain: "c".into(), handle: Some(1) };
        RuleInfo { rule, text: text.into(), line: None, column: None }
    }

    const INPUT: Hooks = Hooks { forward: false, output: false };

    #[test]
    fn ports_and_addresses_come_with_their_neighbours() {
        let packets = propose(&[rule("ip saddr 192.168.1.0/24 tcp dport { 80, 8000-8010 } accept")], INPUT);
        let ports: BTreeSet<_> = packets.iter().filter(|p| p.src.is_some()).filter_map(|p| p.dport).collect();
        assert_eq!(ports, [79, 80, 81, 7999, 8000, 8010, 8011].into());
        let sources: BTreeSet<_> = packets.iter().filter_map(|p| p.src).map(|a| a.to_string()).collect();
        assert_eq!(sources, ["192.168.0.255", "192.168.1.0", "192.168.1.255", "192.168.2.0"].map(String::from).into());
    }

    #[test]
    fn what_is_not_understood_gives_no_packet_of_its_own() {
        let none = propose(&[], INPUT);
        assert_eq!(
            propose(&[rule("tcp dport @allowed accept"), rule("ct state vmap { new : drop }")], INPUT).len(),
            none.len() + 1
        );
    }

    #[test]
    fn a_derived_suite_is_a_suite() {
        let hooks = Hooks::of(
            "chain f { type filter hook forward priority 0; } chain o { type filter hook output priority 0; }",
        );
        assert_eq!((hooks.topology(), hooks.output), ("gateway", true));
        let packets =
            propose(&[rule("ip6 saddr fd00::/8 udp sport 53 accept"), rule("icmp type echo-request drop")], hooks);
        let text = suite("it's.nft", hooks, &packets, None);
        let mut named = Vec::new();
        let suite = load("d.yaml", &text, &mut |file| {
            named.push(file.to_owned());
            Ok(String::new())
        });
        let suite = suite.unwrap_or_else(|mistakes| panic!("{mistakes:?}\n{text}"));
        assert_eq!(suite.cases.len(), packets.len());
        assert_eq!(named[0], "it's.nft");
    }
}
