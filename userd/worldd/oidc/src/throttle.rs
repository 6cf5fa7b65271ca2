//! How often somebody may try. Pure: the time comes from a monotonic clock of the caller, in milliseconds.

use std::{collections::HashMap, hash::Hash};

/// How many attempts a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Attempts at once.
    pub burst: u32,
    /// Time after which one comes back, milliseconds.
    pub refill_ms: u64,
}

/// Attempts by key; a bounded number of keys.
pub struct Throttle<K> {
    rate: Rate,
    max_keys: usize,
    /// When each key will have all its attempts again, milliseconds.
    full_at: HashMap<K, u64>,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    /// A throttle that remembers up to `max_keys` keys.
    pub fn new(rate: Rate, max_keys: usize) -> Self {
        Self { rate, max_keys, full_at: HashMap::new() }
    }

    /// Takes one attempt of `key`, before it is known how it ends: attempts made at the same time count as well.
    ///
    /// # Errors
    /// How long to wait, milliseconds.
    pub fn take(&mut self, key: &K, now_ms: u64) -> Result<(), u64> {
        let budget = self.rate.refill_ms * u64::from(self.rate.burst);
        let full_at = self.full_at.get(key).copied().unwrap_or(0).max(now_ms) + self.rate.refill_ms;
        let over = (full_at - now_ms).saturating_sub(budget);
        if over > 0 {
            return Err(over);
        }
        if !self.full_at.contains_key(key) && self.full_at.len() >= self.max_keys {
            self.full_at.retain(|_, at| *at > now_ms);
            if self.full_at.len() >= self.max_keys {
                // Full of keys that all wait: forget the one that would be free first.
                if let Some(first) = self.full_at.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone()) {
                    self.full_at.remove(&first);
                }
            }
        }
        self.full_at.insert(key.clone(), full_at);
        Ok(())
    }

    /// Gives one attempt back: it went well.
    pub fn give_back(&mut self, key: &K) {
        if let Some(at) = self.full_at.get_mut(key) {
            *at = at.saturating_sub(self.rate.refill_ms);
        }
    }
}
