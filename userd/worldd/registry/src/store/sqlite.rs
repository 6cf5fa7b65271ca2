//! The world's own SQLite database.

use std::path::Path;

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::StoreError;
use crate::state::{Change, Object};

/// The version of the tables below and of the objects in them.
const VERSION: i64 = 1;

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS registry_version (version INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS registry_object (kind TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, \
     PRIMARY KEY (kind, name)) STRICT, WITHOUT ROWID",
];

/// A database with the registry's tables, all of whose names begin with `registry_`.
///
/// What [`SqliteStore::commit`] has answered for is there after the process was killed or the power went.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    pool: SqlitePool,
}

fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| StoreError::Database { doing, source }
}

impl SqliteStore {
    /// Opens or makes a database of the registry's own.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
        Self::new(pool.map_err(failed("open the database"))?).await
    }

    /// Uses a database that is open, making the tables that are absent.
    ///
    /// # Errors
    /// [`StoreError`]; a database of a later release is refused.
    pub async fn new(pool: SqlitePool) -> Result<Self, StoreError> {
        let make = failed("make the tables");
        let mut transaction = pool.begin().await.map_err(&make)?;
        for table in TABLES {
            sqlx::query(table).execute(&mut *transaction).await.map_err(&make)?;
        }
        let version: Option<i64> = sqlx::query_scalar("SELECT version FROM registry_version")
            .fetch_optional(&mut *transaction)
            .await
            .map_err(&make)?;
        match version {
            Some(VERSION) => {}
            Some(other) => return Err(StoreError::Content(format!("it is of version {other}, not {VERSION}"))),
            None => {
                let insert = sqlx::query("INSERT INTO registry_version (version) VALUES (?)").bind(VERSION);
                insert.execute(&mut *transaction).await.map_err(&make)?;
            }
        }
        transaction.commit().await.map_err(&make)?;
        Ok(Self { pool })
    }

    /// Everything that is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn load(&self) -> Result<Vec<Change>, StoreError> {
        let bodies: Vec<String> = sqlx::query_scalar("SELECT body FROM registry_object")
            .fetch_all(&self.pool)
            .await
            .map_err(failed("read what is kept"))?;
        let parse = |body: String| serde_json::from_str(&body).map_err(|error| StoreError::Content(error.to_string()));
        bodies.into_iter().map(|body| parse(body).map(Change::Put)).collect()
    }

    /// Keeps all the changes, in their order, or none of them.
    ///
    /// # Errors
    /// [`StoreError`]; then none is kept.
    pub async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await.map_err(failed("keep a change"))?;
        let kept = Self::write(&mut connection, changes).await;
        // SQLite has ended a transaction that met a full disk by itself, of which the connection's count of open transactions
        // knows nothing: a later commit on it would only end a savepoint.
        if kept.is_err() {
            connection.close_on_drop();
        }
        kept
    }

    async fn write(connection: &mut SqliteConnection, changes: &[Change]) -> Result<(), StoreError> {
        let keep = failed("keep a change");
        let mut transaction = connection.begin().await.map_err(&keep)?;
        for change in changes {
            let query = match change {
                Change::Put(object) => {
                    let (kind, name) = object.place();
                    sqlx::query("INSERT OR REPLACE INTO registry_object (kind, name, body) VALUES (?, ?, ?)")
                        .bind(kind)
                        .bind(name)
                        .bind(body(object)?)
                }
                Change::Delete(object) => {
                    let (kind, name) = object.place();
                    sqlx::query("DELETE FROM registry_object WHERE kind = ? AND name = ?").bind(kind).bind(name)
                }
            };
            query.execute(&mut *transaction).await.map_err(&keep)?;
        }
        transaction.commit().await.map_err(&keep)
    }
}

fn body(object: &Object) -> Result<String, StoreError> {
    serde_json::to_string(object).map_err(|error| StoreError::Content(error.to_string()))
}
