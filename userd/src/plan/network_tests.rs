//! The network plan of real specs.

use std::collections::BTreeSet;

use netengine_proto::limits;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::orchestrator::tests::spec_json;

const WORLD: WorldId = WorldId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8]);

fn with(change: impl FnOnce(&mut serde_json::Value)) -> Spec {
    let mut value = spec_json("w");
    change(&mut value);
    serde_json::from_value(value).expect("a spec")
}

fn plan(spec: &Spec) -> NetworkPlan {
    network_plan(spec, 9, WORLD, Uid(1000), &Leases::new()).expect("a plan")
}

/// Networks n0.. with `hosts` vantage hosts each, beside platform and core.
fn large(networks: u8, hosts: u8) -> Spec {
    with(|value| {
        let map = &mut value["substrate"]["networks"];
        *map = json!({
            "platform": { "subnet": "172.28.0.0/16" },
            "core": { "subnet": "10.0.0.0/24", "subnet6": "fd00:1::/64" },
        });
        for index in 0..networks {
            map[format!("n{index}")] = json!({ "subnet": format!("10.1.{index}.0/24"), "subnet6": format!("fd00:2:{index:x}::/64"), "vantage_hosts": hosts });
        }
    })
}

#[test]
fn the_default_world_is_as_documented() {
    let plan = plan(&with(|_| {}));
    let names: Vec<_> = plan.nodes.iter().map(|node| node.node.to_string()).collect();
    assert_eq!(names, ["gw", "svc", "host:core", "host:platform"]);
    assert_eq!(plan.bridges[0].addresses[0].to_string(), "10.0.0.1/24");
    let core = &plan.cables[0].b;
    assert_eq!((core.name.as_str(), core.addresses[0].to_string()), ("nesv0", "10.0.0.254/24".to_owned()));
    let host = plan.cables.iter().find(|cable| cable.b.node.to_string() == "host:core").expect("a host");
    assert_eq!((host.b.name.as_str(), host.b.addresses[0].to_string()), ("neth0", "10.0.0.253/24".to_owned()));
    let policy = plan.nodes[0].policy.as_ref().expect("a policy");
    assert_eq!(policy.forward.len(), 2, "each network reaches the other");
    let answered: Vec<_> = policy.input.iter().map(|input| (input.transport, input.port.get())).collect();
    let (udp, tcp) = (Transport::Udp, Transport::Tcp);
    assert_eq!(answered, [(udp, 53), (tcp, 53), (tcp, 853), (tcp, 443)], "the resolver, over TLS and HTTPS too");
    assert!(plan.nodes[0].forward && plan.nodes[1..].iter().all(|node| !node.forward));
    assert!(plan.nodes.iter().all(|node| node.low_ports), "challenges are answered on ports 80 and 443");
}

#[test]
fn core_has_a_vantage_host_even_when_none_is_asked_for() {
    let spec = with(|value| {
        value["substrate"]["networks"] = json!({
            "platform": { "subnet": "172.28.0.0/16", "vantage_hosts": 0 },
            "core": { "subnet": "10.0.0.0/24", "vantage_hosts": 0 },
        });
    });
    let hosts: Vec<_> = plan(&spec).nodes.iter().map(|node| node.node.to_string()).collect();
    assert_eq!(hosts, ["gw", "svc", "host:core"]);
}

#[test]
fn a_subnet_that_is_too_small_and_names_that_meet_are_refused() {
    let full = with(|value| {
        value["substrate"]["networks"] = json!({ "platform": { "subnet": "172.28.0.0/16" }, "core": { "subnet": "10.0.0.0/29", "vantage_hosts": 6 } });
    });
    assert!(matches!(network_plan(&full, 9, WORLD, Uid(1), &Leases::new()), Err(PlanError::Full(_))));
    let meet = with(|value| {
        value["substrate"]["networks"] = json!({
            "platform": { "subnet": "172.28.0.0/16" },
            "core": { "subnet": "10.0.0.0/24", "vantage_hosts": 2 },
            "core-2": { "subnet": "10.9.0.0/24" },
        });
    });
    assert!(matches!(network_plan(&meet, 9, WORLD, Uid(1), &Leases::new()), Err(PlanError::SameHost(_))));
}

#[test]
fn the_documented_bounds_fit() {
    let plan = plan(&large(62, 15));
    assert!(plan.nodes.len() <= limits::NODES_PER_WORLD);
    let too_many = network_plan(&large(80, 1), 9, WORLD, Uid(1), &Leases::new());
    assert!(matches!(too_many, Err(PlanError::TooLarge(_))), "64 networks in every direction is the bound");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_plan_is_sound_and_the_same_again(networks in 0u8..20, hosts in 0u8..12) {
        let spec = large(networks, hosts);
        let plan = plan(&spec);
        prop_assert_eq!(&plan, &network_plan(&spec, 9, WORLD, Uid(1000), &Leases::new()).expect("a plan"));
        let ends: Vec<_> = plan.cables.iter().flat_map(|cable| [&cable.a, &cable.b]).collect();
        let bridges = plan.bridges.iter();
        let macs: Vec<_> = ends.iter().map(|end| end.mac).chain(bridges.clone().map(|bridge| bridge.mac)).collect();
        prop_assert_eq!(macs.iter().collect::<BTreeSet<_>>().len(), macs.len(), "a MAC address is used twice");
        let addresses: Vec<_> = ends.iter().flat_map(|end| end.addresses.iter()).chain(bridges.clone().flat_map(|b| b.addresses.iter())).map(|a| a.addr()).collect();
        prop_assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), addresses.len(), "an address is used twice");
        let names: BTreeSet<_> = ends.iter().map(|end| (end.node.clone(), end.name.clone())).chain(bridges.clone().map(|b| (b.node.clone(), b.name.clone()))).collect();
        prop_assert_eq!(names.len(), ends.len() + plan.bridges.len(), "a link name is used twice in a node");
        for end in &ends {
            prop_assert!(end.bridge.is_none() || end.addresses.is_empty(), "a port has an address");
            prop_assert!(end.bridge.as_ref().is_none_or(|name| bridges.clone().any(|b| b.node == end.node && b.name == *name)));
            prop_assert!(plan.nodes.iter().any(|node| node.node == end.node));
        }
        for node in plan.nodes.iter() {
            for route in node.routes.iter() {
                let reached = ends.iter().filter(|end| end.node == node.node).flat_map(|end| end.addresses.iter()).any(|a| a.net().contains(&route.via));
                prop_assert!(reached, "{} routes by {} and has no link to it", node.node, route.via);
            }
        }
    }
}
