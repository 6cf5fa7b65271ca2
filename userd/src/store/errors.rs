//! Why the database did not do it, and what an administrator can do.

use std::sync::Arc;

use netengine_proto::api::{Problem, ProblemKind};

use crate::{plan::leases::LeaseError, problem::problem};

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or cannot be reached.
    #[error("cannot use the database")]
    Sql(#[from] sqlx::Error),
    /// SQLite's own check found damage.
    #[error("cannot use the database: it is damaged ({0})")]
    Damaged(String),
    /// The schema is newer than this program.
    #[error("cannot use the database: its schema is version {found}, this release knows {known}")]
    Newer {
        /// The file's.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A stored value is not what this program writes.
    #[error("cannot read the database: {0}")]
    Value(String),
    /// Another writer holds the database for too long.
    #[error("cannot write the database: another writer holds it")]
    Busy,
    /// Another operation is at work on the world.
    #[error("another operation is at work on the world")]
    Conflict,
    /// A quota of the owner is reached.
    #[error("{what} quota reached ({used} of {limit})")]
    Quota {
        /// What is bounded.
        what: &'static str,
        /// What the owner would hold.
        used: i64,
        /// The bound.
        limit: i64,
    },
    /// The spec's pools have no network for an AND.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The database is not open yet.
    #[error("cannot use the database: it is still being opened")]
    Opening,
    /// The database could not be opened; tried again all the time.
    #[error("cannot open the database")]
    Shut(#[source] Arc<StoreError>),
    /// The object went away in the meantime.
    #[error("no such object")]
    Gone,
}

impl StoreError {
    /// Whether the statement broke a UNIQUE constraint.
    pub(super) fn is_duplicate(error: &sqlx::Error) -> bool {
        matches!(error, sqlx::Error::Database(inner) if inner.is_unique_violation())
    }

    /// The problem a caller sees; `what` is the first line.
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        let what = what.into();
        match self {
            StoreError::Conflict => problem(
                ProblemKind::Conflict,
                what,
                "another operation is at work on this world",
                "wait for it, or cancel it (`netengine events` shows it)",
            ),
            StoreError::Quota { .. } => problem(
                ProblemKind::Quota,
                what,
                self.to_string(),
                "remove a world with `netengine down NAME`, or ask an administrator to raise the quota",
            ),
            StoreError::Lease(error) => problem(ProblemKind::Spec, what, error.to_string(), error.help()),
            StoreError::Gone => {
                problem(ProblemKind::NotFound, what, "it was removed in the meantime", "look with `netengine list`")
            }
            // Written to the log by who tries to open it.
            StoreError::Shut(why) => problem(why.kind(), what, cause(why), help(why)),
            engine => {
                tracing::error!(error = %Chain(engine), "database");
                problem(engine.kind(), what, cause(engine), help(engine))
            }
        }
    }

    /// The class. A database that is full, locked or damaged fails the request (exit 1); one that cannot be reached at all is a fault
    /// of the engine (exit 4).
    fn kind(&self) -> ProblemKind {
        match self {
            StoreError::Sql(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed) => {
                ProblemKind::Engine
            }
            _ => ProblemKind::Failed,
        }
    }
}

/// An error with all its causes on one line, for the log.
pub(crate) struct Chain<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

/// SQLite result codes (sqlite.org/rescode.html) that have a cause of their own.
fn sqlite_code(error: &StoreError) -> Option<i64> {
    let StoreError::Sql(sqlx::Error::Database(inner)) = error else { return None };
    // Extended codes carry the primary code in their low byte.
    inner.code()?.parse::<i64>().ok().map(|code| code & 0xff)
}

fn cause(error: &StoreError) -> String {
    match (sqlite_code(error), error) {
        (Some(5 | 6), _) | (_, StoreError::Busy) => "the database is locked by another process".to_owned(),
        (Some(8 | 14), _) => "the database cannot be written".to_owned(),
        (Some(10), _) => "the disk under the database failed".to_owned(),
        (Some(11 | 26), _) => "the database is damaged".to_owned(),
        (Some(13), _) => "the disk under the database is full".to_owned(),
        (_, StoreError::Sql(sqlx::Error::PoolTimedOut)) => "the database does not answer".to_owned(),
        (_, StoreError::Sql(_)) => "the database refused".to_owned(),
        _ => error.to_string(),
    }
}

fn help(error: &StoreError) -> &'static str {
    match (sqlite_code(error), error) {
        (Some(13), _) => "free space where the state directory is, then try again",
        (Some(5 | 6), _) | (_, StoreError::Busy) => "end the program that holds it, then try again",
        (Some(11 | 26), _) | (_, StoreError::Damaged(_)) => {
            "restore state.db from a backup; see the log of netengine-userd"
        }
        (_, StoreError::Newer { .. }) => "install the release that wrote it, or restore state.db from a backup",
        (_, StoreError::Opening) => "try again; see the log of netengine-userd",
        _ => "run `netengine doctor` and see the log of netengine-userd",
    }
}
