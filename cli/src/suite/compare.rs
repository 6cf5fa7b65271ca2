//! `--diff`: the same cases with another ruleset.

use std::path::Path;

use netengine_lab_proto::{RulesetText, Verdict};
use netengine_proto::api::ProblemKind;
use netengine_suite::{Case, Judged, Outcome, case::Origin, verdict::word};
use serde_json::json;

use super::{jobs::Jobs, read};
use crate::{args::Report, escape, failure::Failure, ui::Ui};

/// Runs every case with its own ruleset and with that of `file`; tells of packets whose verdicts differ.
///
/// # Errors
/// As a run, and class `usage` when the file cannot be read.
pub fn run(ui: &Ui, cases: &[&Case], file: &Path, jobs: &Jobs, format: Report) -> Result<u8, Failure> {
    let name = file.display().to_string();
    let failed = |cause: String| {
        let help = "name an nftables ruleset that you may read";
        Failure::new(ProblemKind::Usage, format!("cannot read the ruleset {name}"), cause, help)
    };
    let text = read::text(file).map_err(|error| failed(error.to_string()))?;
    let ruleset = RulesetText::new(text).map_err(|error| failed(error.to_string()))?;
    let origin = Origin { file: name.clone(), line: 1, indent: 0 };
    let others: Vec<Case> = cases
        .iter()
        .map(|case| {
            let mut other = Case { rules: origin.clone(), load_error: None, ..Case::clone(case) };
            other.request.ruleset = ruleset.clone();
            other
        })
        .collect();
    let first = jobs.run(cases, &|_| Ok(()))?;
    let second = jobs.run(&others.iter().collect::<Vec<_>>(), &|_| Ok(()))?;
    let pairs: Vec<_> = first.iter().zip(&second).collect();
    let differing: Vec<_> = pairs.iter().flat_map(|(a, b)| differences(a, b)).collect();
    let doubt = pairs.iter().any(|(a, b)| is_unseen(a) || is_unseen(b));
    if format == Report::Json {
        let list = differing.iter().map(|d| {
            json!({"test": d.case, "packet": d.packet, "title": d.title, "before": d.before, "after": d.after, "rule": d.rule})
        });
        let list: Vec<_> = list.collect();
        ui.print_json(&json!({"version": 1, "differences": list, "inconclusive": doubt}))?;
    } else {
        for d in &differing {
            let rule = d.rule.as_ref().map(|rule| format!("  by `{}`", escape::line(rule))).unwrap_or_default();
            let (case, title) = (escape::line(&d.case), escape::line(&d.title));
            ui.print(&format!("{case}: {}. {title}: {} became {}{rule}\n", d.packet, d.before, d.after))?;
        }
        ui.print(&format!("{}\n", crate::commands::count(differing.len(), "difference")))?;
    }
    Ok(match (differing.is_empty(), doubt) {
        (false, _) => 1,
        (true, true) => 3,
        (true, false) => 0,
    })
}

struct Difference {
    case: String,
    packet: u32,
    title: String,
    before: String,
    after: String,
    rule: Option<String>,
}

/// A case whose packets were not judged at all, but for a ruleset that does not load, which is a difference by itself.
fn is_unseen(judged: &Judged<'_>) -> bool {
    let unseen = judged.packets.iter().any(|packet| packet.seen.verdict == Verdict::Inconclusive);
    unseen || (judged.outcome == Outcome::Inconclusive && judged.packets.is_empty())
}

fn differences(a: &Judged<'_>, b: &Judged<'_>) -> Vec<Difference> {
    let mut found = Vec::new();
    if a.packets.len() != b.packets.len() {
        let said = |judged: &Judged<'_>| judged.message.clone().unwrap_or_else(|| "loaded".to_owned());
        let (case, title) = (a.case.name.clone(), "the ruleset".to_owned());
        found.push(Difference { case, packet: 0, title, before: said(a), after: said(b), rule: None });
    }
    for (one, other) in a.packets.iter().zip(&b.packets) {
        if one.seen.verdict != other.seen.verdict {
            found.push(Difference {
                case: a.case.name.clone(),
                packet: one.expected.number,
                title: one.expected.title.clone(),
                before: word(one.seen.verdict).to_owned(),
                after: word(other.seen.verdict).to_owned(),
                rule: other.rule.as_ref().map(|rule| rule.text.clone()),
            });
        }
    }
    found
}
