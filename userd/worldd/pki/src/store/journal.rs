//! The way from decisions to the store: in order, many in one commit, and nothing answered before it is kept.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Store;
use crate::acme::Change;

/// How many decisions may wait to be kept; beyond it, requests wait before they are decided.
const QUEUE: usize = 512;

/// How many decisions one commit may hold.
const BATCH: usize = 128;

/// What was not kept, because the store refused it or something before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Halted {
    /// There is no room for it.
    #[error("cannot keep the change: the disk is full")]
    Full,
    /// The store has refused it, or one before it.
    #[error("cannot keep the change: the store refused it or one before it")]
    Refused,
}

struct Entry {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<(), Halted>>,
}

/// Where decisions go.
#[derive(Clone)]
pub struct Journal(mpsc::Sender<Entry>);

/// A place in the queue. Take one before deciding; then handing over never waits, and the order in the queue is the
/// order of the decisions.
pub struct Place<'a>(mpsc::Permit<'a, Entry>);

/// Tells when it is kept.
pub struct Kept(oneshot::Receiver<Result<(), Halted>>);

/// Takes decisions to the store.
pub struct Writer<S> {
    queue: mpsc::Receiver<Entry>,
    store: Arc<S>,
}

impl Journal {
    /// A journal and who takes it to the store.
    pub fn new<S: Store>(store: Arc<S>) -> (Self, Writer<S>) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Self(sender), Writer { queue, store })
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// [`Halted`] when the writer has ended.
    pub async fn place(&self) -> Result<Place<'_>, Halted> {
        self.0.reserve().await.map(Place).map_err(|_| Halted::Refused)
    }
}

impl Place<'_> {
    /// Hands over what was decided. Without changes it still waits for everything before it: what was read is then
    /// kept as well.
    pub fn hand_over(self, changes: Vec<Change>) -> Kept {
        let (done, kept) = oneshot::channel();
        self.0.send(Entry { changes, done });
        Kept(kept)
    }
}

impl Kept {
    /// Waits until it is kept.
    ///
    /// # Errors
    /// [`Halted`] when it will never be.
    pub async fn wait(self) -> Result<(), Halted> {
        self.0.await.unwrap_or(Err(Halted::Refused))
    }
}

impl<S: Store> Writer<S> {
    /// Writes until every [`Journal`] is gone, or a commit fails.
    ///
    /// After a failure everything waiting is refused, `halt` is called, and from then on what memory knows must be
    /// thrown away: [`Writer::run`] answers what the store knows, once it can be read, and may be called again.
    pub async fn run(&mut self, halt: impl Fn(Halted)) -> Option<Vec<Change>> {
        let mut entries = Vec::with_capacity(BATCH);
        loop {
            if self.queue.recv_many(&mut entries, BATCH).await == 0 {
                return None;
            }
            let changes: Vec<Change> =
                entries.iter_mut().flat_map(|entry| std::mem::take(&mut entry.changes)).collect();
            let result = match changes.is_empty() {
                true => Ok(()),
                false => self.store.commit(&changes).await,
            };
            let answer = result.map_err(|error| {
                tracing::error!(service = "pki", "{error}: {:?}", std::error::Error::source(&error));
                let why = if error.is_full() { Halted::Full } else { Halted::Refused };
                halt(why);
                why
            });
            for entry in entries.drain(..) {
                // Who no longer listens has no need to know.
                let _ = entry.done.send(answer);
            }
            if let Err(why) = answer {
                return Some(self.recover(why).await);
            }
        }
    }

    /// Refuses what was decided on what is not kept, and reads what is.
    async fn recover(&mut self, why: Halted) -> Vec<Change> {
        let mut pause = tokio::time::interval(std::time::Duration::from_secs(1));
        loop {
            while let Ok(entry) = self.queue.try_recv() {
                let _ = entry.done.send(Err(why));
            }
            pause.tick().await;
            match self.store.load().await {
                Ok(changes) => return changes,
                Err(error) => tracing::error!(service = "pki", "{error}"),
            }
        }
    }
}
