//! Operations and their steps: each transition is one transaction, with the events that tell of it.

use std::sync::atomic::Ordering;

use netengine_proto::{
    api::{OperationState, OperationStatus, PhaseState, PhaseStatus, Problem, ServiceStatus, WorldState},
    control::{Delegation, IssuerKeys},
    ids::{CallKey, OperationId, Uid, WorldId},
    names::WorldName,
    trust::Trust,
};
use netengine_spec::Spec;
use serde_json::json;
use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{Change, Store, StoreError, drift::Part, events::NewEvent, quota::Size, worlds};
use crate::{
    decide::{OperationRef, Verdict, WorldRef, act},
    ids,
    plan::{leases::Leases, peers::HeldPeer, phases, steps::StepKind},
    start::config::Quotas,
    time,
};

/// Ended operations kept of one owner.
const KEPT: i64 = 1000;

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A user's `up`.
    Up,
    /// A user's `down`.
    Down,
    /// The daemon's own: make a world what it was.
    Repair,
}

impl Kind {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Up => "up",
            Kind::Down => "down",
            Kind::Repair => "repair",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Kind::Up, Kind::Down, Kind::Repair].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// An operation that is at work.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Its kind.
    pub kind: Kind,
    /// Its world.
    pub world: WorldRef,
    /// The spec it leads to; `None` for a `down`.
    pub spec: Option<Spec>,
    /// The last phase asked for.
    pub up_to: u8,
    /// When it gives up, milliseconds since 1970.
    pub deadline: Option<i64>,
    /// When it began, milliseconds since 1970.
    pub begun_at: i64,
    /// It was undoing when it was interrupted.
    pub undoing: bool,
    /// An earlier run of the daemon began it.
    pub resumed: bool,
    /// Whether what others change in the world is put right from its beginning on; `None` leaves that as it is.
    pub heal: Option<bool>,
}

/// How an operation ended that did not do all that was asked.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Failed or cancelled.
    pub state: OperationState,
    /// What the caller is told.
    pub problem: Problem,
    /// The phase in which it went wrong.
    pub phase: u8,
    /// How the phases stand now; empty when the world is gone or was not looked at.
    pub phases: Vec<PhaseStatus>,
    /// What became of the world: gone, or back in this state for this reason.
    pub world: Option<(WorldState, String)>,
    /// What the world is counted as from now on.
    pub size: Size,
}

/// What a successful `up` leaves.
#[derive(Debug, Clone)]
pub struct Success {
    /// How each phase went.
    pub phases: Vec<PhaseStatus>,
    /// Its services.
    pub services: Vec<ServiceStatus>,
    /// What its clients are to trust.
    pub trust: Trust,
    /// The worlds that its spec names, as it was brought up beside them.
    pub peers: Vec<HeldPeer>,
    /// The zones that other worlds may be delegated.
    pub zones: Vec<Delegation>,
    /// Its OpenID issuers, which federated worlds may accept.
    pub issuers: Vec<IssuerKeys>,
}

impl Store {
    /// Begins an `up` or a repair: the world's row if there is none, its quota, the networks of its ANDs, the operation, its
    /// first events. Gives those networks.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an operation is at work on the world, [`StoreError::Quota`] when the owner may not
    /// have more, [`StoreError::Lease`] when the spec's pools do not suffice.
    pub(crate) async fn begin_up(
        &self,
        operation: &Operation,
        exists: bool,
        more: Size,
        size: Size,
        quotas: Option<&Quotas>,
    ) -> Result<Leases, StoreError> {
        let spec = operation.spec.as_ref().ok_or(StoreError::Gone)?;
        let mut change = self.begin().await?;
        change.reserve(operation.world.owner, more, quotas).await?;
        if exists {
            change.set_size(operation.world.id, size).await?;
            change.set_state(operation.world.id, WorldState::Booting, "").await?;
        } else {
            change.create_world(&operation.world, operation.up_to, size).await?;
        }
        if let Some(heal) = operation.heal {
            change.set_heal(operation.world.id, heal).await?;
        }
        change.create_operation(operation, quotas).await?;
        let leases = change.lease(&operation.world, spec, operation.up_to).await?;
        for (phase, name) in (0u8..).zip(phases::NAMES) {
            let (state, detail) = match phases::initial(spec, phase, operation.up_to) {
                (PhaseState::Pending, detail) => (PhaseState::Running, detail),
                other => other,
            };
            if state == PhaseState::Running {
                let running = NewEvent::new("phase.running", Some(operation.id), format!("phase {phase} ({name})"));
                change.event(&operation.world, running.phase(phase)).await?;
            }
            let status = PhaseStatus { id: phase, name: name.to_owned(), state, millis: None, detail };
            change.set_phase(operation.world.id, &status).await?;
        }
        change.commit().await?;
        Ok(leases)
    }

    /// Begins a `down`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an operation is at work on the world.
    pub(crate) async fn begin_down(&self, operation: &Operation, quotas: Option<&Quotas>) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        change.create_operation(operation, quotas).await?;
        change.set_state(operation.world.id, WorldState::Stopping, "").await?;
        change.commit().await
    }

    /// Writes down the steps that will be run, each with its idempotency key. A step that an earlier run of the same
    /// operation wrote down keeps its key.
    pub(crate) async fn plan_steps(
        &self,
        operation: &Operation,
        steps: &[(StepKind, usize)],
    ) -> Result<Vec<(StepKind, CallKey)>, StoreError> {
        let mut change = self.begin().await?;
        let mut keys = Vec::new();
        for (step, _) in steps {
            let row = sqlx::query(
                "INSERT INTO steps (operation, step, call_key, state) VALUES ($1, $2, $3, 'planned') \
                 ON CONFLICT (operation, step) DO UPDATE SET state = steps.state RETURNING call_key",
            )
            .bind(operation.id.to_string())
            .bind(step.as_str())
            .bind(ids::call_key().to_string())
            .fetch_one(change.sql())
            .await?;
            let key: String = row.try_get(0)?;
            let key = CallKey::parse(&key).map_err(|error| StoreError::Value(format!("call key {error}")))?;
            keys.push((*step, key));
        }
        let listed: Vec<_> =
            steps.iter().map(|(step, changes)| json!({"step": step.as_str(), "changes": changes})).collect();
        let message = format!("{} to do", steps.iter().map(|(step, _)| step.as_str()).collect::<Vec<_>>().join(", "));
        let planned = NewEvent::new("operation.planned", Some(operation.id), message).data(json!({ "steps": listed }));
        change.event(&operation.world, planned).await?;
        change.commit().await?;
        Ok(keys)
    }

    /// A step is done, with this many changes.
    pub(crate) async fn step_done(
        &self,
        operation: &Operation,
        step: StepKind,
        changes: u64,
    ) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        // A step that an earlier run has done is answered by rootd from its key, and counted once.
        let newly =
            sqlx::query("UPDATE steps SET state = 'done' WHERE operation = $1 AND step = $2 AND state <> 'done'")
                .bind(operation.id.to_string())
                .bind(step.as_str())
                .execute(change.sql())
                .await?;
        if newly.rows_affected() > 0 {
            sqlx::query("UPDATE operations SET changes = changes + $2 WHERE id = $1")
                .bind(operation.id.to_string())
                .bind(i64::try_from(changes).unwrap_or(i64::MAX))
                .execute(change.sql())
                .await?;
        }
        let done = NewEvent::new("step.done", Some(operation.id), format!("{} done", step.as_str()));
        let done = done.phase(step.phase());
        change.event(&operation.world, done.data(json!({"step": step.as_str(), "changes": changes}))).await?;
        change.commit().await
    }

    /// The world is what its spec says, by live checks.
    pub(crate) async fn finish_up(&self, operation: &Operation, success: &Success) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        let id = operation.world.id;
        change.set_state(id, WorldState::Ready, "").await?;
        let before = change.set_in_force(operation, success, time::now_ms()).await?;
        change.tell_of_peers(operation, &before, &success.peers).await?;
        for part in [Part::Network, Part::Process] {
            change.close_drifts(id, part, time::now_ms()).await?;
        }
        for phase in &success.phases {
            change.set_phase(id, phase).await?;
            if phase.state != PhaseState::Done {
                continue;
            }
            let message = format!("phase {} ({}) done: {}", phase.id, phase.name, phase.detail);
            let data = json!({ "millis": phase.millis.unwrap_or(0) });
            let done = NewEvent::new("phase.done", Some(operation.id), message).phase(phase.id).data(data);
            change.event(&operation.world, done).await?;
        }
        change.end_operation(operation, OperationState::Done, None).await?;
        let counted = sqlx::query("SELECT changes FROM operations WHERE id = $1")
            .bind(operation.id.to_string())
            .fetch_one(change.sql())
            .await?;
        let changes: i64 = counted.try_get(0)?;
        let message = format!("{} done, {changes} changes", operation.kind.as_str());
        let done = NewEvent::new("operation.done", Some(operation.id), message).data(json!({ "changes": changes }));
        change.event(&operation.world, done).await?;
        change.commit().await
    }

    /// The operation will not do all that was asked; undoing begins.
    pub(crate) async fn begin_undo(&self, operation: &Operation, problem: &Problem) -> Result<(), StoreError> {
        let text = serde_json::to_string(problem).map_err(|error| StoreError::Value(error.to_string()))?;
        let mut change = self.begin().await?;
        sqlx::query("UPDATE operations SET state = $2, problem = $3 WHERE id = $1")
            .bind(operation.id.to_string())
            .bind(OperationState::Undoing.as_str())
            .bind(text)
            .execute(change.sql())
            .await?;
        let event = NewEvent::new("operation.undoing", Some(operation.id), problem.cause.clone());
        change.event(&operation.world, event).await?;
        change.commit().await
    }

    /// Everything that could be undone is; the operation failed or was cancelled.
    pub(crate) async fn finish_failed(&self, operation: &Operation, failure: &Failure) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        match &failure.world {
            None => change.delete_world(&operation.world).await?,
            Some((state, detail)) => {
                let stored = sqlx::query("SELECT nodes, links FROM worlds WHERE id = $1")
                    .bind(operation.world.id.to_string())
                    .fetch_optional(change.sql())
                    .await?;
                if let Some(row) = stored {
                    let (nodes, links): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
                    let back = Size { worlds: 0, nodes: failure.size.nodes - nodes, links: failure.size.links - links };
                    change.reserve(operation.world.owner, back, None).await?;
                }
                change.set_size(operation.world.id, failure.size).await?;
                change.set_state(operation.world.id, *state, detail).await?;
                for phase in &failure.phases {
                    change.set_phase(operation.world.id, phase).await?;
                }
                if *state == WorldState::Failed {
                    let (id, name) = (0, phases::NAMES[0].to_owned());
                    let (state, detail) = (PhaseState::Failed, detail.clone());
                    change
                        .set_phase(operation.world.id, &PhaseStatus { id, name, state, millis: None, detail })
                        .await?;
                }
            }
        }
        let failed = NewEvent::new("phase.failed", Some(operation.id), failure.problem.cause.clone());
        let failed = failed.phase(failure.phase);
        if operation.kind != Kind::Down {
            change.event(&operation.world, failed).await?;
        }
        change.end_operation(operation, failure.state, Some(&failure.problem)).await?;
        let kind = if failure.state == OperationState::Cancelled { "operation.cancelled" } else { "operation.failed" };
        let message = format!("{}: {}", failure.problem.what, failure.problem.cause);
        let data = serde_json::to_value(&failure.problem).unwrap_or_default();
        change.event(&operation.world, NewEvent::new(kind, Some(operation.id), message).data(data)).await?;
        change.commit().await
    }

    /// The world is gone.
    pub(crate) async fn finish_down(&self, operation: &Operation, removed: u64) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        change.delete_world(&operation.world).await?;
        sqlx::query("UPDATE operations SET changes = $2 WHERE id = $1")
            .bind(operation.id.to_string())
            .bind(i64::try_from(removed).unwrap_or(i64::MAX))
            .execute(change.sql())
            .await?;
        change.end_operation(operation, OperationState::Done, None).await?;
        let message = format!("down done, {removed} objects removed");
        let done = NewEvent::new("operation.done", Some(operation.id), message).data(json!({ "changes": removed }));
        change.event(&operation.world, done).await?;
        change.commit().await
    }

    /// Which operation has this id; says nothing else, see [`Store::find`].
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_operation(&self, id: OperationId) -> Result<Option<OperationRef>, StoreError> {
        let row = sqlx::query("SELECT owner FROM operations WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        let owner = row.map(|row| worlds::small(row.try_get(0)?, "owner")).transpose()?;
        Ok(owner.map(|owner| OperationRef { id, owner: Uid(owner) }))
    }

    /// The operation that is at work on a world.
    pub(crate) async fn at_work_on(&self, world: WorldId) -> Result<Option<(OperationId, Kind)>, StoreError> {
        let row = sqlx::query("SELECT id, kind FROM operations WHERE world = $1 AND state IN ('running', 'undoing')")
            .bind(world.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (id, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let value = |what: &str| StoreError::Value(format!("{what} of an operation"));
        let id = OperationId::parse(&id).map_err(|_| value("id"))?;
        Ok(Some((id, Kind::parse(&kind).ok_or_else(|| value("kind"))?)))
    }

    /// How an operation is.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when it was forgotten since it was judged.
    pub async fn operation<A: crate::decide::Act>(
        &self,
        verdict: &Verdict<A, OperationRef>,
    ) -> Result<OperationStatus, StoreError> {
        let id = verdict.object().id.to_string();
        let row =
            sqlx::query("SELECT name, kind, state, problem, changes, begun_at, ended_at FROM operations WHERE id = $1")
                .bind(id.clone())
                .fetch_optional(&mut *self.connection().await?)
                .await?
                .ok_or(StoreError::Gone)?;
        let (state, problem): (String, Option<String>) = (row.try_get("state")?, row.try_get("problem")?);
        let (begun, ended): (i64, Option<i64>) = (row.try_get("begun_at")?, row.try_get("ended_at")?);
        let problem = problem.map(|text| serde_json::from_str(&text)).transpose();
        Ok(OperationStatus {
            operation: id,
            kind: row.try_get("kind")?,
            world: row.try_get("name")?,
            state: OperationState::parse(&state).ok_or(StoreError::Value(format!("operation state {state:?}")))?,
            problem: problem.map_err(|_| StoreError::Value("problem of an operation".to_owned()))?,
            millis: u64::try_from(ended.unwrap_or_else(time::now_ms) - begun).unwrap_or(0),
            changes: u64::try_from(row.try_get::<i64, _>("changes")?).unwrap_or(0),
        })
    }

    /// Operations that were at work when the daemon ended.
    pub(crate) async fn interrupted(&self) -> Result<Vec<Operation>, StoreError> {
        interrupted(&mut *self.connection().await?).await
    }

    /// Writes that the daemon repairs a world of its own accord, with the reason.
    pub(crate) async fn begin_repair(
        &self,
        verdict: &Verdict<act::Repair, WorldRef>,
        operation: &Operation,
        reason: &str,
    ) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        change.create_operation(operation, None).await?;
        change.count_try(verdict.object().id).await?;
        change.set_state(verdict.object().id, WorldState::Degraded, reason).await?;
        let event = NewEvent::new("world.degraded", Some(operation.id), reason.to_owned());
        change.event(verdict.object(), event).await?;
        change.commit().await
    }
}

impl Store {
    /// The world runs no more as it should, and nothing is done about it now.
    pub(crate) async fn degrade(
        &self,
        verdict: &Verdict<act::Repair, WorldRef>,
        phase: u8,
        reason: &str,
    ) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        let world = verdict.object();
        change.set_state(world.id, WorldState::Degraded, reason).await?;
        let name = phases::NAMES.get(usize::from(phase)).copied().unwrap_or_default().to_owned();
        let (state, detail) = (PhaseState::Degraded, reason.to_owned());
        change.set_phase(world.id, &PhaseStatus { id: phase, name, state, millis: None, detail }).await?;
        change.event(world, NewEvent::new("world.degraded", None, reason.to_owned()).phase(phase)).await?;
        change.commit().await
    }
}

impl Change<'_> {
    pub(super) async fn create_operation(
        &mut self,
        operation: &Operation,
        quotas: Option<&Quotas>,
    ) -> Result<(), StoreError> {
        let owner = i64::from(operation.world.owner.0);
        if let Some(limit) = quotas.map(|quotas| quotas.operations) {
            let row =
                sqlx::query("SELECT COUNT(*) FROM operations WHERE owner = $1 AND state IN ('running', 'undoing')")
                    .bind(owner)
                    .fetch_one(self.sql())
                    .await?;
            let used: i64 = row.try_get(0)?;
            if used >= limit {
                return Err(StoreError::Quota { what: "operation", used: used + 1, limit });
            }
        }
        let made = sqlx::query(
            "INSERT INTO operations (id, world, owner, name, kind, state, up_to, changes, begun_at, deadline) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9)",
        )
        .bind(operation.id.to_string())
        .bind(operation.world.id.to_string())
        .bind(owner)
        .bind(operation.world.name.to_string())
        .bind(operation.kind.as_str())
        .bind(OperationState::Running.as_str())
        .bind(i64::from(operation.up_to))
        .bind(operation.begun_at)
        .bind(operation.deadline)
        .execute(self.sql())
        .await;
        match made {
            Err(error) if StoreError::is_duplicate(&error) => return Err(StoreError::Conflict),
            made => made?,
        };
        if let Some(spec) = &operation.spec {
            let spec = serde_json::to_string(spec).map_err(|error| StoreError::Value(error.to_string()))?;
            sqlx::query("INSERT INTO intended (operation, spec) VALUES ($1, $2)")
                .bind(operation.id.to_string())
                .bind(spec)
                .execute(self.sql())
                .await?;
        }
        let message = format!("{} of \"{}\" began", operation.kind.as_str(), operation.world.name);
        let data = json!({ "operation_kind": operation.kind.as_str() });
        self.event(&operation.world, NewEvent::new("operation.running", Some(operation.id), message).data(data)).await
    }

    async fn end_operation(
        &mut self,
        operation: &Operation,
        state: OperationState,
        problem: Option<&Problem>,
    ) -> Result<(), StoreError> {
        self.ends.fetch_add(1, Ordering::SeqCst);
        let problem = problem.map(serde_json::to_string).transpose();
        sqlx::query("UPDATE operations SET state = $2, problem = $3, ended_at = $4 WHERE id = $1")
            .bind(operation.id.to_string())
            .bind(state.as_str())
            .bind(problem.map_err(|error| StoreError::Value(error.to_string()))?)
            .bind(time::now_ms())
            .execute(self.sql())
            .await?;
        sqlx::query("DELETE FROM intended WHERE operation = $1")
            .bind(operation.id.to_string())
            .execute(self.sql())
            .await?;
        let owner = operation.world.owner;
        sqlx::query(
            "DELETE FROM operations WHERE owner = $1 AND ended_at <= \
             (SELECT ended_at FROM operations WHERE owner = $1 AND ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT 1 OFFSET $2)",
        )
        .bind(i64::from(owner.0))
        .bind(KEPT)
        .execute(self.sql())
        .await?;
        self.prune_events(owner).await
    }
}

/// See [`Store::interrupted`].
pub(super) async fn interrupted(connection: &mut AnyConnection) -> Result<Vec<Operation>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, world, owner, name, kind, state, spec, up_to, deadline, begun_at FROM operations \
         LEFT JOIN intended ON operation = id WHERE state IN ('running', 'undoing') ORDER BY begun_at",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(operation_of).collect()
}

fn operation_of(row: &AnyRow) -> Result<Operation, StoreError> {
    let (id, world, name): (String, String, String) = (row.try_get("id")?, row.try_get("world")?, row.try_get("name")?);
    let (kind, state): (String, String) = (row.try_get("kind")?, row.try_get("state")?);
    let value = |what: &str| StoreError::Value(format!("{what} of an operation"));
    Ok(Operation {
        id: OperationId::parse(&id).map_err(|_| value("id"))?,
        kind: Kind::parse(&kind).ok_or_else(|| value("kind"))?,
        world: WorldRef {
            id: WorldId::parse(&world).map_err(|_| value("world"))?,
            owner: Uid(worlds::small(row.try_get("owner")?, "owner")?),
            name: WorldName::parse(&name).map_err(|_| value("name"))?,
        },
        spec: worlds::spec_of(row)?,
        up_to: worlds::small(row.try_get("up_to")?, "up_to")?,
        deadline: row.try_get("deadline")?,
        begun_at: row.try_get("begun_at")?,
        undoing: state == OperationState::Undoing.as_str(),
        resumed: true,
        heal: None,
    })
}
