//! The report as JSON (docs/json.md).

use serde_json::{Value, json};

use super::{Run, Summary};
use crate::{
    case::CT_STATES,
    judge::{Judged, JudgedPacket},
    verdict::word,
};

/// The version of the shape.
const VERSION: u32 = 1;

/// The whole run.
pub fn json(run: &Run<'_>) -> Value {
    let Summary { passed, failed, inconclusive } = run.summary();
    let tests = run.suites.iter().flat_map(|(file, cases)| cases.iter().map(move |case| test(file, case)));
    json!({
        "version": VERSION,
        "summary": {"passed": passed, "failed": failed, "inconclusive": inconclusive, "millis": run.millis},
        "tests": tests.collect::<Vec<_>>(),
    })
}

fn test(file: &str, judged: &Judged<'_>) -> Value {
    json!({
        "name": judged.case.name,
        "file": file,
        "line": judged.case.line,
        "tags": judged.case.tags,
        "outcome": judged.outcome.as_str(),
        "message": judged.message,
        "millis": judged.millis,
        "packets": (0..).zip(&judged.packets).map(|(index, packet)| one(index, judged, packet)).collect::<Vec<_>>(),
    })
}

fn one(index: usize, judged: &Judged<'_>, packet: &JudgedPacket<'_>) -> Value {
    let seen = &packet.seen;
    let place = packet.place.unzip();
    let rule = seen.deciding.as_ref().map(|rule| {
        json!({
            "family": rule.family,
            "table": rule.table,
            "chain": rule.chain,
            "handle": rule.handle,
            "text": packet.rule.as_ref().map(|info| &info.text),
            "node": rule.node,
            "file": packet.place.map(|_| &judged.case.rules.file),
            "line": place.0,
            "column": place.1,
        })
    });
    let state = seen.ct_state.and_then(|state| CT_STATES.iter().find(|(_, of)| *of == state)).map(|(word, _)| *word);
    json!({
        "index": index,
        "line": packet.expected.line,
        "packet": packet.expected.title,
        "expected": word(packet.expected.verdict.verdict()),
        "verdict": word(seen.verdict),
        "outcome": packet.outcome.as_str(),
        "differences": packet.differences,
        "reason": seen.reason,
        "rule": rule,
        "path": seen.path,
        "delivered": seen.delivered,
        "ct_state": state,
        "ct_direction": seen.ct_direction,
        "connection": seen.connection,
        "counters": seen.counters,
        "reply": seen.reply,
        "errno": seen.errno,
        "untraced": seen.untraced,
        "millis": seen.millis,
    })
}
