//! The NTP header: 48 bytes to fields and back (RFC 5905, section 7.3). Parsing cannot fail on 48 bytes or more.

/// Bytes of the header, and of every datagram we send.
pub const HEADER_BYTES: usize = 48;

/// Seconds from the NTP epoch, 1900, to the Unix epoch, 1970 (RFC 5905, figure 4).
const UNIX_EPOCH: i64 = 2_208_988_800;

/// Mode of a client's request (RFC 5905, figure 10).
pub const MODE_CLIENT: u8 = 3;
/// Mode of a server's answer.
pub const MODE_SERVER: u8 = 4;
/// Leap indicator of a clock that is not synchronised, and of a kiss-o'-death.
pub const LEAP_UNKNOWN: u8 = 3;

/// A 64-bit NTP timestamp: 32 bits of seconds since 1900, modulo 2^32, and 32 bits of fraction.
///
/// The era is not part of it (the seconds wrap in 2036), so two of them are only ever compared by their difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// From seconds and nanoseconds (below 10^9) since 1970; the era is dropped.
    pub const fn from_unix(seconds: i64, nanos: u32) -> Self {
        let seconds = seconds.wrapping_add(UNIX_EPOCH) as u64;
        let fraction = ((nanos as u64) << 32) / 1_000_000_000;
        Self((seconds << 32) | (fraction & 0xffff_ffff))
    }

    /// `self - earlier` in units of 2^-32 s. Right whenever the two are less than 68 years apart, whatever their eras.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }

    /// This timestamp moved back by whole seconds and with its fraction cleared, so that seconds are a multiple of 2^`bits`.
    pub const fn floor(self, bits: u32) -> Self {
        Self(self.0 >> (32 + bits) << (32 + bits))
    }
}

/// The header's fields. Bit fields hold what fits them; [`Packet::write`] cuts the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packet {
    /// Leap indicator, 2 bits.
    pub leap: u8,
    /// Version, 3 bits.
    pub version: u8,
    /// Mode, 3 bits.
    pub mode: u8,
    /// Stratum; 0 is a kiss-o'-death or unspecified.
    pub stratum: u8,
    /// Poll interval, log2 seconds.
    pub poll: i8,
    /// Precision of the sender's clock, log2 seconds.
    pub precision: i8,
    /// Round trip to the reference clock, units of 2^-16 s.
    pub root_delay: u32,
    /// Dispersion to the reference clock, units of 2^-16 s.
    pub root_dispersion: u32,
    /// Reference id, or the kiss code.
    pub reference_id: [u8; 4],
    /// When the sender's clock was last set.
    pub reference: Timestamp,
    /// In an answer: the request's transmit timestamp.
    pub origin: Timestamp,
    /// In an answer: when the request arrived.
    pub receive: Timestamp,
    /// When this packet left.
    pub transmit: Timestamp,
}

/// Fewer than 48 bytes are no NTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is shorter than an NTP header")]
pub struct TooShort;

impl Packet {
    /// Reads the header at the start of a datagram. What follows it (extension fields, a MAC) is not looked at.
    ///
    /// # Errors
    /// [`TooShort`] below [`HEADER_BYTES`]; nothing else can be wrong at this level.
    pub fn read(datagram: &[u8]) -> Result<Self, TooShort> {
        let bytes: &[u8; HEADER_BYTES] = datagram.first_chunk().ok_or(TooShort)?;
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let word = |at| u32::from_be_bytes(four(at));
        let time = |at| Timestamp(u64::from(word(at)) << 32 | u64::from(word(at + 4)));
        Ok(Self {
            leap: bytes[0] >> 6,
            version: bytes[0] >> 3 & 7,
            mode: bytes[0] & 7,
            stratum: bytes[1],
            poll: bytes[2].cast_signed(),
            precision: bytes[3].cast_signed(),
            root_delay: word(4),
            root_dispersion: word(8),
            reference_id: four(12),
            reference: time(16),
            origin: time(24),
            receive: time(32),
            transmit: time(40),
        })
    }

    /// The header's bytes.
    pub fn write(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = self.leap << 6 | (self.version & 7) << 3 | self.mode & 7;
        bytes[1] = self.stratum;
        bytes[2] = self.poll.cast_unsigned();
        bytes[3] = self.precision.cast_unsigned();
        bytes[4..8].copy_from_slice(&self.root_delay.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.root_dispersion.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.reference_id);
        for (at, time) in [(16, self.reference), (24, self.origin), (32, self.receive), (40, self.transmit)] {
            bytes[at..at + 8].copy_from_slice(&time.0.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_packet_has_known_bytes() {
        let mut expected = [0; HEADER_BYTES];
        expected[..4].copy_from_slice(&[0b00_100_100, 1, 6, 0xe8]);
        expected[12..16].copy_from_slice(b"LOCL");
        expected[40..48].copy_from_slice(&[0x83, 0xaa, 0x7e, 0x80, 0x80, 0, 0, 0]);
        let packet = Packet {
            version: 4,
            mode: MODE_SERVER,
            stratum: 1,
            poll: 6,
            precision: -24,
            reference_id: *b"LOCL",
            transmit: Timestamp::from_unix(0, 500_000_000),
            ..Packet::default()
        };
        assert_eq!(packet.write(), expected);
        assert_eq!(Packet::read(&expected), Ok(packet));
    }

    #[test]
    fn differences_survive_the_era_change_of_2036() {
        // 2036-02-07T06:28:16Z is second 2^32 since 1900.
        let (before, after) = (Timestamp::from_unix(2_085_978_495, 0), Timestamp::from_unix(2_085_978_497, 0));
        assert_eq!((before.0 >> 32, after.0 >> 32), (0xffff_ffff, 1));
        assert_eq!(after.since(before), 2 << 32);
        assert_eq!(before.since(after), -(2 << 32));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]
        #[test]
        fn bytes_survive_reading_and_writing(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            match Packet::read(&bytes) {
                Ok(packet) => prop_assert_eq!(&packet.write()[..], &bytes[..HEADER_BYTES]),
                Err(TooShort) => prop_assert!(bytes.len() < HEADER_BYTES),
            }
        }

        #[test]
        fn differences_are_those_of_the_clock(
            start in -2_208_988_800_i64..20_000_000_000, nanos in 0_u32..1_000_000_000, seconds in -2_000_000_000_i64..2_000_000_000,
        ) {
            let (from, to) = (Timestamp::from_unix(start, nanos), Timestamp::from_unix(start + seconds, nanos));
            prop_assert_eq!(to.since(from), seconds << 32);
            prop_assert!((0..16 << 32).contains(&from.since(from.floor(4))));
        }
    }
}
