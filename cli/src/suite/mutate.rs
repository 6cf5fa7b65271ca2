//! `--mutate`: would any case notice a rule, an element or a policy that is missing, or turned?

use netengine_lab_proto::RulesetText;
use netengine_suite::{
    Case, Judged, Outcome,
    mutate::{Mutant, Mutants, mutants},
    report::{Run, Style, summary_line},
};
use serde_json::json;

use super::jobs::Jobs;
use crate::{args::Report, escape, failure::Failure, ui::Ui};

/// Whether cases told a mutant from the ruleset it is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noticed {
    /// A case failed.
    Yes,
    /// Every case passed.
    No,
    /// No case failed, and something was not observed.
    Unknown,
    /// It does not load: it says nothing of the cases.
    NoRuleset,
}

struct Tried<'a> {
    file: &'a str,
    place: (u32, u32),
    mutant: Mutant,
    noticed: Noticed,
}

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
    // Cases share a ruleset when the text is the same at the same place: two may stand on one line.
    let mut groups: Vec<Vec<&Judged<'_>>> = Vec::new();
    for judged in run.cases().filter(|judged| judged.case.load_error.is_none()) {
        let same = |group: &&mut Vec<&Judged<'_>>| {
            let (a, b) = (&group[0].case, &judged.case);
            a.rules == b.rules && a.request.ruleset == b.request.ruleset
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(judged),
            None => groups.push(vec![judged]),
        }
    }
    let (mut tried, mut unknown, mut kept) = (Vec::new(), 0, 0);
    for judged in &groups {
        let case = judged[0].case;
        // What is loaded beside it has no place in it, and is not under test.
        let is_tested = |rule: &&_| {
            let rule: &netengine_lab_proto::RuleInfo = rule;
            rule.rule.node == case.request.topology.tested && (rule.line.is_some() || case.request.beside.is_empty())
        };
        let rules: Vec<_> = judged[0].rules.iter().filter(is_tested).cloned().collect();
        let Mutants { made, without_place, kept_elements } = mutants(case.request.ruleset.as_str(), &rules);
        unknown += without_place;
        kept += kept_elements;
        for mutant in made {
            let cases = judged.iter().map(|judged| with(judged.case, &mutant)).collect::<Option<Vec<_>>>();
            let noticed = cases.map(|cases| try_cases(jobs, &cases)).transpose()?.unwrap_or(Noticed::Unknown);
            let (line, column) = mutant.place;
            tried.push(Tried { file: &case.rules.file, place: case.rules.place(line, column), mutant, noticed });
        }
    }
    tell(ui, &tried, (unknown, kept), format)?;
    let any = |noticed| tried.iter().any(|tried| tried.noticed == noticed);
    Ok(match (any(Noticed::No), any(Noticed::Unknown)) {
        (true, _) => 1,
        (false, true) => 3,
        (false, false) => 0,
    })
}

/// Runs the cases of a mutant until one notices.
fn try_cases(jobs: &Jobs, cases: &[Case]) -> Result<Noticed, Failure> {
    let quick = Jobs { most: jobs.most, fail_fast: true, seed: None };
    let mut left: Vec<&Case> = cases.iter().collect();
    let mut unseen = false;
    // A case that was not observed ends a run too; the others may still notice.
    while !left.is_empty() {
        let results = quick.run(&left, &|_| Ok(()))?;
        if results.iter().any(is_refused) {
            return Ok(Noticed::NoRuleset);
        }
        if results.iter().any(|result| result.outcome == Outcome::Failed) {
            return Ok(Noticed::Yes);
        }
        unseen |= results.iter().any(|result| result.outcome == Outcome::Inconclusive);
        left.retain(|case| results.iter().all(|result| !std::ptr::eq(*case, result.case)));
    }
    Ok(if unseen { Noticed::Unknown } else { Noticed::No })
}

/// The ruleset did not load.
fn is_refused(judged: &Judged<'_>) -> bool {
    judged.outcome == Outcome::Failed && judged.packets.is_empty() && !judged.case.packets.is_empty()
}

fn tell(ui: &Ui, tried: &[Tried<'_>], (unknown, kept): (usize, usize), format: Report) -> Result<(), Failure> {
    let of = |noticed| tried.iter().filter(move |tried| tried.noticed == noticed);
    let told = tried.len() - of(Noticed::NoRuleset).count();
    let unseen = of(Noticed::Unknown).count();
    if format == Report::Json {
        let one = |Tried { file, place, mutant, .. }: &Tried<'_>| json!({"file": file, "line": place.0, "column": place.1, "rule": mutant.what, "change": mutant.change});
        let list = |noticed| of(noticed).map(one).collect::<Vec<_>>();
        return ui.print_json(&json!({
            "version": 1, "mutants": told, "survivors": list(Noticed::No), "inconclusive": list(Noticed::Unknown),
            "not_loaded": list(Noticed::NoRuleset), "rules_without_place": unknown, "elements_kept": kept,
        }));
    }
    for Tried { file, place: (line, column), mutant, noticed } in tried {
        let (what, file) = (escape::line(&mutant.what), escape::line(file));
        let verb = match noticed {
            Noticed::No => "no case notices that",
            Noticed::Unknown => "it could not be observed whether a case notices that",
            Noticed::Yes | Noticed::NoRuleset => continue,
        };
        ui.print(&format!("{file}:{line}:{column}: {verb} `{what}` {}\n", mutant.change))?;
    }
    let doubt = if unseen > 0 { format!(", {unseen} not observed") } else { String::new() };
    ui.print(&format!("{told} mutants, {} unnoticed{doubt}\n", of(Noticed::No).count()))?;
    if unknown > 0 {
        ui.remark(&format!("{unknown} rules have no known place in the text and were left as they are"));
    }
    if kept > 0 {
        ui.remark(&format!("{kept} elements of large sets were left as they are"));
    }
    Ok(())
}

/// A case with the mutant's ruleset; none when that is larger than a ruleset may be.
fn with(case: &Case, mutant: &Mutant) -> Option<Case> {
    let mut case = case.clone();
    case.request.ruleset = RulesetText::new(mutant.of(case.request.ruleset.as_str())).ok()?;
    Some(case)
}
