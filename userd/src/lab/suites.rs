//! The suites of a request.

use std::collections::BTreeMap;

use netengine_proto::api::{FirewallSuites, Problem, ProblemKind};
use netengine_suite::{Mistake, Suite, load};

use crate::problem::problem;

/// Reads all suites; what is wrong in any of them is told at once. A file that a suite names must come with the request: nothing is
/// read from the disk.
///
/// # Errors
/// Class `spec`, with the places.
pub fn read(what: &str, request: &FirewallSuites) -> Result<Vec<Suite>, Problem> {
    if request.suites.is_empty() {
        let help = "send at least one suite: {\"suites\": [{\"file\": NAME, \"text\": TEXT}]}";
        return Err(problem(ProblemKind::Usage, what, "the request has no suite", help));
    }
    let (mut suites, mut mistakes) = (Vec::new(), Vec::<Mistake>::new());
    for suite in &request.suites {
        match load(&suite.file, &suite.text, &mut |file| text_of(&request.files, file)) {
            Ok(suite) => suites.push(suite),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() {
        return Ok(suites);
    }
    Err(wrong(what, &mistakes))
}

/// What is told of mistakes in suites: class `spec`, with the places.
pub fn wrong(what: &str, mistakes: &[Mistake]) -> Problem {
    let cause = match mistakes {
        [one] => one.to_string(),
        several => format!("there are {} mistakes in it", several.len()),
    };
    let mut wrong = problem(ProblemKind::Spec, what, cause, "mend the places in `diagnostics`");
    wrong.diagnostics = mistakes
        .iter()
        .map(|at| serde_json::json!({"file": at.file, "line": at.line, "column": at.column, "message": at.message}))
        .collect();
    wrong
}

fn text_of(files: &BTreeMap<String, String>, file: &str) -> Result<String, String> {
    files.get(file).cloned().ok_or_else(|| format!("{file} did not come with the request (`files`)"))
}

#[cfg(test)]
mod tests {
    use netengine_proto::api::SuiteText;

    use super::*;

    fn request(text: &str, files: &[(&str, &str)]) -> FirewallSuites {
        FirewallSuites {
            suites: vec![SuiteText { file: "a.yaml".into(), text: text.into() }],
            files: files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect(),
        }
    }

    #[test]
    fn files_come_with_the_request_and_from_nowhere_else() {
        let text = "- name: x\n  rules_file: /etc/passwd\n  packets: [{dst_port: 1}]\n";
        let wrong = read("cannot", &request(text, &[])).expect_err("nothing is read from the disk");
        assert!(wrong.cause.contains("/etc/passwd did not come"), "{}", wrong.cause);
        let suites = read("cannot", &request(text, &[("/etc/passwd", "table ip t {}")])).expect("it came along");
        assert_eq!(suites[0].cases[0].request.ruleset.as_str(), "table ip t {}");
        assert_eq!(read("cannot", &request("- nme: x\n", &[])).expect_err("wrong").diagnostics.len(), 1);
    }
}
