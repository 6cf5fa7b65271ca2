//! Reading the clock. The world's time is this host's time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::packet::Timestamp;

/// Readings taken to measure the precision.
const READINGS: usize = 200;

/// The time now.
pub fn now() -> Timestamp {
    let now = SystemTime::now();
    match now.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp::from_unix(after.as_secs().cast_signed(), after.subsec_nanos()),
        // A clock before 1970 counts back from the epoch: -0.25 s is second -1, 0.75 s into it.
        Err(before) => {
            let before = before.duration();
            let nanos = (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000;
            let borrow = i64::from(before.subsec_nanos() > 0);
            Timestamp::from_unix(-before.as_secs().cast_signed() - borrow, nanos)
        }
    }
}

/// The precision of the system clock, log2 seconds: the smallest step seen between two readings (RFC 5905, section 7.3:
/// "the time to read the clock").
pub fn precision() -> i8 {
    let mut smallest = Duration::from_millis(10);
    let mut last = SystemTime::now();
    for _ in 0..READINGS {
        let next = SystemTime::now();
        if let Ok(step) = next.duration_since(last)
            && !step.is_zero()
        {
            smallest = smallest.min(step);
        }
        last = next;
    }
    log2_seconds(smallest)
}

/// log2 of a step of 1 ns to 10 ms, rounded up: 2^-30 s to 2^-6 s.
fn log2_seconds(step: Duration) -> i8 {
    (-30..-6).find(|exponent| step.as_secs_f64() <= f64::from(*exponent).exp2()).unwrap_or(-6) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_the_power_of_two_above_the_step() {
        assert_eq!(log2_seconds(Duration::from_nanos(1)), -29);
        assert_eq!(log2_seconds(Duration::from_nanos(40)), -24);
        assert_eq!(log2_seconds(Duration::from_millis(10)), -6);
        assert!((-30..=-6).contains(&precision()));
    }

    #[test]
    fn the_clock_advances() {
        let (first, second) = (now(), now());
        assert!((0..1 << 32).contains(&second.since(first)));
    }
}
