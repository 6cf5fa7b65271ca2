//! The broker's end of the watch worker: what was heard of each namespace since it was last looked at.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex},
};

use netengine_proto::{ids::WorldId, root::RootError};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Notify, oneshot},
};

use super::client::{receive, register};
use crate::{
    sys::fds,
    worker::{
        channel::{decode, encode},
        message::{Failure, Slot, WatchReply, WatchRequest},
        watch::FACTS,
        watch_fact::Fact,
    },
};

/// The watch worker as seen from the broker.
pub struct Watch {
    socket: Arc<AsyncFd<OwnedFd>>,
    heard: Arc<Mutex<Heard>>,
    more: Arc<Notify>,
}

#[derive(Default)]
struct Heard {
    waiting: VecDeque<Waiting>,
    nodes: HashMap<Slot, Node>,
    /// Worlds that somebody will look at, and of these the ones that nobody took up yet.
    queued: BTreeSet<WorldId>,
    fresh: Vec<WorldId>,
}

struct Node {
    world: WorldId,
    facts: Vec<Fact>,
}

/// A request without an answer yet.
struct Waiting {
    settled: Vec<Slot>,
    answer: oneshot::Sender<Result<(), Failure>>,
}

impl Heard {
    /// Takes one message; false when the worker speaks nonsense.
    fn take(&mut self, reply: WatchReply) -> bool {
        let result = match reply {
            WatchReply::Heard(slot, facts) => {
                let Some(node) = self.nodes.get_mut(&slot) else { return true };
                node.facts.extend(facts);
                if node.facts.len() > FACTS {
                    node.facts = vec![Fact::More];
                }
                if self.queued.insert(node.world) {
                    self.fresh.push(node.world);
                }
                return true;
            }
            WatchReply::Done => Ok(()),
            WatchReply::Failed(failure) => Err(failure),
        };
        let Some(Waiting { settled, answer }) = self.waiting.pop_front() else { return false };
        // Here and not where the answer is awaited: the next message may already tell of a later change.
        for slot in settled {
            if let Some(node) = self.nodes.get_mut(&slot) {
                node.facts.clear();
            }
        }
        let _ = answer.send(result);
        true
    }
}

impl Watch {
    /// Starts to listen; `gone` is notified when the worker's end closes.
    ///
    /// # Errors
    /// When the descriptor cannot be registered.
    pub fn new(socket: OwnedFd, gone: Arc<Notify>) -> io::Result<Self> {
        let socket = Arc::new(register(socket)?);
        let (heard, more): (Arc<Mutex<Heard>>, Arc<Notify>) = Default::default();
        let (reading, taken, told) = (socket.clone(), heard.clone(), more.clone());
        tokio::spawn(async move {
            let mut buffer = Vec::new();
            let error = loop {
                let received = match receive(&reading, &mut buffer).await {
                    Ok(received) => received,
                    Err(error) => break error,
                };
                let reply = match decode::<WatchReply>(&buffer[..received.bytes]) {
                    Ok(reply) => reply,
                    Err(error) => break error,
                };
                let mut heard = taken.lock().expect("no panic while held");
                if !heard.take(reply) {
                    break io::Error::other("an answer that nobody waits for");
                }
                if !heard.fresh.is_empty() {
                    told.notify_one();
                }
            };
            tracing::error!(%error, "the watch worker is not heard any more");
            taken.lock().expect("no panic while held").waiting.clear();
            gone.notify_one();
        });
        Ok(Self { socket, heard, more })
    }

    async fn call(
        &self,
        request: WatchRequest,
        settled: Vec<Slot>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), RootError> {
        let bytes = encode(&request).map_err(|_| RootError::Restarting)?;
        let (answer, answered) = oneshot::channel();
        let mut waiting = Some(Waiting { settled, answer });
        // Order of sending and order of waiting are the same, also when a caller goes away while it waits for room.
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| {
            let mut heard = self.heard();
            let sent = fds::send(socket, &bytes, descriptors)?;
            heard.waiting.extend(waiting.take());
            Ok(sent)
        });
        sent.await.map_err(|_| RootError::Restarting)?;
        answered.await.map_err(|_| RootError::Restarting)?.map_err(RootError::from)
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().expect("no panic while held")
    }

    /// Listens to a namespace by its sockets, in place of former ones.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn adopt(&self, slot: Slot, world: WorldId, sockets: &[OwnedFd]) -> Result<(), RootError> {
        // What changed before anybody listened is unknown.
        self.heard().nodes.insert(slot, Node { world, facts: vec![Fact::More] });
        let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        self.call(WatchRequest::Adopt(slot), Vec::new(), &descriptors).await
    }

    /// Listens to a namespace no more.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn forget(&self, slot: Slot) -> Result<(), RootError> {
        self.heard().nodes.remove(&slot);
        self.call(WatchRequest::Forget(slot), Vec::new(), &[]).await
    }

    /// From here on only later changes are told of these: they are looked at now.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn settle(&self, slots: Vec<Slot>) -> Result<(), RootError> {
        self.call(WatchRequest::Settle(slots.clone()), slots, &[]).await
    }

    /// Waits until everything that the kernel said before this call is heard.
    ///
    /// # Errors
    /// [`RootError`].
    pub async fn look(&self) -> Result<(), RootError> {
        self.call(WatchRequest::Look, Vec::new(), &[]).await
    }

    /// What was heard of a namespace since it was settled, or since this was last asked.
    pub fn take_facts(&self, slot: Slot) -> Vec<Fact> {
        self.heard()
            .nodes
            .get_mut(&slot)
            .map(|node| std::mem::take(&mut node.facts))
            .unwrap_or_else(|| vec![Fact::More])
    }

    /// Waits for worlds of which something was heard. Each is told once until [`Watch::begin_look`].
    pub async fn changed(&self) -> Vec<WorldId> {
        loop {
            let fresh = std::mem::take(&mut self.heard().fresh);
            if !fresh.is_empty() {
                return fresh;
            }
            self.more.notified().await;
        }
    }

    /// Somebody looks at this world from now on; what is heard later is told again.
    pub fn begin_look(&self, world: WorldId) {
        self.heard().queued.remove(&world);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(n: u8) -> WorldId {
        WorldId::from_bytes([n; 8])
    }

    fn heard() -> Heard {
        let node = |n| Node { world: world(n), facts: Vec::new() };
        Heard { nodes: [(1, node(1)), (2, node(1)), (3, node(2))].into(), ..Heard::default() }
    }

    #[test]
    fn a_burst_is_one_look_at_each_world() {
        let mut heard = heard();
        for n in 0..10_000 {
            assert!(heard.take(WatchReply::Heard(1 + n % 3, vec![Fact::LinkGone(n)])));
        }
        assert_eq!(heard.fresh, [world(1), world(2)]);
        assert!(heard.nodes.values().all(|node| node.facts.len() <= FACTS && node.facts.contains(&Fact::More)));
        assert!(heard.take(WatchReply::Heard(9, vec![Fact::More])), "of a namespace that is gone");
        assert_eq!(heard.fresh.len(), 2);
    }

    #[test]
    fn what_is_heard_after_a_settling_is_kept() {
        let mut heard = heard();
        let (answer, _answered) = oneshot::channel();
        heard.waiting.push_back(Waiting { settled: vec![1], answer });
        for reply in [
            WatchReply::Heard(1, vec![Fact::LinkGone(1)]),
            WatchReply::Heard(2, vec![Fact::LinkGone(1)]),
            WatchReply::Done,
            WatchReply::Heard(1, vec![Fact::LinkGone(2)]),
        ] {
            assert!(heard.take(reply));
        }
        assert_eq!(heard.nodes[&1].facts, [Fact::LinkGone(2)]);
        assert_eq!(heard.nodes[&2].facts, [Fact::LinkGone(1)]);
        assert!(!heard.take(WatchReply::Done), "an answer that nobody waits for");
    }
}
