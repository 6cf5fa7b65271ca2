//! The firewall lab's verdict engine, fed what a kernel might say: it never panics, says the same twice, and says nothing of what it missed.
//!
//! An input is a list of observations: kind, node, length (2 bytes, big endian), content. Kinds: 0 trace messages, 1 a frame, 2 a packet of the
//! stack, 3 conntrack messages; what is above 3 is the number of messages that were lost.

use netengine_lab::{
    text::{Listing, Outline, counters, prepare},
    verdict::{Facts, NodeFacts, Seen, Sent, Window, judge},
};
use netengine_lab_proto::{LinkName, NodeName, PacketSpec, Transport, Verdict};
use netengine_packet::{attributes::messages, build::ip_packets, conntrack, nonce::Nonce, read, trace};

const TRACER: &str = "netengine_trace";
const LISTING: &str = "table ip t { # handle 1
	chain i { # handle 1
		type filter hook input priority filter; policy drop;
		tcp dport 1 counter packets 0 bytes 0 accept # handle 2
		tcp dport 2 drop # handle 3
		tcp dport 3 reject with tcp reset # handle 4
	}
}
";

/// One input.
pub fn target(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        if let Ok(prepared) = prepare(text, TRACER) {
            let _ = prepared.original(u32::MAX, u32::MAX);
            let _ = Outline::of(text, &prepared);
        }
        let _ = Listing::read(text, TRACER);
    }
    let node = |name: &str, text: &str| NodeFacts {
        name: NodeName::parse(name).expect("a name"),
        listing: Listing::read(text, TRACER),
        outline: None,
        traced: true,
    };
    let mut facts = Facts::new(vec![node("client", ""), node("fw", LISTING)], 1, TRACER);
    facts.tells_states = true;
    let mut nonce = Nonce::FIRST;
    let mut window = Window { settled: true, ..Window::default() };
    for port in [1, 2, 3] {
        let spec = PacketSpec::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), Transport::tcp(4_000, port, 2));
        let network = ip_packets(&spec, nonce).expect("builds").remove(0);
        let packet = read::packet(&network);
        window.sent.push(Sent { node: 0, local: false, packet, network, fragment: false, errno: None });
        nonce = nonce.next();
    }
    let mut rest = input;
    while let [kind, node, high, low, more @ ..] = rest {
        let content = &more[..more.len().min(usize::from(u16::from_be_bytes([*high, *low])))];
        observe(&mut window, *kind, usize::from(*node), content);
        rest = &more[content.len()..];
    }
    let outcomes = judge(&window, &facts);
    assert_eq!(outcomes, judge(&window, &facts), "the same was judged in two ways");
    assert_eq!(outcomes.len(), window.sent.len());
    for outcome in &outcomes {
        assert!(window.lost == 0 || outcome.verdict == Verdict::Inconclusive, "a verdict though messages were lost");
        assert!(
            outcome.verdict != Verdict::Accept || outcome.delivered.is_some(),
            "accepted, and yet it did not arrive"
        );
        let _ = counters::of(LISTING, outcome, &facts);
    }
}

fn observe(window: &mut Window, kind: u8, node: usize, content: &[u8]) {
    match kind {
        0 => {
            for message in messages(content) {
                match message.and_then(|message| trace::decode(&message)) {
                    Ok(trace::Report::Trace(trace)) => window.seen.push(Seen::Trace(node, trace)),
                    Ok(trace::Report::Unknown(_)) | Err(_) => window.lost += 1,
                }
            }
        }
        1 => {
            if let Some(frame) = read::frame(content) {
                window.seen.push(Seen::Frame {
                    node,
                    interface: LinkName::parse("eth0").expect("a name"),
                    packet: read::frame_packet(content),
                    network: frame.body[..frame.body.len().min(64)].to_vec(),
                    ethertype: frame.ethertype,
                });
            }
        }
        2 => window.seen.extend(read::packet(content).map(|packet| Seen::Local(node, packet))),
        3 => {
            for message in messages(content).flatten() {
                if let Ok(conntrack::Report::Event(event)) = conntrack::decode(&message) {
                    window.seen.push(Seen::Connection(node, event));
                }
            }
        }
        more => window.lost += u64::from(more),
    }
}
