//! NTP datagrams, as a server and as a client reads them. The first byte chooses the limiter's verdict.

use netengine_worldd::ntp::{
    answer::{Announced, Query},
    check::{Doubt, judge},
    limit::Verdict,
    packet::{HEADER_BYTES, MODE_CLIENT, MODE_SERVER, Packet, Timestamp},
};

/// One input.
pub fn target(input: &[u8]) {
    let Some((&mode, datagram)) = input.split_first() else { return };
    let (left, arrived) = (Timestamp::from_unix(1_800_000_000, 0), Timestamp::from_unix(1_800_000_001, 0));
    let packet = Packet::read(datagram);
    assert_eq!(packet.is_ok(), datagram.len() >= HEADER_BYTES);
    let Ok(packet) = packet else { return };
    assert_eq!(packet.write()[..], datagram[..HEADER_BYTES], "an NTP header is what its fields say");

    let believed = judge(datagram, 4711, left, arrived);
    assert!(packet.origin == Timestamp(4711) || believed == Err(Doubt::NotOurs), "an answer to nobody was believed");
    // As if it knew the nonce.
    if let Ok(sample) = judge(datagram, packet.origin.0, left, arrived) {
        assert!(packet.mode == MODE_SERVER && packet.version == 4 && (1..16).contains(&sample.stratum));
        assert!(sample.delay_us >= 0);
    }

    let Some(query) = Query::read(datagram) else { return };
    assert!(packet.mode == MODE_CLIENT && matches!(packet.version, 3 | 4));
    let verdict = [Verdict::Serve, Verdict::Kiss, Verdict::Silence][usize::from(mode % 3)];
    let clock = Announced { stratum: mode % 15 + 1, precision: -20 };
    let Some(answer) = query.answer(verdict, clock, left, arrived) else {
        return assert_eq!(verdict, Verdict::Silence);
    };
    assert!(answer.len() <= datagram.len(), "nothing is amplified");
    let read = Packet::read(&answer).expect("a header");
    assert_eq!((read.mode, read.version, read.origin), (MODE_SERVER, packet.version, packet.transmit));
    assert!(Query::read(&answer).is_none(), "an answer is never answered");
    if packet.version == 4 {
        let judged = judge(&answer, packet.transmit.0, left, arrived);
        match verdict {
            Verdict::Serve => assert_eq!(judged.expect("our own client believes it").stratum, clock.stratum),
            _ => assert_eq!(judged, Err(Doubt::Kiss(*b"RATE"))),
        }
    }
}
