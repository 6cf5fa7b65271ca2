//! Proposed packets as a suite, with what was found.

use std::{fmt::Write, net::IpAddr};

use netengine_lab_proto::{RuleInfo, Verdict};

use super::{Hooks, Proposal, Proposed, Then};
use crate::verdict::word;

/// What was found of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its verdict.
    pub verdict: Verdict,
    /// Why it could not be observed, or was not the same twice.
    pub doubt: Option<String>,
    /// Where it arrived with another destination than it was sent with.
    pub dst: Option<IpAddr>,
    /// The same of the port.
    pub dport: Option<u16>,
    /// The same of the source.
    pub src: Option<IpAddr>,
}

impl Proposed {
    /// The packets as a suite's entries, without what is expected.
    fn entries(&self) -> Vec<String> {
        let mut first = format!("protocol: {}", self.protocol);
        let mut key = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(first, ", {name}: {value}");
            }
        };
        key("from", self.from.map(str::to_owned));
        key("src_ip", self.src.map(|address| format!("'{address}'")));
        key("dst_ip", self.dst.map(|address| format!("'{address}'")));
        key("src_port", self.sport.map(|port| port.to_string()));
        key("dst_port", self.dport.map(|port| port.to_string()));
        key("tcp_flags", self.flags.map(|flags| format!("[{flags}]")));
        key("icmp_type", self.icmp.map(|kind| kind.to_string()));
        let other = if self.from == Some("fw") { "client" } else { "server" };
        let icmp = if self.dst.is_some_and(|dst| dst.is_ipv6()) { ("icmpv6", 1) } else { ("icmp", 3) };
        let answer = format!("flow: f, from: {other}, protocol: udp, payload: b");
        match self.then {
            Then::Nothing => vec![first],
            Then::Data => vec![format!("flow: handshake, {first}"), "flow: handshake, payload: a".to_owned()],
            Then::Answer => vec![format!("flow: f, {first}"), answer],
            Then::Error => vec![
                format!("flow: f, {first}"),
                format!("flow: f, from: {other}, protocol: {}, icmp_type: {}", icmp.0, icmp.1),
            ],
        }
    }
}

/// Packets that a case of these has.
pub fn packets_of(packet: &Proposed) -> usize {
    packet.entries().len()
}

/// A suite of one case for each proposed packet, so that none changes what the next meets. `found` has what became of the packets of each case;
/// without it, each packet is expected to be accepted. `unreached` are rules that no packet matched. The ruleset is named by its file.
pub fn suite(
    rules_file: &str,
    hooks: Hooks,
    proposals: &[Proposal<'_>],
    found: Option<&[Vec<Found>]>,
    unreached: &[&RuleInfo],
) -> String {
    let quoted = format!("\"{}\"", rules_file.replace('\\', "\\\\").replace('"', "\\\""));
    let mut out = String::new();
    if found.is_some() {
        out +=
            "# Derived from the ruleset: the verdicts are what the kernel gave. Read them before you rely on them.\n";
    }
    let _ = writeln!(out, "rules_file: {quoted}\ndefaults: {{topology: {}}}\ntests:", hooks.topology());
    let mut number = 0;
    for proposal in proposals {
        if let Some(rule) = proposal.rule {
            let _ = writeln!(out, "  # {}", comment(rule));
        }
        for packet in &proposal.packets {
            let found = found.map(|found| found.get(number).map_or(&[][..], Vec::as_slice));
            case(&mut out, packet, found);
            number += 1;
        }
    }
    for rule in unreached {
        let _ = writeln!(out, "# no packet here matches: {}", comment(rule));
    }
    out
}

/// A rule on one line, with its line in the ruleset.
fn comment(rule: &RuleInfo) -> String {
    let text: String = rule.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    rule.line.map_or_else(|| text.clone(), |line| format!("line {line}: {text}"))
}

fn case(out: &mut String, packet: &Proposed, found: Option<&[Found]>) {
    let entries = packet.entries();
    let Some(found) = found else {
        let _ = writeln!(out, "  - packets: [{{{}}}]", entries.join("}, {"));
        return;
    };
    let doubt = match found.iter().find(|found| found.verdict == Verdict::Inconclusive || found.doubt.is_some()) {
        Some(found) => Some(found.doubt.clone().unwrap_or_else(|| "it was not observed".to_owned())),
        None if found.len() != entries.len() => Some("it was not observed".to_owned()),
        None => None,
    };
    if let Some(why) = doubt {
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(out, "  # left out ({why}): {{{}}}", entries.join("}, {"));
        return;
    }
    let expected = found.iter().zip(&entries).map(|(found, entry)| {
        let mut expect = format!("verdict: {}", word(found.verdict).to_lowercase());
        for (key, value) in [
            ("src", found.src.map(|at| format!("'{at}'"))),
            ("dst", found.dst.map(|at| format!("'{at}'"))),
            ("dport", found.dport.map(|port| port.to_string())),
        ] {
            if let Some(value) = value {
                let _ = write!(expect, ", {key}: {value}");
            }
        }
        format!("{{{entry}, expect: {{{expect}}}}}")
    });
    let _ = writeln!(out, "  - packets: [{}]", expected.collect::<Vec<_>>().join(", "));
}
