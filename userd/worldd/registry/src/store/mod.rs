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
