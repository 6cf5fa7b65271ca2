use netengine_lab_proto::{Bytes, PacketSpec, Transport};
use netengine_packet::build::{Ether, frames};

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const EAR: Ear = Ear { mac: MAC, is_router: false };
const ROUTER: Ear = Ear { mac: MAC, is_router: true };

fn spec(nonce: u16) -> PacketSpec {
    PacketSpec {
        src: [10, 0, 0, 10].into(),
        dst: [10, 1, 0, 10].into(),
        transport: Transport::Udp { src_port: 20_000 + nonce, dst_port: 4000 },
        payload: Bytes::default(),
        ttl: None,
        dscp: 42,
        ecn: 0,
        dont_fragment: false,
        mark: None,
        vlan: None,
        fragmentation: None,
        ip_options: Bytes::default(),
        extension_headers: Default::default(),
        src_mac: None,
        dst_mac: None,
    }
}

fn shot(nonce: u16, arrives: bool, sentinel: bool) -> Shot {
    let packet = spec(nonce);
    let number = Nonce::new(nonce).expect("not 0");
    let frame = frames(&packet, Ether { src: MAC, dst: MAC }, number).expect("built").remove(0);
    Shot { link: 0, frame, nonce, to: [10, 1, 0, 10].into(), way: Way::Routed, arrives, sentinel }
}

fn judge(shots: &[Shot]) -> Judge {
    Judge::new(Tables { policy: "ne1".into(), trace: "ne1t".into() }, shots.to_vec())
}

fn is_ip(shot: &&Shot) -> bool {
    shot.frame[12..14] == [0x08, 0x00]
}

/// A verdict of a chain, with the header bytes of `of` when this is the chain's first message.
fn said(judge: &mut Judge, id: u32, of: Option<&Shot>, chain: &str, verdict: HopVerdict) {
    said_by(judge, Family::Inet, id, of, chain, verdict);
}

fn said_by(judge: &mut Judge, family: Family, id: u32, of: Option<&Shot>, chain: &str, verdict: HopVerdict) {
    judge.hear(Report::Trace(Box::new(Trace {
        id,
        kind: TraceKind::Rule,
        family: Some(family),
        table: "ne1".into(),
        chain: chain.into(),
        rule: Some(7),
        verdict: Some(verdict),
        policy: None,
        link_header: Vec::new(),
        // The kernel tells no transport header of what is none of IP.
        network_header: of.map(|shot| shot.frame[14..if is_ip(&shot) { 34 } else { 54 }].to_vec()).unwrap_or_default(),
        transport_header: of.filter(is_ip).map(|shot| shot.frame[34..].to_vec()).unwrap_or_default(),
        iif: None,
        oif: None,
        mark: None,
        nfproto: None,
        ct_id: None,
        ct_direction: None,
        ct_state: None,
        ct_status: None,
    })));
}

#[test]
fn the_decision_to_forward_is_told_and_what_follows_ends_it() {
    let shots = [shot(1, true, false)];
    let mut judge = judge(&shots);
    said(&mut judge, 5, Some(&shots[0]), "forward", HopVerdict::Jump("in_ne".into()));
    said(&mut judge, 5, None, "in_ne", HopVerdict::Accept);
    assert!(!judge.is_done());
    said(&mut judge, 5, Some(&shots[0]), "postrouting", HopVerdict::Accept);
    assert!(!judge.is_done(), "it has not arrived");
    judge.arrive(0, Ear { mac: [0; 6], is_router: false }, &shots[0].frame);
    assert!(!judge.is_done(), "it left by a link");
    judge.arrive(0, EAR, &shots[0].frame);
    assert!(judge.is_done());
    let seen = judge.seen().remove(0);
    assert_eq!((seen.doubt.as_str(), seen.verdict.expect("one").chain.as_str()), ("", "in_ne"));
    assert_eq!(seen.arrived.expect("it did").1, shots[0].frame);
}

#[test]
fn the_same_identifier_is_whose_header_bytes_came_last() {
    let shots = [shot(1, false, false), shot(2, false, false)];
    let mut judge = judge(&shots);
    said(&mut judge, 5, Some(&shots[0]), "forward", HopVerdict::Drop);
    said(&mut judge, 5, Some(&shots[1]), "forward", HopVerdict::Accept);
    // Another's packet takes the identifier over: what follows is not the second probe's.
    let foreign = shot(9, false, false);
    said(&mut judge, 5, Some(&foreign), "forward", HopVerdict::Continue);
    said(&mut judge, 5, None, "forward", HopVerdict::Drop);
    let accepted: Vec<_> = judge.seen().into_iter().map(|seen| seen.verdict.map(|verdict| verdict.accepted)).collect();
    assert_eq!(accepted, [Some(false), Some(true)]);
}

// Hosts answer probes, and the kernel numbers what they answer by itself: sooner or later as another probe to the one who asked.
#[test]
fn an_answer_with_the_number_of_a_probe_is_not_the_probe() {
    let packet = |transport, number| {
        let mut shot = shot(number, true, false);
        let spec = PacketSpec { transport, ..spec(number) };
        let nonce = Nonce::new(number).expect("not 0");
        shot.frame = frames(&spec, Ether { src: MAC, dst: MAC }, nonce).expect("built").remove(0);
        shot
    };
    let icmp = |kind| Transport::Icmp { kind, code: 0, rest: Some([78, 32, 0, 1]) };
    let udp = |src_port, dst_port| Transport::Udp { src_port, dst_port };
    for (sent, answer) in [(icmp(8), icmp(0)), (udp(20_000, 53), udp(53, 20_000)), (udp(20_000, 53), icmp(3))] {
        let shots = [packet(sent, 1)];
        let mut judge = judge(&shots);
        said(&mut judge, 5, Some(&shots[0]), "forward", HopVerdict::Drop);
        let answer = packet(answer, 1);
        said(&mut judge, 6, Some(&answer), "forward", HopVerdict::Accept);
        judge.arrive(0, EAR, &answer.frame);
        let seen = judge.seen().remove(0);
        assert_eq!((seen.verdict.map(|verdict| verdict.accepted), seen.arrived), (Some(false), None));
    }
}

#[test]
fn what_is_not_seen_is_concluded_by_a_sentinel_alone() {
    let shots = [shot(1, true, false), shot(2, false, true)];
    let mut waiting = judge(&shots);
    assert!(!waiting.is_done());
    assert!(!judge(&shots).seen()[0].doubt.is_empty());
    said(&mut waiting, 5, Some(&shots[1]), "prerouting", HopVerdict::Accept);
    assert!(waiting.is_done());
    assert_eq!(waiting.seen(), [ShotSeen::default()]);
}

#[test]
fn what_was_lost_or_unknown_makes_all_of_it_doubtful() {
    let shots = [shot(1, false, false)];
    for spoil in [
        |judge: &mut Judge, _: &Shot| judge.doubt_all("lost"),
        |judge: &mut Judge, _: &Shot| judge.hear(Report::Unknown(3)),
        |judge: &mut Judge, shot: &Shot| said(judge, 5, Some(shot), "forward", HopVerdict::Stolen),
    ] {
        let mut judge = judge(&shots);
        said(&mut judge, 5, Some(&shots[0]), "forward", HopVerdict::Drop);
        spoil(&mut judge, &shots[0]);
        assert!(judge.is_done() && !judge.seen()[0].doubt.is_empty());
    }
    let twice = [shot(1, false, false), shot(1, false, false)];
    assert!(judge(&twice).seen().iter().all(|seen| !seen.doubt.is_empty()));
}

#[test]
fn the_bridge_decides_about_claims_and_not_about_what_is_routed() {
    let claim = Shot { way: Way::Claim, ..shot(2, true, false) };
    let shots = [shot(1, true, false), claim];
    let mut judge = judge(&shots);
    for (id, shot) in (5..).zip(&shots) {
        said_by(&mut judge, Family::Bridge, id, Some(shot), "prerouting", HopVerdict::Accept);
        // At the router's own link all that is to be routed is seen: this is no arrival of a flow.
        judge.arrive(0, ROUTER, &shot.frame);
        said(&mut judge, id, Some(shot), "prerouting", HopVerdict::Drop);
    }
    let seen = judge.seen();
    assert_eq!(seen.iter().map(|seen| seen.arrived.is_some()).collect::<Vec<_>>(), [false, true]);
    let verdicts: Vec<_> = seen.into_iter().filter_map(|seen| seen.verdict).map(|v| (v.bridge, v.accepted)).collect();
    assert_eq!(verdicts, [(false, false), (true, true)]);
}

#[test]
fn a_tagged_frame_is_known_by_its_tag() {
    let mut frame = [MAC, MAC].concat();
    frame.extend([0x08, 0x06]);
    frame.resize(14 + TAG_OFFSET, 0);
    frame.extend(TAG);
    frame.extend(7u16.to_be_bytes());
    frame.resize(60, 0);
    let arp = Shot { frame, way: Way::Claim, ..shot(7, true, false) };
    let mut judge = judge(std::slice::from_ref(&arp));
    judge.arrive(0, ROUTER, &arp.frame);
    said_by(&mut judge, Family::Bridge, 5, Some(&arp), "prerouting", HopVerdict::Accept);
    assert!(judge.is_done() && judge.seen()[0].arrived.is_some());
    assert_eq!(tagged(&[0; 60]), None);
    assert_eq!(tagged(&[&[0; TAG_OFFSET], &TAG[..]].concat()), None);
}

#[test]
fn what_no_later_hook_saw_has_no_route() {
    let shots = [shot(1, false, false), shot(2, false, false), shot(3, false, true)];
    let unrouted = |sentinel: bool| -> Vec<bool> {
        let mut judge = judge(&shots);
        said(&mut judge, 5, Some(&shots[0]), "prerouting", HopVerdict::Accept);
        // The bridge's verdict alone is none about routing.
        said_by(&mut judge, Family::Bridge, 6, Some(&shots[1]), "prerouting", HopVerdict::Accept);
        if sentinel {
            said(&mut judge, 7, Some(&shots[2]), "prerouting", HopVerdict::Accept);
        }
        judge.seen().into_iter().map(|seen| seen.is_unrouted).collect()
    };
    assert_eq!(unrouted(true), [true, false]);
    assert_eq!(unrouted(false), [false, false], "while it may still be on its way");
}
