//! How often one source is answered over UDP: pure, the time is passed in.
//!
//! A forged source must not be flooded with our answers (RFC 5358). A source over its rate gets every second answer as
//! a truncated one without data, no longer than its question: a real resolver then comes by TCP, a victim sees nothing
//! worth having. The table is bounded and forgets in two generations, so whoever is active is remembered.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Answer it.
    Serve,
    /// Answer with TC and no data.
    Slip,
    /// Say nothing.
    Drop,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// Nanoseconds at which the bucket is full again.
    full_at: u64,
    /// Requests over the rate.
    over: u32,
}

/// One bucket per source: an IPv4 address or an IPv6 /64.
#[derive(Debug)]
pub struct Limiter {
    young: HashMap<IpAddr, Bucket>,
    old: HashMap<IpAddr, Bucket>,
    generation: usize,
    /// Nanoseconds per request; 0 is no limit.
    interval: u64,
    depth: u64,
}

impl Limiter {
    /// Allows `rate` answers per second and source on average and twice that at once; 0 is no limit. Remembers `sources`.
    pub fn new(rate: u32, sources: usize) -> Self {
        let interval = if rate == 0 { 0 } else { 1_000_000_000 / u64::from(rate) };
        let depth = interval * u64::from(rate) * 2;
        Self { young: HashMap::new(), old: HashMap::new(), generation: (sources / 2).max(1), interval, depth }
    }

    /// Judges a request at `now`, the time since any fixed instant.
    pub fn judge(&mut self, source: IpAddr, now: Duration) -> Verdict {
        if self.interval == 0 {
            return Verdict::Serve;
        }
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2).min(u64::MAX / 2);
        let (interval, depth) = (self.interval, self.depth);
        let bucket = self.bucket(source);
        if bucket.full_at <= now.saturating_add(depth) {
            bucket.full_at = bucket.full_at.max(now).saturating_add(interval);
            return Verdict::Serve;
        }
        bucket.over = bucket.over.wrapping_add(1);
        if bucket.over.is_multiple_of(2) { Verdict::Slip } else { Verdict::Drop }
    }

    /// Sources remembered now.
    pub fn sources(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn bucket(&mut self, source: IpAddr) -> &mut Bucket {
        let source = match source.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        };
        if !self.young.contains_key(&source) && self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        let old = &mut self.old;
        self.young.entry(source).or_insert_with(|| old.remove(&source).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_rate_and_others_do_not_notice() {
        let mut limiter = Limiter::new(100, 1000);
        let (flood, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let served =
            (0..10_000).filter(|n| limiter.judge(flood, Duration::from_micros(n * 100)) == Verdict::Serve).count();
        assert!((300..=302).contains(&served), "{served} in one second at 100 per second with a burst of 200");
        assert_eq!(limiter.judge(other, Duration::from_secs(1)), Verdict::Serve);
    }

    #[test]
    fn the_table_is_bounded_under_forged_sources() {
        let mut limiter = Limiter::new(1, 100);
        for n in 0..10_000_u32 {
            let _ = limiter.judge(IpAddr::from(n.to_be_bytes()), Duration::ZERO);
            assert!(limiter.sources() <= 100);
        }
    }
}
