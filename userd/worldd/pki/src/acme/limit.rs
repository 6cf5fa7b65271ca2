//! How often, counted in windows of an hour on a clock that never jumps.

use std::collections::HashMap;

use super::{Kind, Problem};
use crate::clock::Now;

const WINDOW_MS: u64 = 3600 * 1000;

/// The most keys that are counted at the same time; beyond it the oldest windows are forgotten first.
const KEYS: usize = 65_536;

/// What is counted; none of it survives the process.
#[derive(Debug, Default)]
pub struct Limits {
    counts: HashMap<String, (u64, u32)>,
}

impl Limits {
    /// Counts one more.
    ///
    /// # Errors
    /// `rateLimited` when the limit of this hour is reached; then nothing is counted.
    pub fn count(&mut self, what: &str, whose: &str, limit: u32, now: Now) -> Result<(), Problem> {
        self.check(what, whose, limit, now)?;
        if self.counts.len() >= KEYS {
            self.forget(now);
        }
        self.counts.entry(format!("{what} {whose}")).or_insert((now.monotonic_ms, 0)).1 += 1;
        Ok(())
    }

    /// Whether one more would be too many.
    ///
    /// # Errors
    /// As [`Limits::count`].
    pub fn check(&mut self, what: &str, whose: &str, limit: u32, now: Now) -> Result<(), Problem> {
        let key = format!("{what} {whose}");
        let Some(&(since, count)) = self.counts.get(&key) else { return Ok(()) };
        let age = now.monotonic_ms.saturating_sub(since);
        if age >= WINDOW_MS {
            self.counts.remove(&key);
            return Ok(());
        }
        if count < limit {
            return Ok(());
        }
        let mut problem = Problem::new(Kind::RateLimited, format!("too many {what}: {limit} in an hour are allowed"));
        problem.retry_after_secs = Some((WINDOW_MS - age).div_ceil(1000) as u32);
        Err(problem)
    }

    fn forget(&mut self, now: Now) {
        self.counts.retain(|_, (since, _)| now.monotonic_ms.saturating_sub(*since) < WINDOW_MS);
        if self.counts.len() >= KEYS {
            let mut ages: Vec<u64> = self.counts.values().map(|&(since, _)| since).collect();
            let (_, middle, _) = ages.select_nth_unstable(KEYS / 2);
            let middle = *middle;
            self.counts.retain(|_, (since, _)| *since > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64) -> Now {
        Now { wall: 0, monotonic_ms }
    }

    #[test]
    fn the_limit_holds_for_an_hour_and_for_one() {
        let mut limits = Limits::default();
        for _ in 0..3 {
            assert_eq!(limits.count("orders", "a", 3, at(0)), Ok(()));
        }
        let refused = limits.count("orders", "a", 3, at(1000)).expect_err("refused");
        assert_eq!((refused.kind, refused.retry_after_secs), (Kind::RateLimited, Some(3599)));
        assert_eq!(limits.count("orders", "b", 3, at(1000)), Ok(()));
        assert_eq!(limits.count("orders", "a", 3, at(WINDOW_MS)), Ok(()));
    }

    #[test]
    fn a_wall_clock_that_jumps_ten_years_neither_frees_nor_holds_anybody() {
        const TEN_YEARS_S: i64 = 10 * 365 * 86_400;
        let mut limits = Limits::default();
        let mut count = |wall, monotonic_ms| limits.count("orders", "a", 1, Now { wall, monotonic_ms }).is_ok();
        assert!(count(0, 0));
        assert!(!count(TEN_YEARS_S, 1), "a jump forward is no hour");
        assert!(!count(-TEN_YEARS_S, 2), "nor is one back");
        assert!(count(-TEN_YEARS_S, WINDOW_MS), "an hour is an hour, whatever the wall says");
        assert!(!count(TEN_YEARS_S, WINDOW_MS + 1));
    }

    #[test]
    fn memory_is_bounded_whatever_is_counted() {
        let mut limits = Limits::default();
        for n in 0..(2 * KEYS as u64 + 10) {
            let _ = limits.count("accounts", &n.to_string(), 3, at(n / 100));
        }
        assert!(limits.counts.len() <= KEYS);
    }
}
