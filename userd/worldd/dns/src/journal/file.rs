//! The log's file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::{
    entry::{Entry, Kind, MAGIC},
    state::State,
};
use crate::{
    name::Name,
    zone::{Catalog, Delta, Journal, JournalError, SerialPolicy},
};

const NAME: &str = "changes.log";
const NEXT: &str = "changes.log.next";
const LOCK: &str = "lock";
/// Bytes below which the file is not worth writing anew.
const SMALL: u64 = 1 << 20;
/// How many times as long as needed the file may become.
const GROWTH: u64 = 4;

/// The journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it.
    #[error("cannot open the journal of changes in {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// Somebody else has it open.
    #[error("cannot open the journal of changes in {}: another process has it open", .0.display())]
    Busy(PathBuf),
    /// It is no journal, or one of a later version.
    #[error("cannot read the journal of changes in {}: it is of no version known here", .0.display())]
    Version(PathBuf),
}

/// What was put back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Records added or removed again.
    pub records: usize,
    /// Records that no longer fit into their zone: the plan has an alias there now, or the like.
    pub dropped: usize,
    /// Bytes of an entry that a crash had torn; it was not acknowledged.
    pub torn: u64,
}

/// Keeps changes in a file of a directory of its own. Closed when dropped.
#[derive(Debug)]
pub struct FileJournal {
    directory: PathBuf,
    file: File,
    state: State,
    policy: SerialPolicy,
    /// Bytes of the file, and what they were when it was last written anew.
    length: u64,
    needed: u64,
    /// A write failed half-way: the file must be written anew before anything is appended.
    broken: bool,
    _lock: File,
}

impl FileJournal {
    /// Opens or makes the journal in `directory`, which must exist, puts what it has kept back into the zones of `catalog`, and
    /// makes the serial of each zone greater than any that was served before. `now` is in seconds since 1970. To be called
    /// before the catalog is served; give the journal to [`Store::new`](crate::zone::Store::new).
    ///
    /// # Errors
    /// [`OpenError`]; the catalog is not to be served then.
    pub fn restore(
        directory: &Path,
        catalog: &mut Catalog,
        policy: SerialPolicy,
        now: u32,
    ) -> Result<(Self, Restored), OpenError> {
        let failed = |error| OpenError::File(directory.to_owned(), error);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join(LOCK));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Busy(directory.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut bytes = Vec::new();
        match File::open(directory.join(NAME)) {
            Ok(mut file) => drop(file.read_to_end(&mut bytes).map_err(failed)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => bytes.extend_from_slice(MAGIC),
            Err(error) => return Err(failed(error)),
        }
        let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| OpenError::Version(directory.to_owned()))?;
        let mut state = State::default();
        while let Some((entry, after)) = Entry::read(rest) {
            state.take(&entry);
            rest = after;
        }
        let mut restored = Restored { torn: rest.len() as u64, ..Restored::default() };
        let zones: Vec<Name> = catalog.zones().map(|zone| zone.apex().clone()).collect();
        for zone in zones {
            let (done, dropped) = state.replay(&zone, catalog, policy, now);
            restored.records += done;
            restored.dropped += dropped;
        }
        let (file, length) = write_anew(directory, &state).map_err(failed)?;
        let directory = directory.to_owned();
        let journal = Self { directory, file, state, policy, length, needed: length, broken: false, _lock: lock };
        Ok((journal, restored))
    }

    fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let failed = |source: io::Error| JournalError { zone: entry.zone.clone(), source: Box::new(source) };
        let bytes = entry.to_bytes().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        if self.broken || self.length > SMALL.max(self.needed * GROWTH) {
            (self.file, self.length) = write_anew(&self.directory, &self.state).map_err(failed)?;
            (self.needed, self.broken) = (self.length, false);
        }
        // Whatever came of a failure, it must not lie before an entry that is acknowledged later.
        self.broken = true;
        self.file.write_all(&bytes).and_then(|()| self.file.sync_data()).map_err(failed)?;
        self.broken = false;
        self.length += bytes.len() as u64;
        self.state.take(entry);
        Ok(())
    }
}

/// Writes the state as a new file in place of the old one; returns it, ready for more, and its length.
fn write_anew(directory: &Path, state: &State) -> io::Result<(File, u64)> {
    let next = directory.join(NEXT);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&next)?;
    let mut bytes = MAGIC.to_vec();
    for entry in state.entries() {
        bytes.extend_from_slice(&entry.to_bytes().ok_or(io::ErrorKind::InvalidData)?);
    }
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&next, directory.join(NAME))?;
    File::open(directory)?.sync_all()?;
    Ok((file, bytes.len() as u64))
}

fn entry(kind: Kind, delta: &Delta) -> Entry {
    let (removed, added) = (delta.removed.clone(), delta.added.clone());
    Entry { kind, zone: delta.zone.clone(), serial: delta.to, removed, added }
}

impl Journal for FileJournal {
    fn keep(&mut self, delta: &Delta) -> Result<(), JournalError> {
        self.append(&entry(Kind::Changed, delta))
    }

    fn keep_planned(&mut self, delta: &Delta) -> Result<(), JournalError> {
        self.append(&entry(Kind::Planned, delta))
    }

    fn arrange(&mut self, zone: &Name, catalog: &mut Catalog) -> Result<(), JournalError> {
        if catalog.zone(zone).is_some() {
            // Without the time serials count.
            let _ = self.state.replay(zone, catalog, self.policy, 0);
            return Ok(());
        }
        self.append(&Entry { kind: Kind::Gone, zone: zone.clone(), serial: 0, removed: vec![], added: vec![] })
    }
}
