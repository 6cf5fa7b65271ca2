//! `--beside`: the rulesets that are loaded beside the tested one.

use std::path::Path;

use netengine_lab_proto::{RulesetText, limits::BESIDE};
use netengine_proto::{api::ProblemKind, bounded::Bounded};
use netengine_suite::{Case, beside::recorded};

use super::read;
use crate::failure::Failure;

/// Adds them to every case: a recorded set by its name, or the text of a file.
///
/// # Errors
/// Class `usage` for a file that cannot be read, and for too many.
pub fn add<'a>(names: &[String], cases: impl Iterator<Item = &'a mut Case>) -> Result<(), Failure> {
    let help = format!("name docker, firewalld, ufw, wireguard or a ruleset that you may read, at most {BESIDE}");
    let failed = |what: String, cause: String| Failure::new(ProblemKind::Usage, what, cause, &help);
    let text = |name: &String| match recorded(name) {
        Some(text) => Ok(text.to_owned()),
        None => read::text(Path::new(name)).map_err(|error| error.to_string()),
    };
    let mut texts = Vec::with_capacity(names.len());
    for name in names {
        let ruleset = text(name).and_then(|text| RulesetText::new(text).map_err(|error| error.to_string()));
        texts.push(ruleset.map_err(|cause| failed(format!("cannot read the ruleset {name}"), cause))?);
    }
    let what = "cannot load so many rulesets beside the tested one";
    let texts = Bounded::new(texts).map_err(|error| failed(what.to_owned(), error.to_string()))?;
    for case in cases {
        case.request.beside = texts.clone();
    }
    Ok(())
}
