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

    /// Keeps of a delta that the plan or the time made, and will make again at the next start, what must not be forgotten: the
    /// serial.
    ///
    /// # Errors
    /// [`JournalError`]; the change is then not made.
    fn keep_planned(&mut self, delta: &Delta) -> Result<(), JournalError> {
        self.keep(delta)
    }

    /// A zone was added to the catalog, where kept changes are put back into it, or is gone from it.
    ///
    /// # Errors
    /// [`JournalError`]; what was kept of a zone that is gone would come back with a zone of that name.
    fn arrange(&mut self, zone: &Name, catalog: &mut Catalog) -> Result<(), JournalError> {
        let _ = (zone, catalog);
        Ok(())
    }
}

/// Keeps nothing: for zones that are made from the spec at each start.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn keep(&mut self, _: &Delta) -> Result<(), JournalError> {
        Ok(())
    }
}

/// Who makes a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Somebody,
    Plan,
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
            catalog: ArcSwap::from_pointee(Catalog { touched: Vec::new(), ..catalog }),
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

    /// How many follow.
    pub fn followers(&self) -> usize {
        self.deltas.receiver_count()
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
        self.change_by(Maker::Somebody, zone, now, change)
    }

    /// As [`Store::change`], for what follows from the plan or the time and will be made again at the next start: the journal
    /// keeps only the serial of it.
    ///
    /// # Errors
    /// As [`Store::change`].
    pub fn change_planned<E: From<StoreError>>(
        &self,
        zone: &Name,
        now: u32,
        change: impl FnOnce(&mut Draft) -> Result<(), E>,
    ) -> Result<Option<Arc<Delta>>, E> {
        self.change_by(Maker::Plan, zone, now, change)
    }

    fn change_by<E: From<StoreError>>(
        &self,
        maker: Maker,
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
        let kept = match maker {
            Maker::Somebody => journal.keep(&delta),
            Maker::Plan => journal.keep_planned(&delta),
        };
        kept.map_err(StoreError::from)?;
        catalog.insert_zone(new);
        catalog.touched.clear();
        self.catalog.store(Arc::new(catalog));
        let delta = Arc::new(delta);
        // Nobody may be following.
        let _ = self.deltas.send(delta.clone());
        Ok(Some(delta))
    }

    /// Adds, replaces and removes whole zones and views. Readers see all of it or nothing.
    pub fn arrange<T>(&self, arrange: impl FnOnce(&mut Catalog) -> T) -> T {
        let mut journal = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.catalog.load_full();
        let mut catalog = Catalog::clone(&before);
        let result = arrange(&mut catalog);
        let mut touched = std::mem::take(&mut catalog.touched);
        touched.sort();
        touched.dedup();
        for zone in touched
            .iter()
            .filter(|zone| before.zone(zone).is_some() != catalog.zone(zone).is_some())
            .collect::<Vec<_>>()
        {
            if let Err(error) = journal.arrange(zone, &mut catalog) {
                tracing::error!(service = "dns", "{error}: {}", error.source);
            }
        }
        catalog.touched.clear();
        self.catalog.store(Arc::new(catalog));
        result
    }
}
