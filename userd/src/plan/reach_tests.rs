//! The table of profiles in the reference, written out by hand.

use netengine_proto::ids::{Uid, WorldId};
use serde_json::json;

use super::*;
use crate::plan::{Target, leases::choose};

const PROFILES: [&str; 4] = ["residential", "business", "datacenter", "airgapped"];

fn spec(allow: serde_json::Value) -> Spec {
    let mut value = crate::orchestrator::tests::spec_json("w");
    value["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
    let pools = PROFILES.iter().enumerate();
    let pools = pools.map(|(at, name)| json!({ "cidr": format!("10.{}.0.0/16", 20 + at), "label": name }));
    value["domain_registry"]["address_space"] = pools.collect();
    let instances = PROFILES.iter().map(|name| json!({ "name": &name[..1], "org": "acme", "profile": name }));
    value["ands"] = json!({ "instances": instances.collect::<Vec<_>>(), "allow": allow });
    serde_json::from_value(value).expect("a spec")
}

/// The matrix of core and an AND of each profile.
fn expected(spec: Spec) -> Vec<Expectation> {
    let leases = choose(&spec, None, &[]).expect("leases").leases;
    let target = Target::new(spec, 9, WorldId::from_bytes([1; 8]), Uid(1000), Vec::new(), &leases).expect("a target");
    let ands = &target.desired.ands;
    let name = |text: &str| HostName::parse(text).expect("a name");
    let mut all = vec![Vantage {
        network: "core".into(),
        host: Some((name("core"), vec![[10, 0, 0, 250].into()])),
        services: vec![[10, 0, 0, 4].into()],
        router: vec![[10, 0, 0, 1].into()],
    }];
    all.extend(ands.iter().map(|and| Vantage {
        network: and.name.to_string(),
        host: Some((name(and.name.as_str()), and.hosts[0].addresses.clone())),
        services: Vec::new(),
        router: vec![and.router.into()],
    }));
    let peer = PeerWorld { name: "world:other".into(), addresses: vec![[10, 99, 0, 1].into()] };
    matrix(&target.spec, ands, &all, &[peer], Port::new(4000).expect("a port"), Answers { names: true })
}

/// Which letters reach which, by UDP over IPv4, with `*` behind a letter whose source is translated.
fn reached(spec: Spec) -> Vec<String> {
    let matrix = expected(spec);
    let hosts = |flow: &&Expectation| (flow.sender, flow.receiver) == (Role::Host, Role::Host);
    let port = ProbeKind::Udp(Port::new(4000).expect("a port"));
    let udp = matrix.iter().filter(hosts).filter(|flow| flow.kind == port && flow.source.is_ipv4());
    let of = |from: &str| -> String {
        let passing = udp.clone().filter(|flow| flow.from == from && flow.fate != Fate::Blocked);
        let word = |flow: &Expectation| if flow.fate == Fate::Arrives(flow.source) { "" } else { "*" };
        passing.map(|flow| format!("{}{}", &flow.to[..1], word(flow))).collect()
    };
    ["core", "r", "b", "d", "a"].map(of).into()
}

#[test]
fn the_profiles_say_who_reaches_whom() {
    assert_eq!(reached(spec(json!([]))), ["bd", "c*b*d*", "cd", "cb", ""]);
}

#[test]
fn a_rule_of_the_spec_opens_what_it_names_alone() {
    let rule = json!([{ "from": "b", "to": "r", "proto": "udp", "ports": ["4000"] }]);
    assert_eq!(reached(spec(rule)), ["bd", "c*b*d*", "crd", "cb", ""]);
    for other in [json!({ "proto": "tcp", "ports": ["4000"] }), json!({ "proto": "udp", "ports": ["4001"] })] {
        let mut rule = other;
        (rule["from"], rule["to"]) = ("b".into(), "r".into());
        assert_eq!(reached(spec(json!([rule]))), ["bd", "c*b*d*", "cd", "cb", ""]);
    }
}

/// The words of what is sent by `from` to a role, with what is let through marked.
fn said(matrix: &[Expectation], from: &str, receiver: Role) -> Vec<(ProbeKind, bool)> {
    let of = matrix.iter().filter(|flow| flow.from == from && flow.sender == Role::Host && flow.receiver == receiver);
    of.map(|flow| (flow.kind, flow.fate != Fate::Blocked)).collect()
}

#[test]
fn services_are_reached_by_who_may_and_reach_whom_they_may() {
    let matrix = expected(spec(json!([])));
    let passes = |flow: &&Expectation| flow.fate != Fate::Blocked && flow.kind == ProbeKind::Icmp;
    let to = matrix.iter().filter(passes).filter(|flow| flow.receiver == Role::Services);
    assert_eq!(to.map(|flow| flow.from.as_str()).collect::<Vec<_>>(), ["core", "r", "b", "d"]);
    let from = matrix.iter().filter(passes).filter(|flow| flow.sender == Role::Services);
    let from = from.filter(|flow| flow.receiver == Role::Host);
    assert_eq!(from.map(|flow| flow.to.as_str()).collect::<Vec<_>>(), ["b", "d"]);
}

#[test]
fn a_router_answers_names_addresses_time_and_echoes_alone() {
    let matrix = expected(spec(json!([])));
    for from in ["core", "r", "b", "d", "a"] {
        let all = said(&matrix, from, Role::Router);
        let taken = all.iter().filter(|(kind, passes)| *passes && !matches!(kind, ProbeKind::Claim(_)));
        assert_eq!(taken.count(), 7, "{from}: an echo, four ports of names, one of addresses, one of time");
        let heard = all.iter().filter(|(kind, passes)| *passes && matches!(kind, ProbeKind::Claim(_)));
        let heard: Vec<_> = heard.map(|(kind, _)| *kind).collect();
        assert_eq!(heard, [Claim::Arp, Claim::ArpProbe, Claim::Dhcp].map(ProbeKind::Claim), "{from}");
    }
}

#[test]
fn what_leaves_is_what_the_mode_says() {
    for (mode, wanted) in [("isolated", 0), ("shadowed", 2), ("mirrored", 0), ("exposed", 5)] {
        let mut spec = spec(json!([]));
        let portal = json!({ "real_internet": { "mode": mode } });
        spec.gateway_portal = serde_json::from_value(portal).expect("a portal");
        let matrix = expected(spec);
        for (from, closed) in [("core", false), ("r", false), ("b", false), ("a", true)] {
            let all = said(&matrix, from, Role::Outside);
            assert_eq!(all.len(), 5);
            let left = all.iter().filter(|(_, passes)| *passes).count();
            assert_eq!(left, if closed { 0 } else { wanted }, "{from} in mode {mode}");
        }
    }
}

#[test]
fn another_world_is_open_to_whoever_may_open_flows() {
    let matrix = expected(spec(json!([])));
    for (from, closed) in [("core", false), ("r", false), ("b", false), ("a", true)] {
        let all = said(&matrix, from, Role::Peer);
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|(_, passes)| *passes != closed), "{from}: {all:?}");
    }
    assert!(matrix.iter().any(|flow| (flow.sender, flow.receiver) == (Role::Services, Role::Peer)));
}

#[test]
fn the_ends_of_what_rules_name_are_tried_and_what_is_next_to_them() {
    let matrix = expected(spec(json!([{ "from": "b", "to": "r", "proto": "tcp", "ports": ["8000-8010"] }])));
    let tcp = matrix.iter().filter(|flow| flow.from == "b" && flow.to == "r").filter_map(|flow| match flow.kind {
        ProbeKind::Tcp(port) => Some((port.get(), flow.fate != Fate::Blocked)),
        _ => None,
    });
    assert_eq!(tcp.collect::<Vec<_>>(), [(4000, false), (8000, true), (8010, true), (8011, false)]);
}
