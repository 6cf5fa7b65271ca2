//! Makes worlds right again. A world is in the hands of one task, which begins repairs until one has succeeded; the pauses
//! grow, so that a fault that passes (load, a full disk) does not leave a world down for ever and one that stays costs little.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use netengine_proto::{
    api::WorldState,
    ids::{OperationId, WorldId},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{Orchestrator, drive::Prepared, follow};
use crate::{
    decide::{Principal, Verdict, WorldRef, act, decide},
    store::{StoreError, operations::Kind},
    time,
};

/// A repair gives up after this.
const REPAIR_TIME: Duration = Duration::from_secs(60);
/// First and longest pause after a repair that failed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(600));
/// How long to wait before it is looked again at an operation that nobody drives yet, or no more.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// When a world is to be repaired next, and why.
#[derive(Debug, Clone)]
struct Wish {
    due: Instant,
    reason: String,
    /// Nothing is wrong: other worlds that it names have changed.
    follows: bool,
}

/// The worlds that are in the hands of a task.
#[derive(Default)]
pub(super) struct Tended(Mutex<HashMap<WorldId, watch::Sender<Wish>>>);

impl Tended {
    fn lock(&self) -> MutexGuard<'_, HashMap<WorldId, watch::Sender<Wish>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long until a world is looked at.
    #[cfg(test)]
    pub fn left(&self, world: WorldId) -> Option<Duration> {
        self.lock().get(&world).map(|wish| wish.borrow().due.saturating_duration_since(Instant::now()))
    }
}

/// How it stands after a look at a world.
enum Stand {
    /// It is right, or is not to run.
    Over,
    /// Another operation was at work.
    Busy,
    /// A repair has failed.
    Wrong,
}

pub(super) fn daemon_verdict(world: WorldRef) -> Option<Verdict<act::Repair, WorldRef>> {
    decide(Principal::daemon(), act::Repair, world).ok()
}

impl Orchestrator {
    /// Has a world repaired after a pause, sooner than was wished before if that is sooner.
    pub(super) fn tend(&self, world: WorldRef, pause: Duration, reason: &str) {
        self.wish(world, pause, reason, false, |wished, due| wished.min(due));
    }

    /// Has a world repaired after a pause, and not before.
    pub(super) fn tend_later(&self, world: WorldRef, pause: Duration, reason: &str) {
        self.wish(world, pause, reason, false, |_, due| due);
    }

    /// Has a world brought up anew beside others that changed.
    pub(super) fn tend_beside(&self, world: WorldRef, pause: Duration) {
        self.wish(world, pause, "a world that it names has changed", true, |wished, due| wished.min(due));
    }

    fn wish(
        &self,
        world: WorldRef,
        pause: Duration,
        reason: &str,
        follows: bool,
        choose: impl Fn(Instant, Instant) -> Instant,
    ) {
        let due = Instant::now() + pause;
        let mut tended = self.0.tended.lock();
        if let Some(wish) = tended.get(&world.id) {
            wish.send_modify(|wish| (wish.due, wish.follows) = (choose(wish.due, due), wish.follows && follows));
            return;
        }
        let (sender, wish) = watch::channel(Wish { due, reason: reason.to_owned(), follows });
        tended.insert(world.id, sender);
        drop(tended);
        let orchestrator = self.clone();
        self.0.tasks.spawn(async move {
            let closing = orchestrator.0.closing.clone();
            tokio::select! {
                () = closing.cancelled() => {}
                () = tend(&orchestrator, world, wish) => {}
            }
        });
    }

    /// Nothing is wished beyond what was seen: the task may end. The wish is looked at and forgotten in one.
    fn is_over(&self, world: WorldId, wish: &watch::Receiver<Wish>) -> bool {
        let mut tended = self.0.tended.lock();
        let is_over = !wish.has_changed().unwrap_or(false);
        if is_over {
            tended.remove(&world);
        }
        is_over
    }
}

async fn tend(orchestrator: &Orchestrator, world: WorldRef, mut wish: watch::Receiver<Wish>) {
    let (mut pause, mut was_busy) = (PAUSE.0, false);
    let Wish { mut due, reason, mut follows } = wish.borrow_and_update().clone();
    loop {
        tokio::select! {
            () = sleep_until(due) => {}
            changed = wish.changed() => {
                if changed.is_err() {
                    return;
                }
                let wished = wish.borrow_and_update();
                (due, follows) = (wished.due, wished.follows);
                continue;
            }
        }
        let stand = match look(orchestrator, &world, &reason, was_busy, follows).await {
            Ok(stand) => stand,
            Err(error) => {
                tracing::error!(world = %world.id, %error, "cannot repair a world");
                Stand::Wrong
            }
        };
        match stand {
            Stand::Over if orchestrator.is_over(world.id, &wish) => return,
            // A process has ended meanwhile; whoever was at work may have seen to it.
            Stand::Over | Stand::Busy => was_busy = true,
            // What was wished during the repair is answered by its failure; what is wished from now on counts.
            Stand::Wrong => {
                due = wish.borrow_and_update().due.max(Instant::now() + pause);
                pause = (pause * 2).min(PAUSE.1);
                was_busy = false;
            }
        }
    }
}

/// Repairs a world that nothing is at work on, or waits for what is.
async fn look(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    reason: &str,
    was_busy: bool,
    follows: bool,
) -> Result<Stand, StoreError> {
    if let Some((id, _)) = orchestrator.store().at_work_on(world.id).await? {
        ended(orchestrator, id).await;
        return Ok(Stand::Busy);
    }
    let Some(stored) = orchestrator.store().load(world).await? else { return Ok(Stand::Over) };
    match stored.state {
        WorldState::Failed | WorldState::Stopping => return Ok(Stand::Over),
        WorldState::Booting => {
            sleep(LOOK_AGAIN).await;
            return Ok(Stand::Busy);
        }
        WorldState::Ready if follows => {
            if orchestrator.stands_otherwise(&stored).await?.is_none() {
                return Ok(Stand::Over);
            }
        }
        WorldState::Ready if was_busy && follow::whats_wrong(orchestrator, world, stored.state).await?.is_none() => {
            return Ok(Stand::Over);
        }
        WorldState::Ready | WorldState::Degraded => {}
    }
    let (Some(spec), Some(verdict)) = (stored.spec, daemon_verdict(world.clone())) else { return Ok(Stand::Over) };
    let deadline = time::now_ms().saturating_add(i64::try_from(REPAIR_TIME.as_millis()).unwrap_or(i64::MAX));
    let operation = orchestrator.new_operation(Kind::Repair, world.clone(), Some(spec), stored.up_to, Some(deadline));
    let id = operation.id;
    let begun = match follows && stored.state == WorldState::Ready {
        true => orchestrator.store().begin_follow(&verdict, &operation, reason).await,
        false => orchestrator.store().begin_repair(&verdict, &operation, reason).await,
    };
    match begun {
        Err(StoreError::Conflict) => return Ok(Stand::Busy),
        Err(StoreError::Gone) => return Ok(Stand::Over),
        begun => begun?,
    }
    orchestrator.spawn(operation, Prepared::default());
    ended(orchestrator, id).await;
    let stored = orchestrator.store().load(world).await?;
    let is_wrong = stored.is_some_and(|stored| stored.state == WorldState::Degraded);
    Ok(if is_wrong { Stand::Wrong } else { Stand::Over })
}

/// Waits for the end of an operation.
async fn ended(orchestrator: &Orchestrator, id: OperationId) {
    let ended = orchestrator.at_work().get(&id).map(|work| work.ended.clone());
    match ended {
        Some(ended) => ended.cancelled().await,
        None => sleep(LOOK_AGAIN).await,
    }
}
