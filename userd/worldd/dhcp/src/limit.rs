//! How often one host is answered: a flood of requests would become a flood of broadcasts to its neighbours.

use std::collections::BTreeMap;

use crate::Mac;

/// Requests at once.
const BURST: u32 = 12;
/// Milliseconds after which one more may come.
const EVERY_MS: u64 = 500;
/// Hosts that are remembered; a bridge has fewer ports (linux/if_bridge.h: `BR_MAX_PORTS` is 1024).
const HOSTS: usize = 2048;

/// One bucket of tokens per host.
#[derive(Debug, Default)]
pub struct Limit(BTreeMap<Mac, (u32, u64)>);

impl Limit {
    /// Whether `mac` may be answered once more. A host of the plan is never refused for want of memory: a crowd of made-up
    /// hosts must not keep it from its address.
    pub fn allows(&mut self, mac: Mac, is_planned: bool, now_ms: u64) -> bool {
        if !is_planned && !self.0.contains_key(&mac) && self.0.len() >= HOSTS {
            // Those whose bucket is full again are as good as unknown.
            self.0.retain(|_, (_, since)| now_ms.saturating_sub(*since) < EVERY_MS * u64::from(BURST));
            if self.0.len() >= HOSTS {
                return false;
            }
        }
        let (tokens, since) = self.0.entry(mac).or_insert((BURST, now_ms));
        let grown = now_ms.saturating_sub(*since) / EVERY_MS;
        *tokens = u32::try_from(grown).unwrap_or(BURST).saturating_add(*tokens).min(BURST);
        *since += grown * EVERY_MS;
        let is_allowed = *tokens > 0;
        *tokens = tokens.saturating_sub(1);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_gets_its_burst_and_then_two_a_second_and_others_are_not_touched() {
        let mut limit = Limit::default();
        let allowed = (0..100).filter(|_| limit.allows([2; 6], false, 5_000)).count();
        assert_eq!(allowed, 12);
        assert!(limit.allows([4; 6], false, 5_000));
        let mut at = |now_ms| limit.allows([2; 6], false, now_ms);
        assert!(!at(5_499) && at(5_500) && !at(5_501));
    }

    #[test]
    fn a_full_table_refuses_newcomers_outside_the_plan_until_old_ones_are_forgotten() {
        let mut limit = Limit::default();
        let mac = |n: usize| [2, 0, 0, 0, (n >> 8) as u8, n as u8];
        assert!((0..HOSTS).all(|n| limit.allows(mac(n), false, 0)));
        assert!(!limit.allows(mac(HOSTS), false, 1) && limit.allows(mac(0), false, 1));
        assert!(limit.allows(mac(HOSTS), true, 1), "a host of the plan");
        assert!(limit.allows(mac(HOSTS + 1), false, 6_001) && limit.0.len() < 10);
    }
}
