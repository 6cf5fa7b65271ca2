//! What an owner may hold. Reserved in the transaction that makes or changes the world, by a conditional update: two
//! creators that race are ordered by the row's lock, and the second sees what the first took.

use netengine_proto::ids::Uid;
use sqlx::Row;

use super::{Change, Store, StoreError};
use crate::start::config::Quotas;

/// Namespaces and links, or a difference of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Worlds.
    pub worlds: i64,
    /// Namespaces.
    pub nodes: i64,
    /// Links.
    pub links: i64,
}

impl Change<'_> {
    /// Adds `more` to what `owner` holds, unless that passes a limit. A difference that only gives back always fits.
    pub(super) async fn reserve(&mut self, owner: Uid, more: Size, limits: Option<&Quotas>) -> Result<(), StoreError> {
        let uid = i64::from(owner.0);
        sqlx::query(
            "INSERT INTO owners (owner, worlds, nodes, links) VALUES ($1, 0, 0, 0) ON CONFLICT (owner) DO NOTHING",
        )
        .bind(uid)
        .execute(self.sql())
        .await?;
        let bound = |limit: Option<i64>, more: i64| if more > 0 { limit.unwrap_or(i64::MAX) } else { i64::MAX };
        let taken = sqlx::query(
            "UPDATE owners SET worlds = worlds + $2, nodes = nodes + $3, links = links + $4 \
             WHERE owner = $1 AND worlds + $2 <= $5 AND nodes + $3 <= $6 AND links + $4 <= $7",
        )
        .bind(uid)
        .bind(more.worlds)
        .bind(more.nodes)
        .bind(more.links)
        .bind(bound(limits.map(|l| l.worlds), more.worlds))
        .bind(bound(limits.map(|l| l.nodes), more.nodes))
        .bind(bound(limits.map(|l| l.links), more.links))
        .execute(self.sql())
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(());
        }
        let row = sqlx::query("SELECT worlds, nodes, links FROM owners WHERE owner = $1")
            .bind(uid)
            .fetch_one(self.sql())
            .await?;
        let limits = limits.copied().unwrap_or_default();
        let kinds = [
            ("world", row.try_get::<i64, _>(0)?, more.worlds, limits.worlds),
            ("namespace", row.try_get::<i64, _>(1)?, more.nodes, limits.nodes),
            ("link", row.try_get::<i64, _>(2)?, more.links, limits.links),
        ];
        let reached = kinds.into_iter().find(|(_, held, more, limit)| *more > 0 && held + more > *limit);
        let (what, used, limit) =
            reached.map_or(("namespace", 0, 0), |(what, held, more, limit)| (what, held + more, limit));
        Err(StoreError::Quota { what, used, limit })
    }
}

impl Store {
    /// What an owner holds.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    #[cfg(test)]
    pub(crate) async fn held(&self, owner: Uid) -> Result<Size, StoreError> {
        let row = sqlx::query("SELECT worlds, nodes, links FROM owners WHERE owner = $1")
            .bind(i64::from(owner.0))
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        let Some(row) = row else { return Ok(Size::default()) };
        Ok(Size { worlds: row.try_get(0)?, nodes: row.try_get(1)?, links: row.try_get(2)? })
    }
}
