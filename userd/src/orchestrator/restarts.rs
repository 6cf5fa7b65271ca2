//! When a process of a world that ended is started again: soon each time, and seldom when it ends again and again.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use netengine_proto::{ids::WorldId, root::ProcessKind};

/// Ends of one process within [`WINDOW`]; with the next it rests.
const ENDS: usize = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// First and longest rest. Each that follows on another is twice as long.
const REST: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));
/// Pauses before a restart: 0, then this, then twice as long each time up to 4 times, while one end follows on another within
/// [`QUICK`]: a fault that stays costs little until it rests, and what had served for a while is started at once.
const PAUSE: Duration = Duration::from_millis(50);
const QUICK: Duration = Duration::from_secs(2);

/// What follows on an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It is started again after this.
    Start(Duration),
    /// It ended too often: nothing is done for this long.
    Rest(Duration),
}

#[derive(Default)]
struct Known {
    ended: Vec<Instant>,
    rests_until: Option<Instant>,
    rests: u32,
}

/// What is known of all processes.
#[derive(Default)]
pub(super) struct Restarts(HashMap<(WorldId, ProcessKind), Known>);

impl Restarts {
    /// A process ended at `now`.
    pub fn ended(&mut self, world: WorldId, kind: ProcessKind, now: Instant) -> Next {
        let known = self.0.entry((world, kind)).or_default();
        if let Some(left) = known.rests_until.map(|until| until.saturating_duration_since(now))
            && !left.is_zero()
        {
            return Next::Rest(left);
        }
        // It has been well for long since it rested last.
        if known.rests_until.take_if(|until| now.duration_since(*until) > REST.1).is_some() {
            known.rests = 0;
        }
        known.ended.retain(|at| now.duration_since(*at) < WINDOW);
        if known.ended.len() >= ENDS {
            let rest = (REST.0 * 2u32.saturating_pow(known.rests.min(8))).min(REST.1);
            (known.rests_until, known.rests) = (Some(now + rest), known.rests.saturating_add(1));
            known.ended.clear();
            return Next::Rest(rest);
        }
        known.ended.push(now);
        let quick = known.ended.iter().filter(|at| now.duration_since(**at) < QUICK).count();
        let pause = match u32::try_from(quick).unwrap_or(u32::MAX) {
            ..=1 => Duration::ZERO,
            before => PAUSE * 2u32.pow((before - 2).min(2)),
        };
        Next::Start(pause)
    }

    /// A world is gone.
    pub fn forget(&mut self, world: WorldId) {
        self.0.retain(|(known, _), _| *known != world);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORLD: WorldId = WorldId::from_bytes([1; 8]);

    fn ends(restarts: &mut Restarts, count: usize, now: Instant) -> Vec<Next> {
        (0..count).map(|_| restarts.ended(WORLD, ProcessKind::Worldd, now)).collect()
    }

    #[test]
    fn a_process_that_ends_again_and_again_rests_and_is_tried_again() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        let millis = |ms| Next::Start(Duration::from_millis(ms));
        let first = ends(&mut restarts, ENDS, now);
        assert_eq!(first[..6], [0, 50, 100, 200, 200, 200].map(millis));
        assert!(first[6..].iter().all(|next| *next == millis(200)));
        assert_eq!(ends(&mut restarts, 1, now), [Next::Rest(REST.0)]);
        // Somebody started it by hand; it ended again.
        let later = now + Duration::from_secs(20);
        assert_eq!(ends(&mut restarts, 1, later), [Next::Rest(Duration::from_secs(40))]);
        assert_eq!(restarts.ended(WORLD, ProcessKind::Gateway, later), millis(0), "another process");

        let mut now = now + REST.0;
        for rest in [120, 240, 480, 600, 600] {
            assert_eq!(ends(&mut restarts, ENDS, now)[0], millis(0), "it is tried again");
            assert_eq!(ends(&mut restarts, 1, now), [Next::Rest(Duration::from_secs(rest))]);
            now += Duration::from_secs(rest);
        }
        now += REST.1 + Duration::from_secs(1);
        assert_eq!(ends(&mut restarts, ENDS + 1, now)[ENDS], Next::Rest(REST.0), "it was well for long");
    }

    #[test]
    fn what_served_for_a_while_is_started_at_once() {
        let (mut restarts, mut now) = (Restarts::default(), Instant::now());
        for _ in 0..ENDS {
            assert_eq!(restarts.ended(WORLD, ProcessKind::Worldd, now), Next::Start(Duration::ZERO));
            now += QUICK;
        }
        assert_eq!(restarts.ended(WORLD, ProcessKind::Worldd, now), Next::Rest(REST.0), "but not for ever");
    }

    #[test]
    fn ends_that_are_long_ago_do_not_count() {
        let (mut restarts, now) = (Restarts::default(), Instant::now());
        ends(&mut restarts, ENDS, now);
        assert_eq!(ends(&mut restarts, 1, now + WINDOW), [Next::Start(Duration::ZERO)]);
        ends(&mut restarts, ENDS, now + WINDOW);
        restarts.forget(WORLD);
        assert_eq!(ends(&mut restarts, 1, now + WINDOW), [Next::Start(Duration::ZERO)]);
    }
}
