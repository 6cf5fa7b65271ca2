//! Every kind of evidence, and every way it can lie.

use netengine_lab_proto::{CtState, Family, Hook, HopVerdict, LinkName, NodeName, Reply, Verdict};
use netengine_packet::{
    nonce::Nonce,
    read::{Packet, Transport},
    trace::{Trace, TraceKind},
};
use proptest::prelude::*;

use super::*;

const TRACER: &str = "tracer";

fn listing() -> Listing {
    let text = "table ip t { # handle 1
	chain i { # handle 1
		type filter hook input priority filter; policy drop;
		tcp dport 1 accept # handle 2
		tcp dport 2 drop # handle 3
		tcp dport 3 reject with tcp reset # handle 4
		ip daddr 10.0.0.9 dup to 10.0.0.8 # handle 5
	}
}
";
    Listing::read(text, TRACER)
}

fn facts() -> Facts {
    let node = |name: &str, listing| {
        let name = NodeName::parse(name).expect("name");
        NodeFacts { name, listing, outline: None, traced: true }
    };
    Facts::new(vec![node("client", Listing::default()), node("fw", listing())], 1, TRACER)
}

fn packet(nonce: u16, sport: u16, dport: u16) -> Packet {
    Packet {
        src: "10.0.0.1".parse().expect("address"),
        dst: "10.0.0.2".parse().expect("address"),
        nonce: Nonce::new(nonce),
        protocol: 6,
        ttl: 64,
        fragment: None,
        transport: Transport::Tcp { sport, dport, seq: 7, rest: Some((0, 2)) },
    }
}

fn sent(packet: Packet) -> Sent {
    Sent { node: 0, local: false, network: header(&packet), packet: Some(packet), fragment: false, errno: None }
}

/// 20 bytes of IPv4 header, as a trace message has them.
fn header(packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 40];
    bytes.extend(packet.nonce.map_or(0, Nonce::number).to_be_bytes());
    bytes.extend([0, 0, 64, 6, 0, 0]);
    for address in [packet.src, packet.dst] {
        if let IpAddr::V4(v4) = address {
            bytes.extend(v4.octets());
        }
    }
    bytes
}

fn transport(packet: &Packet) -> Vec<u8> {
    let Transport::Tcp { sport, dport, seq, rest } = packet.transport else { return Vec::new() };
    let mut bytes = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    bytes.extend(seq.to_be_bytes());
    bytes.extend(rest.map_or(0, |r| r.0).to_be_bytes());
    bytes.extend([0x50, rest.map_or(0, |r| r.1), 0, 0, 0, 0, 0, 0]);
    bytes
}

fn trace(id: u32, headers: Option<&Packet>, kind: TraceKind, rule: Option<u64>, verdict: HopVerdict) -> Seen {
    let policy = kind == TraceKind::Policy;
    Seen::Trace(
        1,
        Box::new(Trace {
            id,
            kind,
            family: Some(Family::Ip),
            table: "t".into(),
            chain: "i".into(),
            rule,
            verdict: (!policy).then(|| verdict.clone()),
            policy: policy.then_some(verdict),
            link_header: vec![],
            network_header: headers.map(header).unwrap_or_default(),
            transport_header: headers.map(transport).unwrap_or_default(),
            iif: Some(2),
            oif: None,
            mark: None,
            nfproto: None,
            ct_id: None,
            ct_direction: None,
            ct_state: Some(CtState::New),
            ct_status: None,
        }),
    )
}

fn rule(id: u32, packet: &Packet, handle: u64, verdict: HopVerdict) -> Seen {
    trace(id, Some(packet), TraceKind::Rule, Some(handle), verdict)
}

fn window(sent: Vec<Sent>, seen: Vec<Seen>) -> Window {
    Window { sent, seen, lost: 0, settled: true }
}

fn verdicts(window: &Window) -> Vec<Verdict> {
    judge(window, &facts()).into_iter().map(|outcome| outcome.verdict).collect()
}

fn reset_for(packet: &Packet) -> Seen {
    let Transport::Tcp { sport, dport, .. } = packet.transport else { panic!("TCP") };
    let reset = Packet {
        src: packet.dst,
        dst: packet.src,
        nonce: None,
        transport: Transport::Tcp { sport: dport, dport: sport, seq: 0, rest: Some((8, 0x14)) },
        ..packet.clone()
    };
    let interface = LinkName::parse("eth0").expect("name");
    Seen::Frame { node: 0, interface, network: header(&reset), packet: Some(reset), ethertype: 0x0800 }
}

#[test]
fn trace_and_delivery_together_accept() {
    let p = packet(1, 40_000, 1);
    let both = window(vec![sent(p.clone())], vec![rule(9, &p, 2, HopVerdict::Accept), Seen::Local(1, p.clone())]);
    let outcome = judge(&both, &facts()).remove(0);
    assert_eq!((outcome.verdict, outcome.ct_state, outcome.untraced), (Verdict::Accept, Some(CtState::New), false));
    assert_eq!(outcome.deciding.and_then(|rule| rule.handle), Some(2));
    assert_eq!(outcome.path[0].hook, Some(Hook::Input));
    let trace_alone = window(vec![sent(p.clone())], vec![rule(9, &p, 2, HopVerdict::Accept)]);
    assert_eq!(verdicts(&trace_alone), [Verdict::Lost], "accepted by rules, and yet it did not arrive");
    let delivery_alone = window(vec![sent(p.clone())], vec![Seen::Local(1, p)]);
    assert!(judge(&delivery_alone, &facts()).remove(0).untraced);
}

#[test]
fn a_drop_that_arrived_is_no_verdict() {
    let p = packet(1, 40_000, 2);
    let drop = rule(9, &p, 3, HopVerdict::Drop);
    assert_eq!(verdicts(&window(vec![sent(p.clone())], vec![drop.clone()])), [Verdict::Drop]);
    let disagree = window(vec![sent(p.clone())], vec![drop, Seen::Local(1, p)]);
    assert_eq!(verdicts(&disagree), [Verdict::Inconclusive]);
}

#[test]
fn a_policy_drops_with_no_rule() {
    let p = packet(1, 40_000, 9);
    let seen = vec![trace(9, Some(&p), TraceKind::Policy, None, HopVerdict::Drop)];
    let outcome = judge(&window(vec![sent(p)], seen), &facts()).remove(0);
    assert_eq!((outcome.verdict, outcome.deciding.and_then(|rule| rule.handle)), (Verdict::Drop, None));
}

#[test]
fn whatever_was_missed_makes_no_verdict() {
    let p = packet(1, 40_000, 2);
    let good = window(vec![sent(p.clone())], vec![rule(9, &p, 3, HopVerdict::Drop)]);
    assert_eq!(verdicts(&good), [Verdict::Drop]);
    assert_eq!(verdicts(&Window { lost: 1, ..good.clone() }), [Verdict::Inconclusive]);
    assert_eq!(verdicts(&Window { settled: false, ..good.clone() }), [Verdict::Inconclusive]);
    let mut orphan = good.clone();
    orphan.seen.push(trace(10, None, TraceKind::Rule, Some(3), HopVerdict::Drop));
    assert_eq!(verdicts(&orphan), [Verdict::Inconclusive]);
    let mut odd = good.clone();
    odd.seen = vec![trace(9, Some(&p), TraceKind::Unknown(9), None, HopVerdict::Drop)];
    assert_eq!(verdicts(&odd), [Verdict::Inconclusive]);
    odd.seen = vec![rule(9, &p, 3, HopVerdict::Unknown(77))];
    assert_eq!(verdicts(&odd), [Verdict::Inconclusive]);
}

#[test]
fn reject_needs_the_rule_and_the_answer() {
    let p = packet(1, 40_000, 3);
    let drop = rule(9, &p, 4, HopVerdict::Drop);
    let outcome = judge(&window(vec![sent(p.clone())], vec![drop.clone(), reset_for(&p)]), &facts()).remove(0);
    assert_eq!((outcome.verdict, outcome.reply), (Verdict::Reject, Some(Reply::Reset)));
    assert_eq!(verdicts(&window(vec![sent(p.clone())], vec![drop])), [Verdict::Drop], "nobody was answered");
    // A closed port's reset is an answer, not a refusal by a rule.
    let open = packet(1, 40_000, 1);
    let seen = vec![rule(9, &open, 2, HopVerdict::Accept), Seen::Local(1, open.clone()), reset_for(&open)];
    assert_eq!(verdicts(&window(vec![sent(open)], seen)), [Verdict::Accept]);
}

#[test]
fn of_one_flow_the_refused_packet_gets_the_reset() {
    let (a, b) = (packet(1, 40_000, 3), packet(2, 40_000, 3));
    let seen = vec![
        rule(9, &a, 2, HopVerdict::Accept),
        Seen::Local(1, a.clone()),
        rule(9, &b, 4, HopVerdict::Drop),
        reset_for(&b),
    ];
    let outcomes = judge(&window(vec![sent(a), sent(b)], seen), &facts());
    assert_eq!([outcomes[0].reply, outcomes[1].reply], [None, Some(Reply::Reset)]);
    assert_eq!([outcomes[0].verdict, outcomes[1].verdict], [Verdict::Accept, Verdict::Reject]);
}

#[test]
fn an_answer_is_nobodys_packet() {
    let p = packet(1, 40_000, 1);
    let Seen::Frame { packet: Some(reset), .. } = reset_for(&p) else { panic!("a frame") };
    // The answer itself passes the rules, with the very identifier of the packet.
    let seen =
        vec![rule(9, &p, 2, HopVerdict::Accept), Seen::Local(1, p.clone()), rule(9, &reset, 3, HopVerdict::Drop)];
    let outcome = judge(&window(vec![sent(p)], seen), &facts()).remove(0);
    assert_eq!((outcome.verdict, outcome.path.len()), (Verdict::Accept, 1));
}

#[test]
fn translation_changes_neither_nonce_nor_owner() {
    let p = packet(5, 40_000, 1);
    let mut translated = p.clone();
    translated.dst = "10.0.2.2".parse().expect("address");
    translated.transport = Transport::Tcp { sport: 1024, dport: 80, seq: 7, rest: Some((0, 2)) };
    let seen = vec![rule(9, &p, 2, HopVerdict::Accept), Seen::Local(1, translated)];
    let delivered = judge(&window(vec![sent(p)], seen), &facts()).remove(0).delivered.expect("delivered");
    assert_eq!((delivered.dport, delivered.sport), (Some(80), Some(1024)));
}

#[test]
fn a_copy_says_nothing_of_the_original() {
    let p = packet(1, 40_000, 2);
    let seen = vec![
        rule(9, &p, 5, HopVerdict::Continue),
        trace(9, None, TraceKind::Rule, Some(3), HopVerdict::Drop),
        Seen::Local(1, p.clone()),
    ];
    assert_eq!(verdicts(&window(vec![sent(p)], seen)), [Verdict::Drop]);
}

#[test]
fn nothing_seen_at_all_is_lost_or_held() {
    let p = packet(1, 40_000, 1);
    assert_eq!(verdicts(&window(vec![sent(p.clone())], vec![])), [Verdict::Lost]);
    let piece = Sent { fragment: true, ..sent(p) };
    assert_eq!(verdicts(&window(vec![piece], vec![])), [Verdict::Held]);
}

proptest! {
    /// Identical packets but for the nonce, identifiers that repeat, observations of different packets in any order:
    /// each verdict is that of its own packet's rule.
    #[test]
    fn repeated_identifiers_and_any_order_never_mix_packets(
        plan in proptest::collection::vec((any::<bool>(), 0_u32..3), 1..24),
        shuffle in any::<u64>(),
    ) {
        let mut state = shuffle;
        let mut groups: Vec<Vec<Seen>> = Vec::new();
        let mut all = Vec::new();
        for (number, (accept, id)) in plan.iter().enumerate() {
            let p = packet(number as u16 + 1, 40_000, 1);
            groups.push(if *accept {
                vec![rule(*id, &p, 2, HopVerdict::Continue), trace(*id, None, TraceKind::Policy, None, HopVerdict::Accept)]
            } else {
                vec![rule(*id, &p, 2, HopVerdict::Continue), trace(*id, None, TraceKind::Rule, Some(3), HopVerdict::Drop)]
            });
            if *accept {
                groups.push(vec![Seen::Local(1, p.clone())]);
            }
            all.push(sent(p));
        }
        // One packet's messages of one chain stay together, as the kernel sends them; the groups come in any order.
        for at in (1..groups.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            groups.swap(at, (state >> 33) as usize % (at + 1));
        }
        let expected: Vec<Verdict> =
            plan.iter().map(|(accept, _)| if *accept { Verdict::Accept } else { Verdict::Drop }).collect();
        prop_assert_eq!(verdicts(&window(all, groups.concat())), expected);
    }

    /// Whatever observations are taken away, no verdict turns into the opposite one.
    #[test]
    fn missing_observations_never_turn_a_verdict_round(keep in any::<[bool; 4]>(), accept: bool) {
        let p = packet(1, 40_000, 1);
        let whole = if accept {
            vec![rule(1, &p, 2, HopVerdict::Accept), Seen::Local(1, p.clone())]
        } else {
            vec![rule(1, &p, 2, HopVerdict::Continue), trace(1, None, TraceKind::Rule, Some(3), HopVerdict::Drop)]
        };
        let seen: Vec<Seen> = whole.into_iter().zip(keep).filter(|(_, keep)| *keep).map(|(seen, _)| seen).collect();
        let verdict = verdicts(&window(vec![sent(p)], seen))[0];
        let opposite = if accept { Verdict::Drop } else { Verdict::Accept };
        prop_assert_ne!(verdict, opposite);
    }
}
