//! Worlds with their phases.

use netengine_proto::{
    api::{PhaseState, PhaseStatus, WorldState},
    control::{Delegation, IssuerKeys},
    ids::{Uid, WorldId},
    names::WorldName,
};
use netengine_spec::Spec;
use serde::de::DeserializeOwned;
use sqlx::{AnyConnection, Row, any::AnyRow};

use super::{
    Change, Store, StoreError,
    operations::{Operation, Success},
    quota::Size,
    services,
};
use crate::{
    decide::{Act, AllOf, Verdict, WorldRef, WorldSlot, act},
    plan::{peers::HeldPeer, phases},
};

/// All that is stored of a world.
#[derive(Debug, Clone)]
pub struct World {
    /// Which.
    pub reference: WorldRef,
    /// Its state.
    pub state: WorldState,
    /// Why it is so; empty when there is nothing to say.
    pub detail: String,
    /// The spec in force; `None` until the first `up` is done.
    pub spec: Option<Spec>,
    /// The last phase asked for.
    pub up_to: u8,
    /// What it is counted as.
    pub size: Size,
    /// When it was first up, milliseconds since 1970.
    pub started_at: Option<i64>,
    /// Phases 0 to 9.
    pub phases: Vec<PhaseStatus>,
    /// The worlds that its spec in force names, as it was last brought up beside them.
    pub peers: Vec<HeldPeer>,
}

/// What other worlds may use of a world, as its worldd told when it was last brought up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Offered {
    /// The zones that may be delegated.
    pub zones: Vec<Delegation>,
    /// Its OpenID issuers.
    pub issuers: Vec<IssuerKeys>,
}

/// What a list shows of a world.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which.
    pub reference: WorldRef,
    /// Its state.
    pub state: WorldState,
    /// The spec in force.
    pub spec: Option<Spec>,
    /// When it was first up, milliseconds since 1970.
    pub started_at: Option<i64>,
}

impl Store {
    /// Which world has this owner and name. It says nothing else about the world, and nothing to a caller before
    /// [`crate::decide::decide`] has judged what was found.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find(&self, slot: &WorldSlot) -> Result<Option<WorldRef>, StoreError> {
        let row = sqlx::query("SELECT id, owner, name FROM worlds WHERE owner = $1 AND name = $2")
            .bind(i64::from(slot.owner.0))
            .bind(slot.name.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        row.as_ref().map(reference_of).transpose()
    }

    /// All about a world but its services.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when it was removed since it was judged.
    pub async fn world<A: Act>(&self, verdict: &Verdict<A, WorldRef>) -> Result<World, StoreError> {
        self.load(verdict.object()).await?.ok_or(StoreError::Gone)
    }

    /// The worlds of whom the verdict is about, by owner and name.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn worlds(&self, verdict: &Verdict<act::ListWorlds, AllOf>) -> Result<Vec<Listed>, StoreError> {
        let owner = verdict.object().0.map(|uid| i64::from(uid.0));
        let rows = sqlx::query(
            "SELECT id, owner, name, state, spec, started_at FROM worlds LEFT JOIN in_force ON world = id \
             WHERE owner >= $1 AND owner <= $2 ORDER BY owner, name",
        )
        .bind(owner.unwrap_or(0))
        .bind(owner.unwrap_or(i64::MAX))
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let listed = |row: &AnyRow| {
            Ok(Listed {
                reference: reference_of(row)?,
                state: state_of(row)?,
                spec: spec_of(row)?,
                started_at: row.try_get("started_at")?,
            })
        };
        rows.iter().map(listed).collect()
    }

    /// Every world there is, for the daemon's own use.
    pub(crate) async fn all_worlds(&self) -> Result<Vec<(WorldRef, WorldState)>, StoreError> {
        let rows =
            sqlx::query("SELECT id, owner, name, state FROM worlds").fetch_all(&mut *self.connection().await?).await?;
        rows.iter().map(|row| Ok((reference_of(row)?, state_of(row)?))).collect()
    }

    /// Every world whose spec in force names others, for the daemon's own use.
    pub(crate) async fn naming_worlds(&self) -> Result<Vec<WorldRef>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, owner, name FROM worlds JOIN in_force ON world = id WHERE peers IS NOT NULL ORDER BY id",
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        rows.iter().map(reference_of).collect()
    }

    /// The stored world; only the store and the orchestrator, which hold a verdict, come here.
    pub(crate) async fn load(&self, world: &WorldRef) -> Result<Option<World>, StoreError> {
        let id = world.id.to_string();
        let mut connection = self.connection().await?;
        let row = sqlx::query(
            "SELECT id, owner, name, state, detail, spec, up_to, nodes, links, started_at, peers \
             FROM worlds LEFT JOIN in_force ON world = id WHERE id = $1",
        )
        .bind(id.clone())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let phases = load_phases(&mut connection, &id).await?;
        Ok(Some(World {
            reference: reference_of(&row)?,
            state: state_of(&row)?,
            detail: row.try_get("detail")?,
            spec: spec_of(&row)?,
            up_to: small(row.try_get("up_to")?, "up_to")?,
            size: Size { worlds: 1, nodes: row.try_get("nodes")?, links: row.try_get("links")? },
            started_at: row.try_get("started_at")?,
            phases,
            peers: list_of(&row, "peers")?,
        }))
    }

    /// What other worlds may use of a world; nothing of one that was never up.
    pub(crate) async fn offered(&self, world: &WorldRef) -> Result<Offered, StoreError> {
        let row = sqlx::query("SELECT zones, issuers FROM in_force WHERE world = $1")
            .bind(world.id.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        let Some(row) = row else { return Ok(Offered::default()) };
        Ok(Offered { zones: list_of(&row, "zones")?, issuers: list_of(&row, "issuers")? })
    }
}

impl Change<'_> {
    pub(super) async fn create_world(&mut self, world: &WorldRef, up_to: u8, size: Size) -> Result<(), StoreError> {
        let made = sqlx::query(
            "INSERT INTO worlds (id, owner, name, state, detail, up_to, nodes, links) \
             VALUES ($1, $2, $3, $4, '', $5, $6, $7)",
        )
        .bind(world.id.to_string())
        .bind(i64::from(world.owner.0))
        .bind(world.name.to_string())
        .bind(WorldState::Booting.as_str())
        .bind(i64::from(up_to))
        .bind(size.nodes)
        .bind(size.links)
        .execute(self.sql())
        .await;
        match made {
            Err(error) if StoreError::is_duplicate(&error) => Err(StoreError::Conflict),
            made => Ok(made.map(drop)?),
        }
    }

    /// Removes a world's rows and gives back what it was counted as.
    pub(super) async fn delete_world(&mut self, world: &WorldRef) -> Result<(), StoreError> {
        let id = world.id.to_string();
        let row = sqlx::query("SELECT nodes, links FROM worlds WHERE id = $1")
            .bind(id.clone())
            .fetch_optional(self.sql())
            .await?;
        let Some(row) = row else { return Ok(()) };
        let back = Size { worlds: -1, nodes: -row.try_get::<i64, _>(0)?, links: -row.try_get::<i64, _>(1)? };
        self.reserve(world.owner, back, None).await?;
        // All else that is held of it goes with it (ON DELETE CASCADE).
        sqlx::query("DELETE FROM worlds WHERE id = $1").bind(id).execute(self.sql()).await?;
        Ok(())
    }

    pub(super) async fn set_state(
        &mut self,
        world: WorldId,
        state: WorldState,
        detail: &str,
    ) -> Result<(), StoreError> {
        let updated = sqlx::query("UPDATE worlds SET state = $2, detail = $3 WHERE id = $1")
            .bind(world.to_string())
            .bind(state.as_str())
            .bind(detail.to_owned())
            .execute(self.sql())
            .await?;
        // Who read the row before it was removed must not begin anything: a repair would make the world again, and no row
        // would know it.
        if updated.rows_affected() == 0 { Err(StoreError::Gone) } else { Ok(()) }
    }

    pub(super) async fn set_size(&mut self, world: WorldId, size: Size) -> Result<(), StoreError> {
        sqlx::query("UPDATE worlds SET nodes = $2, links = $3 WHERE id = $1")
            .bind(world.to_string())
            .bind(size.nodes)
            .bind(size.links)
            .execute(self.sql())
            .await?;
        Ok(())
    }

    /// What an operation leads to is in force from now on. Gives the worlds that the spec in force named before.
    pub(super) async fn set_in_force(
        &mut self,
        operation: &Operation,
        success: &Success,
        now: i64,
    ) -> Result<Vec<HeldPeer>, StoreError> {
        let id = operation.world.id.to_string();
        sqlx::query("UPDATE worlds SET up_to = $2, started_at = COALESCE(started_at, $3) WHERE id = $1")
            .bind(id.clone())
            .bind(i64::from(operation.up_to))
            .bind(now)
            .execute(self.sql())
            .await?;
        let before = sqlx::query("SELECT peers FROM in_force WHERE world = $1")
            .bind(id.clone())
            .fetch_optional(self.sql())
            .await?;
        let broken = |error: serde_json::Error| StoreError::Value(error.to_string());
        let peers = (!success.peers.is_empty()).then(|| serde_json::to_string(&success.peers)).transpose();
        // From the operation, not from its row: who writes its end twice finds that row gone.
        sqlx::query(
            "INSERT INTO in_force (world, spec, trust, peers, zones, issuers, services) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (world) DO UPDATE SET \
             spec = excluded.spec, trust = excluded.trust, peers = excluded.peers, zones = excluded.zones, \
             issuers = excluded.issuers, services = excluded.services",
        )
        .bind(id)
        .bind(serde_json::to_string(operation.spec.as_ref().ok_or(StoreError::Gone)?).map_err(broken)?)
        .bind(serde_json::to_string(&success.trust).map_err(broken)?)
        .bind(peers.map_err(broken)?)
        .bind(serde_json::to_string(&success.zones).map_err(broken)?)
        .bind(serde_json::to_string(&success.issuers).map_err(broken)?)
        .bind(services::stored(&success.services)?)
        .execute(self.sql())
        .await?;
        before.map_or(Ok(Vec::new()), |row| list_of(&row, "peers"))
    }

    pub(super) async fn set_phase(&mut self, world: WorldId, phase: &PhaseStatus) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO phases (world, phase, state, millis, detail) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (world, phase) DO UPDATE \
             SET state = excluded.state, millis = excluded.millis, detail = excluded.detail",
        )
        .bind(world.to_string())
        .bind(i64::from(phase.id))
        .bind(phase.state.as_str())
        .bind(phase.millis.and_then(|millis| i64::try_from(millis).ok()))
        .bind(phase.detail.clone())
        .execute(self.sql())
        .await?;
        Ok(())
    }
}

async fn load_phases(connection: &mut AnyConnection, world: &str) -> Result<Vec<PhaseStatus>, StoreError> {
    let rows = sqlx::query("SELECT phase, state, millis, detail FROM phases WHERE world = $1 ORDER BY phase")
        .bind(world.to_owned())
        .fetch_all(connection)
        .await?;
    let phase = |row: &AnyRow| {
        let id: u8 = small(row.try_get("phase")?, "phase")?;
        let state: String = row.try_get("state")?;
        let millis: Option<i64> = row.try_get("millis")?;
        Ok(PhaseStatus {
            id,
            name: phases::NAMES.get(usize::from(id)).copied().unwrap_or_default().to_owned(),
            state: PhaseState::parse(&state).ok_or(StoreError::Value(format!("phase state {state:?}")))?,
            millis: millis.and_then(|millis| u64::try_from(millis).ok()),
            detail: row.try_get("detail")?,
        })
    };
    rows.iter().map(phase).collect()
}

/// A number that was stored as 64 bits and is smaller.
pub(super) fn small<T: TryFrom<i64>>(value: i64, column: &str) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Value(format!("{column} {value}")))
}

pub(super) fn reference_of(row: &AnyRow) -> Result<WorldRef, StoreError> {
    let (id, name): (String, String) = (row.try_get("id")?, row.try_get("name")?);
    Ok(WorldRef {
        id: WorldId::parse(&id).map_err(|error| StoreError::Value(format!("world id {error}")))?,
        owner: Uid(small(row.try_get("owner")?, "owner")?),
        name: WorldName::parse(&name).map_err(|error| StoreError::Value(format!("world name {error}")))?,
    })
}

fn state_of(row: &AnyRow) -> Result<WorldState, StoreError> {
    let state: String = row.try_get("state")?;
    WorldState::parse(&state).ok_or(StoreError::Value(format!("world state {state:?}")))
}

/// A list of a column that may be absent.
fn list_of<T: DeserializeOwned>(row: &AnyRow, column: &str) -> Result<Vec<T>, StoreError> {
    let text: Option<String> = row.try_get(column)?;
    let list = text.map(|text| serde_json::from_str(&text)).transpose();
    Ok(list.map_err(|error| StoreError::Value(format!("{column} of a world: {error}")))?.unwrap_or_default())
}

pub(super) fn spec_of(row: &AnyRow) -> Result<Option<Spec>, StoreError> {
    let text: Option<String> = row.try_get("spec")?;
    let parse = |text: String| serde_json::from_str(&text);
    text.map(parse).transpose().map_err(|error| StoreError::Value(format!("spec of a world: {error}")))
}
