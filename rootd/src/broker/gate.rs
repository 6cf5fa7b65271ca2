//! Bounded logging of what peers cause, so that a hostile peer cannot use rootd to fill the log.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

/// Lines per kind and second.
const PER_SECOND: u32 = 10;

/// Counts lines by kind; the kinds are constants of the code.
#[derive(Debug, Default)]
pub struct Gate(Mutex<HashMap<&'static str, (Instant, u32)>>);

impl Gate {
    /// Whether one more line of this kind may be written now.
    pub fn open(&self, kind: &'static str) -> bool {
        self.open_at(kind, Instant::now())
    }

    fn open_at(&self, kind: &'static str, now: Instant) -> bool {
        let mut kinds = self.0.lock().expect("no panic while held");
        let (since, count) = kinds.entry(kind).or_insert((now, 0));
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_bad_requests_are_ten_lines_a_second() {
        let gate = Gate::default();
        let start = Instant::now();
        let lines = (0..1_000_000).filter(|_| gate.open_at("frame", start)).count();
        assert_eq!(lines, 10);
        assert!(gate.open_at("frame", start + Duration::from_secs(1)));
    }
}
