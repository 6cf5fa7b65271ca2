use std::net::IpAddr;

use netengine_lab_proto::{Delivery, Verdict};

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn segment(flags: u8, payload: &[u8]) -> PacketSpec {
    let payload = Bytes::new(payload.to_vec()).expect("fits");
    PacketSpec {
        payload,
        ..PacketSpec::new(address("10.0.1.1"), address("10.0.1.2"), Transport::tcp(4000, 8080, flags))
    }
}

/// It arrived at the server, translated.
fn arrived() -> PacketOutcome {
    let node = NodeName::parse("server").expect("a name");
    let (src, dst) = (Some(address("10.0.2.1")), Some(address("10.0.2.2")));
    let delivered = Some(Delivery { node, interface: None, src, dst, sport: Some(5000), dport: Some(80) });
    PacketOutcome { delivered, ..PacketOutcome::new(Verdict::Accept, None) }
}

fn numbers(spec: &PacketSpec) -> (u32, Option<u32>) {
    match spec.transport {
        Transport::Tcp { seq, ack, .. } => (seq.expect("filled"), ack),
        _ => panic!("no TCP"),
    }
}

#[test]
fn both_ends_count_on_and_the_other_has_the_translated_addresses() {
    let mut flows = Flows::default();
    let window = Window::default();
    let syn = flows.fill(7, 0, &segment(SYN, b""));
    let (first, none) = numbers(&syn);
    assert_eq!(none, None, "a SYN acknowledges nothing");
    flows.learn(7, 0, &arrived(), &window);
    let answer = flows.fill(7, 2, &segment(SYN | ACK, b""));
    assert_eq!((answer.src, answer.dst), (address("10.0.2.2"), address("10.0.2.1")));
    assert!(matches!(answer.transport, Transport::Tcp { src_port: 80, dst_port: 5000, .. }), "{answer:?}");
    let (theirs, ack) = numbers(&answer);
    assert_eq!(ack, Some(first + 1));
    flows.learn(7, 2, &arrived(), &window);
    assert!(flows.is_answered(7));
    let data = flows.fill(7, 0, &segment(ACK, b"hello"));
    assert_eq!((data.dst, numbers(&data)), (address("10.0.1.2"), (first + 1, Some(theirs + 1))));
    flows.learn(7, 0, &arrived(), &window);
    assert_eq!(numbers(&flows.fill(7, 2, &segment(ACK, b""))), (theirs + 1, Some(first + 6)));
    assert_eq!(numbers(&flows.fill(8, 0, &segment(SYN, b""))).0, first, "another flow begins anew");
}

#[test]
fn an_error_quotes_what_the_other_end_got() {
    let mut flows = Flows::default();
    let udp =
        PacketSpec::new(address("10.0.1.1"), address("10.0.1.2"), Transport::Udp { src_port: 4000, dst_port: 53 });
    flows.fill(1, 0, &udp);
    flows.learn(1, 0, &arrived(), &Window::default());
    let error = PacketSpec { transport: Transport::Icmp { kind: 3, code: 1, rest: None }, ..udp };
    let error = flows.fill(1, 2, &error);
    let quoted = read::packet(&error.payload).expect("a packet");
    assert_eq!((quoted.src, quoted.dst), (address("10.0.2.1"), address("10.0.2.2")));
    assert_eq!(error.payload.len(), 28);
    let ports = [&error.payload[20..22], &error.payload[22..24]].map(|p| u16::from_be_bytes([p[0], p[1]]));
    assert_eq!(ports, [5000, 80]);
}

#[test]
fn a_segment_takes_as_many_numbers_as_it_has_bytes() {
    for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let mut spec = PacketSpec::new(address(src), address(dst), Transport::tcp(1, 2, ACK | FIN));
        spec.payload = Bytes::new(vec![0; 9]).expect("fits");
        let bytes = ip_packets(&spec, Nonce::FIRST).expect("builds").remove(0);
        let packet = read::packet(&bytes).expect("reads");
        assert_eq!(span(&bytes, &packet), 10);
        for cut in 0..bytes.len() {
            span(&bytes[..cut], &packet);
        }
    }
}
