//! Boundary packets of rulesets, as cases that can be run: what `--derive` and `--diff` share.

use std::path::Path;

use netengine_lab_proto::RuleInfo;
use netengine_proto::api::ProblemKind;
use netengine_suite::{
    Suite,
    derive::{Hooks, Proposal, propose, suite},
    load,
};

use super::{jobs::Jobs, read};
use crate::failure::Failure;

/// A ruleset's text, and its rules as the kernel has them.
pub struct Ruleset {
    /// Its file, for messages.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its rules.
    pub rules: Vec<RuleInfo>,
}

impl Ruleset {
    /// Reads a ruleset's file and has a kernel tell its rules.
    ///
    /// # Errors
    /// Class `usage` when it cannot be read or does not load, class `engine` when no worker can be started.
    pub fn read(file: &Path, jobs: &Jobs) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let text = read::text(file).map_err(|error| {
            let help = "name an nftables ruleset that you may read";
            Failure::new(ProblemKind::Usage, format!("cannot read the ruleset {name}"), error, help)
        })?;
        Self::of(name, text, jobs)
    }

    /// Has a kernel tell the rules of a text.
    ///
    /// # Errors
    /// As [`Ruleset::read`].
    pub fn of(name: String, text: String, jobs: &Jobs) -> Result<Self, Failure> {
        let what = || format!("cannot use the ruleset {name}");
        let hooks = Hooks::of(&text);
        let mut first = cases(&name, &text, hooks, &propose(&[], &text, hooks))?;
        first.cases.truncate(1);
        first.cases.iter_mut().for_each(|case| case.request.limits.all_rules = true);
        let judged = jobs.run(&first.cases.iter().collect::<Vec<_>>(), &|_| Ok(()))?;
        let why = match judged.first() {
            Some(judged) if judged.message.is_none() => {
                let rules = judged.rules.clone();
                return Ok(Self { name, text, rules });
            }
            judged => judged.and_then(|judged| judged.message.clone()),
        };
        let why = why.unwrap_or_else(|| "it was not run".to_owned());
        Err(Failure::new(ProblemKind::Usage, what(), why, "mend the ruleset; `nft -c -f` says the same"))
    }

    /// What packets it needs.
    pub fn hooks(&self) -> Hooks {
        Hooks::of(&self.text)
    }

    /// Its boundary packets.
    pub fn proposals(&self, hooks: Hooks) -> Vec<Proposal<'_>> {
        propose(&self.rules, &self.text, hooks)
    }
}

/// One case for each packet, with this text as ruleset; places are those of the file of this name.
///
/// # Errors
/// Class `failed`: then the packets were proposed in vain.
pub fn cases(name: &str, text: &str, hooks: Hooks, proposals: &[Proposal<'_>]) -> Result<Suite, Failure> {
    // The suite is beside the file, which it names without its directory.
    let path = Path::new(name);
    let file = path.file_name().map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
    let written = suite(&file, hooks, proposals, None, &[]);
    load(name, &written, &mut |_| Ok(text.to_owned())).map_err(|mistakes| {
        let help = "this is a defect of NetEngine; please report it with the ruleset";
        let what = format!("cannot derive packets from {name}");
        Failure {
            places: mistakes.iter().map(|mistake| format!("{mistake}\n")).collect(),
            ..Failure::new(ProblemKind::Failed, what, "the derived suite is not sound", help)
        }
    })
}
