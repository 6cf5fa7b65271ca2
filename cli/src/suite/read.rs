//! Suites and the ruleset files they name.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use netengine_proto::api::ProblemKind;
use netengine_suite::{Suite, load, load::SUITE_BYTES};

use crate::failure::Failure;

/// Reads all suites; what is wrong in any of them is told at once.
///
/// # Errors
/// Class `usage` for a file that cannot be read, class `spec` for what is wrong in them.
pub fn all(files: &[PathBuf]) -> Result<Vec<Suite>, Failure> {
    let (mut suites, mut mistakes) = (Vec::new(), Vec::new());
    for path in files {
        let name = path.display().to_string();
        let text = text(path).map_err(|error| {
            let help = "name files that exist and that you may read";
            Failure::new(ProblemKind::Usage, format!("cannot read the suite {name}"), error, help)
        })?;
        let beside = path.parent().unwrap_or(Path::new(""));
        let mut read = |file: &str| text_of_rules(beside, file);
        match load(&name, &text, &mut read) {
            Ok(suite) => suites.push(suite),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() {
        return Ok(suites);
    }
    let cause = match mistakes.len() {
        1 => "there is 1 mistake in it".to_owned(),
        number => format!("there are {number} mistakes in it"),
    };
    let help = "mend what is listed above; docs/suites.md has every key";
    let mut failure = Failure::new(ProblemKind::Spec, "cannot use the suite", cause, help);
    failure.places = mistakes.iter().map(|mistake| format!("{mistake}\n")).collect();
    failure.problem.diagnostics = mistakes
        .iter()
        .map(|at| serde_json::json!({"file": at.file, "line": at.line, "column": at.column, "message": at.message}))
        .collect();
    Err(failure)
}

/// The text of a file that a suite names, beside the suite. The caller reads it with their own rights.
fn text_of_rules(beside: &Path, file: &str) -> Result<String, String> {
    text(&beside.join(file)).map_err(|error| format!("cannot read {file}: {error}"))
}

/// The text of a file, as far as it may be long.
///
/// # Errors
/// As reading does.
pub fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let most = SUITE_BYTES as u64 + 1;
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}
