//! What others change in worlds: recorded, told, and put right unless the world's owner only wants to know.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use netengine_proto::{
    api::{DriftReport, PlannedChange, Problem, WorldState},
    ids::WorldId,
    root::{Change, NoticedBy},
};

use super::{Orchestrator, attempt, processes::Part as Program, tend::daemon_verdict};
use crate::{
    decide::{Verdict, WorldRef, act},
    plan::{Target, diff::describe},
    problem::about,
    store::{
        StoreError,
        drift::{Noticed, Part, said},
    },
    time,
};

/// Changes of one world within [`WINDOW`] that are put right soon; with the next it rests.
const SOON: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// The first is put right at once, the second after this, each further one after twice as long, up to 16 times.
const PAUSE: Duration = Duration::from_millis(50);

/// When each world was changed last.
#[derive(Default)]
pub(super) struct Changes(HashMap<WorldId, Vec<Instant>>);

impl Changes {
    /// How long to wait before a change at `now` is put right; `Err` when the world was changed too often, and rests.
    fn changed(&mut self, world: WorldId, now: Instant) -> Result<Duration, Duration> {
        self.0.retain(|_, changes| changes.last().is_some_and(|last| now.duration_since(*last) < WINDOW));
        let changes = self.0.entry(world).or_default();
        changes.retain(|at| now.duration_since(*at) < WINDOW);
        if changes.len() >= SOON {
            return Err(changes.first().map_or(WINDOW, |first| WINDOW.saturating_sub(now.duration_since(*first))));
        }
        changes.push(now);
        let before = u32::try_from(changes.len() - 1).unwrap_or(u32::MAX);
        Ok(if before == 0 { Duration::ZERO } else { PAUSE * 2u32.pow((before - 1).min(4)) })
    }
}

/// rootd tells how a world's network differs from its plan, or that it does no more.
pub(super) async fn network_changed(
    orchestrator: &Orchestrator,
    changes: &mut Changes,
    world: WorldId,
    (drift, more, noticed): (Vec<Change>, u32, NoticedBy),
) -> Result<(), StoreError> {
    let stored = orchestrator.store().all_worlds().await?;
    let Some((reference, state)) = stored.into_iter().find(|(stored, _)| stored.id == world) else { return Ok(()) };
    let Some(verdict) = daemon_verdict(reference.clone()) else { return Ok(()) };
    if drift.is_empty() {
        return orchestrator.store().restored(&verdict, time::now_ms()).await;
    }
    let by = match noticed {
        NoticedBy::Kernel => "kernel",
        NoticedBy::Look => "look",
    };
    let told: Vec<PlannedChange> = drift.iter().map(|change| describe(0, change)).collect();
    let noticed = Noticed { part: Part::Network, by, changes: told, more: more.into() };
    match orchestrator.store().drifted(&verdict, &noticed).await {
        Err(StoreError::Gone) => return Ok(()),
        news => news?,
    };
    if matches!(state, WorldState::Failed | WorldState::Stopping) {
        return Ok(());
    }
    if !orchestrator.store().heals(world).await? {
        return leave(orchestrator, &verdict, state).await;
    }
    let reason = said(&noticed.changes, noticed.more);
    match changes.changed(world, Instant::now()) {
        Ok(pause) => orchestrator.tend(reference, pause, &reason),
        Err(rest) => {
            let seconds = rest.as_secs().max(1);
            let reason = format!("its network is changed again and again ({reason}); it is put right in {seconds} s");
            orchestrator.tend_later(reference, rest, &reason);
            match orchestrator.store().degrade(&verdict, 0, &reason).await {
                Err(StoreError::Gone) => {}
                degraded => degraded?,
            }
        }
    }
    Ok(())
}

/// A world that is only looked at: it is said that it differs, once.
async fn leave(
    orchestrator: &Orchestrator,
    verdict: &Verdict<act::Repair, WorldRef>,
    state: WorldState,
) -> Result<(), StoreError> {
    if state != WorldState::Ready {
        return Ok(());
    }
    match orchestrator.store().leave_drifted(verdict).await {
        Err(StoreError::Gone) => Ok(()),
        left => left,
    }
}

/// A process of a world has ended; whether it is to be started again.
pub(super) async fn process_ended(
    orchestrator: &Orchestrator,
    verdict: &Verdict<act::Repair, WorldRef>,
    word: &str,
) -> Result<bool, StoreError> {
    let node = match word {
        "worldd" => "svc",
        "uplink" => "uplink",
        _ => "gw",
    };
    let change = PlannedChange {
        phase: 0,
        action: "create".to_owned(),
        kind: "process".to_owned(),
        object: format!("{node} {word}"),
    };
    let noticed = Noticed { part: Part::Process, by: "leash", changes: vec![change], more: 0 };
    match orchestrator.store().drifted(verdict, &noticed).await {
        Err(StoreError::Gone) => return Ok(false),
        news => news?,
    };
    orchestrator.store().heals(verdict.object().id).await
}

/// What a look at everything found wrong with a world; whether it is to be put right.
pub(super) async fn is_healed(orchestrator: &Orchestrator, world: &WorldRef) -> Result<bool, StoreError> {
    if orchestrator.store().heals(world.id).await? {
        return Ok(true);
    }
    let Some(verdict) = daemon_verdict(world.clone()) else { return Ok(false) };
    let state = orchestrator.store().load(world).await?.map(|stored| stored.state);
    leave(orchestrator, &verdict, state.unwrap_or(WorldState::Stopping)).await?;
    Ok(false)
}

/// A look at everything that began at `seen_at` (milliseconds since 1970) found nothing wrong with a world.
pub(super) async fn is_right(orchestrator: &Orchestrator, world: WorldRef, seen_at: i64) -> Result<(), StoreError> {
    match daemon_verdict(world) {
        Some(verdict) => orchestrator.store().restored(&verdict, seen_at).await,
        None => Ok(()),
    }
}

impl Orchestrator {
    /// What others changed in a world, and what differs now.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn drift(&self, verdict: Verdict<act::ViewDrift, WorldRef>) -> Result<DriftReport, Problem> {
        let world = verdict.object();
        let what = format!("cannot look for drift of world \"{}\"", world.name);
        let stored = self.store().world(&verdict).await.map_err(|error| error.problem(&what))?;
        let history = self.store().drifts(&verdict).await.map_err(|error| error.problem(&what))?;
        let heals = self.store().heals(world.id).await.map_err(|error| error.problem(&what))?;
        let leases = self.store().leases(world).await.map_err(|error| error.problem(&what))?;
        let target = stored
            .spec
            .and_then(|spec| Target::draft(spec, stored.up_to, world.id, world.owner, &leases).ok())
            .and_then(|target| target.beside(stored.peers).ok());
        let observed = attempt::observe(self, world, target.as_ref()).await.map_err(|inner| about(inner, &what))?;
        let mut now: Vec<PlannedChange> = observed.drift.iter().map(|change| describe(0, change)).collect();
        let has_gateway = target.as_ref().is_some_and(Target::has_gateway);
        let gone = |part: Program, node: &str| PlannedChange {
            phase: 0,
            action: "create".to_owned(),
            kind: "process".to_owned(),
            object: format!("{node} {}", part.word()),
        };
        if target.is_some() && observed.worldd.health.is_none() {
            now.push(gone(Program::Worldd, "svc"));
        }
        if has_gateway && observed.gateway.health.is_none() {
            now.push(gone(Program::Gateway, "gw"));
        }
        if target.as_ref().is_some_and(Target::has_uplink) && observed.uplink.health.is_none() {
            now.push(gone(Program::Uplink, "uplink"));
        }
        Ok(DriftReport { world: world.name.to_string(), heals, now, history })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_that_is_changed_again_and_again_rests_and_is_put_right_later() {
        const WORLD: WorldId = WorldId::from_bytes([1; 8]);
        let (mut changes, begin) = (Changes::default(), Instant::now());
        let waits: Vec<_> = (0..SOON).filter_map(|_| changes.changed(WORLD, begin).ok()).collect();
        assert_eq!(waits[..7], [0, 50, 100, 200, 400, 800, 800].map(Duration::from_millis));
        let later = begin + Duration::from_secs(20);
        assert_eq!(changes.changed(WORLD, later), Err(Duration::from_secs(40)));
        assert_eq!(changes.changed(WorldId::from_bytes([2; 8]), later), Ok(Duration::ZERO), "another world");
        assert_eq!(changes.changed(WORLD, begin + WINDOW), Ok(Duration::ZERO));
    }
}
