//! Sealed secrets of worlds, and what their clients trust. Nothing here can open a seal.

use netengine_proto::{ids::WorldId, trust::Trust};
use sqlx::Row;

use super::{Store, StoreError};
use crate::{
    decide::WorldRef,
    plan::secrets::{Slot, kind_word, parse_kind},
};

impl Store {
    /// The sealed secrets of a world, in the order of their slots.
    pub(crate) async fn sealed(&self, world: WorldId) -> Result<Vec<(Slot, String)>, StoreError> {
        let rows = sqlx::query("SELECT kind, issuer, name, sealed FROM credentials WHERE world = $1")
            .bind(world.to_string())
            .fetch_all(&mut *self.connection().await?)
            .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let kind: String = row.try_get("kind")?;
            let kind = parse_kind(&kind).ok_or(StoreError::Value(format!("kind {kind:?} of a secret")))?;
            found.push(((kind, row.try_get("issuer")?, row.try_get("name")?), row.try_get("sealed")?));
        }
        // Not by the database: each has its own order of letters.
        found.sort();
        Ok(found)
    }

    /// Keeps secrets that were made for a world. One that is there stays as it is.
    ///
    /// # Errors
    /// [`StoreError::Gone`] when the world was removed.
    pub(crate) async fn keep_sealed(&self, world: &WorldRef, made: &[(Slot, String)]) -> Result<(), StoreError> {
        let mut change = self.begin().await?;
        let row = sqlx::query("SELECT id FROM worlds WHERE id = $1").bind(world.id.to_string());
        row.fetch_optional(change.sql()).await?.ok_or(StoreError::Gone)?;
        for ((kind, issuer, name), sealed) in made {
            sqlx::query(
                "INSERT INTO credentials (world, kind, issuer, name, sealed) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (world, kind, issuer, name) DO NOTHING",
            )
            .bind(world.id.to_string())
            .bind(kind_word(*kind))
            .bind(issuer.clone())
            .bind(name.clone())
            .bind(sealed.clone())
            .execute(change.sql())
            .await?;
        }
        change.commit().await
    }

    /// What a world's clients trust; nothing until its services said so.
    pub(crate) async fn trust(&self, world: WorldId) -> Result<Trust, StoreError> {
        let row = sqlx::query("SELECT trust FROM worlds LEFT JOIN in_force ON world = id WHERE id = $1")
            .bind(world.to_string())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        let text: Option<String> = row.ok_or(StoreError::Gone)?.try_get("trust")?;
        let parse = |text: String| serde_json::from_str(&text);
        let trust = text.map(parse).transpose();
        Ok(trust.map_err(|error| StoreError::Value(format!("trust of a world: {error}")))?.unwrap_or_default())
    }
}
