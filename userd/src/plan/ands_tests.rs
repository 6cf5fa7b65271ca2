//! Networks, hosts and policy of ANDs.

use std::collections::BTreeSet;

use netengine_proto::{
    ids::Uid,
    names::AndName,
    plan::{NetworkPlan, Node},
};
use serde_json::json;

use super::*;
use crate::plan::{leases::choose, network_plan};

const WORLD: WorldId = WorldId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]);

/// A spec with these ANDs (name, profile), pools for every profile, and a profile `odd` that none of the built-in ones is like.
fn spec(ands: &[(&str, &str)], change: impl FnOnce(&mut serde_json::Value)) -> Spec {
    let mut value = crate::orchestrator::tests::spec_json("w");
    value["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
    let profiles = ["residential", "business", "datacenter", "airgapped", "odd"];
    let pools = profiles
        .iter()
        .enumerate()
        .map(|(at, name)| json!({ "cidr": format!("10.{}.0.0/16", 20 + at), "label": name }));
    value["domain_registry"]["address_space"] = pools.collect();
    let ands = ands.iter().map(|(name, profile)| json!({ "name": name, "org": "acme", "profile": profile }));
    value["ands"] = json!({
        "instances": ands.collect::<Vec<_>>(),
        "profiles": { "odd": { "dhcp": false, "nat": true, "inbound": "allowed", "reverse_dns": true } },
    });
    change(&mut value);
    serde_json::from_value(value).expect("a spec")
}

fn leases(spec: &Spec) -> Leases {
    choose(spec, None, &[]).expect("leases").leases
}

fn plan(spec: &Spec, leases: &Leases) -> NetworkPlan {
    network_plan(spec, 9, WORLD, Uid(1000), leases).expect("a plan")
}

#[test]
fn the_policy_follows_from_the_fields_of_the_profile() {
    let all = [("r", "residential"), ("b", "business"), ("d", "datacenter"), ("a", "airgapped"), ("o", "odd")];
    let spec = spec(&all, |_| {});
    let plan = plan(&spec, &leases(&spec));
    let policy = plan.nodes[0].policy.as_ref().expect("a policy");
    let table: Vec<_> =
        policy.domains.iter().map(|and| (and.link.as_str(), and.opens, and.admits, and.masquerades)).collect();
    let wanted = [
        ("neand0", true, false, true),
        ("neand1", true, true, false),
        ("neand2", true, true, false),
        ("neand3", false, false, false),
        ("neand4", true, true, true),
    ];
    assert_eq!(table, wanted);
    assert!(policy.domains.iter().all(|and| and.flows == limits::DOMAIN_FLOWS));
    assert_eq!(policy.forward.len(), 2, "only networks are there");
    assert_eq!(
        policy.input.iter().filter(|input| input.port.get() == 67 && input.transport == Transport::Udp).count(),
        1
    );
    let without = network_plan(&spec, 6, WORLD, Uid(1000), &leases(&spec)).expect("a plan");
    let policy = without.nodes[0].policy.as_ref().expect("a policy");
    assert!(
        policy.domains.is_empty() && policy.input.iter().all(|input| input.port.get() != 67),
        "phase 7 is not asked for"
    );
}

#[test]
fn dhcp_tells_what_can_be_reached() {
    let all = [("r", "residential"), ("a", "airgapped"), ("d", "datacenter")];
    let spec = spec(&all, |_| {});
    let found = ands(&spec, 9, WORLD, &leases(&spec)).expect("ANDs");
    let services: Vec<(usize, usize)> = found
        .iter()
        .filter_map(|and| and.dhcp.as_ref())
        .map(|dhcp| (dhcp.name_servers.len(), dhcp.ntp_servers.len()))
        .collect();
    assert_eq!(services, [(1, 1), (1, 1)], "datacenter has none; the airgapped has its router, which tells the time");
    for and in &found[..2] {
        let dhcp = and.dhcp.as_ref().expect("DHCP");
        assert_eq!([&dhcp.name_servers, &dhcp.ntp_servers], [&[and.router], &[and.router]]);
    }
    assert_eq!(found[0].subnet.to_string(), "10.20.0.0/24");
    assert_eq!(
        (found[0].router.to_string(), found[0].hosts[0].addresses[0].to_string()),
        ("10.20.0.1".into(), "10.20.0.254".into())
    );
}

#[test]
fn a_further_and_renames_nothing() {
    let few = spec(&[("b", "business")], |_| {});
    let many = spec(&[("a", "business"), ("b", "business"), ("c", "residential")], |_| {});
    let held = leases(&few);
    let (before, mut grown) = (plan(&few, &held), held.clone());
    let first = choose(
        &many,
        Some(&few),
        &[super::super::leases::Held {
            and: AndName::parse("b").expect("a name"),
            lease: held[&AndName::parse("b").expect("a name")],
            released_at: None,
        }],
    );
    grown.extend(first.expect("chosen").leases);
    let after = plan(&many, &grown);
    for cable in before.cables.iter() {
        assert!(after.cables.iter().any(|known| known == cable), "{cable:?}");
    }
    for bridge in before.bridges.iter() {
        assert!(after.bridges.iter().any(|known| known == bridge), "{bridge:?}");
    }
    let ends: Vec<_> = after.cables.iter().flat_map(|cable| [&cable.a, &cable.b]).collect();
    let macs: Vec<_> = ends.iter().map(|end| end.mac).chain(after.bridges.iter().map(|bridge| bridge.mac)).collect();
    assert_eq!(macs.iter().collect::<BTreeSet<_>>().len(), macs.len(), "a MAC address is used twice");
    let names: Vec<_> = ends.iter().map(|end| (&end.node, &end.name)).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a link name is used twice");
    assert!(after.nodes.iter().any(|node| node.node.to_string() == "host:c"));
}

#[test]
fn the_largest_number_has_addresses_of_its_own() {
    let last = Lease { number: super::super::leases::NUMBERS - 1, network: "10.20.0.0/24".parse().expect("a network") };
    let macs = Macs::of(WORLD, last);
    assert_eq!(BTreeSet::from([macs.bridge, macs.port, macs.host]).len(), 3);
    assert_eq!((bridge(last).as_str(), port(last).as_str()), ("neand4095", "neap4095"));
}

#[test]
fn ipv6_is_there_where_core_has_it_and_stays_as_it_is() {
    let six = |value: &mut serde_json::Value| {
        value["substrate"]["networks"] = json!({ "platform": { "subnet": "172.28.0.0/16" }, "core": { "subnet": "10.0.0.0/24", "subnet6": "fd00:1::/64" } });
    };
    let spec6 = spec(&[("b", "business"), ("c", "business")], six);
    let found = ands(&spec6, 9, WORLD, &leases(&spec6)).expect("ANDs");
    let nets: Vec<_> = found.iter().map(|and| and.v6.expect("IPv6").0).collect();
    assert_eq!(nets[0].prefix_len(), 64);
    assert!(nets[0].to_string().starts_with("fd") && nets[0] != nets[1]);
    // Another world with the same core has the same: nothing but the spec and the lease count.
    let other = ands(&spec6, 9, WorldId::from_bytes([9; 8]), &leases(&spec6)).expect("ANDs");
    assert_eq!(other[0].v6, found[0].v6);
    assert_eq!(found[0].hosts[0].addresses.len(), 2);
    let plan = plan(&spec6, &leases(&spec6));
    let host = plan.nodes.iter().find(|node| node.node.to_string() == "host:b").expect("its host");
    assert_eq!((host.routes.len(), host.resolver.as_ref().map(|it| it.name_servers.len())), (2, Some(2)));
    let none = spec(&[("b", "business")], |_| {});
    assert_eq!(ands(&none, 9, WORLD, &leases(&none)).expect("ANDs")[0].v6, None);
    let clash = spec(&[("b", "business")], |value| {
        six(value);
        value["substrate"]["networks"]["all"] = json!({ "subnet": "10.9.0.0/24", "subnet6": "fd00::/8" });
    });
    assert!(matches!(ands(&clash, 9, WORLD, &leases(&clash)), Err(PlanError::Overlap { .. })));
}

#[test]
fn typed_rules_lead_from_bridge_to_bridge() {
    let spec = spec(&[("r", "residential"), ("b", "business")], |value| {
        value["ands"]["allow"] = json!([
            { "from": "b", "to": "r", "proto": "tcp", "ports": ["22", "8000-8010"] },
            { "from": "core", "to": "r", "proto": "icmp" },
            { "from": "r", "to": "platform" },
            { "from": "r", "to": "b", "proto": "udp" },
        ]);
    });
    let found = plan(&spec, &leases(&spec));
    let policy = found.nodes[0].policy.as_ref().expect("a policy");
    let rules: Vec<_> = policy.allow.iter().map(|rule| format!("{} {} {:?}", rule.from, rule.to, rule.kind)).collect();
    assert_eq!(rules.len(), 4);
    assert!(rules[0].starts_with("neand1 neand0 Ports(Tcp") && rules[0].contains("8010"), "{}", rules[0]);
    assert_eq!(rules[1..3], ["nebr0 neand0 Icmp", "neand0 nebr1 Any"]);
    assert!(rules[3].starts_with("neand0 neand1 Ports(Udp"), "{}", rules[3]);
}

#[test]
fn an_and_without_a_lease_is_not_there_and_names_that_meet_are_refused() {
    let spec = spec(&[("b", "business"), ("core", "business")], |_| {});
    assert!(
        plan(&spec, &Leases::new())
            .nodes
            .iter()
            .all(|node| node.node != Node::Host(HostName::parse("b").expect("a name")))
    );
    let met = network_plan(&spec, 9, WORLD, Uid(1), &leases(&spec));
    assert!(matches!(met, Err(PlanError::SameHost(_))), "{met:?}");
}
