//! Ends of worlds' processes, as rootd tells them, for attempts that wait for one of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use netengine_proto::ids::{ProcessId, WorldId};
use tokio::sync::watch;

use super::processes::Part;

type Ended = BTreeSet<ProcessId>;

/// What has ended since somebody listens, by world. A world that nobody listens to is forgotten.
#[derive(Default)]
pub(super) struct Ends(Mutex<HashMap<WorldId, watch::Sender<Ended>>>);

impl Ends {
    fn lock(&self) -> MutexGuard<'_, HashMap<WorldId, watch::Sender<Ended>>> {
        let mut listened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listened.retain(|_, sender| sender.receiver_count() > 0);
        listened
    }

    /// Hears of every process of the world that ends from now on.
    pub fn listen(&self, world: WorldId) -> watch::Receiver<Ended> {
        self.lock().entry(world).or_default().subscribe()
    }

    /// A process has ended.
    pub fn tell(&self, world: WorldId, process: ProcessId) {
        if let Some(sender) = self.lock().get(&world) {
            sender.send_if_modified(|ended| ended.insert(process));
        }
    }
}

/// The processes that an attempt relies on: those it found right, and those it has started.
pub(super) struct Relied {
    ended: watch::Receiver<Ended>,
    on: Mutex<BTreeMap<Part, ProcessId>>,
}

impl Relied {
    /// On none yet. What ends from now on is heard.
    pub fn new(ended: watch::Receiver<Ended>) -> Self {
        Self { ended, on: Mutex::default() }
    }

    fn on(&self) -> MutexGuard<'_, BTreeMap<Part, ProcessId>> {
        self.on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this process of that part.
    pub fn rely(&self, part: Part, process: ProcessId) {
        self.on().insert(part, process);
    }

    /// No more on its process: it is about to be ended on purpose.
    pub fn release(&self, part: Part) {
        self.on().remove(&part);
    }

    /// On none any more.
    pub fn clear(&self) {
        self.on().clear();
    }

    /// The parts relied on.
    pub fn parts(&self) -> Vec<Part> {
        self.on().keys().copied().collect()
    }

    /// One whose process is known to have ended.
    pub fn ended(&self) -> Option<Part> {
        let ended = self.ended.borrow();
        self.on().iter().find(|(_, process)| ended.contains(process)).map(|(part, _)| *part)
    }

    /// Waits until one has ended.
    pub async fn wait_ended(&self) -> Part {
        let mut news = self.ended.clone();
        loop {
            news.mark_unchanged();
            if let Some(part) = self.ended() {
                return part;
            }
            if news.changed().await.is_err() {
                // Nobody tells any more: userd closes.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORLD: WorldId = WorldId::from_bytes([1; 8]);

    fn process(number: u8) -> ProcessId {
        ProcessId::from_bytes([number; 8])
    }

    #[tokio::test]
    async fn an_end_is_heard_before_and_after_it_is_relied_on_and_others_are_not() {
        let ends = Ends::default();
        let relied = Relied::new(ends.listen(WORLD));
        ends.tell(WORLD, process(1));
        ends.tell(WorldId::from_bytes([2; 8]), process(2));
        relied.rely(Part::Worldd, process(2));
        assert_eq!(relied.ended(), None);
        relied.rely(Part::Gateway, process(1));
        assert_eq!(relied.wait_ended().await, Part::Gateway);
        relied.release(Part::Gateway);
        assert_eq!(relied.ended(), None, "what is ended on purpose is no fault");
        relied.rely(Part::Gateway, process(1));
        relied.clear();
        relied.rely(Part::Worldd, process(2));
        let (part, ()) = tokio::join!(relied.wait_ended(), async { ends.tell(WORLD, process(2)) });
        assert_eq!(part, Part::Worldd);
    }

    #[test]
    fn a_world_is_forgotten_with_its_last_listener() {
        let ends = Ends::default();
        drop(ends.listen(WORLD));
        ends.tell(WORLD, process(1));
        assert!(ends.lock().is_empty());
    }
}
