//! Counters, as a listing tells them.

use netengine_lab_proto::{Counter, Family, PacketOutcome, RuleRef, limits::COUNTERS};
use netengine_proto::bounded::Bounded;

use crate::{
    text::{Listing, scan::family_of},
    tracer::TRACER,
    verdict::{Facts, reference},
};

/// Those of the rules that a packet matched, in the order of its path, then all that have names.
pub fn of(listing: &str, outcome: &PacketOutcome, facts: &Facts) -> Bounded<Counter, COUNTERS> {
    let now = Listing::read(listing, TRACER);
    let mut found: Vec<Counter> = Vec::new();
    for hop in outcome.path.iter().filter(|hop| hop.rule.is_some() && hop.node == *facts.tested_name()) {
        let key = (hop.family, hop.table.clone(), hop.chain.clone());
        let rule = now.rules.get(&key).and_then(|rules| rules.iter().find(|rule| Some(rule.handle) == hop.rule));
        let of: RuleRef = reference(hop);
        if let Some((packets, bytes)) = rule.and_then(|rule| inline(&rule.text))
            && found.iter().all(|counter| counter.rule.as_ref() != Some(&of))
        {
            found.push(Counter { rule: Some(of), name: None, packets, bytes });
        }
    }
    found.extend(named(listing));
    found.truncate(COUNTERS);
    Bounded::new(found).unwrap_or_default()
}

/// `counter packets 3 bytes 180` in a rule, outside of quotes.
fn inline(text: &str) -> Option<(u64, u64)> {
    let mut inside = text.split('"').step_by(2);
    inside.find_map(|text| numbers(&text[text.find("counter packets ")? + "counter ".len()..]))
}

fn numbers(text: &str) -> Option<(u64, u64)> {
    let mut words = text.split_whitespace();
    match (words.next()?, words.next()?, words.next()?, words.next()?) {
        ("packets", packets, "bytes", bytes) => Some((packets.parse().ok()?, bytes.parse().ok()?)),
        _ => None,
    }
}

/// The named counters of all tables but ours: `counter NAME { ... packets 3 bytes 180 ... }`, as nft prints them.
fn named(listing: &str) -> Vec<Counter> {
    let (mut found, mut table, mut name): (Vec<Counter>, Option<(Family, &str)>, Option<&str>) =
        (Vec::new(), None, None);
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), name) {
            (["table", family, called, "{", ..], _) => {
                table = family_of(family).map(|family| (family, *called)).filter(|(_, called)| *called != TRACER);
            }
            (["counter", called, "{", ..], _) if table.is_some() => name = Some(called),
            (["packets", ..], Some(called)) => {
                if let Some((packets, bytes)) = numbers(line) {
                    found.push(Counter { rule: None, name: Some(called.to_owned()), packets, bytes });
                }
            }
            (["}", ..], Some(_)) => name = None,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_nft_lists_them() {
        let text = "table inet t { # handle 1\n\tcounter web { # handle 3\n\t\tcomment \"packets 9 bytes 9\"\n\t\tpackets 2 \
                    bytes 120\n\t}\n\n\tchain i { # handle 1\n\t\ttcp dport 80 counter packets 7 bytes 8 accept # handle 4\n\t}\n}\n";
        let found = named(text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_deref(), found[0].packets, found[0].bytes), (Some("web"), 2, 120));
        assert_eq!(inline("tcp dport 80 counter packets 7 bytes 8 accept"), Some((7, 8)));
        assert_eq!(inline("accept comment \"counter packets 7 bytes 8\""), None);
        assert!(named(&text.replace("table inet t", "table inet netengine_trace")).is_empty());
    }
}
