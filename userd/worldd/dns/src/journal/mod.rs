//! A journal of what was changed at run time, so that it outlives a `kill -9`.
//!
//! Zones are made from the plan at each start; what updates (RFC 2136), leases and registrations changed since is kept here and
//! put back by [`FileJournal::restore`]. [`Store::change`](crate::zone::Store::change) serves a change, and an update is
//! acknowledged, only after [`Journal::keep`] returned.
//!
//! It is one append-only file in a directory of its own. Why no database: a change must be durable before a synchronous call
//! returns, one writer exists by construction, and nothing is ever looked up; a log needs one `write` and one `fdatasync` per
//! change. Each entry has a length and a CRC-32. A crash can only tear the last entry, which was not acknowledged then:
//! reading stops before it, and the file is written anew (temporary file, fsync, rename, fsync of the directory) without it.
//! The file is written anew as well when it is many times as long as what it says.
//!
//! What the plan or the time changes (a new plan, keys that roll over) is made again at each start, so of that only the serial is
//! kept ([`Journal::keep_planned`]); it also takes back what run-time changes said of the same record.

mod entry;
mod file;
mod state;

pub use self::file::{FileJournal, OpenError, Restored};
