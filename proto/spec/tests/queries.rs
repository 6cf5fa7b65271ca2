//! What userd and the CLI ask of a loaded spec: addresses, immutable paths, features.

use netengine_spec::{FeatureState, Source, Sources, Spec, explain, immutable_violations, load};

const BASE: &str = include_str!("../../../examples/single-org.yaml");

fn loaded(overlay: &str) -> Spec {
    let source = |name: &str, text: &str| Source { name: name.to_owned(), text: text.to_owned() };
    let sources =
        Sources { base: source("base.yaml", BASE), overlay: Some(source("over.yaml", overlay)), sets: Vec::new() };
    load(&sources, &|_| None).unwrap_or_else(|found| panic!("{}", found[0])).spec
}

#[test]
fn networks_carry_the_routers_addresses_in_both_families() {
    let spec = loaded(
        "substrate: {networks: {core: {subnet6: \"fd00:1::/64\"}, lab: {subnet: 192.168.7.0/24, vantage_hosts: 0}}}",
    );
    let views: Vec<String> = spec
        .networks()
        .iter()
        .map(|view| {
            format!("{} {} {} {:?} {}", view.name, view.subnet, view.gateway, view.gateway6, view.vantage_hosts)
        })
        .collect();
    assert_eq!(
        views,
        [
            "core 10.0.0.0/24 10.0.0.1 Some(fd00:1::a00:1) 1",
            "lab 192.168.7.0/24 192.168.7.1 None 0",
            "platform 172.28.0.0/16 172.28.0.1 None 1",
        ]
    );
    let listening = spec.listen_addresses();
    let root = listening.iter().find(|listen| listen.path == "dns.root.listen_ip").expect("the root listens");
    assert_eq!(root.v6, Some("fd00:1::a00:2".parse().expect("an address")));
    assert_eq!(root.network.as_ref().map(|name| name.as_str()), Some("core"));
}

#[test]
fn only_enabled_services_listen() {
    let paths = |spec: &Spec| spec.listen_addresses().into_iter().map(|listen| listen.path).collect::<Vec<_>>();
    let all = paths(&loaded("{}"));
    assert_eq!(all.len(), 14, "{all:?}");
    assert!(all.contains(&"dns.tlds[1].listen_ip".to_owned()));
    let few = paths(&loaded(
        "world_services: {mail: {enabled: no}}\nworld_registry: {enabled: no}\ndns: {root: {enabled: no}}\noperator: {api: {enabled: no}}",
    ));
    for gone in ["world_services.mail", "world_registry", "world_registry.whois", "dns.root", "operator.api"] {
        let path = format!("{gone}.listen_ip");
        assert!(all.contains(&path) && !few.contains(&path), "{path}");
    }
    assert_eq!(few.len(), 9, "WHOIS goes with its registry");
}

#[test]
fn every_immutable_path_is_guarded_and_nothing_else() {
    let old = loaded("{}");
    let paths = |overlay: &str| {
        immutable_violations(&old, &loaded(overlay)).into_iter().map(|found| found.path).collect::<Vec<_>>()
    };
    for (overlay, wanted) in [
        ("metadata: {lifecycle: persistent}", "metadata.lifecycle"),
        ("substrate: {networks: {core: {subnet: 10.0.0.0/23}}}", "substrate.networks.core.subnet"),
        ("substrate: {networks: {core: {subnet6: \"fd00::/64\"}}}", "substrate.networks.core.subnet6"),
        ("substrate: {networks: {lab: {subnet: 10.9.0.0/24}}}", "substrate.networks.lab.subnet"),
        ("substrate: {gateway: {platform_ip: 172.28.0.2}}", "substrate.gateway.platform_ip"),
        ("substrate: {gateway: {core_ip: 10.0.0.99}}", "substrate.gateway.core_ip"),
        ("dns: {root: {listen_ip: 10.0.0.99}}", "dns.root.listen_ip"),
        ("pki: {acme: {listen_ip: 10.0.0.99}}", "pki.acme.listen_ip"),
        (
            "domain_registry: {address_space: [{cidr: 10.21.0.0/16, label: business-pool}]}",
            "domain_registry.address_space[0]",
        ),
        ("domain_registry: {address_space: []}\nands: {instances: []}", "domain_registry.address_space[0]"),
    ] {
        assert_eq!(paths(overlay), [wanted], "{overlay}");
    }
    for allowed in [
        "{}",
        "metadata: {organization: other, environment: other, version: \"2\"}",
        "substrate: {networks: {core: {description: other, vantage_hosts: 3}}}",
        "pki: {root_ca: {cn: other}, acme: {canonical_name: acme.platform.internal}}",
        "domain_registry: {address_space: [{cidr: 10.20.0.0/16, label: business-pool, allocated_to: business-ands}, {cidr: 10.40.0.0/16}]}",
        "world_services: {mail: {enabled: no}}",
    ] {
        assert_eq!(paths(allowed), Vec::<String>::new(), "{allowed}");
    }
    let found = immutable_violations(&old, &loaded("dns: {root: {listen_ip: 10.0.0.99}}"));
    assert_eq!((found[0].old.as_str(), found[0].new.as_str()), (Some("10.0.0.2"), Some("10.0.0.99")));
    assert!(!found[0].reason.is_empty());
}

#[test]
fn features_that_are_not_stable_are_explained() {
    assert_eq!(explain(&loaded("{}")), []);
    let spec = loaded("substrate: {orchestrator: k3s}\nands: {profiles: {mine: {bgp: disabled}}}");
    let found = explain(&spec);
    assert_eq!(found.len(), 1, "`disabled` is no use of BGP");
    assert_eq!((found[0].path.as_str(), found[0].state), ("substrate.orchestrator", FeatureState::Reserved));
    assert_eq!((found[0].current.as_str(), found[0].default.as_str()), (Some("k3s"), Some("swarm")));
}

#[test]
fn pools_serve_profiles_by_label_or_owner() {
    let spec = loaded(
        "domain_registry: {address_space: [{cidr: 10.20.0.0/16, label: business-pool, allocated_to: lab-ands}]}",
    );
    let pool = &spec.domain_registry.address_space[0];
    for (profile, wanted) in
        [("business", true), ("lab", true), ("business-pool", true), ("busines", false), ("", false)]
    {
        assert_eq!(pool.serves(profile), wanted, "{profile}");
    }
}
