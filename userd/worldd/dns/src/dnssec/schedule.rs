//! When which key is there and what it does: a pure function of the time.
//!
//! Zone-signing keys roll over by pre-publication, key-signing keys by double signature (RFC 6781, section 4.1): a key is
//! in the DNSKEY set before anything needs it and after the last cache has forgotten what needed it.

use std::ops::RangeInclusive;

use crate::plan::KeyLifetimes;

/// Seconds that a key is published before it is used: twice the TTL of the DNSKEY set.
const BEFORE: u64 = 2 * 3600;
/// Seconds that a key is published after its last use: the longest TTL of a record (a week) and a day.
const AFTER: u64 = 8 * 86_400;
const DAY: u64 = 86_400;

/// How long keys are used, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Key-signing keys.
    pub ksk: u64,
    /// Zone-signing keys.
    pub zsk: u64,
}

impl From<KeyLifetimes> for Lifetimes {
    fn from(days: KeyLifetimes) -> Self {
        Self { ksk: u64::from(days.ksk_days.max(1)) * DAY, zsk: u64::from(days.zsk_days.max(1)) * DAY }
    }
}

/// The generations of one role at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generations {
    /// Those in the DNSKEY set.
    pub published: RangeInclusive<u64>,
    /// The one in use: it signs the zone, or its DS record lies above.
    pub active: u64,
}

/// The schedule of a world that began at `epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Seconds since 1970 at which generation 0 came into use.
    pub epoch: u64,
    /// How long keys are used.
    pub lifetimes: Lifetimes,
}

impl Schedule {
    /// The key-signing keys at `now`. All that are published sign the DNSKEY set.
    pub fn ksk(&self, now: u64) -> Generations {
        at(now.saturating_sub(self.epoch), self.lifetimes.ksk)
    }

    /// The zone-signing keys at `now`. The active one signs.
    pub fn zsk(&self, now: u64) -> Generations {
        at(now.saturating_sub(self.epoch), self.lifetimes.zsk)
    }

    /// When the next key comes or goes, seconds since 1970.
    pub fn next_event(&self, now: u64) -> u64 {
        let age = now.saturating_sub(self.epoch);
        let next = |lifetime: u64| {
            let turn = age / lifetime;
            // Each turn has its publication before it and withdrawals after it; some of these lie behind `age`.
            (turn.saturating_sub(AFTER / lifetime + 1)..=turn + 2)
                .flat_map(|g| [(g * lifetime).saturating_sub(BEFORE), g * lifetime, g * lifetime + AFTER])
                .filter(|event| *event > age)
                .min()
                .unwrap_or(age + lifetime)
        };
        self.epoch + next(self.lifetimes.ksk).min(next(self.lifetimes.zsk))
    }
}

/// Generation `g` is active from `g * lifetime` on for `lifetime`.
fn at(age: u64, lifetime: u64) -> Generations {
    let lifetime = lifetime.max(DAY);
    let newest = (age + BEFORE) / lifetime;
    // The last use of generation g ends at (g + 1) * lifetime; it is withdrawn AFTER later.
    let oldest = age.saturating_sub(AFTER) / lifetime;
    let oldest = if age < AFTER { 0 } else { oldest };
    Generations { published: oldest..=newest, active: age / lifetime }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks through three years hour by hour and checks what a cache could hold against what it could ask for.
    #[test]
    fn at_no_moment_is_anything_bogus() {
        for (ksk_days, zsk_days) in [(365, 30), (2, 1), (1, 1), (30, 30), (10, 3)] {
            let schedule = Schedule { epoch: 1_000_000, lifetimes: KeyLifetimes { ksk_days, zsk_days }.into() };
            for now in (schedule.epoch..schedule.epoch + 1000 * DAY).step_by(3600) {
                for of in [Schedule::ksk, Schedule::zsk] {
                    let generations = of(&schedule, now);
                    assert!(generations.published.contains(&generations.active));
                    // A DNSKEY set cached up to its TTL ago holds the key that is used now.
                    if now >= schedule.epoch + 3600 {
                        assert!(of(&schedule, now - 3600).published.contains(&generations.active), "{now}");
                    }
                    // A signature or DS cached up to a week ago has its key in the DNSKEY set of now.
                    let then = now.saturating_sub(7 * DAY).max(schedule.epoch);
                    assert!(generations.published.contains(&of(&schedule, then).active), "{now}");
                }
            }
        }
    }

    #[test]
    fn nothing_changes_before_the_next_event() {
        let schedule = Schedule { epoch: 5, lifetimes: KeyLifetimes { ksk_days: 7, zsk_days: 3 }.into() };
        let mut now = 5;
        for _ in 0..200 {
            let next = schedule.next_event(now);
            assert!(next > now);
            for of in [Schedule::ksk, Schedule::zsk] {
                assert_eq!(of(&schedule, now), of(&schedule, next - 1), "{now} to {next}");
            }
            now = next;
        }
    }
}
