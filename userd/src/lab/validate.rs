//! Whether the rulesets of suites load, as a kernel says; no packet is sent.

use netengine_lab_proto::{CaseRequest, CaseResult};
use netengine_proto::{
    api::{Problem, ProblemKind},
    bounded::Bounded,
};
use netengine_suite::{Case, Mistake, Suite, judge};

use super::{owners::Lease, suites::wrong};
use crate::problem::problem;

/// Loads each ruleset of the suites once for each topology that has it, and tells what does not load, and what loads and must not.
///
/// # Errors
/// Class `spec` with nft's messages at their places, class `engine` or `quota` when no kernel could be asked.
pub async fn rulesets(what: &str, lease: &Lease, suites: &[Suite]) -> Result<(), Problem> {
    let mut known: Vec<(CaseRequest, &Case)> = Vec::new();
    let mut mistakes = Vec::new();
    for suite in suites {
        for case in &suite.cases {
            let request = CaseRequest { packets: Bounded::default(), ..case.request.clone() };
            if known
                .iter()
                .any(|(other, of)| *other == request && of.rules == case.rules && of.load_error == case.load_error)
            {
                continue;
            }
            let bytes = postcard::to_stdvec(&request).map_err(|error| engine(what, error.to_string()))?;
            known.push((request, case));
            let answer = lease.run(&bytes).await.map_err(|error| error.problem())?;
            let result = postcard::from_bytes::<CaseResult>(&answer)
                .map_err(|error| engine(what, format!("the sandbox spoke nonsense: {error}")))?;
            mistakes.extend(mistakes_of(what, &suite.file, case, result)?);
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(wrong(what, &mistakes)) }
}

fn engine(what: &str, cause: String) -> Problem {
    problem(ProblemKind::Engine, what, cause, "see the log of netengine-lab")
}

/// What is wrong with the ruleset of a case, by what became of it.
fn mistakes_of(what: &str, file: &str, case: &Case, result: CaseResult) -> Result<Vec<Mistake>, Problem> {
    let of_case = |message| Mistake { file: file.to_owned(), line: case.line, column: 1, message };
    match (result, &case.load_error) {
        (CaseResult::Unsupported { message } | CaseResult::Failed { message }, _) => Err(engine(what, message)),
        (CaseResult::LoadFailed(errors), None) => {
            let tested = &case.request.topology.tested;
            let mistake = |error: netengine_lab_proto::LoadError| match error.line.filter(|_| error.node == *tested) {
                Some(line) => {
                    let (line, column) = case.rules.place(line, error.column.unwrap_or(1));
                    Mistake { file: case.rules.file.clone(), line, column, message: error.message }
                }
                None => of_case(format!("the ruleset of {}: {}", error.node, error.message)),
            };
            Ok(errors.into_inner().into_iter().map(mistake).collect())
        }
        (CaseResult::Judged(_), None) => Ok(Vec::new()),
        (result, Some(_)) => Ok(judge(case, result).message.into_iter().map(of_case).collect()),
    }
}
