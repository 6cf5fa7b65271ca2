//! Where the registry outlives the process.

mod sqlite;

pub use self::sqlite::SqliteStore;

/// Why a store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error("cannot {doing} in the store of the registry")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// What is kept is not what this release writes.
    #[error("cannot read what the store of the registry keeps: {0}")]
    Content(String),
}

impl StoreError {
    /// There is no room on the disk, or none that may be used.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Database { source, .. } if is_full(source))
    }
}

/// SQLITE_FULL, or an input or output error of a disk that has no room (the shared memory of a database's log has its own).
fn is_full(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    matches!(error.code().as_deref(), Some("13" | "4874"))
}
