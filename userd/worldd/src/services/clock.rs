//! The clocks of this machine, as the services want them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Seconds since 1970 as serial numbers of zones have them: 32 bits, compared by RFC 1982.
pub fn unix32() -> u32 {
    unix() as u32
}

/// The system's clocks for names.
#[derive(Debug, Clone, Copy)]
pub struct System(Instant);

impl Default for System {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl netengine_dns::authority::Clock for System {
    fn unix(&self) -> u64 {
        unix()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}
