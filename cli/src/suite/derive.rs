//! `--derive`: a suite of boundary packets for a ruleset, with the verdicts that were found.

use std::path::Path;

use netengine_lab_proto::Verdict;
use netengine_proto::api::ProblemKind;
use netengine_suite::{
    Case, Suite,
    derive::{Hooks, propose, suite},
    load,
};

use super::{jobs::Jobs, read};
use crate::{failure::Failure, ui::Ui};

/// Prints the suite. One packet tells the rules as the kernel has them, then each proposed packet meets a fresh ruleset.
///
/// # Errors
/// Class `usage` when the ruleset cannot be read or does not load, class `engine` when no worker can be started.
pub fn run(ui: &Ui, ruleset: &Path, jobs: &Jobs) -> Result<u8, Failure> {
    let name = ruleset.display().to_string();
    let what = || format!("cannot derive a suite from {name}");
    let text = read::text(ruleset).map_err(|error| {
        Failure::new(ProblemKind::Usage, what(), error, "name an nftables ruleset that you may read")
    })?;
    // The suite names the ruleset as a file beside it.
    let beside = ruleset.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hooks = Hooks::of(&text);
    let written = |packets: &_, verdicts: Option<&[Verdict]>| suite(&beside, hooks, packets, verdicts);
    let loaded = |written: &str| -> Result<Suite, Failure> {
        load(&name, written, &mut |_| Ok(text.clone())).map_err(|mistakes| {
            let told = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
            let help = "this is a defect of NetEngine; please report it with the ruleset";
            Failure {
                places: told,
                ..Failure::new(ProblemKind::Failed, what(), "the derived suite is not sound", help)
            }
        })
    };
    let mut first = loaded(&written(&propose(&[], hooks), None))?;
    first.cases.truncate(1);
    first.cases.iter_mut().for_each(|case| case.request.limits.all_rules = true);
    let judged = jobs.run(&cases(&first), &|_| Ok(()))?;
    let rules = match judged.first() {
        Some(judged) if judged.message.is_none() => judged.rules.clone(),
        judged => {
            let why = judged.and_then(|judged| judged.message.clone()).unwrap_or_else(|| "it was not run".to_owned());
            return Err(Failure::new(ProblemKind::Usage, what(), why, "mend the ruleset; `nft -c -f` says the same"));
        }
    };
    let packets = propose(&rules, hooks);
    let all = loaded(&written(&packets, None))?;
    let judged = jobs.run(&cases(&all), &|_| Ok(()))?;
    let verdicts: Vec<Verdict> = judged
        .iter()
        .map(|judged| judged.packets.first().map_or(Verdict::Inconclusive, |packet| packet.seen.verdict))
        .collect();
    let unseen = verdicts.iter().filter(|verdict| **verdict == Verdict::Inconclusive).count();
    ui.print(&written(&packets, Some(&verdicts)))?;
    ui.remark(&format!("{} packets, {unseen} of them not observed", packets.len()));
    Ok(if unseen == 0 { 0 } else { 3 })
}

fn cases(suite: &Suite) -> Vec<&Case> {
    suite.cases.iter().collect()
}
