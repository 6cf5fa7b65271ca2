//! Which live checks a world has.

use std::collections::BTreeSet;

use netengine_oidc::secret::Kernel;
use netengine_proto::{
    ids::{Uid, WorldId},
    limits,
};
use serde_json::json;

use super::*;
use crate::plan::secrets;

fn target(value: &serde_json::Value, up_to: u8) -> Target {
    let spec: Spec = serde_json::from_value(value.clone()).expect("a spec");
    let made = secrets::make_missing(&spec, up_to, &BTreeSet::new(), &mut Kernel);
    Target::new(spec, up_to, WorldId::from_bytes([1; 8]), Uid(1), made, &Default::default()).expect("a target")
}

fn minimal() -> serde_json::Value {
    crate::orchestrator::tests::spec_json("w")
}

fn phases(planned: &[Planned]) -> Vec<u8> {
    planned.iter().map(|check| check.phase).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn every_phase_asked_for_is_proven_and_no_other() {
    assert_eq!(phases(&probes(&target(&minimal(), 9), None, Extent::Up)), [0, 1, 2, 3, 4, 5, 6]);
    for up_to in 0..=6 {
        let seen = phases(&probes(&target(&minimal(), up_to), None, Extent::Up));
        assert_eq!(seen, (0..=up_to).collect::<Vec<_>>());
    }
    let mut without = minimal();
    without["pki"]["acme"]["enabled"] = json!(false);
    without["substrate"]["ntp"] = json!({ "enabled": false });
    assert_eq!(phases(&probes(&target(&without, 9), None, Extent::Up)), [1, 2, 4, 5, 6]);
}

#[test]
fn each_services_name_is_looked_up_both_ways_and_validated_in_a_signed_world() {
    let mut signed = minimal();
    signed["pki"]["dnssec_enabled"] = json!(true);
    let target = target(&signed, 9);
    let planned = probes(&target, None, Extent::Up);
    for listen in target.spec.listen_addresses() {
        let forward = planned.iter().any(|check| {
            matches!(&check.probe.probe, Probe::Dns { name, rtype, expect, validated: true, .. }
                if *name == listen.name && rtype == "A" && *expect == [listen.v4.to_string()])
        });
        let reverse = planned.iter().any(|check| {
            matches!(&check.probe.probe, Probe::Dns { rtype, expect, validated: true, .. }
                if rtype == "PTR" && *expect == [listen.name.clone()])
        });
        assert!(forward && reverse, "{listen:?}");
    }
}

#[test]
fn an_address_has_the_name_of_the_rfcs() {
    let name = |text: &str| reverse_name(text.parse().expect("an address"));
    assert_eq!(name("10.0.2.52"), "52.2.0.10.in-addr.arpa");
    assert_eq!(
        name("4321:0:1:2:3:4:567:89ab"),
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"
    );
}

#[test]
fn a_large_world_stays_within_what_a_prober_takes() {
    let mut large = minimal();
    let names: Vec<_> = (0..1000).map(|n| format!("org-{n}")).collect();
    large["world_registry"]["organizations"] = names.iter().map(|name| json!({ "name": name })).collect();
    let domains = (0..2000).map(|n| json!({ "domain": format!("d{n}.test"), "org": "org-0" }));
    large["domain_registry"]["initial_domains"] = domains.collect();
    let target = target(&large, 9);
    let (few, all) = (probes(&target, None, Extent::Up).len(), probes(&target, None, Extent::All).len());
    assert!(few < 100 && few < all && all <= limits::PROBES, "{few} {all}");
}

#[test]
fn hosts_of_ands_are_looked_up_and_back_where_they_have_reverse_zones() {
    let mut with = minimal();
    with["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
    with["domain_registry"]["address_space"] =
        json!([{ "cidr": "10.20.0.0/16", "label": "business" }, { "cidr": "10.30.0.0/16", "label": "residential" }]);
    with["ands"]["instances"] = json!([
        { "name": "b", "org": "acme", "profile": "business", "dns_suffix": "b.lan" },
        { "name": "r", "org": "acme", "profile": "residential" },
    ]);
    let spec: Spec = serde_json::from_value(with).expect("a spec");
    let leases = crate::plan::leases::choose(&spec, None, &[]).expect("leases").leases;
    let target = |up_to| {
        Target::new(spec.clone(), up_to, WorldId::from_bytes([1; 8]), Uid(1), Vec::new(), &leases).expect("a target")
    };
    let asked = |up_to| {
        let planned = probes(&target(up_to), None, Extent::Up).into_iter().filter(|check| check.phase == 7);
        planned.map(|check| check.name).collect::<Vec<_>>()
    };
    let wanted = [
        "dns: A b.b.lan at 10.0.0.1",
        "dns: PTR 254.0.20.10.in-addr.arpa at 10.0.0.1",
        "dns: A gateway.b.lan at 10.0.0.1",
        "dns: A r.platform.internal at 10.0.0.1",
    ];
    assert_eq!(asked(9), wanted);
    assert!(asked(6).is_empty());
}

#[test]
fn of_many_ands_those_are_looked_up_that_are_new_or_changed_and_a_few_others() {
    let mut with = minimal();
    with["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
    with["domain_registry"]["address_space"] = json!([{ "cidr": "10.64.0.0/11", "label": "business-pool" }, { "cidr": "10.96.0.0/11", "label": "airgapped-pool" }]);
    let target = |ands: std::ops::Range<usize>, changed: &str| {
        let profile = |name: &str| if name == changed { "airgapped" } else { "business" };
        let and = |name: String| json!({ "name": name, "org": "acme", "profile": profile(&name) });
        let mut with = with.clone();
        with["ands"]["instances"] = ands.map(|n| and(format!("and{n}"))).collect();
        let spec: Spec = serde_json::from_value(with).expect("a spec");
        let leases = crate::plan::leases::choose(&spec, None, &[]).expect("leases").leases;
        Target::draft(spec, 9, WorldId::from_bytes([1; 8]), Uid(1), &leases).expect("a target")
    };
    let asked = |target: &Target, before: Option<&Target>| {
        let planned = probes(target, before, Extent::Up).into_iter().filter(|check| check.phase == 7);
        let name = |check: Planned| {
            check.name.split_whitespace().nth(2).and_then(|name| Some(name.split_once('.')?.0.to_owned()))
        };
        planned.filter_map(name).filter(|name| name.starts_with("and")).collect::<Vec<_>>()
    };
    let before = target(0..100, "");
    assert_eq!(asked(&before, None).len(), SAMPLE_ANDS);
    assert_eq!(asked(&before, Some(&before)), ["and0", "and1", "and2"]);
    assert_eq!(asked(&target(0..101, "and99"), Some(&before)), ["and99", "and100", "and0", "and1", "and2"]);
}

#[test]
fn a_second_up_leaves_no_certificate_behind() {
    let has_order = |extent| {
        let planned = probes(&target(&minimal(), 9), None, extent);
        planned.iter().any(|check| matches!(check.probe.probe, Probe::Acme { .. }))
    };
    assert_eq!((has_order(Extent::Up), has_order(Extent::Again), has_order(Extent::All)), (true, false, true));
}
