//! The way to the database: shut until it could be opened, with the reason, so that requests are answered meanwhile.

use std::{sync::Arc, time::Duration};

use sqlx::{Any, AnyPool, Transaction, pool::PoolConnection};
use tokio::sync::watch;

use super::{BUSY_TIME, Store, StoreError, connect, operations, sqlite_path};
use crate::events::Bus;

/// A request waits this long for the first opening; longer than SQLite waits for a foreign lock, so that the cause is known.
const OPEN_TIME: Duration = Duration::from_secs(BUSY_TIME.as_secs() + 2);

/// The connections, when there are any.
pub(super) enum Gate {
    /// The first opening is under way.
    Opening,
    /// The last opening failed.
    Shut(Arc<StoreError>),
    /// Connections.
    Open(Pool),
}

/// Connections to one database.
#[derive(Clone)]
pub(super) struct Pool {
    pool: AnyPool,
    is_sqlite: bool,
}

impl Pool {
    /// SQLite has one connection, and it is only kept when the file is locked by another program.
    fn error(&self, error: sqlx::Error) -> StoreError {
        match error {
            sqlx::Error::PoolTimedOut if self.is_sqlite => StoreError::Busy,
            other => other.into(),
        }
    }
}

impl Store {
    /// A store that is not open yet: requests wait a moment for [`Store::try_open`] and are then told why they cannot
    /// be served.
    pub fn shut(bus: Arc<Bus>) -> Self {
        Self {
            gate: Arc::new(watch::Sender::new(Gate::Opening)),
            writer: Arc::new(tokio::sync::Semaphore::new(1)),
            bus,
            ends: Arc::default(),
        }
    }

    /// Opens the database and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be reached, is damaged, or was written by a newer release.
    pub async fn open(url: &str, bus: Arc<Bus>) -> Result<Self, StoreError> {
        let pool = Pool { pool: connect(url).await?, is_sqlite: sqlite_path(url).is_some() };
        let store = Self::shut(bus);
        store.gate.send_replace(Gate::Open(pool));
        Ok(store)
    }

    /// Tries to open the database of a store that is shut. The answer are the operations that an earlier run left at
    /// work, read before any request can begin another.
    ///
    /// # Errors
    /// As [`Store::open`]; requests are answered with it until a later try succeeds.
    pub(crate) async fn try_open(&self, url: &str) -> Result<Vec<operations::Operation>, Arc<StoreError>> {
        let opening = async {
            let pool = Pool { pool: connect(url).await?, is_sqlite: sqlite_path(url).is_some() };
            let mut connection = pool.pool.acquire().await.map_err(|error| pool.error(error))?;
            let interrupted = operations::interrupted(&mut connection).await?;
            drop(connection);
            Ok::<_, StoreError>((pool, interrupted))
        };
        match opening.await {
            Ok((pool, interrupted)) => {
                self.gate.send_replace(Gate::Open(pool));
                Ok(interrupted)
            }
            Err(error) => {
                let error: Arc<StoreError> = Arc::new(error);
                self.gate.send_replace(Gate::Shut(error.clone()));
                Err(error)
            }
        }
    }

    async fn pool(&self) -> Result<Pool, StoreError> {
        let mut gate = self.gate.subscribe();
        let settled = gate.wait_for(|gate| !matches!(gate, Gate::Opening));
        let Ok(Ok(settled)) = tokio::time::timeout(OPEN_TIME, settled).await else { return Err(StoreError::Opening) };
        match &*settled {
            Gate::Open(pool) => Ok(pool.clone()),
            Gate::Shut(why) => Err(StoreError::Shut(why.clone())),
            Gate::Opening => Err(StoreError::Opening),
        }
    }

    /// A connection, to read.
    pub(super) async fn connection(&self) -> Result<PoolConnection<Any>, StoreError> {
        let pool = self.pool().await?;
        pool.pool.acquire().await.map_err(|error| pool.error(error))
    }

    /// A transaction, to write.
    pub(super) async fn transaction(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let pool = self.pool().await?;
        pool.pool.begin().await.map_err(|error| pool.error(error))
    }

    /// Closes all connections, so that SQLite folds its log into the file.
    pub async fn close(&self) {
        let open = match &*self.gate.borrow() {
            Gate::Open(pool) => Some(pool.pool.clone()),
            Gate::Opening | Gate::Shut(_) => None,
        };
        if let Some(pool) = open {
            pool.close().await;
        }
    }
}
