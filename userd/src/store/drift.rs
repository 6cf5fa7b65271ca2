//! What others changed in worlds: noticed, extended while it lasts, healed.

use netengine_proto::{
    api::{DriftRecord, PhaseState, PhaseStatus, PlannedChange, WorldState},
    ids::WorldId,
};
use serde_json::json;
use sqlx::{Row, any::AnyRow};

use super::{Change, Store, StoreError, events::NewEvent, worlds};
use crate::{
    decide::{Verdict, WorldRef, act},
    ids,
    plan::phases,
    time,
};

/// Records kept of one world.
const KEPT: i64 = 1000;
/// Records one request returns.
const PAGE: i64 = 200;
/// Differences kept of one record.
const CHANGES: usize = 64;
/// Why a world is degraded that is not to be healed. A world with this reason is right again when its network is.
const NOT_HEALED: &str = "its network differs from the plan and is not put right (--no-heal)";

/// What of a world was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its network.
    Network,
    /// One of its processes.
    Process,
}

impl Part {
    fn as_str(self) -> &'static str {
        match self {
            Part::Network => "network",
            Part::Process => "process",
        }
    }
}

/// A change by others, as it was noticed.
#[derive(Debug, Clone)]
pub struct Noticed {
    /// What of.
    pub part: Part,
    /// By whom: `kernel`, `look` or `leash`.
    pub by: &'static str,
    /// What differs.
    pub changes: Vec<PlannedChange>,
    /// How much else does.
    pub more: u64,
}

impl Store {
    /// Whether what others change in a world is put right.
    pub(crate) async fn heals(&self, world: WorldId) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT heal FROM worlds WHERE id = $1")
            .bind(world.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        Ok(row.map(|row| row.try_get::<i64, _>(0)).transpose()? != Some(0))
    }

    /// Records a change by others, or that one which lasts has grown, and tells of it; whether there was news.
    pub(crate) async fn drifted(
        &self,
        verdict: &Verdict<act::Repair, WorldRef>,
        noticed: &Noticed,
    ) -> Result<bool, StoreError> {
        let world = verdict.object();
        let mut change = self.begin().await?;
        if !change.has_world(world.id).await? {
            return Err(StoreError::Gone);
        }
        let open = change.open_drift(world.id, noticed.part).await?;
        let (id, mut changes) = open.map_or((None, Vec::new()), |(id, changes)| (Some(id), changes));
        let known = changes.len();
        for new in &noticed.changes {
            if changes.len() < CHANGES && !changes.contains(new) {
                changes.push(new.clone());
            }
        }
        if id.is_some() && changes.len() == known {
            return Ok(false);
        }
        let text = serde_json::to_string(&changes).map_err(|error| StoreError::Value(error.to_string()))?;
        let more = i64::try_from(noticed.more).unwrap_or(i64::MAX);
        match &id {
            Some(id) => {
                sqlx::query("UPDATE drifts SET changes = $2, more = $3 WHERE id = $1")
                    .bind(id.clone())
                    .bind(text)
                    .bind(more)
                    .execute(change.sql())
                    .await?;
            }
            None => {
                sqlx::query(
                    "INSERT INTO drifts (id, world, part, noticed_at, noticed_by, changes, more, tries) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, 0)",
                )
                .bind(ids::event())
                .bind(world.id.to_string())
                .bind(noticed.part.as_str())
                .bind(time::now_ms())
                .bind(noticed.by)
                .bind(text)
                .bind(more)
                .execute(change.sql())
                .await?;
                change.prune_drifts(world.id).await?;
            }
        }
        if noticed.part == Part::Network {
            let message = said(&noticed.changes, noticed.more);
            let data = json!({ "noticed_by": noticed.by, "changes": noticed.changes, "more": noticed.more });
            change.event(world, NewEvent::new("network.drifted", None, message).phase(0).data(data)).await?;
        }
        change.commit().await?;
        Ok(true)
    }

    /// Records that a world's network was as planned when it was seen at `seen_at` (milliseconds since 1970). A world that was
    /// degraded by its network alone is right again.
    pub(crate) async fn restored(
        &self,
        verdict: &Verdict<act::Repair, WorldRef>,
        seen_at: i64,
    ) -> Result<(), StoreError> {
        let world = verdict.object();
        // Asked without a writer's turn: of nearly every world there is nothing to be said.
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM drifts WHERE world = $1 AND healed_at IS NULL) \
             + (SELECT COUNT(*) FROM worlds WHERE id = $1 AND detail = $2)",
        )
        .bind(world.id.to_string())
        .bind(NOT_HEALED)
        .fetch_one(&mut *self.connection().await?)
        .await?;
        if row.try_get::<i64, _>(0)? == 0 {
            return Ok(());
        }
        let mut change = self.begin().await?;
        let was_open = change.close_drifts(world.id, Part::Network, seen_at).await?;
        let row = sqlx::query("SELECT state, detail FROM worlds WHERE id = $1")
            .bind(world.id.to_string())
            .fetch_optional(change.sql())
            .await?;
        let Some(row) = row else { return Ok(()) };
        let (state, detail): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let was_degraded = state == WorldState::Degraded.as_str() && detail == NOT_HEALED;
        if !was_open && !was_degraded {
            return Ok(());
        }
        if was_degraded {
            change.set_state(world.id, WorldState::Ready, "").await?;
            let (name, detail) = (phases::NAMES[0].to_owned(), "network as planned".to_owned());
            let done = PhaseStatus { id: 0, name, state: PhaseState::Done, millis: None, detail };
            change.set_phase(world.id, &done).await?;
        }
        let restored = NewEvent::new("network.restored", None, "its network is as planned again");
        change.event(world, restored.phase(0)).await?;
        change.commit().await
    }

    /// Says of a world that is not to be healed that its network differs.
    pub(crate) async fn leave_drifted(&self, verdict: &Verdict<act::Repair, WorldRef>) -> Result<(), StoreError> {
        self.degrade(verdict, 0, NOT_HEALED).await
    }

    /// What others changed in a world, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn drifts(&self, verdict: &Verdict<act::ViewDrift, WorldRef>) -> Result<Vec<DriftRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT noticed_at, noticed_by, changes, more, tries, healed_at FROM drifts \
             WHERE world = $1 ORDER BY noticed_at DESC, id LIMIT $2",
        )
        .bind(verdict.object().id.to_string())
        .bind(PAGE)
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter().map(record_of).collect()
    }
}

impl Change<'_> {
    /// Sets whether what others change in a world is put right.
    pub(super) async fn set_heal(&mut self, world: WorldId, heal: bool) -> Result<(), StoreError> {
        sqlx::query("UPDATE worlds SET heal = $2 WHERE id = $1 AND heal <> $2")
            .bind(world.to_string())
            .bind(i64::from(heal))
            .execute(self.sql())
            .await?;
        Ok(())
    }

    async fn has_world(&mut self, world: WorldId) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT id FROM worlds WHERE id = $1").bind(world.to_string());
        Ok(row.fetch_optional(self.sql()).await?.is_some())
    }

    async fn open_drift(
        &mut self,
        world: WorldId,
        part: Part,
    ) -> Result<Option<(String, Vec<PlannedChange>)>, StoreError> {
        let row = sqlx::query("SELECT id, changes FROM drifts WHERE world = $1 AND part = $2 AND healed_at IS NULL")
            .bind(world.to_string())
            .bind(part.as_str())
            .fetch_optional(self.sql())
            .await?;
        row.map(|row| Ok((row.try_get("id")?, changes_of(&row)?))).transpose()
    }

    /// A repair of the world begins: one try more for all that is to be healed.
    pub(super) async fn count_try(&mut self, world: WorldId) -> Result<(), StoreError> {
        sqlx::query("UPDATE drifts SET tries = tries + 1 WHERE world = $1 AND healed_at IS NULL")
            .bind(world.to_string())
            .execute(self.sql())
            .await?;
        Ok(())
    }

    /// This part of the world was as it should be when it was seen; whether it was not before.
    pub(super) async fn close_drifts(&mut self, world: WorldId, part: Part, seen_at: i64) -> Result<bool, StoreError> {
        let closed = sqlx::query(
            "UPDATE drifts SET healed_at = $3 WHERE world = $1 AND part = $2 AND healed_at IS NULL AND noticed_at <= $3",
        )
        .bind(world.to_string())
        .bind(part.as_str())
        .bind(seen_at)
        .execute(self.sql())
        .await?;
        Ok(closed.rows_affected() > 0)
    }

    async fn prune_drifts(&mut self, world: WorldId) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM drifts WHERE world = $1 AND noticed_at <= \
             (SELECT noticed_at FROM drifts WHERE world = $1 ORDER BY noticed_at DESC LIMIT 1 OFFSET $2)",
        )
        .bind(world.to_string())
        .bind(KEPT)
        .execute(self.sql())
        .await?;
        Ok(())
    }
}

/// The differences on one line, from the kernel's side: what a repair creates is missing now.
pub(crate) fn said(changes: &[PlannedChange], more: u64) -> String {
    let Some(first) = changes.first() else { return "its network differs from the plan".to_owned() };
    let how = match first.action.as_str() {
        "create" => "is missing",
        "delete" => "is not in the plan",
        _ => "differs from the plan",
    };
    let others = more.saturating_add(u64::try_from(changes.len() - 1).unwrap_or(u64::MAX));
    let others = if others > 0 { format!(", and {others} more") } else { String::new() };
    format!("{} {} {how}{others}", first.kind, first.object)
}

fn changes_of(row: &AnyRow) -> Result<Vec<PlannedChange>, StoreError> {
    let text: String = row.try_get("changes")?;
    serde_json::from_str(&text).map_err(|_| StoreError::Value("changes of a drift".to_owned()))
}

fn record_of(row: &AnyRow) -> Result<DriftRecord, StoreError> {
    let (noticed, healed): (i64, Option<i64>) = (row.try_get("noticed_at")?, row.try_get("healed_at")?);
    Ok(DriftRecord {
        noticed_at: time::rfc3339(noticed),
        noticed_by: row.try_get("noticed_by")?,
        changes: changes_of(row)?,
        more: worlds::small(row.try_get("more")?, "more")?,
        tries: worlds::small(row.try_get("tries")?, "tries")?,
        healed_at: healed.map(time::rfc3339),
        millis: healed.map(|healed| u64::try_from(healed - noticed).unwrap_or(0)),
    })
}
