//! The stream of events to those who follow it.
//!
//! Each subscriber has its own bounded buffer, and what it may not see is dropped before that buffer, so neither the
//! content nor the volume of another owner's events reaches it. A subscriber whose buffer is full is told so and
//! dropped; it can go on from the last number it saw.

use std::sync::{Mutex, PoisonError};

use netengine_proto::{api::Event, ids::Uid, limits};
use tokio::sync::mpsc;

/// What a subscriber wants to hear.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only events of this owner; all when `None`.
    pub owner: Option<Uid>,
    /// Only events of worlds with this name.
    pub world: Option<String>,
    /// Only events of this operation.
    pub operation: Option<String>,
}

impl Filter {
    /// Whether an event of `owner` passes.
    pub fn passes(&self, owner: Uid, event: &Event) -> bool {
        self.owner.is_none_or(|wanted| wanted == owner)
            && self.world.as_ref().is_none_or(|wanted| *wanted == event.world)
            && self.operation.as_ref().is_none_or(|wanted| event.operation.as_ref() == Some(wanted))
    }
}

struct Subscriber {
    filter: Filter,
    buffer: mpsc::Sender<Event>,
}

/// All subscribers.
#[derive(Default)]
pub struct Bus(Mutex<Vec<Subscriber>>);

impl Bus {
    /// Hears events from now on. The end of the channel means that the reader lagged.
    pub fn subscribe(&self, filter: Filter) -> mpsc::Receiver<Event> {
        let (buffer, events) = mpsc::channel(limits::EVENT_BACKLOG);
        self.lock().push(Subscriber { filter, buffer });
        events
    }

    /// Tells everyone who may know.
    pub fn publish(&self, owner: Uid, event: &Event) {
        self.lock().retain(|subscriber| {
            if subscriber.buffer.is_closed() {
                return false;
            }
            !subscriber.filter.passes(owner, event) || subscriber.buffer.try_send(event.clone()).is_ok()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Subscriber>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: i64) -> Event {
        Event {
            event: format!("{seq:016x}"),
            seq,
            time: crate::time::rfc3339(0),
            world: "w".to_owned(),
            operation: None,
            parent: None,
            kind: "test".to_owned(),
            phase: None,
            message: String::new(),
            data: serde_json::Value::Null,
        }
    }

    #[test]
    fn another_owners_events_never_enter_a_buffer() {
        let bus = Bus::default();
        let mut alice = bus.subscribe(Filter { owner: Some(Uid(1)), ..Filter::default() });
        // More than the buffer holds: a filter behind the buffer would make alice lag.
        for seq in 0..i64::try_from(limits::EVENT_BACKLOG).expect("fits") + 10 {
            bus.publish(Uid(2), &event(seq));
        }
        bus.publish(Uid(1), &event(5000));
        assert_eq!(alice.try_recv().expect("her own").seq, 5000);
        assert!(alice.try_recv().is_err());
    }

    #[test]
    fn a_reader_that_lags_is_dropped_and_holds_up_nobody() {
        let bus = Bus::default();
        let mut slow = bus.subscribe(Filter::default());
        for seq in 0..i64::try_from(limits::EVENT_BACKLOG).expect("fits") + 1 {
            bus.publish(Uid(1), &event(seq));
        }
        assert!(bus.lock().is_empty());
        let mut seen = 0;
        while slow.try_recv().is_ok() {
            seen += 1;
        }
        assert_eq!(seen, limits::EVENT_BACKLOG);
        assert!(slow.is_closed());
    }
}
