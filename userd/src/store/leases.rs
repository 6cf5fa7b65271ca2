//! The networks of ANDs, each chosen in the transaction that begins the `up` which needs it.

use netengine_proto::{
    ids::Uid,
    names::{AndName, WorldName},
};
use netengine_spec::Spec;
use sqlx::{AnyConnection, Row};

use super::{Change, Store, StoreError, quota::Size, worlds::spec_of};
use crate::{
    decide::WorldRef,
    plan::{
        leases::{Held, Lease, Leases, choose},
        phases,
    },
    time,
};

/// Leases kept of one owner. Of worlds that are gone, those made longest ago are forgotten beyond it.
const KEPT: i64 = 16_384;

impl Store {
    /// The leases of the world of this owner and name, also when there is no such world now.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub(crate) async fn held_leases(&self, owner: Uid, world: &WorldName) -> Result<Vec<Held>, StoreError> {
        held(&mut *self.connection().await?, owner, world).await
    }

    /// The networks of a world's ANDs as they are.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub(crate) async fn leases(&self, world: &WorldRef) -> Result<Leases, StoreError> {
        let held = self.held_leases(world.owner, &world.name).await?;
        Ok(held.into_iter().map(|held| (held.and, held.lease)).collect())
    }

    /// The networks of the ANDs of `spec`; what lacks is chosen and kept.
    ///
    /// # Errors
    /// [`StoreError::Lease`] when the pools do not suffice.
    pub(crate) async fn complete_leases(&self, world: &WorldRef, spec: &Spec, up_to: u8) -> Result<Leases, StoreError> {
        let held = self.leases(world).await?;
        if up_to < phases::ANDS || spec.ands.instances.iter().all(|and| held.contains_key(&and.name)) {
            return Ok(held);
        }
        let mut change = self.begin().await?;
        // Its lock: two that choose for one owner take turns, also those of another daemon.
        change.reserve(world.owner, Size::default(), None).await?;
        let leases = change.lease(world, spec, up_to).await?;
        change.commit().await?;
        Ok(leases)
    }
}

impl Change<'_> {
    /// Chooses and keeps the networks of the ANDs of `spec`. The caller holds the owner's row.
    pub(super) async fn lease(&mut self, world: &WorldRef, spec: &Spec, up_to: u8) -> Result<Leases, StoreError> {
        if up_to < phases::ANDS {
            return Ok(Leases::new());
        }
        let row = sqlx::query("SELECT spec FROM in_force WHERE world = $1")
            .bind(world.id.to_string())
            .fetch_optional(self.sql())
            .await?;
        let in_force = row.as_ref().map(spec_of).transpose()?.flatten();
        let held = held(self.sql(), world.owner, &world.name).await?;
        let choice = choose(spec, in_force.as_ref(), &held)?;
        for and in &choice.forgotten {
            self.forget(world, and).await?;
        }
        let now = time::now_ms();
        for and in &choice.new {
            if let Some(lease) = choice.leases.get(and) {
                self.keep(world, and, *lease, now).await?;
            }
        }
        for held in held.iter().filter(|held| !choice.forgotten.contains(&held.and)) {
            match (choice.leases.contains_key(&held.and), held.released_at) {
                (true, Some(_)) => self.set_released(world, &held.and, None).await?,
                (false, None) => self.set_released(world, &held.and, Some(now)).await?,
                _ => {}
            }
        }
        if !choice.new.is_empty() {
            self.bound(world.owner).await?;
        }
        Ok(choice.leases)
    }

    async fn forget(&mut self, world: &WorldRef, and: &AndName) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM and_leases WHERE owner = $1 AND world = $2 AND and_name = $3")
            .bind(i64::from(world.owner.0))
            .bind(world.name.to_string())
            .bind(and.to_string())
            .execute(self.sql())
            .await?;
        Ok(())
    }

    async fn keep(&mut self, world: &WorldRef, and: &AndName, lease: Lease, now: i64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO and_leases (owner, world, and_name, number, network, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(i64::from(world.owner.0))
        .bind(world.name.to_string())
        .bind(and.to_string())
        .bind(i64::from(lease.number))
        .bind(lease.network.to_string())
        .bind(now)
        .execute(self.sql())
        .await?;
        Ok(())
    }

    async fn set_released(&mut self, world: &WorldRef, and: &AndName, at: Option<i64>) -> Result<(), StoreError> {
        sqlx::query("UPDATE and_leases SET released_at = $4 WHERE owner = $1 AND world = $2 AND and_name = $3")
            .bind(i64::from(world.owner.0))
            .bind(world.name.to_string())
            .bind(and.to_string())
            .bind(at)
            .execute(self.sql())
            .await?;
        Ok(())
    }

    /// Forgets the oldest leases of the owner's worlds that are gone, as far as there are too many.
    async fn bound(&mut self, owner: Uid) -> Result<(), StoreError> {
        let row = sqlx::query("SELECT COUNT(*) FROM and_leases WHERE owner = $1")
            .bind(i64::from(owner.0))
            .fetch_one(self.sql())
            .await?;
        let mut many: i64 = row.try_get(0)?;
        if many <= KEPT {
            return Ok(());
        }
        let gone = sqlx::query(
            "SELECT world, COUNT(*) FROM and_leases WHERE owner = $1 \
             AND world NOT IN (SELECT name FROM worlds WHERE owner = $1) GROUP BY world ORDER BY MAX(created_at), world",
        )
        .bind(i64::from(owner.0))
        .fetch_all(self.sql())
        .await?;
        for row in gone {
            if many <= KEPT {
                break;
            }
            many -= row.try_get::<i64, _>(1)?;
            sqlx::query("DELETE FROM and_leases WHERE owner = $1 AND world = $2")
                .bind(i64::from(owner.0))
                .bind(row.try_get::<String, _>(0)?)
                .execute(self.sql())
                .await?;
        }
        Ok(())
    }
}

/// All in one row: a row of its own for each costs many times what is in it.
async fn held(connection: &mut AnyConnection, owner: Uid, world: &WorldName) -> Result<Vec<Held>, StoreError> {
    let row = sqlx::query(
        "SELECT string_agg(and_name || ' ' || CAST(number AS TEXT) || ' ' || network || ' ' \
         || COALESCE(CAST(released_at AS TEXT), ''), '\n' ORDER BY number) \
         FROM and_leases WHERE owner = $1 AND world = $2",
    )
    .bind(i64::from(owner.0))
    .bind(world.to_string())
    .fetch_one(connection)
    .await?;
    let text: Option<String> = row.try_get(0)?;
    text.as_deref().unwrap_or_default().lines().map(held_of).collect()
}

fn held_of(line: &str) -> Result<Held, StoreError> {
    let read = || {
        let mut columns = line.split(' ');
        let mut next = || columns.next();
        let (and, number, network, released_at) = (next()?, next()?, next()?, next()?);
        Some(Held {
            and: AndName::parse(and).ok()?,
            lease: Lease { number: number.parse().ok()?, network: network.parse().ok()? },
            released_at: if released_at.is_empty() { None } else { Some(released_at.parse().ok()?) },
        })
    };
    read().ok_or_else(|| StoreError::Value(format!("lease {line:?}")))
}
