//! A world has one operation at a time. What a user asks for waits for the daemon's own repair; another user-made
//! operation refuses it.

use std::time::Duration;

use netengine_proto::{api::Problem, ids::WorldId};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Orchestrator;
use crate::store::{StoreError, operations::Kind};

/// Longest wait for a repair.
const REPAIR_WAIT: Duration = Duration::from_secs(15);
/// Pause when the operation at work is not yet, or no more, in this process's hands.
const PAUSE: Duration = Duration::from_millis(20);

/// An operation that is being driven.
pub(super) struct AtWork {
    /// Cancels it.
    pub cancel: CancellationToken,
    /// Cancelled when it has ended.
    pub ended: CancellationToken,
}

/// Why an operation did not begin.
pub(super) enum Refusal {
    /// Another is at work on the world.
    Conflict(WorldId),
    /// Anything else.
    Problem(Problem),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Refusal::Problem(problem)
    }
}

impl Orchestrator {
    /// Begins an operation with `begin`, again after a repair that was at work on the world. Waits no longer than
    /// `limit`, nor than [`REPAIR_WAIT`].
    pub(super) async fn in_turn<T, F>(&self, what: &str, limit: Duration, begin: impl Fn() -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, Refusal>>,
    {
        let until = Instant::now() + limit.min(REPAIR_WAIT);
        loop {
            match begin().await {
                Ok(begun) => return Ok(begun),
                Err(Refusal::Problem(problem)) => return Err(problem),
                Err(Refusal::Conflict(world)) => {
                    let is_free = self.repair_ended(world, until).await.map_err(|error| error.problem(what))?;
                    if !is_free {
                        return Err(StoreError::Conflict.problem(what));
                    }
                }
            }
        }
    }

    /// Waits for the repair of a world; false when something else is at work on it, or until `until`.
    async fn repair_ended(&self, world: WorldId, until: Instant) -> Result<bool, StoreError> {
        let id = match self.store().at_work_on(world).await? {
            Some((_, Kind::Up | Kind::Down)) => return Ok(false),
            Some((id, Kind::Repair)) => Some(id),
            None => None,
        };
        let ended = id.and_then(|id| self.at_work().get(&id).map(|work| work.ended.clone()));
        match ended {
            Some(ended) => Ok(timeout_at(until, ended.cancelled()).await.is_ok()),
            None => {
                sleep(PAUSE).await;
                Ok(Instant::now() < until)
            }
        }
    }
}
