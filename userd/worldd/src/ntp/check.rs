//! Whether an answer is to be believed: what a strict client checks (RFC 5905, section 8; RFC 4330, section 5).

use super::packet::{LEAP_UNKNOWN, MODE_SERVER, Packet, Timestamp};

/// A believable answer, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The server's stratum.
    pub stratum: u8,
    /// Server's clock minus ours.
    pub offset_us: i64,
    /// Round trip without the server's own time.
    pub delay_us: i64,
}

/// Why an answer is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Not an answer to our request; somebody else may have sent it, so the wait goes on.
    #[error("a datagram that does not answer our request")]
    NotOurs,
    /// The server refuses service.
    #[error("kiss-o'-death {:?}", String::from_utf8_lossy(.0))]
    Kiss([u8; 4]),
    /// The server says that its clock is not set.
    #[error("the server's clock is not synchronised")]
    Unsynchronised,
    /// A stratum outside 1 to 15.
    #[error("stratum {0}")]
    Stratum(u8),
    /// Version other than the request's.
    #[error("version {0}")]
    Version(u8),
    /// Timestamps missing or in an impossible order.
    #[error("impossible timestamps")]
    Timestamps,
}

/// The request: version 4, mode 3, and a nonce instead of our time, so that nobody who did not see it can answer.
pub fn request(nonce: u64) -> Packet {
    Packet { version: 4, mode: 3, poll: 6, transmit: Timestamp(nonce), ..Packet::default() }
}

/// Judges a datagram received at `arrived` as the answer to `request(nonce)` sent at `left`.
///
/// # Errors
/// [`Doubt`] with the first check that fails.
pub fn judge(datagram: &[u8], nonce: u64, left: Timestamp, arrived: Timestamp) -> Result<Sample, Doubt> {
    let packet = Packet::read(datagram).map_err(|_| Doubt::NotOurs)?;
    if packet.mode != MODE_SERVER || packet.origin != Timestamp(nonce) {
        return Err(Doubt::NotOurs);
    }
    match packet {
        Packet { version, .. } if version != 4 => return Err(Doubt::Version(version)),
        Packet { stratum: 0, reference_id, .. } => return Err(Doubt::Kiss(reference_id)),
        Packet { stratum: stratum @ 16.., .. } => return Err(Doubt::Stratum(stratum)),
        Packet { leap: LEAP_UNKNOWN, .. } => return Err(Doubt::Unsynchronised),
        _ => {}
    }
    let (spent, total) = (packet.transmit.since(packet.receive), arrived.since(left));
    let never = Timestamp::default();
    if packet.receive == never || packet.transmit == never || spent < 0 || packet.transmit.since(packet.reference) < 0 {
        return Err(Doubt::Timestamps);
    }
    let offset = (i128::from(packet.receive.since(left)) + i128::from(packet.transmit.since(arrived))) / 2;
    let delay = (i128::from(total) - i128::from(spent)).max(0);
    Ok(Sample { stratum: packet.stratum, offset_us: micros(offset), delay_us: micros(delay) })
}

/// Units of 2^-32 s to microseconds.
fn micros(units: i128) -> i64 {
    i64::try_from((units * 1_000_000) >> 32).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ntp::{
        answer::{Announced, Query},
        limit::Verdict,
    };

    const NONCE: u64 = 0xfeed_f00d_dead_beef;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + millis / 1000, (millis % 1000) as u32 * 1_000_000)
    }

    fn answer(verdict: Verdict) -> Packet {
        let query = Query::read(&request(NONCE).write()).expect("a query");
        let clock = Announced { stratum: 3, precision: -20 };
        Packet::read(&query.answer(verdict, clock, at(1010), at(1020)).expect("an answer")).expect("a header")
    }

    fn judged(packet: Packet) -> Result<Sample, Doubt> {
        judge(&packet.write(), NONCE, at(0), at(40))
    }

    #[test]
    fn our_own_server_is_believed_and_measured() {
        let sample = judged(answer(Verdict::Serve)).expect("believed");
        assert_eq!(sample.stratum, 3);
        assert!((sample.offset_us - 995_000).abs() <= 1, "{sample:?}");
        assert!((sample.delay_us - 30_000).abs() <= 1, "{sample:?}");
    }

    #[test]
    fn each_check_refuses_its_own_fault() {
        let good = answer(Verdict::Serve);
        for (altered, doubt) in [
            (Packet { origin: Timestamp(NONCE ^ 1), ..good }, Doubt::NotOurs),
            (Packet { mode: 3, ..good }, Doubt::NotOurs),
            (Packet { mode: 5, ..good }, Doubt::NotOurs),
            (Packet { version: 3, ..good }, Doubt::Version(3)),
            (Packet { stratum: 16, ..good }, Doubt::Stratum(16)),
            (Packet { leap: 3, ..good }, Doubt::Unsynchronised),
            (Packet { transmit: at(1000), ..good }, Doubt::Timestamps),
            (Packet { receive: Timestamp(0), ..good }, Doubt::Timestamps),
            (Packet { reference: at(5000), ..good }, Doubt::Timestamps),
        ] {
            assert_eq!(judged(altered), Err(doubt));
        }
        assert_eq!(judged(answer(Verdict::Kiss)), Err(Doubt::Kiss(*b"RATE")));
        assert_eq!(judge(&good.write()[..47], NONCE, at(0), at(1)), Err(Doubt::NotOurs));
    }

    proptest! {
        #[test]
        fn hostile_answers_are_judged_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 48..60), left: u64, arrived: u64) {
            bytes[0] = 0x24;
            bytes[24..32].copy_from_slice(&NONCE.to_be_bytes());
            if let Ok(sample) = judge(&bytes, NONCE, Timestamp(left), Timestamp(arrived)) {
                prop_assert!((1..=15).contains(&sample.stratum) && sample.delay_us >= 0);
            }
        }
    }
}
