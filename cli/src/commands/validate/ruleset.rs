//! `netengine validate RULES.nft`: what nft says of a ruleset, with line and column; a kernel loads it in a sandbox, and no packet is sent.

use netengine_lab_proto::{CaseLimits, CaseRequest, CaseResult, RulesetText, Topology};
use netengine_proto::{api::ProblemKind, bounded::Bounded};
use serde_json::{Value, json};

use crate::{
    args::SpecArgs,
    escape,
    failure::Failure,
    suite::{
        engine::{Engine, Unjudged},
        read,
    },
    ui::Ui,
};

/// Loads the ruleset. With JSON the report is the result in either case, as for a spec.
///
/// # Errors
/// Class `usage` for a file that cannot be read, class `spec` (text only) for what is wrong in it, class `engine` when no kernel could be asked.
pub fn run(ui: &Ui, args: &SpecArgs) -> Result<u8, Failure> {
    let file = args.spec.display().to_string();
    let unreadable = |cause: String, help: &str| {
        Failure::new(ProblemKind::Usage, format!("cannot read the ruleset {file}"), cause, help)
    };
    if args.env.is_some() || !args.set.is_empty() {
        return Err(unreadable("`--env` and `--set` are for specs".to_owned(), "leave them away"));
    }
    let text = read::text(&args.spec)
        .map_err(|error| unreadable(error.to_string(), "name an nftables ruleset that you may read"))?;
    let text = RulesetText::new(text).map_err(|error| unreadable(format!("it {error}"), "make it shorter"))?;
    let request = CaseRequest {
        topology: Topology::gateway(),
        ruleset: text,
        beside: Bounded::default(),
        packets: Bounded::default(),
        limits: CaseLimits::default(),
    };
    let unasked = |cause: String| {
        let help = "see `netengine doctor`";
        Failure::new(ProblemKind::Engine, format!("cannot load the ruleset {file}"), cause, help)
    };
    let result = Engine::start()?.run(&request).map_err(|unjudged| match unjudged {
        Unjudged::Case(cause) => unasked(cause),
        Unjudged::Run(failure) => failure,
    })?;
    let errors = match result {
        CaseResult::Judged(_) => Vec::new(),
        CaseResult::LoadFailed(errors) => errors.into_inner(),
        CaseResult::Unsupported { message } | CaseResult::Failed { message } => return Err(unasked(message)),
    };
    let diagnostics: Vec<Value> = errors
        .iter()
        .map(|at| {
            json!({"severity": "error", "file": file, "line": at.line.unwrap_or(0), "column": at.column.unwrap_or(0),
                "message": at.message})
        })
        .collect();
    let is_valid = errors.is_empty();
    if ui.json {
        ui.print_json(&json!({"valid": is_valid, "ruleset": file, "diagnostics": diagnostics}))?;
        return Ok(if is_valid { 0 } else { 2 });
    }
    if is_valid {
        ui.print(&format!("{}: the ruleset loads\n", escape::line(&file)))?;
        return Ok(0);
    }
    let cause = match errors.len() {
        1 => "it has 1 error, shown above".to_owned(),
        number => format!("it has {number} errors, shown above"),
    };
    let help = "mend it; links in the sandbox are called eth0 and eth1, and a suite may name others";
    let mut failure = Failure::new(ProblemKind::Spec, format!("cannot load the ruleset {file}"), cause, help);
    let place = |at: &netengine_lab_proto::LoadError| match (at.line, at.column) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}: {}\n", at.message),
        _ => format!("{file}: {}\n", at.message),
    };
    failure.places = errors.iter().map(place).collect();
    failure.problem.diagnostics = diagnostics;
    Err(failure)
}
