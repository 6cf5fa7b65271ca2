//! When a service is started, waited for and ended: decided here, done in `supervisor`. No clock, no process.

use std::time::{Duration, Instant};

/// The longest pause between two attempts that never became ready.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where a service is in its life. `P` names the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<P> {
    /// Started, not yet ready; given up at the deadline.
    Starting { pid: P, deadline: Instant },
    /// It said that it is ready.
    Ready { pid: P },
    /// Asked to end; killed at the deadline.
    Stopping { pid: P, deadline: Instant },
    /// To be started again at this time.
    Waiting { until: Instant },
    /// Not running, and not to be started again.
    Ended,
}

/// The life of one service.
#[derive(Debug, Clone)]
pub struct Lifecycle<P> {
    /// Where it is.
    pub state: State<P>,
    /// How often it was started after the first time.
    pub restarts: u64,
    /// Ends in a row without having been ready.
    failures: u32,
    pause: Duration,
    may_restart: bool,
}

impl<P: Copy + PartialEq> Lifecycle<P> {
    /// A service not yet started. `pause` lies between an end and the next start; `may_restart` is `Restart=always`.
    pub fn new(pause: Duration, may_restart: bool) -> Self {
        Self { state: State::Ended, restarts: 0, failures: 0, pause, may_restart }
    }

    /// The process, when there is one.
    pub fn pid(&self) -> Option<P> {
        match self.state {
            State::Starting { pid, .. } | State::Ready { pid } | State::Stopping { pid, .. } => Some(pid),
            State::Waiting { .. } | State::Ended => None,
        }
    }

    /// The process was started and must be ready at `deadline`.
    pub fn started(&mut self, pid: P, deadline: Instant) {
        if matches!(self.state, State::Waiting { .. }) {
            self.restarts += 1;
        }
        self.state = State::Starting { pid, deadline };
    }

    /// It said that it is ready. Says whether that is news.
    pub fn ready(&mut self) -> bool {
        let State::Starting { pid, .. } = self.state else { return false };
        self.failures = 0;
        self.state = State::Ready { pid };
        true
    }

    /// The process ended. Says after what pause it is started again; the pause doubles with every end before ready.
    pub fn ended(&mut self, now: Instant) -> Option<Duration> {
        if matches!(self.state, State::Stopping { .. } | State::Ended) || !self.may_restart {
            self.state = State::Ended;
            return None;
        }
        let pause = self.pause.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE.max(self.pause));
        if matches!(self.state, State::Starting { .. } | State::Waiting { .. }) {
            self.failures += 1;
        }
        self.state = State::Waiting { until: now + pause };
        Some(pause)
    }

    /// The service is to end. Gives the process to ask, if there is one.
    pub fn stop(&mut self, deadline: Instant) -> Option<P> {
        let pid = self.pid();
        self.state = pid.map_or(State::Ended, |pid| State::Stopping { pid, deadline });
        pid
    }

    /// When something is due next: a start, or giving up.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Starting { deadline, .. } | State::Stopping { deadline, .. } => Some(deadline),
            State::Waiting { until } => Some(until),
            State::Ready { .. } | State::Ended => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);

    #[test]
    fn a_crash_after_ready_is_repaired_at_once_and_one_before_ready_backs_off() {
        let now = Instant::now();
        let mut life = Lifecycle::new(PAUSE, true);
        for round in 0..3 {
            life.started(round, now + PAUSE);
            assert!(life.ready() && !life.ready());
            assert_eq!(life.ended(now), Some(PAUSE));
        }
        assert_eq!(life.restarts, 2);
        let mut pauses = Vec::new();
        for round in 0..12 {
            life.started(round, now + PAUSE);
            pauses.push(life.ended(now).expect("restarts"));
        }
        assert_eq!(pauses[..3], [PAUSE, PAUSE * 2, PAUSE * 4]);
        assert_eq!(pauses[11], LONGEST_PAUSE);
        life.started(9, now);
        assert!(life.ready());
        assert_eq!(life.ended(now), Some(PAUSE), "ready forgets earlier failures");
    }

    #[test]
    fn a_stopped_service_stays_stopped() {
        let now = Instant::now();
        let mut life = Lifecycle::new(PAUSE, true);
        life.started(7, now);
        assert_eq!(life.stop(now), Some(7));
        assert!(!life.ready(), "a late ready does not revive it");
        assert_eq!(life.ended(now), None);
        assert_eq!(life.state, State::Ended);
        life.started(8, now);
        life.ended(now);
        assert_eq!(life.stop(now), None, "a waiting service has no process to ask");
        assert_eq!(life.due(), None);
    }

    #[test]
    fn without_restart_an_end_is_final() {
        let now = Instant::now();
        let mut life = Lifecycle::new(PAUSE, false);
        life.started(7, now);
        assert_eq!(life.ended(now), None);
    }
}
