//! A sandbox that served other cases judges like one that served none.

use netengine_lab_proto::{CaseAnswer, CaseRequest, InjectedPacket, PacketOutcome, PacketSpec, Topology, Transport};
use netengine_proto::bounded::Bounded;
use proptest::{
    prelude::{Strategy, any},
    strategy::ValueTree,
    test_runner::TestRunner,
};

use crate::case::{case, from, judged, spec, tcp, udp, worker};

const STATEFUL: [&str; 10] = [
    "",
    "table inet t { chain i { type filter hook input priority 0; policy drop; ct state established accept; tcp dport 80 ct state new accept; } }",
    "table ip t { chain i { type filter hook input priority 0; limit rate 1/hour burst 2 packets accept; drop; } }",
    "table inet t { set s { type ipv4_addr; flags dynamic; } chain i { type filter hook input priority 0; ip saddr @s drop; add @s { ip saddr }; } }",
    "table ip t { chain p { type nat hook prerouting priority dstnat; tcp dport 8080 redirect to :80; } chain i { type filter hook input priority 0; \
     ct status dnat counter accept; tcp dport 80 reject with tcp reset; } }",
    "table inet t { chain i { type filter hook input priority 0; quota over 90 bytes drop; } }",
    "table inet t { chain i { type filter hook input priority 0; ct count over 1 reject; } }",
    "table inet t { chain i { type filter hook input priority 0; meta nfproto ipv6 reject with icmpv6 admin-prohibited; udp dport 53 reject; } }",
    "flush ruleset\ntable netdev n { chain i { type filter hook ingress device eth0 priority 0; udp dport 53 drop; } }",
    "table ip t { chain o { type filter hook output priority 0; tcp flags syn,ack drop; icmp type echo-reply drop; } }",
];

const ROUTED: [&str; 4] = [
    "table ip n { chain p { type nat hook postrouting priority srcnat; oifname eth1 masquerade; } }",
    "table inet f { chain f { type filter hook forward priority 0; policy drop; ct state established,related accept; tcp dport 80 accept; } }",
    "table inet f { chain f { type filter hook forward priority 0; ct state new limit rate over 1/hour burst 1 packets drop; } }",
    "table inet f { chain f { type filter hook forward priority 0; udp dport 53 reject; ip ttl < 10 drop; } }",
];

fn echo(src: &str, dst: &str) -> PacketSpec {
    let kind = if src.contains(':') { 128 } else { 8 };
    spec(src, dst, Transport::Icmp { kind, code: 0, rest: None })
}

/// A ruleset and one to five packets of one source, in either topology.
fn cases() -> impl Strategy<Value = CaseRequest> {
    let packets = proptest::collection::vec((0..7_usize, any::<bool>()), 1..6);
    (0..STATEFUL.len() + ROUTED.len(), packets).prop_map(|(text, kinds)| {
        let routed = text.checked_sub(STATEFUL.len()).map(|at| ROUTED[at]);
        let packet = |(kind, v6): (usize, bool)| -> InjectedPacket {
            let (src, dst) = match (routed.is_some(), v6) {
                (false, false) => ("10.0.0.1", "10.0.0.2"),
                (false, true) => ("fd00::1", "fd00::2"),
                (true, false) => ("10.0.1.1", "10.0.2.2"),
                (true, true) => ("fd00:1::1", "fd00:2::2"),
            };
            from(
                "client",
                match kind {
                    0 | 1 => tcp(src, dst, 80),
                    2 => tcp(src, dst, 8080),
                    3 => udp(src, dst, 53),
                    4 => udp(src, dst, 54),
                    _ => echo(src, dst),
                },
            )
        };
        let topology = if routed.is_some() { Topology::gateway() } else { Topology::simple() };
        case(topology, routed.unwrap_or(STATEFUL[text % STATEFUL.len()]), kinds.into_iter().map(packet).collect())
    })
}

/// What does not differ from run to run.
fn told(mut answer: CaseAnswer) -> CaseAnswer {
    (answer.setup_micros, answer.run_micros, answer.reused) = (0, 0, false);
    let packets = answer.packets.into_inner().into_iter().map(|packet| PacketOutcome { millis: 0, ..packet });
    answer.packets = Bounded::new(packets.collect()).expect("as many");
    answer
}

#[test]
fn used_sandboxes_judge_like_new_ones() {
    let (mut one, mut other) = (worker(), worker());
    let mut runner = TestRunner::deterministic();
    let mut reused = 0;
    for number in 0..300 {
        let mut request = cases().new_tree(&mut runner).expect("a case").current();
        let used = judged(&mut one, &request);
        reused += usize::from(used.reused);
        request.limits.fresh = true;
        let new = judged(&mut other, &request);
        assert!(!new.reused);
        assert_eq!(told(used), told(new), "case {number}: {request:#?}");
    }
    assert!(reused > 150, "only {reused} of 300 cases ran in a used sandbox");
}

#[test]
fn a_case_that_may_leave_something_is_the_last_in_its_sandbox() {
    let mut worker = worker();
    let plain = || case(Topology::simple(), "", vec![from("client", udp("10.0.0.1", "10.0.0.2", 53))]);
    assert!(!judged(&mut worker, &plain()).reused);
    assert!(judged(&mut worker, &plain()).reused);
    let mut fragment = udp("10.0.0.1", "10.0.0.2", 53);
    fragment.fragmentation =
        Some(netengine_lab_proto::Fragmentation::One { offset: 0, more: true, identification: Some(7) });
    let mut closing = tcp("10.0.0.1", "10.0.0.2", 80);
    if let Transport::Tcp { flags, .. } = &mut closing.transport {
        *flags = 16;
    }
    let lasting = [
        case(Topology::simple(), "", vec![from("client", fragment)]),
        case(Topology::simple(), "", vec![from("client", tcp("10.0.0.1", "10.0.0.2", 80)), from("client", closing)]),
        case(Topology::simple(), "", vec![from("fw", udp("10.0.0.2", "10.0.0.1", 53))]),
        case(Topology::simple(), "table t { chain c { udp dport 1 dup to 10.0.0.1; } }", vec![]),
    ];
    for request in lasting {
        worker.run(&request).expect("answers");
        assert!(!judged(&mut worker, &plain()).reused, "{request:#?}");
        assert!(judged(&mut worker, &plain()).reused);
    }
}

#[test]
fn variables_of_one_text_are_unknown_to_the_next() {
    let mut worker = worker();
    let defines =
        "define port = 80\ntable ip t { chain i { type filter hook input priority 0; tcp dport $port drop; } }";
    let uses = "table ip t { chain i { type filter hook input priority 0; tcp dport $port drop; } }";
    let request = |text| case(Topology::simple(), text, vec![from("client", tcp("10.0.0.1", "10.0.0.2", 80))]);
    for _ in 0..3 {
        judged(&mut worker, &request(defines));
        assert!(matches!(worker.run(&request(uses)), Ok(netengine_lab_proto::CaseResult::LoadFailed(_))));
    }
}
