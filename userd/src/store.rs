//! userd's state in one database: SQLite by default, PostgreSQL by URL, one schema.
//!
//! Every change of state is one transaction that also writes the events telling of it ([`Change`]); subscribers hear of
//! them after the commit. Writers take turns, so events are committed in the order of their numbers. SQLite runs with a
//! write-ahead log and `synchronous=FULL`: what was acknowledged survives a power cut. Rows that change often hold no long
//! texts, which would be written again with each change: specs and services are in `intended` and `in_force`.

pub(crate) mod drift;
mod errors;
pub mod events;
mod gate;
mod leases;
pub mod operations;
mod peers;
pub mod quota;
pub mod schema;
mod secrets;
mod services;
pub mod worlds;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use netengine_proto::api::Event;
use sqlx::{Any, AnyConnection, AnyPool, Connection, Transaction, any::AnyPoolOptions};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

pub(crate) use self::errors::Chain;
pub use self::errors::StoreError;
use crate::events::Bus;

/// A writer that cannot begin within this gives up; also SQLite's wait for a foreign lock.
const BUSY_TIME: Duration = Duration::from_secs(5);
/// Connections to PostgreSQL.
const CONNECTIONS: u32 = 8;

/// The database.
#[derive(Clone)]
pub struct Store {
    gate: Arc<watch::Sender<gate::Gate>>,
    writer: Arc<Semaphore>,
    bus: Arc<Bus>,
    /// Operations whose end was about to be written.
    ends: Arc<AtomicU64>,
}

/// One transaction that changes state, with its events.
pub struct Change<'a> {
    transaction: Transaction<'static, Any>,
    told: Vec<(netengine_proto::ids::Uid, Event)>,
    bus: &'a Bus,
    ends: &'a AtomicU64,
    _turn: SemaphorePermit<'a>,
}

/// The file of a SQLite URL; `None` for PostgreSQL.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let rest = url.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    Some(PathBuf::from(rest.split('?').next().unwrap_or(rest)))
}

impl Store {
    /// Begins a change, when it is this writer's turn.
    async fn begin(&self) -> Result<Change<'_>, StoreError> {
        let turn = tokio::time::timeout(BUSY_TIME * 2, self.writer.acquire()).await;
        let turn = turn.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Busy)?;
        let transaction = self.transaction().await?;
        Ok(Change { transaction, told: Vec::new(), bus: &self.bus, ends: &self.ends, _turn: turn })
    }

    /// How often the end of an operation was about to be written. While it is the same, none of this daemon has ended.
    pub(crate) fn ends(&self) -> u64 {
        self.ends.load(Ordering::SeqCst)
    }

    /// Whether the database answers; for `doctor`.
    ///
    /// # Errors
    /// [`StoreError`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT value FROM counters WHERE name = 'event'")
            .fetch_one(&mut *self.connection().await?)
            .await?;
        Ok(())
    }
}

impl Change<'_> {
    fn sql(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// Commits, then tells the subscribers.
    async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await?;
        for (owner, event) in self.told {
            self.bus.publish(owner, &event);
        }
        Ok(())
    }
}

/// Connections to the database, checked and with a current schema.
async fn connect(url: &str) -> Result<AnyPool, StoreError> {
    sqlx::any::install_default_drivers();
    let sqlite = sqlite_path(url);
    let target = match &sqlite {
        Some(path) => format!("sqlite://{}?mode=rwc", path.display()),
        None => url.to_owned(),
    };
    // One connection serialises SQLite without a busy loop: readers wait for a commit, which takes a millisecond.
    let connections = if sqlite.is_some() { 1 } else { CONNECTIONS };
    let is_sqlite = sqlite.is_some();
    // By a connection of its own: a pool tries again what fails in its set-up and then only says that it timed out.
    let mut first = AnyConnection::connect(&target).await?;
    configure(&mut first, is_sqlite).await?;
    if is_sqlite {
        check_integrity(&mut first).await?;
    }
    first.close().await?;
    let pool = AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIME)
        .test_before_acquire(!is_sqlite)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(move |connection, _| Box::pin(async move { configure(connection, is_sqlite).await }))
        .after_release(|connection, _| Box::pin(async move { is_reusable(connection).await }))
        .connect(&target)
        .await?;
    schema::migrate(&pool, sqlite.as_deref()).await?;
    Ok(pool)
}

async fn configure(connection: &mut AnyConnection, sqlite: bool) -> Result<(), sqlx::Error> {
    if sqlite {
        for pragma in [
            "PRAGMA busy_timeout = 5000",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "PRAGMA foreign_keys = ON",
            "PRAGMA trusted_schema = OFF",
            // The daemon's sandbox has no directory for temporary files.
            "PRAGMA temp_store = MEMORY",
        ] {
            sqlx::raw_sql(pragma).execute(&mut *connection).await?;
        }
    } else {
        connection.ping().await?;
    }
    Ok(())
}

/// Whether no transaction is open, after a roll-back that was begun when one was dropped.
///
/// SQLite ends a transaction that meets a full disk by itself, of which the connection's count of open transactions knows
/// nothing: the next one that is given up would leave a real one open, and all later commits would only end savepoints in it.
async fn is_reusable(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// `quick_check` reads every page but no index against its table; enough to refuse a damaged file at start.
async fn check_integrity(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let answer: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await?;
    if answer == "ok" { Ok(()) } else { Err(StoreError::Damaged(answer)) }
}

#[cfg(test)]
mod tests;
