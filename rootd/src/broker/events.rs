//! What happened without being asked for, for userd to fetch.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use netengine_proto::{
    limits,
    root::{RootEvent, RootEvents},
};
use tokio::sync::Notify;

/// Differences of networks in one answer: about 200 KiB of a frame that holds 1 MiB. The rest comes with the next answer.
const CHANGES: usize = 1024;

/// The last events, numbered from 1.
#[derive(Debug, Default)]
pub struct Events {
    kept: Mutex<Kept>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    events: VecDeque<RootEvent>,
}

impl Events {
    /// Adds an event; the oldest goes when there are too many.
    pub fn push(&self, event: RootEvent) {
        {
            let mut kept = self.kept.lock().expect("no panic while held");
            kept.next += 1;
            kept.events.push_back(event);
            if kept.events.len() > limits::EVENT_BACKLOG {
                kept.events.pop_front();
            }
        }
        self.more.notify_waiters();
    }

    /// The cursor behind the newest event.
    pub fn cursor(&self) -> u64 {
        self.kept.lock().expect("no panic while held").next
    }

    fn after(&self, cursor: u64) -> RootEvents {
        let kept = self.kept.lock().expect("no panic while held");
        let oldest = kept.next - kept.events.len() as u64;
        // A cursor of a former life may lie ahead of ours: everything there is, is new to that reader.
        let lagged = cursor < oldest || cursor > kept.next;
        let skip = if lagged { 0 } else { (cursor - oldest) as usize };
        let mut room = CHANGES;
        let fits = |event: &&RootEvent| match event {
            RootEvent::NetworkChanged { drift, .. } if drift.len() > room => false,
            RootEvent::NetworkChanged { drift, .. } => {
                room -= drift.len();
                true
            }
            RootEvent::ProcessEnded { .. } => true,
        };
        let events: Vec<_> = kept.events.iter().skip(skip).take_while(fits).cloned().collect();
        RootEvents { cursor: oldest + (skip + events.len()) as u64, lagged, events }
    }

    /// Waits at most `wait` for events after `cursor`.
    pub async fn next(&self, cursor: u64, wait: Duration) -> RootEvents {
        let deadline = tokio::time::Instant::now() + wait.min(Duration::from_secs(30));
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let found = self.after(cursor);
            if !found.events.is_empty() || found.lagged {
                return found;
            }
            if tokio::time::timeout_at(deadline, more).await.is_err() {
                return self.after(cursor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use netengine_proto::{
        ended::Ended,
        ids::{ProcessId, WorldId},
        root::{Change, ChangeAction, NoticedBy, ObjectKind, ObjectName, ProcessKind},
    };

    use super::*;

    #[test]
    fn a_slow_reader_and_one_from_a_former_life_are_told_that_they_lagged() {
        let events = Events::default();
        let event = RootEvent::ProcessEnded {
            world: WorldId::from_bytes([0; 8]),
            process: ProcessId::from_bytes([0; 8]),
            kind: ProcessKind::Worldd,
            ended: Ended::Vanished,
        };
        for _ in 0..limits::EVENT_BACKLOG + 5 {
            events.push(event.clone());
        }
        assert!(events.after(4).lagged);
        assert!(!events.after(5).lagged);
        assert_eq!(events.after(events.cursor() - 1).events.len(), 1);
        assert!(events.after(events.cursor() + 1).lagged);
    }

    #[test]
    fn what_one_answer_cannot_hold_comes_with_the_next() {
        let events = Events::default();
        let object = ObjectName { node: "gw".into(), kind: ObjectKind::Link, name: "nep0".into() };
        let drift = vec![Change { action: ChangeAction::Create, object }; CHANGES / 2];
        for n in 0..5 {
            let world = WorldId::from_bytes([n; 8]);
            events.push(RootEvent::NetworkChanged { world, drift: drift.clone(), more: 0, noticed: NoticedBy::Kernel });
        }
        let (mut cursor, mut sizes) = (0, Vec::new());
        while cursor < events.cursor() {
            let page = events.after(cursor);
            assert!(!page.lagged);
            sizes.push(page.events.len());
            cursor = page.cursor;
        }
        assert_eq!(sizes, [2, 2, 1]);
    }
}
