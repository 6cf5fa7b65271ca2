//! How often one source is answered: pure, the time is passed in.
//!
//! One bucket per source, kept as the generic cell rate algorithm does: a single instant, the time at which the bucket
//! would be full again. The table is bounded and an attacker chooses source addresses freely, so it forgets: entries
//! live in two generations, and when the young one is full the old one is dropped. A source that was seen lately is
//! always remembered; one that is forgotten begins with a full bucket, which at worst is one answer per request, and
//! an answer is never longer than a request.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// Requests a source may send at once after being silent: chrony's and ntpd's iburst send up to eight.
const BURST: u64 = 8;
/// A source over its rate gets at most one kiss-o'-death in this time, then silence (RFC 5905, section 7.4).
const KISS_PERIOD: Duration = Duration::from_secs(1);

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Answer it.
    Serve,
    /// Tell the source to slow down.
    Kiss,
    /// Say nothing.
    Silence,
}

/// Who is counted as one source: an IPv4 address, or an IPv6 /64 (a host can take any address of its /64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        })
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// Nanoseconds at which the bucket is full again.
    full_at: u64,
    /// Nanoseconds from which the next kiss is allowed.
    kiss_from: u64,
}

/// The buckets of all sources.
#[derive(Debug)]
pub struct Limiter {
    young: HashMap<Source, Bucket>,
    old: HashMap<Source, Bucket>,
    generation: usize,
    interval: u64,
    depth: u64,
}

impl Limiter {
    /// Allows `rate` requests per second (at least 1) and source on average, and remembers `sources` of them.
    pub fn new(rate: u32, sources: usize) -> Self {
        let mut limiter = Self {
            young: HashMap::new(),
            old: HashMap::new(),
            generation: (sources / 2).max(1),
            interval: 0,
            depth: 0,
        };
        limiter.set_rate(rate);
        limiter
    }

    /// Changes the rate; what is known of the sources stays.
    pub fn set_rate(&mut self, rate: u32) {
        let rate = u64::from(rate.max(1));
        self.interval = 1_000_000_000 / rate;
        self.depth = self.interval * (rate.max(BURST) - 1);
    }

    /// Judges a request of `source` at `now`, the time since any fixed instant of a clock that never goes back.
    pub fn judge(&mut self, source: Source, now: Duration) -> Verdict {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2).min(u64::MAX / 2);
        let (interval, depth) = (self.interval, self.depth);
        let bucket = self.bucket(source);
        if bucket.full_at <= now.saturating_add(depth) {
            bucket.full_at = bucket.full_at.max(now).saturating_add(interval);
            Verdict::Serve
        } else if bucket.kiss_from <= now {
            bucket.kiss_from = now.saturating_add(KISS_PERIOD.as_nanos() as u64);
            Verdict::Kiss
        } else {
            Verdict::Silence
        }
    }

    /// Sources remembered now.
    pub fn sources(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn bucket(&mut self, source: Source) -> &mut Bucket {
        if !self.young.contains_key(&source) && self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(source).or_insert_with(|| old.remove(&source).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(n: u32) -> Source {
        IpAddr::from(n.to_be_bytes()).into()
    }

    #[test]
    fn burst_then_one_kiss_then_silence_then_service_again() {
        let mut limiter = Limiter::new(1, 16);
        let start = Duration::from_secs(100);
        for _ in 0..8 {
            assert_eq!(limiter.judge(source(1), start), Verdict::Serve);
        }
        assert_eq!(limiter.judge(source(1), start), Verdict::Kiss);
        assert_eq!(limiter.judge(source(1), start), Verdict::Silence);
        assert_eq!(limiter.judge(source(2), start), Verdict::Serve, "another source suffers");
        assert_eq!(limiter.judge(source(1), start + Duration::from_millis(999)), Verdict::Silence);
        assert_eq!(limiter.judge(source(1), start + Duration::from_secs(1)), Verdict::Serve);
        assert_eq!(limiter.judge(source(1), start + Duration::from_secs(1)), Verdict::Kiss);
    }

    #[test]
    fn the_table_is_bounded_and_keeps_whoever_is_active() {
        let mut limiter = Limiter::new(1, 100);
        for _ in 0..9 {
            let _ = limiter.judge(source(0), Duration::ZERO);
        }
        for n in 1..10_000 {
            let _ = limiter.judge(source(n), Duration::ZERO);
            assert_ne!(limiter.judge(source(0), Duration::ZERO), Verdict::Serve, "forgotten at {n}");
            assert!(limiter.sources() <= 100, "{} sources", limiter.sources());
        }
    }

    #[test]
    fn a_slash_64_is_one_source_and_mapped_addresses_are_ipv4() {
        let of = |text: &str| Source::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(of("fd00::1"), of("fd00::ffff:1"));
        assert_ne!(of("fd00::1"), of("fd00:0:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_the_burst(rate in 1_u32..500, gaps in prop::collection::vec(0_u64..40_000_000, 1..400)) {
            let mut limiter = Limiter::new(rate, 4);
            let (mut now, mut served, mut kisses) = (0, 0_u64, 0_u64);
            for gap in gaps {
                now += gap;
                match limiter.judge(source(1), Duration::from_nanos(now)) {
                    Verdict::Serve => served += 1,
                    Verdict::Kiss => kisses += 1,
                    Verdict::Silence => {}
                }
            }
            prop_assert!(served <= u64::from(rate).max(BURST) + now / (1_000_000_000 / u64::from(rate)) + 1);
            prop_assert!(kisses <= now / 1_000_000_000 + 1);
        }

        #[test]
        fn any_instant_is_safe(rate: u32, seconds: u64) {
            let mut limiter = Limiter::new(rate, 4);
            for _ in 0..20 {
                let _ = limiter.judge(source(1), Duration::from_secs(seconds));
            }
        }
    }
}
