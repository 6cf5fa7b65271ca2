//! Building [`Problem`]s: what failed, why, what to do.

use netengine_proto::api::{Problem, ProblemKind};

/// A problem of this class.
pub fn problem(
    kind: ProblemKind,
    what: impl Into<String>,
    cause: impl Into<String>,
    help: impl Into<String>,
) -> Problem {
    Problem { kind, what: what.into(), cause: cause.into(), help: help.into(), diagnostics: Vec::new() }
}

/// The one answer for a world that does not exist and for one that is not the caller's. It repeats nothing that only
/// the store knows.
pub fn no_such_world(name: &str) -> Problem {
    let cause = format!("no world named \"{name}\"");
    problem(ProblemKind::NotFound, format!("cannot find world \"{name}\""), cause, "list yours with `netengine list`")
}

/// The one answer for an operation that does not exist and for one that is not the caller's.
pub fn no_such_operation(id: &str) -> Problem {
    problem(
        ProblemKind::NotFound,
        format!("cannot find operation {id}"),
        format!("no operation {id}"),
        "operations are kept for a while after they ended; see `netengine events`",
    )
}

/// The problem with another first line: the object the caller asked about.
pub fn about(mut inner: Problem, what: impl Into<String>) -> Problem {
    inner.what = what.into();
    inner
}
