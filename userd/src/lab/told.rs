//! A judged case as events: each hook that a packet reached, each rule that matched it, what conntrack had it in, its verdict, and what
//! went wrong.

use netengine_lab_proto::HopKind;
use netengine_suite::{Judged, judge::JudgedPacket};
use serde_json::{Value, json};

/// Name and content of each event of a case, in order; the last one is `case`.
pub fn events(file: &str, number: usize, judged: &Judged<'_>) -> Vec<(&'static str, Value)> {
    let mut events = Vec::new();
    for (index, packet) in judged.packets.iter().enumerate() {
        self::packet(&mut events, number, index, packet);
    }
    if let Some(message) = &judged.message {
        events.push(("error", json!({"case": number, "message": message})));
    }
    events.push((
        "case",
        json!({"case": number, "file": file, "name": judged.case.name, "line": judged.case.line,
            "outcome": judged.outcome.as_str(), "millis": judged.millis}),
    ));
    events
}

fn packet(events: &mut Vec<(&'static str, Value)>, case: usize, index: usize, judged: &JudgedPacket<'_>) {
    let (seen, mut last) = (&judged.seen, None);
    for hop in seen.path.iter() {
        let hook = (&hop.node, hop.hook, hop.family, &hop.table, &hop.chain);
        if last.replace(hook) != Some(hook) {
            events.push((
                "hook",
                json!({"case": case, "packet": index, "node": hop.node, "hook": hop.hook, "family": hop.family,
                    "table": hop.table, "chain": hop.chain}),
            ));
        }
        if hop.kind == HopKind::Rule {
            events.push((
                "match",
                json!({"case": case, "packet": index, "node": hop.node, "family": hop.family, "table": hop.table,
                    "chain": hop.chain, "handle": hop.rule, "verdict": hop.verdict}),
            ));
        }
    }
    if let Some(state) = seen.ct_state {
        events.push((
            "conntrack",
            json!({"case": case, "packet": index, "state": state, "direction": seen.ct_direction}),
        ));
    }
    events.push((
        "verdict",
        json!({"case": case, "packet": index, "verdict": seen.verdict, "outcome": judged.outcome.as_str(),
            "rule": judged.rule, "reason": seen.reason, "differences": judged.differences}),
    ));
}
