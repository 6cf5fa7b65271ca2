//! Follows rootd: adopts worlds when it is (back) there, removes what nobody owns, restarts a worldd or a resolver that ended.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use netengine_proto::{
    api::WorldState,
    root::{ProcessKind, RootEvent},
};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Orchestrator, attempt, drift,
    drive::Prepared,
    restarts::{Next, Restarts},
    tend::daemon_verdict,
};
use crate::{
    decide::WorldRef,
    ids,
    plan::{Target, phases, steps},
    root_link::RootLinkError,
    store::{StoreError, events::NewEvent, operations::Kind},
    time,
};

/// One wait for events, and how often worlds are looked at that tell nothing.
const WAIT: Duration = Duration::from_secs(20);
/// Pause after rootd could not be reached, first and longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Follows rootd until `stop`.
pub async fn follow_root(orchestrator: Orchestrator, stop: CancellationToken) {
    let wanted = Wanted::default();
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow(&orchestrator, &wanted) => {}
        () = look_after(&orchestrator, &wanted) => {}
    }
}

/// Which worlds are to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// Only those that were right when last seen, from time to time. One that is known to be degraded is tended already.
    Ready,
    /// Every one that should run: rootd is newly there.
    All,
}

/// What is to be looked at next. Looking is apart from the events: a world that does not answer makes it slow, and the end of
/// another's process must be heard at once.
#[derive(Default)]
struct Wanted {
    scope: Mutex<Option<Scope>>,
    told: Notify,
}

impl Wanted {
    fn lock(&self) -> MutexGuard<'_, Option<Scope>> {
        self.scope.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(&self, scope: Scope) {
        let mut wanted = self.lock();
        *wanted = (*wanted).max(Some(scope));
        drop(wanted);
        self.told.notify_one();
    }
}

/// Looks at worlds whenever it is wanted, again when it fails.
async fn look_after(orchestrator: &Orchestrator, wanted: &Wanted) {
    let mut pause = PAUSE.0;
    loop {
        let scope = wanted.lock().take();
        let Some(scope) = scope else {
            wanted.told.notified().await;
            continue;
        };
        match reconcile(orchestrator, scope).await {
            Ok(()) => pause = PAUSE.0,
            Err(error) => {
                tracing::warn!(%error, "cannot look at all worlds; trying again");
                wanted.want(scope);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

async fn follow(orchestrator: &Orchestrator, wanted: &Wanted) {
    let (mut restarts, mut changes) = (Restarts::default(), drift::Changes::default());
    let (mut known, mut cursor, mut pause) = (None, 0, PAUSE.0);
    let (mut was_away, mut looked) = (false, Instant::now());
    loop {
        let followed = async {
            let (hello, generation) = orchestrator.root().hello().await?;
            if known != Some(generation) {
                tracing::info!(release = hello.release, "rootd is there");
                known = Some(generation);
                cursor = hello.cursor;
                wanted.want(Scope::All);
            }
            let events = orchestrator.root().next_events(cursor, WAIT).await?;
            cursor = events.cursor;
            if events.lagged {
                wanted.want(Scope::All);
            } else if looked.elapsed() >= WAIT {
                // Also on a busy host, whose probers and commands end all the time.
                wanted.want(Scope::Ready);
                looked = Instant::now();
            }
            for event in events.events {
                handle(orchestrator, &mut restarts, &mut changes, event).await?;
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
        // Another world came, went or changed while nobody told this one.
        if let Some(stored) = orchestrator.store().load(&world).await?
            && orchestrator.stands_otherwise(&stored).await?.is_some()
        {
            orchestrator.tend_beside(world, Duration::ZERO);
            continue;
        }
        let (found, seen_at) = (held.iter().find(|held| held.world == world.id), time::now_ms());
        let is_gone = found.is_none_or(|held| held.degraded.is_some());
        let reason = match found {
            None => Some("its network was gone after a restart".to_owned()),
            Some(held) => match &held.degraded {
                Some(why) => Some(format!("rootd could not restore it: {why}")),
                None => whats_wrong(orchestrator, &world, state).await?,
            },
        };
        match reason {
            // What is gone altogether is made again in any case: that is not what others changed.
            Some(reason) if is_gone || drift::is_healed(orchestrator, &world).await? => {
                orchestrator.tend(world, Duration::ZERO, &reason);
            }
            Some(_) => {}
            None => drift::is_right(orchestrator, world, seen_at).await?,
        }
    }
    Ok(())
}

/// Why a world that rootd holds is not what it should be; `None` when it is.
pub(super) async fn whats_wrong(
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
    let leases = orchestrator.store().leases(world).await?;
    let target = Target::draft(spec, stored.up_to, world.id, world.owner, &leases);
    let Ok(target) = target.and_then(|draft| draft.beside(stored.peers)) else { return Ok(None) };
    let target = target.with(secrets);
    let offered = match target.peers.is_empty() {
        true => None,
        false => Some(orchestrator.store().offered(world).await?),
    };
    Ok(match attempt::observe(orchestrator, world, Some(&target)).await {
        Err(problem) => Some(problem.cause),
        Ok(observed) if !observed.drift.is_empty() => Some("its network differs from the plan".to_owned()),
        Ok(observed) if observed.worldd.health.is_none() => Some("its worldd did not run".to_owned()),
        Ok(observed) if target.has_gateway() && observed.gateway.health.is_none() => {
            Some("its resolver did not run".to_owned())
        }
        // New keys of its zones and issuers reach the worlds that it is joined with.
        Ok(observed)
            if observed.worldd.health.as_ref().is_some_and(|health| {
                offered
                    .as_ref()
                    .is_some_and(|offered| (&health.zones, &health.issuers) != (&offered.zones, &offered.issuers))
            }) =>
        {
            Some("its zones or issuers have other keys".to_owned())
        }
        // New keys of the world reach its resolver and its vantage hosts by the same way.
        Ok(observed) if steps::plan(&target, &observed, false).iter().any(|step| step.kind.is_change()) => {
            Some("its services serve something else than asked".to_owned())
        }
        Ok(_) if state == WorldState::Degraded => Some(stored.detail),
        Ok(_) => None,
    })
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
            orchestrator.spawn(operation, Prepared::default());
            Ok(())
        }
    }
}

async fn handle(
    orchestrator: &Orchestrator,
    restarts: &mut Restarts,
    changes: &mut drift::Changes,
    event: RootEvent,
) -> Result<(), FollowError> {
    let (world, process, kind, ended) = match event {
        RootEvent::ProcessEnded { world, process, kind, ended } => (world, process, kind, ended),
        RootEvent::NetworkChanged { world, drift, more, noticed } => {
            return Ok(drift::network_changed(orchestrator, changes, world, (drift, more, noticed)).await?);
        }
    };
    let (word, phase) = match kind {
        ProcessKind::Worldd => ("worldd", 0),
        ProcessKind::Gateway => ("gateway", phases::NAMES_RESOLVE),
        ProcessKind::Uplink => ("uplink", phases::ANDS),
        ProcessKind::Prober | ProcessKind::Command => return Ok(()),
    };
    // First of all: an operation may wait for this process.
    orchestrator.0.ends.tell(world, process);
    let stored = orchestrator.store().all_worlds().await?;
    let Some((reference, state)) = stored.into_iter().find(|(stored, _)| stored.id == world) else {
        restarts.forget(world);
        return Ok(());
    };
    let Some(verdict) = daemon_verdict(reference.clone()) else { return Ok(()) };
    let data = json!({ "process": process.to_string(), "ended": ended });
    let ended = NewEvent::new("process.ended", None, format!("{word} ended: {ended:?}")).data(data);
    orchestrator.store().tell(&verdict, ended).await?;
    if matches!(state, WorldState::Failed | WorldState::Stopping) {
        return Ok(());
    }
    // An operation ends processes by itself, and sees to those that end under it.
    let is_at_work = orchestrator.store().at_work_on(world).await?.is_some();
    let is_healed = if is_at_work {
        orchestrator.store().heals(world).await?
    } else {
        drift::process_ended(orchestrator, &verdict, word).await?
    };
    if !is_healed {
        let reason = format!("{word} ended and is not started again (--no-heal)");
        if is_at_work {
            return Ok(());
        }
        return match orchestrator.store().degrade(&verdict, phase, &reason).await {
            Err(StoreError::Gone) => Ok(()),
            degraded => Ok(degraded?),
        };
    }
    let rest = match restarts.ended(world, kind, Instant::now()) {
        Next::Start(pause) => {
            orchestrator.tend(reference, pause, &format!("its {word} ended"));
            return Ok(());
        }
        Next::Rest(rest) => rest,
    };
    let reason = format!("{word} ended again and again; it is started again in {} s", rest.as_secs().max(1));
    orchestrator.tend_later(reference, rest, &format!("its {word} ended again and again"));
    match orchestrator.store().degrade(&verdict, phase, &reason).await {
        Err(StoreError::Gone) => Ok(()),
        degraded => Ok(degraded?),
    }
}
