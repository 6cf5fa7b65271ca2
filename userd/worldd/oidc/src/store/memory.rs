//! A store that forgets: for ephemeral worlds and tests.

use futures::future::BoxFuture;

use super::{Store, StoreError};
use crate::state::Write;

/// Keeps nothing beyond the process.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryStore;

impl Store for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<Vec<Write>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn commit<'a>(&'a self, _: &'a [Write]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
