//! Times as the pure parts take them.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Seconds since 1970 in UTC, leap seconds not counted.
pub type UnixSeconds = i64;

/// The moment at which something is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// What the clock on the wall says; it goes into certificates and may jump.
    pub wall: UnixSeconds,
    /// Milliseconds of a clock that never jumps; limits are counted on it.
    pub monotonic_ms: u64,
}

/// The time as RFC 3339 has it, in UTC. A time that no calendar has is the epoch.
pub fn rfc3339(at: UnixSeconds) -> String {
    date_time(at).format(&Rfc3339).unwrap_or_default()
}

/// The time as a calendar date; what no calendar has is the epoch.
pub fn date_time(at: UnixSeconds) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(rfc3339(1_000_000_000), "2001-09-09T01:46:40Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00Z");
    }
}
