//! The report in the Test Anything Protocol, version 13.

use std::fmt::Write;

use super::{Run, clean, junit::lines};
use crate::judge::Outcome;

/// The whole run.
pub fn tap(run: &Run<'_>) -> String {
    let mut out = format!("TAP version 13\n1..{}\n", run.cases().count());
    for (number, judged) in (1..).zip(run.cases()) {
        let word = if judged.outcome == Outcome::Passed { "ok" } else { "not ok" };
        // A `#` begins a directive, and a line ends the description.
        let name = clean(&judged.case.name).replace('#', "\\#").replace('\n', " ");
        let _ = writeln!(out, "{word} {number} - {name}");
        if judged.outcome != Outcome::Passed {
            let _ = writeln!(out, "  ---\n  outcome: {}\n  message: |", judged.outcome.as_str());
            for line in lines(judged).iter().flat_map(|text| text.lines()) {
                let _ = writeln!(out, "    {}", clean(line));
            }
            out.push_str("  ...\n");
        }
    }
    out
}
