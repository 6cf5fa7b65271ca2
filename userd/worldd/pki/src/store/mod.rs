//! Where the authority's state is kept.

mod journal;
mod memory;
mod sqlite;

pub use journal::{Halted, Journal, Writer};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

use std::{future::Future, sync::Arc};

use crate::{
    acme::{Change, Own},
    ca::{Material, Serial},
};

/// Why a store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error("cannot {doing} in the store of the authority")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// What is kept is not what this release writes.
    #[error("cannot read what the store of the authority keeps: {0}")]
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

/// Keeps the state. What `commit` has answered for is there after the process was killed.
pub trait Store: Send + Sync + 'static {
    /// Everything that was kept, as changes; certificates come with their revocation and without their DER.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&self) -> impl Future<Output = Result<Vec<Change>, StoreError>> + Send;

    /// Keeps all the changes, in their order, or none of them.
    ///
    /// # Errors
    /// [`StoreError`]; then none is kept.
    fn commit(&self, changes: &[Change]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// A certificate, DER.
    ///
    /// # Errors
    /// [`StoreError`].
    fn certificate(&self, serial: Serial) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;

    /// The key of the world's own service with these names.
    ///
    /// # Errors
    /// [`StoreError`].
    fn own(&self, names: &str) -> impl Future<Output = Result<Option<Own>, StoreError>> + Send;

    /// The authority's keys and certificates.
    ///
    /// # Errors
    /// [`StoreError`].
    fn material(&self) -> impl Future<Output = Result<Option<Material>, StoreError>> + Send;

    /// Keeps the authority's keys and certificates in place of those before.
    ///
    /// # Errors
    /// [`StoreError`].
    fn keep_material(&self, material: &Material) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl<S: Store> Store for Arc<S> {
    async fn load(&self) -> Result<Vec<Change>, StoreError> {
        self.as_ref().load().await
    }

    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.as_ref().commit(changes).await
    }

    async fn certificate(&self, serial: Serial) -> Result<Option<Vec<u8>>, StoreError> {
        self.as_ref().certificate(serial).await
    }

    async fn own(&self, names: &str) -> Result<Option<Own>, StoreError> {
        self.as_ref().own(names).await
    }

    async fn material(&self) -> Result<Option<Material>, StoreError> {
        self.as_ref().material().await
    }

    async fn keep_material(&self, material: &Material) -> Result<(), StoreError> {
        self.as_ref().keep_material(material).await
    }
}
