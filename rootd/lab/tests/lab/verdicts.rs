//! Verdicts whose truth a person can read off the ruleset; `truth` asks other people's tools.

use netengine_lab_proto::{
    Bytes, CaseResult, CtState, Fragmentation, HopKind, PacketOutcome, PacketSpec, Reply, Topology, Transport, Verdict,
};

use crate::case::{case, from, judged, simple, spec, tcp, udp, worker};

const C4: &str = "10.0.0.1";
const F4: &str = "10.0.0.2";
const C6: &str = "fd00::1";
const F6: &str = "fd00::2";

fn verdicts(outcomes: &[PacketOutcome]) -> Vec<Verdict> {
    outcomes.iter().map(|outcome| outcome.verdict).collect()
}

const INPUT: &str = "table inet t { chain i { type filter hook input priority 0; policy accept;
 tcp dport 22 accept
 tcp dport 23 drop
 tcp dport 24 reject with tcp reset
 udp dport 25 reject
 tcp dport 26 counter } }";

#[test]
fn accept_drop_and_reject_are_told_with_their_rules() {
    let mut worker = worker();
    for (src, dst) in [(C4, F4), (C6, F6)] {
        let packets =
            vec![tcp(src, dst, 22), tcp(src, dst, 23), tcp(src, dst, 24), udp(src, dst, 25), tcp(src, dst, 26)];
        let answer = judged(
            &mut worker,
            &case(Topology::simple(), INPUT, packets.into_iter().map(|p| from("client", p)).collect()),
        );
        use Verdict::{Accept, Drop, Reject};
        assert_eq!(verdicts(&answer.packets), [Accept, Drop, Reject, Reject, Accept], "{answer:#?}");
        let line = |n: usize| {
            let deciding = answer.packets[n].deciding.as_ref()?;
            answer.rules.iter().find(|info| info.rule == *deciding)?.line
        };
        assert_eq!([line(0), line(1), line(2), line(3), line(4)], [Some(2), Some(3), Some(4), Some(5), None]);
        assert_eq!(answer.packets[0].reply, Some(Reply::SynAck));
        assert_eq!(answer.packets[2].reply, Some(Reply::Reset));
        assert!(matches!(answer.packets[3].reply, Some(Reply::IcmpError { .. })));
        assert_eq!(answer.packets[1].reply, None);
        let delivered = answer.packets[0].delivered.as_ref().expect("delivered");
        assert_eq!((delivered.node.as_str(), delivered.dport), ("fw", Some(22)));
    }
}

/// An answer with an identification of the kernel's choice is now and then taken for the packet that has it for its nonce.
#[test]
fn an_echo_carries_no_nonce() {
    const OUTPUT: &str = "table inet t { chain o { type filter hook output priority 0; policy accept;
 udp sport 53 ip id 0 accept
 udp sport 53 ip6 flowlabel 0 accept
 udp sport 53 drop } }";
    for (src, dst) in [(C4, F4), (C6, F6)] {
        for length in [0, 1400] {
            let packet = PacketSpec { payload: Bytes::new(vec![7; length]).expect("fits"), ..udp(src, dst, 53) };
            let outcomes = simple(&mut worker(), OUTPUT, vec![packet]);
            assert_eq!(outcomes[0].reply, Some(Reply::Udp), "{outcomes:#?}");
        }
        // What is longer than the link comes back too, in fragments.
        let long = Bytes::new(vec![7; 3000]).expect("fits");
        let fragmentation = Some(Fragmentation::Split { size: 1400 });
        let packet = PacketSpec { payload: long, fragmentation, ..udp(src, dst, 53) };
        let outcomes = simple(&mut worker(), "table inet t { }", vec![packet]);
        assert_eq!(outcomes[0].reply, Some(Reply::Udp), "{outcomes:#?}");
    }
}

#[test]
fn a_policy_drops_without_any_rule() {
    let outcomes = simple(
        &mut worker(),
        "table ip t { chain i { type filter hook input priority 0; policy drop; } }",
        vec![tcp(C4, F4, 80), tcp(C6, F6, 80)],
    );
    assert_eq!(verdicts(&outcomes), [Verdict::Drop, Verdict::Accept], "a table of family ip leaves IPv6 open");
    let hop = outcomes[0].path.last().expect("a hop");
    assert_eq!((hop.kind, hop.chain.as_str()), (HopKind::Policy, "i"));
}

#[test]
fn a_drop_at_raw_priority_is_a_drop() {
    let text = "table ip r { chain p { type filter hook prerouting priority raw; tcp dport 80 drop; } }
table ip f { chain i { type filter hook input priority 0; tcp dport 80 accept; } }";
    let outcomes = simple(&mut worker(), text, vec![tcp(C4, F4, 80), tcp(C4, F4, 81)]);
    assert_eq!(verdicts(&outcomes), [Verdict::Drop, Verdict::Accept]);
    assert_eq!(outcomes[0].deciding.as_ref().map(|rule| rule.table.as_str()), Some("r"));
}

#[test]
fn a_ruleset_without_base_chains_delivers() {
    for text in ["", "table ip t { chain c { drop; } }", "flush ruleset\n"] {
        let outcomes = simple(&mut worker(), text, vec![tcp(C4, F4, 80), tcp(C4, F4, 81)]);
        assert_eq!(verdicts(&outcomes), [Verdict::Accept, Verdict::Accept]);
    }
}

#[test]
fn one_line_rules_of_newer_nft_load() {
    let text = "table ip filter { chain input { type filter hook input priority 0; tcp dport 22 accept; drop; } }";
    let outcomes = simple(&mut worker(), text, vec![tcp(C4, F4, 22), tcp(C4, F4, 23)]);
    assert_eq!(verdicts(&outcomes), [Verdict::Accept, Verdict::Drop]);
}

#[test]
fn errors_have_the_place_in_the_users_text() {
    let text = "table ip t { chain a { accept } chain b {\n  tcp dport 22 bogus\n} }";
    let CaseResult::LoadFailed(errors) = worker().run(&case(Topology::simple(), text, vec![])).expect("answers") else {
        panic!("it must not load")
    };
    assert_eq!((errors[0].line, errors[0].message.contains("syntax error")), (Some(2), true), "{errors:?}");
    // The column of the first line survives the separators that were put in before it.
    let text = "table ip t { chain a { accept } chain b { tcp dport 22 bogus } }";
    let CaseResult::LoadFailed(errors) = worker().run(&case(Topology::simple(), text, vec![])).expect("answers") else {
        panic!("it must not load")
    };
    let column = text.find("bogus").map(|at| at as u32 + 1);
    let end = text.find("bogus").map(|at| at as u32 + 7);
    assert!(errors[0].column >= column && errors[0].column <= end, "{errors:?}");
}

#[test]
fn files_are_out_of_reach() {
    let mut worker = worker();
    for text in ["include \"/etc/shadow\"", "table ip t {\n include \"/proc/self/environ\"\n}"] {
        let CaseResult::LoadFailed(errors) = worker.run(&case(Topology::simple(), text, vec![])).expect("answers")
        else {
            panic!("it must not load")
        };
        assert!(errors[0].message.contains("include is refused"), "{errors:?}");
    }
}

#[test]
fn twenty_identical_packets_have_twenty_verdicts() {
    let text =
        "table ip t { chain i { type filter hook input priority 0; limit rate 1/hour burst 5 packets accept; drop; } }";
    let outcomes = simple(&mut worker(), text, vec![udp(C4, F4, 53); 20]);
    let mut expected = vec![Verdict::Accept; 5];
    expected.extend([Verdict::Drop; 15]);
    assert_eq!(verdicts(&outcomes), expected);
}

#[test]
fn a_hundred_and_twenty_packets_fit_a_case() {
    let text = "table inet t { chain i { type filter hook input priority 0; tcp dport < 1060 drop; } }";
    let outcomes = simple(&mut worker(), text, (1000..1120).map(|port| tcp(C4, F4, port)).collect());
    let expected: Vec<_> = (1000..1120).map(|port| if port < 1060 { Verdict::Drop } else { Verdict::Accept }).collect();
    assert_eq!(verdicts(&outcomes), expected);
}

#[test]
fn the_gateway_forwards_translates_and_drops() {
    let text =
        "table ip n { chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 10.0.2.2:80; }
 chain post { type nat hook postrouting priority srcnat; oifname \"eth1\" masquerade; } }
table inet f { chain f { type filter hook forward priority 0; policy drop; ct state established,related accept
 tcp dport 80 ct state new accept } }";
    let packets = vec![
        from("client", tcp("10.0.1.1", "10.0.1.2", 8080)),
        from("client", tcp("10.0.1.1", "10.0.2.2", 81)),
        from("client", tcp("fd00:1::1", "fd00:2::2", 80)),
    ];
    let answer = judged(&mut worker(), &case(Topology::gateway(), text, packets));
    assert_eq!(verdicts(&answer.packets), [Verdict::Accept, Verdict::Drop, Verdict::Accept], "{answer:#?}");
    let delivered = answer.packets[0].delivered.as_ref().expect("delivered");
    assert_eq!(delivered.node.as_str(), "server");
    assert_eq!(delivered.src, Some("10.0.2.1".parse().expect("address")));
    assert_eq!((delivered.dst, delivered.dport), (Some("10.0.2.2".parse().expect("address")), Some(80)));
    assert_eq!(answer.packets[0].ct_state, Some(CtState::New));
    assert_eq!(answer.packets[1].deciding.as_ref().map(|rule| (rule.chain.as_str(), rule.handle)), Some(("f", None)));
}

#[test]
fn the_tested_node_itself_gets_an_error() {
    let text = "table inet t { chain o { type filter hook output priority 0; tcp dport 80 drop
 udp dport 53 reject
 } }";
    let packets = vec![
        from("fw", tcp(F4, C4, 80)),
        from("fw", tcp(F4, C4, 81)),
        from("fw", udp(F4, C4, 53)),
        from("fw", tcp(F6, C6, 80)),
        from("fw", tcp(F6, C6, 81)),
    ];
    let answer = judged(&mut worker(), &case(Topology::simple(), text, packets));
    use Verdict::{Accept, Drop, Reject};
    assert_eq!(verdicts(&answer.packets), [Drop, Accept, Reject, Drop, Accept], "{answer:#?}");
    assert_eq!(answer.packets[0].errno, Some(1), "EPERM");
    assert_eq!(answer.packets[1].errno, None);
    assert_eq!(answer.packets[1].delivered.as_ref().map(|d| d.node.as_str()), Some("client"));
}

#[test]
fn a_fragment_alone_is_held_and_a_whole_one_arrives() {
    use netengine_lab_proto::{Bytes, Fragmentation};
    let text = "table inet t { chain i { type filter hook input priority 0; udp dport 53 accept; drop; } \
                chain c { type filter hook prerouting priority -200; ct state new accept; } }";
    for (src, dst) in [(C4, F4), (C6, F6)] {
        let mut one = udp(src, dst, 53);
        one.payload = Bytes::new(vec![7; 64]).expect("fits");
        let mut split = one.clone();
        one.fragmentation = Some(Fragmentation::One { offset: 0, more: true, identification: None });
        split.fragmentation = Some(Fragmentation::Split { size: 40 });
        let outcomes = simple(&mut worker(), text, vec![one, split]);
        assert_eq!(verdicts(&outcomes), [Verdict::Held, Verdict::Accept], "{outcomes:#?}");
    }
}

#[test]
fn what_no_rule_stopped_but_did_not_arrive_is_lost() {
    let mut packet = tcp("10.0.1.1", "10.0.2.2", 80);
    packet.ttl = Some(1);
    let answer = judged(&mut worker(), &case(Topology::gateway(), "", vec![from("client", packet)]));
    assert_eq!(answer.packets[0].verdict, Verdict::Lost);
    assert_eq!(answer.packets[0].reply, Some(Reply::IcmpError { kind: 11, code: 0 }), "time exceeded");
}

#[test]
fn an_echo_request_is_answered_by_the_kernel() {
    let echo = |src, dst, kind| spec(src, dst, Transport::Icmp { kind, code: 0, rest: None });
    let outcomes = simple(&mut worker(), "", vec![echo(C4, F4, 8), echo(C6, F6, 128)]);
    assert_eq!(verdicts(&outcomes), [Verdict::Accept, Verdict::Accept]);
    assert_eq!([outcomes[0].reply, outcomes[1].reply], [Some(Reply::EchoReply); 2]);
}

#[test]
fn the_same_case_a_hundred_times_ends_the_same() {
    let mut worker = worker();
    let run =
        |worker: &mut _| verdicts(&simple(worker, INPUT, vec![tcp(C4, F4, 22), tcp(C4, F4, 23), udp(C6, F6, 25)]));
    let first = run(&mut worker);
    for _ in 0..100 {
        assert_eq!(run(&mut worker), first);
    }
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let text = "table inet t { chain i { type filter hook input priority 0; ct state new counter; } }";
    // The far address of the gateway, from the near side: a plain socket would answer from the near one.
    let packets =
        vec![from("client", udp("10.0.1.1", "10.0.2.1", 53)), from("client", udp("fd00:1::1", "fd00:2::1", 53))];
    let answer = judged(&mut worker(), &case(Topology::gateway(), text, packets));
    assert_eq!(verdicts(&answer.packets), [Verdict::Accept, Verdict::Accept]);
    assert_eq!([answer.packets[0].reply, answer.packets[1].reply], [Some(Reply::Udp); 2]);
}

#[test]
fn every_packet_of_a_connection_is_told_with_it_however_many_there_are() {
    let mut worker = worker();
    let rules = "table inet t { chain i { type filter hook input priority 0; ct state new,established accept; } }";
    // More than are sent before what was seen of them is read.
    let outcomes = simple(&mut worker, rules, vec![udp("10.0.0.1", "10.0.0.2", 53); 70]);
    let original = |number: usize| outcomes[number].connection.as_ref().map(|known| known.original.dport);
    let missing: Vec<usize> = (0..70).filter(|number| original(*number) != Some(Some(53))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
