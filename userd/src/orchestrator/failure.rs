//! Why an attempt did not succeed.

use netengine_proto::api::{PhaseState, PhaseStatus, Problem};

use crate::plan::{Target, phases};

/// Why an attempt did not succeed.
#[derive(Debug)]
pub(super) enum AttemptError {
    Failed(Box<Failed>),
    Cancelled,
    /// userd itself cannot go on (the database is away); nothing was decided.
    Engine(Problem),
}

/// What went wrong.
#[derive(Debug)]
pub(super) struct Failed {
    pub problem: Problem,
    /// The phase it went wrong in.
    pub phase: u8,
    /// How the phases were seen; empty when it did not come to that.
    pub seen: Vec<PhaseStatus>,
}

impl AttemptError {
    pub(super) fn failed(problem: Problem, phase: u8) -> Self {
        AttemptError::Failed(Box::new(Failed { problem, phase, seen: Vec::new() }))
    }
}

impl From<Problem> for AttemptError {
    fn from(problem: Problem) -> Self {
        AttemptError::failed(problem, 0)
    }
}

/// How the phases of a world stand that is not what it should be. `seen` is what live checks saw; what they did not see is not known
/// to be right.
pub(super) fn broken_phases(target: &Target, phase: u8, cause: &str, seen: Vec<PhaseStatus>) -> Vec<PhaseStatus> {
    if !seen.is_empty() {
        let degraded = |mut status: PhaseStatus| {
            if status.state == PhaseState::Failed {
                status.state = PhaseState::Degraded;
            }
            status
        };
        return seen.into_iter().map(degraded).collect();
    }
    let status = |id: u8| PhaseStatus {
        id,
        name: phases::NAMES[usize::from(id)].to_owned(),
        state: PhaseState::Degraded,
        millis: None,
        detail: if id == phase { cause.to_owned() } else { format!("not checked since: {cause}") },
    };
    phases::effective(&target.spec, target.up_to).map(status).collect()
}
