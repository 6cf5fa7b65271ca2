//! The one store of all zones: readers take the snapshot, one writer at a time replaces it.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::broadcast;

use super::{Catalog, Draft, SerialPolicy, ZoneError};
use crate::{name::Name, record::Record};

/// Deltas kept for a subscriber that is slow; one that lags is told so and looks at the serials instead.
const DELTAS: usize = 256;

/// What a change did to a zone.
#[derive(Debug, Clone)]
pub struct Delta {
    /// The zone.
    pub zone: Name,
    /// Its serial before.
    pub from: u32,
    /// Its serial now.
    pub to: u32,
    /// The records that are gone, the old SOA record included.
    pub removed: Vec<Record>,
    /// The records that are new, the new SOA record included.
    pub added: Vec<Record>,
}

/// The journal did not take a delta.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep a change of the zone {zone}")]
pub struct JournalError {
    /// The zone.
    pub zone: Name,
    /// Why not.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Where changes are kept before they are served. Called with one delta at a time, in order.
pub trait Journal: Send {
    /// Keeps a delta durably.
    ///
    /// # Errors
    /// [`JournalError`]; the change is then not made.
    fn keep(&mut self, delta: &Delta) -> Result<(), JournalError>;
}

/// Keeps nothing: for zones that are made from the spec at each start.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn keep(&mut self, _: &Delta) -> Result<(), JournalError> {
        Ok(())
    }
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such zone.
    #[error("cannot change the zone {0}: there is none")]
    NoZone(Name),
    /// The zone cannot be so.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// All zones of the world.
pub struct Store {
    catalog: ArcSwap<Catalog>,
    writer: Mutex<Box<dyn Journal>>,
    policy: SerialPolicy,
    deltas: broadcast::Sender<Arc<Delta>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Store {
    /// A store that serves `catalog`.
    pub fn new(catalog: Catalog, policy: SerialPolicy, journal: impl Journal + 'static) -> Self {
        Self {
            catalog: ArcSwap::from_pointee(catalog),
            writer: Mutex::new(Box::new(journal)),
            policy,
            deltas: broadcast::channel(DELTAS).0,
        }
    }

    /// What is served now; it never changes in the reader's hands.
    pub fn snapshot(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// What is served now, for a short look.
    pub fn look(&self) -> arc_swap::Guard<Arc<Catalog>> {
        self.catalog.load()
    }

    /// How serials rise.
    pub fn policy(&self) -> SerialPolicy {
        self.policy
    }

    /// The deltas from now on, for NOTIFY and whoever else follows.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Delta>> {
        self.deltas.subscribe()
    }

    /// Changes one zone, all or nothing: kept by the journal, then served. `now` is in seconds since 1970. `None` when the
    /// zone was so already.
    ///
    /// # Errors
    /// What `change` returns, or [`StoreError`]; nothing is changed then.
    pub fn change<E: From<StoreError>>(
        &self,
        zone: &Name,
        now: u32,
        change: impl FnOnce(&mut Draft) -> Result<(), E>,
    ) -> Result<Option<Arc<Delta>>, E> {
        let mut journal = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut catalog = Catalog::clone(&self.catalog.load());
        let old = catalog.zone(zone).ok_or_else(|| StoreError::NoZone(zone.clone()))?;
        let from = old.soa().serial;
        let mut draft = old.edit();
        change(&mut draft)?;
        let Some((new, removed, added)) = draft.finish(self.policy, now) else { return Ok(None) };
        let delta = Delta { zone: new.apex().clone(), from, to: new.soa().serial, removed, added };
        journal.keep(&delta).map_err(StoreError::from)?;
        catalog.insert_zone(new);
        self.catalog.store(Arc::new(catalog));
        let delta = Arc::new(delta);
        // Nobody may be following.
        let _ = self.deltas.send(delta.clone());
        Ok(Some(delta))
    }

    /// Adds, replaces and removes whole zones and views. Readers see all of it or nothing.
    pub fn arrange<T>(&self, arrange: impl FnOnce(&mut Catalog) -> T) -> T {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut catalog = Catalog::clone(&self.catalog.load());
        let result = arrange(&mut catalog);
        self.catalog.store(Arc::new(catalog));
        result
    }
}
