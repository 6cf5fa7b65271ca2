//! What an NTP server says to a request: pure, so every answer can be tested without a socket or a clock.

use super::{
    limit::Verdict,
    packet::{HEADER_BYTES, LEAP_UNKNOWN, MODE_CLIENT, MODE_SERVER, Packet, Timestamp},
};

/// Frequency tolerance of any clock, 15 us/s in units of 2^-16 s per 2^20 s (RFC 5905, appendix A.1.1: PHI).
const PHI_PER_2_20_S: u64 = (15 << 36) / 1_000_000;
/// The reference timestamp is the last multiple of 2^6 seconds: recent, and the same for all clients.
const REFERENCE_BITS: u32 = 6;
/// A client that was told to slow down polls no faster than 2^6 s (RFC 5905: MINPOLL of most clients).
const KISS_POLL: i8 = 6;

/// The clock that is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Stratum, 1 to 15.
    pub stratum: u8,
    /// Measured precision, log2 seconds.
    pub precision: i8,
}

impl Announced {
    /// A primary server names its source (RFC 5905, figure 12: here the local clock); the others name an address, and
    /// by convention 127.127.1.0 is the local clock driver.
    const fn reference_id(self) -> [u8; 4] {
        if self.stratum == 1 { *b"LOCL" } else { [127, 127, 1, 0] }
    }
}

/// A request worth an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    version: u8,
    poll: i8,
    transmit: Timestamp,
}

impl Query {
    /// Reads a datagram. `None` is silence: too short, not a client's request, or a version we do not speak.
    ///
    /// Answers (mode 4) are never answered, so two servers cannot be made to talk to each other for ever; modes 6 and 7
    /// are never answered, so there is nothing to amplify.
    pub fn read(datagram: &[u8]) -> Option<Self> {
        let packet = Packet::read(datagram).ok()?;
        (packet.mode == MODE_CLIENT && matches!(packet.version, 3 | 4)).then_some(Self {
            version: packet.version,
            poll: packet.poll,
            transmit: packet.transmit,
        })
    }

    /// The answer's bytes, always exactly a header, so never more than was asked; `None` is silence.
    ///
    /// `received` is when the request arrived, `now` the time of leaving.
    pub fn answer(
        &self,
        verdict: Verdict,
        clock: Announced,
        received: Timestamp,
        now: Timestamp,
    ) -> Option<[u8; HEADER_BYTES]> {
        let reference = now.floor(REFERENCE_BITS);
        let common = Packet {
            version: self.version,
            mode: MODE_SERVER,
            precision: clock.precision,
            origin: self.transmit,
            receive: received,
            transmit: now,
            ..Packet::default()
        };
        let packet = match verdict {
            Verdict::Serve => Packet {
                stratum: clock.stratum,
                poll: self.poll,
                root_dispersion: dispersion(now.since(reference)),
                reference_id: clock.reference_id(),
                reference,
                ..common
            },
            // RFC 5905, section 7.4: stratum 0 and a code; the client must slow down.
            Verdict::Kiss => {
                Packet { leap: LEAP_UNKNOWN, poll: self.poll.max(KISS_POLL), reference_id: *b"RATE", ..common }
            }
            Verdict::Silence => return None,
        };
        Some(packet.write())
    }
}

/// Dispersion of a clock that was right `age` (2^-32 s) ago, in 2^-16 s: the age times PHI, and at least one unit.
fn dispersion(age: i64) -> u32 {
    let seconds = u64::try_from(age >> 32).unwrap_or(0);
    u32::try_from(((seconds * PHI_PER_2_20_S) >> 20) + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLOCK: Announced = Announced { stratum: 1, precision: -24 };

    fn request(version: u8, mode: u8) -> Vec<u8> {
        Packet { version, mode, poll: 10, transmit: Timestamp(0x1234_5678_9abc_def0), ..Packet::default() }
            .write()
            .to_vec()
    }

    fn answered(datagram: &[u8], verdict: Verdict) -> Option<Packet> {
        let (received, now) = (Timestamp::from_unix(1_800_000_031, 5), Timestamp::from_unix(1_800_000_031, 9000));
        let bytes = Query::read(datagram)?.answer(verdict, CLOCK, received, now)?;
        Some(Packet::read(&bytes).expect("a whole header"))
    }

    #[test]
    fn only_clients_of_versions_3_and_4_are_answered() {
        for version in 0..8 {
            for mode in 0..8 {
                let expected = mode == MODE_CLIENT && (version == 3 || version == 4);
                let answer = answered(&request(version, mode), Verdict::Serve);
                assert_eq!(answer.is_some(), expected, "version {version} mode {mode}");
                assert!(answer.is_none_or(|packet| packet.version == version && packet.mode == MODE_SERVER));
            }
        }
    }

    #[test]
    fn an_answer_is_what_a_strict_client_accepts() {
        let packet = answered(&request(4, MODE_CLIENT), Verdict::Serve).expect("an answer");
        assert_eq!((packet.leap, packet.stratum, packet.poll, packet.precision), (0, 1, 10, -24));
        assert_eq!((packet.origin.0, &packet.reference_id), (0x1234_5678_9abc_def0, b"LOCL"));
        assert_eq!(packet.receive, Timestamp::from_unix(1_800_000_031, 5));
        assert_eq!(packet.transmit, Timestamp::from_unix(1_800_000_031, 9000));
        let age = packet.transmit.since(packet.reference);
        assert!((0..64_i64 << 32).contains(&age), "the reference timestamp is {} s old", age >> 32);
        assert!(packet.root_delay == 0 && (1..66).contains(&packet.root_dispersion), "{}", packet.root_dispersion);
        assert_eq!(Announced { stratum: 2, ..CLOCK }.reference_id(), [127, 127, 1, 0]);
    }

    #[test]
    fn a_kiss_names_its_reason_and_keeps_the_origin() {
        let packet = answered(&request(4, MODE_CLIENT), Verdict::Kiss).expect("a kiss");
        assert_eq!((packet.leap, packet.stratum, &packet.reference_id), (3, 0, b"RATE"));
        assert_eq!((packet.origin.0, packet.poll), (0x1234_5678_9abc_def0, 10));
        let mut hasty = request(4, MODE_CLIENT);
        hasty[2] = 0;
        assert_eq!(answered(&hasty, Verdict::Kiss).map(|packet| packet.poll), Some(KISS_POLL));
        assert_eq!(answered(&hasty, Verdict::Silence), None);
    }

    #[test]
    fn dispersion_grows_by_15_us_per_second() {
        assert_eq!(dispersion(0), 1);
        assert_eq!(dispersion(1_000_000_i64 << 32), 15 * 65_536);
        assert_eq!(dispersion(-1), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]
        #[test]
        fn an_answer_is_never_longer_than_its_request(bytes in prop::collection::vec(any::<u8>(), 0..200), now: u64) {
            let verdict = if now % 2 == 0 { Verdict::Serve } else { Verdict::Kiss };
            if let Some(query) = Query::read(&bytes) {
                let answer = query.answer(verdict, CLOCK, Timestamp(now), Timestamp(now));
                prop_assert!(answer.is_some_and(|answer| answer.len() <= bytes.len()));
            }
        }

        #[test]
        fn whatever_follows_the_header_is_tolerated(tail in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut datagram = request(4, MODE_CLIENT);
            datagram.extend(tail);
            prop_assert_eq!(answered(&datagram, Verdict::Serve), answered(&datagram[..HEADER_BYTES], Verdict::Serve));
        }
    }
}
