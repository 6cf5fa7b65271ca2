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

/// Which letters reach which, by UDP over IPv4, with `*` behind a letter whose source is translated.
fn reached(spec: Spec) -> Vec<String> {
    let leases = choose(&spec, None, &[]).expect("leases").leases;
    let target = Target::new(spec, 9, WorldId::from_bytes([1; 8]), Uid(1000), Vec::new(), &leases).expect("a target");
    let ands = &target.desired.ands;
    let name = |text: &str| HostName::parse(text).expect("a name");
    let mut all = vec![Vantage {
        network: "core".into(),
        host: name("core"),
        addresses: vec![[10, 0, 0, 250].into()],
        router: vec![[10, 0, 0, 1].into()],
    }];
    all.extend(ands.iter().map(|and| Vantage {
        network: and.name.to_string(),
        host: name(and.name.as_str()),
        addresses: and.hosts[0].addresses.clone(),
        router: vec![and.router.into()],
    }));
    let matrix = matrix(&target.spec, ands, &all, Port::new(4000).expect("a port"));
    let udp = matrix.iter().filter(|flow| matches!(flow.kind, ProbeKind::Udp(_)) && flow.source.is_ipv4());
    let of = |from: &str| -> String {
        let passing = udp.clone().filter(|flow| flow.from == from && flow.arrives_from.is_some());
        let word = |flow: &Expectation| if flow.arrives_from == Some(flow.source) { "" } else { "*" };
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
