//! `--mutate`: would any case notice a rule that is missing, or turned?

use std::collections::BTreeMap;

use netengine_lab_proto::RulesetText;
use netengine_suite::{
    Case, Outcome,
    mutate::{Mutant, mutants},
    report::{Run, Style, summary_line},
};
use serde_json::json;

use super::jobs::Jobs;
use crate::{args::Report, escape, failure::Failure, ui::Ui};

/// Runs the cases of each ruleset with every mutant of it; tells of those that all cases pass with.
///
/// # Errors
/// As a run.
pub fn run(ui: &Ui, run: &Run<'_>, jobs: &Jobs, format: Report, style: Style) -> Result<u8, Failure> {
    if run.exit_code() != 0 {
        ui.print(&format!("{}\n", summary_line(run, style)))?;
        ui.remark("the suite does not pass as it is; mutants tell nothing then");
        return Ok(run.exit_code());
    }
    let mut by_text: BTreeMap<(&str, u32), Vec<_>> = BTreeMap::new();
    for judged in run.cases().filter(|judged| judged.case.load_error.is_none()) {
        by_text.entry((judged.case.rules.file.as_str(), judged.case.rules.line)).or_default().push(judged);
    }
    let (mut survivors, mut total, mut unknown) = (Vec::new(), 0, 0);
    for judged in by_text.values() {
        let Some(first) = judged.first() else { continue };
        let tested = &first.case.request.topology.tested;
        let rules: Vec<_> = first.rules.iter().filter(|rule| rule.rule.node == *tested).cloned().collect();
        let (made, without) = mutants(first.case.request.ruleset.as_str(), &rules);
        unknown += without;
        for mutant in made {
            total += 1;
            let cases = judged.iter().filter_map(|judged| with(judged.case, &mutant)).collect::<Vec<_>>();
            let quick = Jobs { most: jobs.most, fail_fast: true, seed: None };
            let results = quick.run(&cases.iter().collect::<Vec<_>>(), &|_| Ok(()))?;
            // One that does not load is noticed by every case.
            if results.len() == cases.len() && results.iter().all(|result| result.outcome == Outcome::Passed) {
                let place = mutant.rule.line.map(|line| first.case.rules.place(line, mutant.rule.column.unwrap_or(1)));
                survivors.push((first.case.rules.file.clone(), place, mutant));
            }
        }
    }
    if format == Report::Json {
        let list = survivors.iter().map(|(file, place, mutant)| {
            let place = place.unzip();
            json!({"file": file, "line": place.0, "column": place.1, "rule": mutant.rule.text, "change": mutant.change})
        });
        let list: Vec<_> = list.collect();
        ui.print_json(&json!({"version": 1, "mutants": total, "survivors": list, "rules_without_place": unknown}))?;
    } else {
        for (file, place, mutant) in &survivors {
            let (line, column) = place.unwrap_or_default();
            let rule = escape::line(&mutant.rule.text);
            ui.print(&format!("{file}:{line}:{column}: no case notices that `{rule}` {}\n", verb(mutant)))?;
        }
        ui.print(&format!("{total} mutants, {} unnoticed\n", survivors.len()))?;
        if unknown > 0 {
            ui.remark(&format!("{unknown} rules have no known place in the text and were left as they are"));
        }
    }
    Ok(u8::from(!survivors.is_empty()))
}

fn verb(mutant: &Mutant) -> String {
    if mutant.change == "removed" { "is removed".to_owned() } else { format!("is turned ({})", mutant.change) }
}

/// A case with the mutant's ruleset; none when that is larger than a ruleset may be.
fn with(case: &Case, mutant: &Mutant) -> Option<Case> {
    let mut case = case.clone();
    case.request.ruleset = RulesetText::new(mutant.text.clone()).ok()?;
    Some(case)
}
