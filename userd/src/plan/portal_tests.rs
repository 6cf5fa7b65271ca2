//! What a spec's portal becomes.

use serde_json::{Value, json};

use super::*;
use crate::orchestrator::tests::spec_json;

const WORLD: WorldId = WorldId::from_bytes([7; 8]);
const CORE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 253);

fn spec(internet: Value) -> Spec {
    let mut value = spec_json("w");
    value["gateway_portal"] = json!({ "real_internet": internet });
    serde_json::from_value(value).expect("a spec")
}

fn way(internet: Value) -> WayOut {
    way_out(&spec(internet), phases::LAST, WORLD, CORE).expect("a plan").expect("a way out")
}

#[test]
fn what_needs_no_way_out_has_none() {
    let mirrors = json!([{ "real_hostname": "www.example.com", "in_world_service": "10.0.0.7" }]);
    let mut mirrored = json!({ "mode": "mirrored", "service_mirrors": mirrors });
    for internet in [json!({}), mirrored.clone()] {
        assert!(way_out(&spec(internet), phases::LAST, WORLD, CORE).expect("a plan").is_none());
    }
    let shadowed = spec(json!({ "mode": "shadowed" }));
    assert!(way_out(&shadowed, phases::ANDS - 1, WORLD, CORE).expect("a plan").is_none());
    mirrored["upstream_resolver_enabled"] = true.into();
    mirrored["upstream_resolver_ip"] = "192.0.2.53".into();
    let way = way(mirrored);
    assert!(way.policy.out.is_empty() && way.policy.ports.is_empty());
    assert_eq!(way.policy.resolver, Some([192, 0, 2, 53].into()));
}

#[test]
fn each_mode_says_what_may_pass() {
    let web = |port| Port::new(port).map(|port| PortRange { first: port, last: port }).expect("a port");
    let web = FlowKind::Ports(Transport::Tcp, Bounded::new(vec![web(80), web(443)]).expect("two"));
    let shadowed = way(json!({ "mode": "shadowed" })).policy;
    assert_eq!(shadowed.out.to_vec(), [UplinkRule { kind: web, from: None, to: None }]);
    assert!(shadowed.ports.is_empty() && shadowed.resolver.is_none());
    let exposed = way(json!({ "mode": "exposed" })).policy;
    assert_eq!(exposed.out.to_vec(), [UplinkRule { kind: FlowKind::Any, from: None, to: None }]);
    let ports: Vec<_> = exposed.ports.iter().map(|one| (one.host.get(), one.port.get(), one.to)).collect();
    assert_eq!(ports, [(80, 80, CORE), (443, 443, CORE)]);
    let custom = way(json!({
        "mode": "custom",
        "rules": [{ "proto": "icmp", "from": "10.0.0.9/24", "to": "192.0.2.0/24" }],
        "publish": [{ "host_port": 20022, "port": 22, "to": "10.0.0.9", "from": "198.51.100.7/24" }],
    }));
    let net = |text: &str| text.parse::<IpNet>().expect("a network");
    let rule = UplinkRule { kind: FlowKind::Icmp, from: Some(net("10.0.0.0/24")), to: Some(net("192.0.2.0/24")) };
    assert_eq!(custom.policy.out.to_vec(), [rule]);
    let port = custom.policy.ports.iter().next().expect("one");
    assert_eq!((port.to, port.from), (Ipv4Addr::new(10, 0, 0, 9), "198.51.100.0/24".parse().ok()));
}

#[test]
fn the_router_has_a_link_and_a_route_of_its_own() {
    let way = way(json!({ "mode": "shadowed" }));
    let addresses: Vec<_> = way.cable.a.addresses.iter().map(|address| address.addr()).collect();
    assert_eq!(addresses, [IpAddr::from([192, 0, 0, 2])]);
    assert_eq!(way.routes, [Route { to: Ipv4Net::default().into(), via: [192, 0, 0, 1].into() }]);
    let mut value = spec_json("w");
    value["gateway_portal"] = json!({ "real_internet": { "mode": "shadowed" } });
    value["domain_registry"] = json!({ "address_space": [{ "cidr": "192.0.0.0/16" }] });
    let spec: Spec = serde_json::from_value(value).expect("a spec");
    let overlap = way_out(&spec, phases::LAST, WORLD, CORE).err();
    assert_eq!(overlap, Some(PlanError::UplinkOverlap(LINK.into())));
}
