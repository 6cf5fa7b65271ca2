//! Where realms outlive the process.

mod memory;
mod sqlite;

use futures::future::BoxFuture;

pub use self::{memory::MemoryStore, sqlite::SqliteStore};
use crate::state::Write;

/// Why state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refuses.
    #[error("cannot reach the store of the OpenID provider")]
    Database(#[from] sqlx::Error),
    /// An object is not what this version writes.
    #[error("cannot read an object of the OpenID provider's store")]
    Damaged,
    /// Written by a later version.
    #[error("cannot read version {0} of the OpenID provider's store")]
    Version(i64),
}

/// Keeps the objects of all realms of one provider.
pub trait Store: Send + Sync {
    /// All objects, each realm's settings before what is in it.
    fn load(&self) -> BoxFuture<'_, Result<Vec<Write>, StoreError>>;

    /// Makes changes durable, all or none, in their order. The same changes may come twice.
    fn commit<'a>(&'a self, writes: &'a [Write]) -> BoxFuture<'a, Result<(), StoreError>>;
}
