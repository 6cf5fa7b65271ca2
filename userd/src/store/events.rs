//! The events table.

use netengine_proto::{
    api::Event,
    ids::{OperationId, Uid},
};
use serde_json::Value;
use sqlx::{Row, any::AnyRow};

use super::{Change, Store, StoreError};
use crate::{
    decide::{Act, AllOf, Verdict, WorldRef, act},
    events::Filter,
    ids, time,
};

/// Events kept of one owner.
const KEPT: i64 = 10_000;
/// Events one request returns.
pub const PAGE: i64 = 1000;

/// An event that is about to be written.
pub struct NewEvent {
    /// What happened.
    pub kind: &'static str,
    /// The operation it belongs to.
    pub operation: Option<OperationId>,
    /// The event that caused it.
    pub parent: Option<String>,
    /// The phase.
    pub phase: Option<u8>,
    /// One line for people.
    pub message: String,
    /// More, by kind.
    pub data: Value,
}

impl NewEvent {
    /// An event without phase, parent and data.
    pub fn new(kind: &'static str, operation: Option<OperationId>, message: impl Into<String>) -> Self {
        Self { kind, operation, parent: None, phase: None, message: message.into(), data: Value::Null }
    }

    /// About this phase.
    pub fn phase(mut self, phase: u8) -> Self {
        self.phase = Some(phase);
        self
    }

    /// With more, by kind.
    pub fn data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }
}

impl Change<'_> {
    /// Writes an event and remembers to tell of it.
    pub(super) async fn event(&mut self, world: &WorldRef, new: NewEvent) -> Result<(), StoreError> {
        // One row that every writer updates: the numbers are committed in order on every database.
        let row = sqlx::query("UPDATE counters SET value = value + 1 WHERE name = 'event' RETURNING value")
            .fetch_one(self.sql())
            .await?;
        let now = time::now_ms();
        let event = Event {
            event: ids::event(),
            seq: row.try_get(0)?,
            time: time::rfc3339(now),
            world: world.name.to_string(),
            operation: new.operation.map(|operation| operation.to_string()),
            parent: new.parent,
            kind: new.kind.to_owned(),
            phase: new.phase,
            message: new.message,
            data: new.data,
        };
        sqlx::query(
            "INSERT INTO events (seq, id, time, owner, world, name, operation, parent, kind, phase, message, data) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(event.seq)
        .bind(event.event.clone())
        .bind(now)
        .bind(i64::from(world.owner.0))
        .bind(world.id.to_string())
        .bind(event.world.clone())
        .bind(event.operation.clone())
        .bind(event.parent.clone())
        .bind(event.kind.clone())
        .bind(event.phase.map(i64::from))
        .bind(event.message.clone())
        .bind(event.data.to_string())
        .execute(self.sql())
        .await?;
        self.told.push((world.owner, event));
        Ok(())
    }

    /// Forgets the oldest events of an owner, so that the table is bounded.
    pub(super) async fn prune_events(&mut self, owner: Uid) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM events WHERE owner = $1 AND seq <= \
             (SELECT seq FROM events WHERE owner = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
        )
        .bind(i64::from(owner.0))
        .bind(KEPT)
        .execute(self.sql())
        .await?;
        Ok(())
    }
}

impl Store {
    /// At most [`PAGE`] events after `after`, oldest first. What the verdict is about bounds whose events are read.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn events(
        &self,
        verdict: &Verdict<act::ViewEvents, AllOf>,
        filter: &Filter,
        after: i64,
    ) -> Result<Vec<Event>, StoreError> {
        let owner = verdict.object().0.map(|uid| i64::from(uid.0));
        // A missing filter is a range that holds every value, so that one statement serves all and nothing is pasted.
        let rows = sqlx::query(
            "SELECT seq, id, time, name, operation, parent, kind, phase, message, data FROM events \
             WHERE seq > $1 AND owner >= $2 AND owner <= $3 AND ($4 = '' OR name = $4) \
             AND ($5 = '' OR operation = $5) ORDER BY seq LIMIT $6",
        )
        .bind(after)
        .bind(owner.unwrap_or(0))
        .bind(owner.unwrap_or(i64::MAX))
        .bind(filter.world.clone().unwrap_or_default())
        .bind(filter.operation.clone().unwrap_or_default())
        .bind(PAGE)
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter().map(event_of).collect()
    }

    /// Whether a world of this name exists, or has left events, among the owners that the verdict is about.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn knows_world(&self, verdict: &Verdict<act::ViewEvents, AllOf>, name: &str) -> Result<bool, StoreError> {
        let owner = verdict.object().0.map(|uid| i64::from(uid.0));
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM worlds WHERE owner >= $1 AND owner <= $2 AND name = $3) \
             + (SELECT COUNT(*) FROM (SELECT seq FROM events WHERE owner >= $1 AND owner <= $2 AND name = $3 LIMIT 1) e)",
        )
        .bind(owner.unwrap_or(0))
        .bind(owner.unwrap_or(i64::MAX))
        .bind(name.to_owned())
        .fetch_one(&mut *self.connection().await?)
        .await?;
        Ok(row.try_get::<i64, _>(0)? > 0)
    }

    /// Writes one event that belongs to no operation, for example the end of a process.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub(crate) async fn tell<A: Act>(&self, verdict: &Verdict<A, WorldRef>, event: NewEvent) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        change.event(verdict.object(), event).await?;
        change.commit().await
    }
}

fn event_of(row: &AnyRow) -> Result<Event, StoreError> {
    let data: String = row.try_get("data")?;
    let phase: Option<i64> = row.try_get("phase")?;
    Ok(Event {
        event: row.try_get("id")?,
        seq: row.try_get("seq")?,
        time: time::rfc3339(row.try_get("time")?),
        world: row.try_get("name")?,
        operation: row.try_get("operation")?,
        parent: row.try_get("parent")?,
        kind: row.try_get("kind")?,
        phase: phase.and_then(|phase| u8::try_from(phase).ok()),
        message: row.try_get("message")?,
        data: serde_json::from_str(&data).map_err(|_| StoreError::Value("data of an event".to_owned()))?,
    })
}
