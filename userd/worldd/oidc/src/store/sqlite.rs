//! A store in a SQLite file of its own.

use std::path::Path;

use futures::future::BoxFuture;
use sqlx::{
    Connection, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{Store, StoreError};
use crate::state::{Object, Write};

/// Version of the table and of the objects in it.
const VERSION: i64 = 1;

/// One table of objects: realm, kind, name, and the object as JSON.
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens or makes the file. It holds signing keys: its directory must be the world's own.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be opened or is of a later version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&pool).await?;
        if version > VERSION {
            return Err(StoreError::Version(version));
        }
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS oidc_object (realm TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, \
             body TEXT NOT NULL, PRIMARY KEY (realm, kind, name)) WITHOUT ROWID",
        )
        .execute(&pool)
        .await?;
        sqlx::query("PRAGMA user_version = 1").execute(&pool).await?;
        Ok(Self { pool })
    }

    async fn read(&self) -> Result<Vec<Write>, StoreError> {
        let rows = sqlx::query("SELECT realm, body FROM oidc_object ORDER BY kind <> 'realm', realm")
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter()
            .map(|row| {
                let object: Object =
                    serde_json::from_str(row.try_get::<&str, _>(1)?).map_err(|_| StoreError::Damaged)?;
                Ok(Write { realm: row.try_get(0)?, object, is_removal: false })
            })
            .collect()
    }

    async fn write(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let kept = write_all(&mut connection, writes).await;
        // SQLite has ended a transaction that met a full disk by itself, of which the connection's count of open transactions
        // knows nothing: a later commit on it would only end a savepoint.
        if kept.is_err() {
            connection.close_on_drop();
        }
        kept
    }
}

async fn write_all(connection: &mut SqliteConnection, writes: &[Write]) -> Result<(), StoreError> {
    let mut transaction = connection.begin().await?;
    for write in writes {
        let (kind, name) = write.object.place();
        if write.is_removal {
            sqlx::query("DELETE FROM oidc_object WHERE realm = ? AND kind = ? AND name = ?")
                .bind(&write.realm)
                .bind(kind)
                .bind(name)
                .execute(&mut *transaction)
                .await?;
        } else {
            let body = serde_json::to_string(&write.object).map_err(|_| StoreError::Damaged)?;
            sqlx::query(
                "INSERT INTO oidc_object (realm, kind, name, body) VALUES (?, ?, ?, ?) \
                     ON CONFLICT (realm, kind, name) DO UPDATE SET body = excluded.body",
            )
            .bind(&write.realm)
            .bind(kind)
            .bind(name)
            .bind(body)
            .execute(&mut *transaction)
            .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

impl Store for SqliteStore {
    fn load(&self) -> BoxFuture<'_, Result<Vec<Write>, StoreError>> {
        Box::pin(self.read())
    }

    fn commit<'a>(&'a self, writes: &'a [Write]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.write(writes))
    }
}
