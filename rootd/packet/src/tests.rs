//! Sums and lengths checked by a second, simple reading of the RFCs; readers fed with anything.

use std::net::IpAddr;

use netengine_lab_proto::{
    Bytes, CtDirection, CtState, ExtensionHeader, Family, Fragmentation, HopVerdict, PacketSpec, Transport, Vlan,
};
use netengine_proto::bounded::Bounded;
use proptest::prelude::*;

use crate::{
    attributes,
    build::{self, Ether},
    conntrack,
    nonce::Nonce,
    read, trace,
};

const ETHER: Ether = Ether { src: [2, 0, 0, 0, 0, 12], dst: [2, 0, 0, 0, 0, 0xf0] };

fn spec(src: &str, dst: &str, transport: Transport, payload: Vec<u8>) -> PacketSpec {
    let payload = Bytes::new(payload).expect("fits");
    PacketSpec { payload, ..PacketSpec::new(src.parse().expect("address"), dst.parse().expect("address"), transport) }
}

fn syn() -> Transport {
    let options = Bytes::new(vec![2, 4, 5, 0xb4, 1]).expect("fits");
    Transport::Tcp { src_port: 40_000, dst_port: 22, flags: 2, seq: None, ack: None, window: None, options }
}

/// RFC 1071, by the book: words added, carries folded.
fn sum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let total: u32 = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum();
    let folded = (total & 0xffff) + (total >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Header and transport sums of an unfragmented packet are right when each adds up to zero.
fn sums_hold(packet: &[u8]) -> bool {
    let (addresses, protocol, body) = if packet[0] >> 4 == 4 {
        let header = usize::from(packet[0] & 15) * 4;
        if sum(&[&packet[..header]]) != 0 || usize::from(u16::from_be_bytes([packet[2], packet[3]])) != packet.len() {
            return false;
        }
        (&packet[12..20], packet[9], &packet[header..])
    } else {
        if usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40 != packet.len() {
            return false;
        }
        (&packet[8..40], packet[6], &packet[40..])
    };
    let length = (body.len() as u32).to_be_bytes();
    match protocol {
        1 => sum(&[body]) == 0,
        6 | 17 | 58 => sum(&[addresses, &length, &[0, 0, 0, protocol], body]) == 0,
        _ => true,
    }
}

#[test]
fn sums_and_lengths_are_right_for_every_protocol() {
    let icmp = |kind| Transport::Icmp { kind, code: 0, rest: None };
    let udp = Transport::Udp { src_port: 1, dst_port: 65_535 };
    for payload in [vec![], vec![1, 2, 3], vec![0xff; 1400]] {
        for (src, dst, echo) in [("10.0.0.1", "10.0.0.2", 8), ("fd00::1", "fd00::2", 128)] {
            for transport in [syn(), udp.clone(), icmp(echo), Transport::Other { protocol: 89 }] {
                let packets = build::ip_packets(&spec(src, dst, transport, payload.clone()), Nonce::FIRST);
                assert!(sums_hold(&packets.expect("builds")[0]));
            }
        }
    }
    // The test's own sum must be able to fail.
    let mut broken = build::ip_packets(&spec("10.0.0.1", "10.0.0.2", syn(), vec![7]), Nonce::FIRST).expect("builds");
    broken[0][21] ^= 1;
    assert!(!sums_hold(&broken[0]));
}

#[test]
fn a_frame_reads_back_as_it_was_meant() {
    let mut spec = spec("fd00::1", "fd00::2", syn(), b"x".to_vec());
    spec.vlan = Some(Vlan { id: 7, priority: 3 });
    spec.extension_headers =
        Bounded::new(vec![ExtensionHeader { protocol: 60, content: Bytes::new(vec![1, 4]).expect("fits") }])
            .expect("fits");
    let nonce = Nonce::new(0x1234).expect("not 0");
    let frames = build::frames(&spec, ETHER, nonce).expect("builds");
    let frame = read::frame(&frames[0]).expect("a frame");
    assert_eq!((frame.src, frame.dst, frame.vlan, frame.ethertype), (ETHER.src, ETHER.dst, Some(7), 0x86dd));
    let packet = read::frame_packet(&frames[0]).expect("a packet");
    assert_eq!((packet.src, packet.dst, packet.nonce, packet.protocol), (spec.src, spec.dst, Some(nonce), 6));
    assert_eq!(packet.transport.ports(), Some((40_000, 22)));
}

#[test]
fn packets_listed_alike_differ_by_their_nonce_alone() {
    let spec = spec("10.0.0.1", "10.0.0.2", syn(), vec![]);
    let of = |nonce| build::ip_packets(&spec, nonce).expect("builds").remove(0);
    let (a, b) = (of(Nonce::FIRST), of(Nonce::FIRST.next()));
    let differ: Vec<usize> = (0..a.len()).filter(|at| a[*at] != b[*at]).collect();
    assert!(differ.iter().all(|at| matches!(at, 4 | 5 | 10 | 11)), "{differ:?}: identification and header sum");
    assert_eq!(read::packet(&b).and_then(|p| p.nonce), Some(Nonce::FIRST.next()));
}

#[test]
fn fragments_cover_the_packet_and_share_the_nonce() {
    for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let mut spec = spec(src, dst, Transport::Udp { src_port: 5, dst_port: 53 }, (0..100).collect());
        let whole = build::ip_packets(&spec, Nonce::FIRST).expect("builds").remove(0);
        spec.fragmentation = Some(Fragmentation::Split { size: 48 });
        let pieces = build::ip_packets(&spec, Nonce::FIRST).expect("builds");
        assert_eq!(pieces.len(), 3);
        let (headers, plain) = if spec.src.is_ipv4() { (20, 20) } else { (48, 40) };
        let body: Vec<u8> = pieces.iter().flat_map(|piece| piece[headers..].to_vec()).collect();
        assert_eq!(body, whole[plain..]);
        let read: Vec<_> = pieces.iter().map(|piece| read::packet(piece).expect("reads")).collect();
        assert!(read.iter().all(|piece| piece.nonce == Some(Nonce::FIRST) && piece.protocol == 17));
        assert_eq!(
            read.iter().map(|p| p.fragment).collect::<Vec<_>>(),
            [Some((0, true)), Some((48, true)), Some((96, false))]
        );
        spec.fragmentation = Some(Fragmentation::Split { size: 47 });
        assert!(build::ip_packets(&spec, Nonce::FIRST).is_err());
    }
}

#[test]
fn an_error_tells_whom_it_quotes() {
    let quoted =
        build::ip_packets(&spec("10.0.0.1", "10.0.0.2", syn(), vec![]), Nonce::FIRST).expect("builds").remove(0);
    let error = Transport::Icmp { kind: 3, code: 3, rest: Some([0; 4]) };
    let packet = build::ip_packets(&spec("10.0.0.2", "10.0.0.1", error, quoted[..28].to_vec()), Nonce::FIRST);
    let read = read::packet(&packet.expect("builds")[0]).expect("reads");
    let read::Transport::Icmp { kind: 3, code: 3, quoted: Some(quoted) } = read.transport else { panic!("{read:?}") };
    assert_eq!((quoted.nonce, quoted.transport.ports()), (Some(Nonce::FIRST), Some((40_000, 22))));
}

#[test]
fn arp_is_a_request_of_28_bytes() {
    let frame =
        build::frames(&spec("10.0.0.1", "10.0.0.2", Transport::Arp { operation: 1 }, vec![]), ETHER, Nonce::FIRST);
    let frame = frame.expect("builds").remove(0);
    assert_eq!(frame.len(), 14 + 28);
    assert_eq!(&frame[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    assert_eq!(&frame[28..32], [10, 0, 0, 1]);
    assert_eq!(&frame[38..42], [10, 0, 0, 2]);
}

fn attribute(number: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = ((content.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(number.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = ((body.len() + 16) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

fn trace_body(parts: &[Vec<u8>]) -> Vec<u8> {
    [vec![2, 0, 0, 0], parts.concat()].concat()
}

fn least() -> Vec<Vec<u8>> {
    vec![attribute(1, b"filter\0"), attribute(2, b"input\0"), attribute(4, &[0, 0, 0, 3]), attribute(6, &[0, 0, 0, 9])]
}

fn decode(bytes: &[u8]) -> Result<trace::Report, attributes::Malformed> {
    trace::decode(&attributes::messages(bytes).next().expect("one")?)
}

#[test]
fn a_trace_message_is_decoded_with_and_without_what_newer_kernels_add() {
    let verdict = [attribute(1, &(-3_i32).to_be_bytes()), attribute(2, b"sub\0")].concat();
    let mut parts = least();
    parts.extend([attribute(3, &5_u64.to_be_bytes()), attribute(0x8000 | 5, &verdict), attribute(10, &[0, 0, 0, 2])]);
    let trace::Report::Trace(old) = decode(&message(trace::TRACE_MESSAGE, 0, &trace_body(&parts))).expect("reads")
    else {
        panic!("a trace message")
    };
    assert_eq!((old.family, old.table.as_str(), old.chain.as_str()), (Some(Family::Ip), "filter", "input"));
    assert_eq!((old.rule, old.iif, old.verdict.clone()), (Some(5), Some(2), Some(HopVerdict::Jump("sub".into()))));
    assert_eq!((old.ct_state, old.ct_direction, old.headers()), (None, None, None));
    parts.extend([
        attribute(18, &[0, 0, 0, 1]),
        attribute(19, &[1]),
        attribute(21, &[0, 0, 0, 2]),
        attribute(99, &[1]),
    ]);
    let trace::Report::Trace(new) = decode(&message(trace::TRACE_MESSAGE, 0, &trace_body(&parts))).expect("reads")
    else {
        panic!("a trace message")
    };
    assert_eq!(
        (new.ct_id, new.ct_direction, new.ct_state),
        (Some(1), Some(CtDirection::Reply), Some(CtState::Established))
    );
}

#[test]
fn what_is_not_understood_is_said_so() {
    assert_eq!(decode(&message(10 << 8 | 3, 0, &[0; 4])), Ok(trace::Report::Unknown(10 << 8 | 3)));
    for missing in 0..4 {
        let mut parts = least();
        parts.remove(missing);
        assert!(decode(&message(trace::TRACE_MESSAGE, 0, &trace_body(&parts))).is_err(), "{missing}");
    }
    let mut parts = least();
    parts[2] = attribute(4, &[0, 0, 0, 77]);
    let Ok(trace::Report::Trace(odd)) = decode(&message(trace::TRACE_MESSAGE, 0, &trace_body(&parts))) else {
        panic!()
    };
    assert_eq!(odd.kind, trace::TraceKind::Unknown(77));
}

#[test]
fn a_conntrack_event_gives_both_tuples() {
    let tuple = |src: [u8; 4], dst: [u8; 4]| {
        let ip = [attribute(1, &src), attribute(2, &dst)].concat();
        let proto = [attribute(1, &[6]), attribute(2, &[0, 80]), attribute(3, &[1, 0])].concat();
        [attribute(0x8001, &ip), attribute(0x8002, &proto)].concat()
    };
    let parts = [attribute(0x8001, &tuple([10, 0, 0, 1], [10, 0, 0, 2])), attribute(0x8002, &tuple([1; 4], [2; 4]))];
    let bytes = message(0x100, 0x400, &trace_body(&parts));
    let report = conntrack::decode(&attributes::messages(&bytes).next().expect("one").expect("reads"));
    let Ok(conntrack::Report::Event(event)) = report else { panic!("an event") };
    assert_eq!(event.kind, conntrack::EventKind::New);
    let original = event.original.expect("tuple");
    assert_eq!((original.src, original.sport), (IpAddr::from([10, 0, 0, 1]), Some(80)));
    assert_eq!((original.dport, event.reply.map(|t| t.dst)), (Some(256), Some(IpAddr::from([2; 4]))));
}

proptest! {
    #[test]
    fn readers_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read::frame_packet(&bytes);
        let _ = read::packet(&bytes);
        for message in attributes::messages(&bytes).flatten() {
            let _ = trace::decode(&message);
            let _ = conntrack::decode(&message);
        }
    }

    #[test]
    fn decoders_take_any_attributes(body in proptest::collection::vec(any::<u8>(), 4..200)) {
        for kind in [trace::TRACE_MESSAGE, 0x100, 0x102] {
            let bytes = message(kind, 0, &body);
            let message = attributes::messages(&bytes).next().expect("one").expect("its length is right");
            let _ = trace::decode(&message);
            let _ = conntrack::decode(&message);
        }
    }

    #[test]
    fn a_built_packet_reads_back(
        v6: bool, sport: u16, dport: u16, flags: u8, seq: u32, number in 1_u16.., ttl: u8, dscp in 0_u8..64,
        payload in proptest::collection::vec(any::<u8>(), 0..300), options in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let (src, dst) = if v6 { ("fd00::1", "fd00::2") } else { ("10.0.0.1", "10.0.0.2") };
        let options = Bytes::new(options).expect("fits");
        let transport =
            Transport::Tcp { src_port: sport, dst_port: dport, flags, seq: Some(seq), ack: None, window: None, options };
        let mut spec = spec(src, dst, transport, payload);
        spec.ttl = Some(ttl);
        spec.dscp = dscp;
        let nonce = Nonce::new(number).expect("not 0");
        let packet = build::ip_packets(&spec, nonce).expect("builds").remove(0);
        prop_assert!(sums_hold(&packet));
        let read = read::packet(&packet).expect("reads");
        prop_assert_eq!((read.src, read.dst, read.nonce, read.ttl), (spec.src, spec.dst, Some(nonce), ttl));
        prop_assert_eq!(read.transport, read::Transport::Tcp { sport, dport, seq, rest: Some((0, flags)) });
    }
}
