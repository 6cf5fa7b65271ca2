//! Follows rootd: adopts worlds when it is (back) there, removes what nobody owns, restarts a worldd or a resolver that ended.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use netengine_proto::{
    api::WorldState,
    ids::WorldId,
    root::{ProcessKind, RootEvent},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Orchestrator, attempt};
use crate::{
    decide::{Principal, Verdict, WorldRef, act, decide},
    ids,
    plan::{Target, phases, steps},
    root_link::RootLinkError,
    store::{StoreError, events::NewEvent, operations::Kind},
    time,
};

/// One wait for events.
const WAIT: Duration = Duration::from_secs(20);
/// Pause after rootd could not be reached, first and longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Restarts of one process of a world within [`RESTART_WINDOW`]; then it stays down until somebody looks.
const RESTARTS: usize = 10;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// A repair gives up after this.
const REPAIR_TIME: Duration = Duration::from_secs(60);
/// How long a repair that another operation keeps waiting waits before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Follows rootd until `stop`.
pub async fn follow_root(orchestrator: Orchestrator, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow(&orchestrator) => {}
    }
}

async fn follow(orchestrator: &Orchestrator) {
    let mut restarts: HashMap<(WorldId, ProcessKind), Vec<Instant>> = HashMap::new();
    let (mut known, mut cursor, mut pause) = (None, 0, PAUSE.0);
    let mut was_away = false;
    loop {
        let followed = async {
            let (hello, generation) = orchestrator.root().hello().await?;
            if known != Some(generation) {
                tracing::info!(release = hello.release, "rootd is there");
                known = Some(generation);
                cursor = hello.cursor;
                reconcile(orchestrator, Scope::All).await?;
            }
            let events = orchestrator.root().next_events(cursor, WAIT).await?;
            cursor = events.cursor;
            if events.lagged {
                reconcile(orchestrator, Scope::All).await?;
            } else if events.events.is_empty() {
                reconcile(orchestrator, Scope::Ready).await?;
            }
            for event in events.events {
                handle(orchestrator, &mut restarts, event).await?;
            }
            Ok::<(), FollowError>(())
        };
        match followed.await {
            Ok(()) => (pause, was_away) = (PAUSE.0, false),
            Err(error) => {
                if !was_away {
                    tracing::warn!(%error, "cannot follow rootd; trying again");
                }
                was_away = true;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Which worlds are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Every one that should run: rootd is newly there.
    All,
    /// Only those that were right when last seen, in quiet times. One that is known to be degraded was tried already
    /// and waits for somebody to look.
    Ready,
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Root(#[from] RootLinkError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares what the database and rootd hold.
///
/// A world that only rootd holds is removed: its row was never written, or its removal was. rootd is asked first, so a
/// world that is being made has its row by the time the database is read. A world that should run and does not as it
/// should is made again.
async fn reconcile(orchestrator: &Orchestrator, scope: Scope) -> Result<(), FollowError> {
    let held = orchestrator.root().list_worlds().await?;
    let stored = orchestrator.store().all_worlds().await?;
    for orphan in held.iter().filter(|held| stored.iter().all(|(world, _)| world.id != held.world)) {
        tracing::warn!(world = %orphan.world, "removing a world that is in nobody's name");
        orchestrator.root().delete_world(ids::call_key(), orphan.world, orphan.owner).await?;
    }
    for (world, state) in stored {
        if state == WorldState::Failed && scope == Scope::All {
            // It could not be undone or removed when that was asked for.
            remove(orchestrator, world).await?;
            continue;
        }
        let is_concerned = match state {
            WorldState::Ready => true,
            WorldState::Degraded => scope == Scope::All,
            WorldState::Booting | WorldState::Failed | WorldState::Stopping => false,
        };
        if !is_concerned {
            continue;
        }
        let reason = match held.iter().find(|held| held.world == world.id) {
            None => Some("its network was gone after a restart".to_owned()),
            Some(held) => match &held.degraded {
                Some(why) => Some(format!("rootd could not restore it: {why}")),
                None => whats_wrong(orchestrator, &world, state).await?,
            },
        };
        if let Some(reason) = reason {
            let _ = repair(orchestrator, world, &reason).await?;
        }
    }
    Ok(())
}

/// Why a world that rootd holds is not what it should be; `None` when it is.
async fn whats_wrong(
    orchestrator: &Orchestrator,
    world: &WorldRef,
    state: WorldState,
) -> Result<Option<String>, StoreError> {
    let Some(stored) = orchestrator.store().load(world).await? else { return Ok(None) };
    let Some(spec) = stored.spec else { return Ok(None) };
    let secrets = match orchestrator.held_secrets(world).await {
        Ok(secrets) => secrets,
        // Nothing that is made again would be told its secrets.
        Err(problem) => {
            tracing::error!(world = %world.id, cause = problem.cause, "cannot look at a world");
            return Ok(None);
        }
    };
    let target = Target::new(spec, stored.up_to, world.id, world.owner, secrets);
    let Ok(target) = target else { return Ok(None) };
    Ok(match attempt::observe(orchestrator, world, Some(&target)).await {
        Err(problem) => Some(problem.cause),
        Ok(observed) if !observed.drift.is_empty() => Some("its network differs from the plan".to_owned()),
        Ok(observed) if observed.worldd.health.is_none() => Some("its worldd did not run".to_owned()),
        Ok(observed) if target.has_gateway() && observed.gateway.health.is_none() => {
            Some("its resolver did not run".to_owned())
        }
        // New keys of the world reach its resolver and its vantage hosts by the same way.
        Ok(observed) if steps::plan(&target, &observed, false).len() > 1 => {
            Some("its services serve something else than asked".to_owned())
        }
        Ok(_) if state == WorldState::Degraded => Some(stored.detail),
        Ok(_) => None,
    })
}

/// Begins to make a world what its spec says; whether it did. Does nothing when an operation is at work on it or it is gone.
async fn repair(orchestrator: &Orchestrator, world: WorldRef, reason: &str) -> Result<bool, StoreError> {
    let Some(stored) = orchestrator.store().load(&world).await? else { return Ok(false) };
    let Some(spec) = stored.spec else { return Ok(false) };
    let Some(verdict) = daemon_verdict(world.clone()) else { return Ok(false) };
    let deadline = time::now_ms().saturating_add(i64::try_from(REPAIR_TIME.as_millis()).unwrap_or(i64::MAX));
    let operation = orchestrator.new_operation(Kind::Repair, world, Some(spec), stored.up_to, Some(deadline));
    match orchestrator.store().begin_repair(&verdict, &operation, reason).await {
        Err(StoreError::Conflict | StoreError::Gone) => Ok(false),
        Err(error) => Err(error),
        Ok(()) => {
            orchestrator.spawn(operation);
            Ok(true)
        }
    }
}

/// Begins a repair after a delay, and not before other operations on the world are over: one that was at work may have seen
/// the process before it ended. Gives up when userd closes, or when that operation leaves a world that is not to run.
async fn repair_after(
    orchestrator: &Orchestrator,
    delay: Duration,
    world: WorldRef,
    reason: &str,
) -> Result<(), StoreError> {
    let until = Instant::now() + REPAIR_TIME;
    let mut pause = delay;
    loop {
        tokio::select! {
            () = orchestrator.0.closing.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => pause = LOOK_AGAIN,
        }
        let Some(stored) = orchestrator.store().load(&world).await? else { return Ok(()) };
        let is_begun = match stored.state {
            WorldState::Ready | WorldState::Degraded => repair(orchestrator, world.clone(), reason).await?,
            WorldState::Booting => false,
            WorldState::Failed | WorldState::Stopping => return Ok(()),
        };
        if is_begun || Instant::now() > until {
            return Ok(());
        }
    }
}

/// Begins to remove a world whose undoing or removal failed before. Does nothing when an operation is at work on it.
async fn remove(orchestrator: &Orchestrator, world: WorldRef) -> Result<(), StoreError> {
    // Looked at again: since the list was read, its owner may have brought it up.
    let stored = orchestrator.store().load(&world).await?;
    if stored.is_none_or(|stored| stored.state != WorldState::Failed) {
        return Ok(());
    }
    let operation = orchestrator.new_operation(Kind::Down, world, None, phases::LAST, None);
    match orchestrator.store().begin_down(&operation, None).await {
        Err(StoreError::Conflict | StoreError::Gone) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            orchestrator.spawn(operation);
            Ok(())
        }
    }
}

fn daemon_verdict(world: WorldRef) -> Option<Verdict<act::Repair, WorldRef>> {
    decide(Principal::daemon(), act::Repair, world).ok()
}

async fn handle(
    orchestrator: &Orchestrator,
    restarts: &mut HashMap<(WorldId, ProcessKind), Vec<Instant>>,
    event: RootEvent,
) -> Result<(), FollowError> {
    let RootEvent::ProcessEnded { world, process, kind, ended } = event else { return Ok(()) };
    let (word, phase) = match kind {
        ProcessKind::Worldd => ("worldd", 0),
        ProcessKind::Gateway => ("gateway", phases::NAMES_RESOLVE),
        ProcessKind::Prober | ProcessKind::Command => return Ok(()),
    };
    let stored = orchestrator.store().all_worlds().await?;
    let Some((reference, state)) = stored.into_iter().find(|(stored, _)| stored.id == world) else {
        restarts.retain(|(known, _), _| *known != world);
        return Ok(());
    };
    let Some(verdict) = daemon_verdict(reference.clone()) else { return Ok(()) };
    let data = json!({ "process": process.to_string(), "ended": ended });
    let ended = NewEvent::new("process.ended", None, format!("{word} ended: {ended:?}")).data(data);
    orchestrator.store().tell(&verdict, ended).await?;
    if matches!(state, WorldState::Failed | WorldState::Stopping) {
        return Ok(());
    }
    let tries = restarts.entry((world, kind)).or_default();
    tries.retain(|at| at.elapsed() < RESTART_WINDOW);
    if tries.len() >= RESTARTS {
        let reason = format!("{word} ended {RESTARTS} times within a minute and is not restarted");
        return match orchestrator.store().degrade(&verdict, phase, &reason).await {
            Err(StoreError::Gone) => Ok(()),
            degraded => Ok(degraded?),
        };
    }
    tries.push(Instant::now());
    // 0, 50, 100, 200, 400 ms, then 800: back within a second, and a fault that stays costs little until it is given up.
    let exponent = u32::try_from(tries.len().saturating_sub(2)).unwrap_or(0).min(4);
    let delay = if tries.len() == 1 { Duration::ZERO } else { Duration::from_millis(50) * 2u32.pow(exponent) };
    let later = orchestrator.clone();
    orchestrator.0.tasks.spawn(async move {
        if let Err(error) = repair_after(&later, delay, reference, &format!("its {word} ended")).await {
            tracing::error!(%error, "cannot begin a repair");
        }
    });
    Ok(())
}
