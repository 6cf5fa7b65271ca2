use std::path::Path;

use netengine_spec::{Source, Sources};

use super::*;
use crate::{
    name::Name,
    record::{Record, Rtype},
    zone::{NoJournal, Store, StoreError},
};

fn of(file: &str, sets: &[&str]) -> Plan {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples").join(file);
    let base = Source { name: file.to_owned(), text: std::fs::read_to_string(path).expect("the example") };
    let sets = sets.iter().map(|&set| set.to_owned()).collect();
    let loaded = netengine_spec::load(&Sources { base, overlay: None, sets }, &|_: &str| None).expect("a spec");
    Plan::of(&loaded.spec, &[HostAddress { name: "vantage".to_owned(), address: [10, 0, 0, 200].into() }])
}

fn has(plan: &Plan, zone: &str, owner: &str, rtype: &str, data: &str) -> bool {
    let records = plan.zones.get(zone).map_or(&[][..], |zone| &zone.records);
    records.iter().any(|record| record.owner == owner && record.rtype == rtype && record.data == data)
}

#[test]
fn every_example_makes_zones() {
    for file in ["minimal.yaml", "single-org.yaml", "dev-sandbox.yaml", "spec.base.yaml"] {
        let plan = of(file, &[]);
        let catalog = plan.catalog(1).expect("zones");
        assert!(catalog.addresses().count() >= 2, "{file}");
        for (name, zone) in &plan.zones {
            assert!(has(&plan, name, name, "NS", &zone.primary), "{file}: {name} has its name server");
        }
    }
}

#[test]
fn undeclared_top_level_domains_are_delegated_to_the_platform_server() {
    let plan = of("minimal.yaml", &[]);
    assert!(has(&plan, ".", "internal", "NS", "ns.platform.internal"));
    assert!(has(&plan, ".", "ns.platform.internal", "A", "10.0.0.3"), "glue");
    assert!(has(&plan, "internal", "auth.internal", "A", "10.0.0.12"));
    assert!(has(&plan, "internal", "platform.internal", "NS", "ns.platform.internal"));
    assert!(has(&plan, "platform.internal", "vantage.platform.internal", "A", "10.0.0.200"));
    assert!(has(&plan, "0.0.10.in-addr.arpa", "200.0.0.10.in-addr.arpa", "PTR", "vantage.platform.internal"));
}

/// Services, gateways, vantage hosts and hosts of leased networks, in both families, lead back to their names.
#[test]
fn every_address_has_a_reverse_name_in_a_zone_that_is_delegated() {
    let base = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/single-org.yaml"));
    let base = Source { name: "spec".to_owned(), text: base.expect("the example") };
    let sets = vec![
        "substrate.networks.core.subnet6=fd00:0:0:1::/64".to_owned(),
        "substrate.networks.platform.subnet6=fd00:0:0:100::/56".to_owned(),
    ];
    let spec = netengine_spec::load(&Sources { base, overlay: None, sets }, &|_: &str| None);
    let spec = spec.unwrap_or_else(|found| panic!("{found:?}")).spec;
    let hosts = [
        ("vantage", "10.0.0.200"),
        ("vantage", "fd00:0:0:1::c8"),
        ("vantage.acme-hq.internal", "10.20.5.2"),
        ("far", "2001:db8::7"),
    ];
    let hosts = hosts.map(|(name, ip)| HostAddress { name: name.to_owned(), address: ip.parse().expect("an address") });
    let plan = Plan::of(&spec, &hosts);
    let (mut v4, mut v6) = (0, 0);
    // Further names of addresses that have one of their own.
    let aliases = ["ntp.platform.internal", "resolver.platform.internal"];
    for record in plan.zones.values().flat_map(|zone| &zone.records) {
        if !matches!(record.rtype.as_str(), "A" | "AAAA") || aliases.contains(&record.owner.as_str()) {
            continue;
        }
        let address: IpAddr = record.data.parse().expect("an address");
        let reverse = reverse_name(address);
        let above = |zone: &&String| reverse.ends_with(&format!(".{zone}"));
        let zone = plan.zones.keys().filter(above).max_by_key(|zone| zone.len()).expect("a reverse zone");
        assert!(has(&plan, zone, &reverse, "PTR", &record.owner), "{} of {} in {zone}", address, record.owner);
        let parent = plan.zones.keys().filter(|parent| zone.ends_with(&format!(".{parent}"))).max_by_key(|p| p.len());
        let parent = parent.map_or(".", String::as_str);
        assert!(has(&plan, parent, zone, "NS", &plan.zones[zone].primary), "{zone} from {parent}");
        *if address.is_ipv4() { &mut v4 } else { &mut v6 } += 1;
    }
    assert!(v4 > 15 && v6 > 15, "{v4} and {v6} addresses");
}

#[test]
fn a_mirrored_name_is_a_zone_of_its_own() {
    let mode = "gateway_portal.real_internet={mode: mirrored, service_mirrors: [{real_hostname: www.example.com, \
                in_world_service: 10.0.0.14}]}";
    let plan = of("minimal.yaml", &[mode]);
    assert!(has(&plan, ".", "www.example.com", "NS", "ns.platform.internal"));
    assert!(has(&plan, "www.example.com", "www.example.com", "A", "10.0.0.14"));
}

#[test]
fn a_domain_with_name_servers_of_its_own_is_delegated_with_glue() {
    let domains = "domain_registry.initial_domains=[{domain: acme.corp, org: acme-corp}, {domain: beta.corp, org: \
                   acme-corp, records: [{type: NS, value: ns.beta.corp}, {name: ns, type: A, value: 10.20.0.9}]}]";
    let plan = of("single-org.yaml", &[domains]);
    assert!(!plan.zones.contains_key("beta.corp"));
    assert!(has(&plan, "corp", "beta.corp", "NS", "ns.beta.corp"));
    assert!(has(&plan, "corp", "ns.beta.corp", "A", "10.20.0.9"));
}

#[test]
fn a_changed_plan_changes_what_differs_and_keeps_what_others_added() {
    let domains = |list: &str| of("single-org.yaml", &[&format!("domain_registry.initial_domains=[{list}]")]);
    let record = |kind: &str, value: &str| format!("{{name: www, type: {kind}, value: {value}}}");
    let acme = |records: &str| format!("{{domain: acme.corp, org: acme-corp, records: [{records}]}}");
    let old = domains(&acme(&record("A", "10.0.0.50")));
    let store = Store::new(old.catalog(1).expect("zones"), old.policy(), NoJournal);
    let acme_name = Name::parse("acme.corp").expect("a name");
    let leased = Record::parse("lease.acme.corp", 60, Rtype::A, "10.20.0.7").expect("a record");
    let added = store.change(&acme_name, 5, |draft| draft.add(leased).map(drop).map_err(StoreError::from));
    assert!(added.expect("added").is_some());

    let new = domains(&format!("{}, {{domain: beta.corp, org: acme-corp}}", acme(&record("CNAME", "mail.internal"))));
    let applied = new.apply(&old, &store, 10).expect("applied");
    assert_eq!((applied.created, applied.deleted), (1, 0));
    let catalog = store.snapshot();
    let zone = catalog.zone(&acme_name).expect("the zone");
    let www = zone.node(&Name::parse("www.acme.corp").expect("a name")).expect("www");
    assert!(www.get(Rtype::CNAME).is_some() && www.get(Rtype::A).is_none());
    assert!(zone.node(&Name::parse("lease.acme.corp").expect("a name")).is_some(), "the lease stays");
    assert!(
        catalog.servers_of(&Name::parse("beta.corp").expect("a name")).eq(["10.0.0.5".parse::<IpAddr>().expect("ip")])
    );
    assert_eq!(new.apply(&new, &store, 20).expect("applied"), Applied::default(), "again does nothing");

    let applied = old.apply(&new, &store, 30).expect("applied");
    assert_eq!((applied.created, applied.deleted), (0, 1));
    assert!(store.snapshot().zone(&Name::parse("beta.corp").expect("a name")).is_none());
}

/// Hosts of ANDs have names in the zone of the AND, which hangs below its domain, and their addresses lead back where asked.
#[test]
fn a_leased_network_has_its_zone_and_where_asked_its_reverse_zones() {
    let base = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/single-org.yaml"));
    let base = Source { name: "spec".to_owned(), text: base.expect("the example") };
    let load = |sets: Vec<String>| {
        let loaded = netengine_spec::load(&Sources { base: base.clone(), overlay: None, sets }, &|_: &str| None);
        loaded.unwrap_or_else(|found| panic!("{found:?}")).spec
    };
    let spec = load(Vec::new());
    let leased = |name: &str, suffix: Option<&str>, network: &str, has_reverse| LeasedNetwork {
        name: name.to_owned(),
        suffix: suffix.map(str::to_owned),
        has_reverse,
        networks: vec![
            format!("{network}.0/24").parse().expect("a network"),
            "fd00:9::/64".parse().expect("a network"),
        ],
        routers: vec![format!("{network}.1").parse().expect("an address")],
        hosts: vec![HostAddress {
            name: name.to_owned(),
            address: format!("{network}.254").parse().expect("an address"),
        }],
    };
    let all = [
        leased("hq", Some("hq.acme.corp"), "10.20.0", true),
        leased("lab", None, "10.20.1", true),
        leased("shop", Some("shop.test"), "10.20.2", false),
        leased("own", Some("platform.internal"), "10.20.3", true),
    ];
    let plan = Plan::with_leased(&spec, &[], &all);
    assert!(has(&plan, "acme.corp", "hq.acme.corp", "NS", "ns.corp"), "delegated from its domain");
    assert_eq!(plan.zones["hq.acme.corp"].addresses, plan.zones["corp"].addresses);
    assert!(has(&plan, "hq.acme.corp", "hq.hq.acme.corp", "A", "10.20.0.254"));
    assert!(has(&plan, "hq.acme.corp", "gateway.hq.acme.corp", "A", "10.20.0.1"));
    assert!(has(&plan, "0.20.10.in-addr.arpa", "254.0.20.10.in-addr.arpa", "PTR", "hq.hq.acme.corp"));
    assert!(has(&plan, "in-addr.arpa", "0.20.10.in-addr.arpa", "NS", "ns.platform.internal"));
    assert!(plan.zones.contains_key("0.0.0.0.0.0.0.0.9.0.0.0.0.0.d.f.ip6.arpa"));
    assert!(has(&plan, "platform.internal", "lab.platform.internal", "A", "10.20.1.254"), "without a suffix");
    assert!(has(&plan, "platform.internal", "gateway.lab.platform.internal", "A", "10.20.1.1"));
    assert!(has(&plan, "shop.test", "shop.shop.test", "A", "10.20.2.254"));
    assert!(has(&plan, ".", "shop.test", "NS", "ns.platform.internal"), "of no declared top-level domain");
    assert!(!plan.zones.contains_key("2.20.10.in-addr.arpa"), "no reverse zone was asked for");
    let servers =
        plan.zones["platform.internal"].records.iter().filter(|it| it.rtype == "NS" && it.owner == "platform.internal");
    assert_eq!(servers.count(), 1, "a zone that is there keeps its server");
    assert!(plan.resolvers.contains(&"10.20.1.1".parse().expect("an address")));
    plan.catalog(1).expect("zones");
    // The resolver's part of it, with a root and without.
    for spec in [&spec, &load(vec!["dns.root.enabled=false".to_owned()])] {
        let (plan, outlook) = (Plan::with_leased(spec, &[], &all), Outlook::beside(spec, &[], &all, &[]));
        let servers = plan.addresses();
        assert_eq!(outlook, Outlook { hints: plan.hints, servers, resolvers: plan.resolvers });
        assert_ne!(outlook, Outlook::beside(spec, &[], &[], &[]));
    }
    let zones = |plan: &Plan| plan.zones.keys().cloned().collect::<Vec<_>>();
    assert_eq!(zones(&Plan::with_leased(&spec, &[], &[])), zones(&Plan::of(&spec, &[])));
}

/// Zones of another world are delegated where this one has nothing, and take nothing from it.
#[test]
fn another_worlds_zones_hang_below_the_root_and_take_nothing() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/minimal.yaml");
    let base = Source { name: "spec".to_owned(), text: std::fs::read_to_string(path).expect("the example") };
    let load = |sets: Vec<String>| {
        netengine_spec::load(&Sources { base: base.clone(), overlay: None, sets }, &|_: &str| None)
            .expect("a spec")
            .spec
    };
    let zone = |name: &str, primary: &str| ForeignZone {
        name: name.to_owned(),
        primary: primary.to_owned(),
        addresses: vec![[10, 2, 0, 4].into()],
        ds: vec!["7 13 2 0AFF".to_owned()],
    };
    let foreign = [
        zone("beta", "ns.beta"),
        zone("2.10.in-addr.arpa", "ns.platform.beta"),
        // Not one of these.
        zone("", "ns.beta"),
        zone("internal", "ns.internal"),
        zone("other.internal", "ns.other.internal"),
        zone("arpa", "ns.arpa"),
        zone("in-addr.arpa", "ns.beta"),
        zone("0.0.10.in-addr.arpa", "ns.beta"),
        zone("10.in-addr.arpa", "ns.beta"),
        ForeignZone { addresses: Vec::new(), ..zone("empty", "ns.empty") },
    ];
    let (alone, beside) = {
        let spec = load(Vec::new());
        (Plan::of(&spec, &[]), Plan::beside(&spec, &[], &[], &foreign))
    };
    assert_eq!(alone.zones.keys().collect::<Vec<_>>(), beside.zones.keys().collect::<Vec<_>>());
    let more = beside.zones.iter().flat_map(|(name, zone)| {
        let known = |record: &&PlannedRecord| !alone.zones[name].records.contains(record);
        let said = |record: &PlannedRecord| format!("{name} {} {} {}", record.owner, record.rtype, record.data);
        zone.records.iter().filter(known).map(said).collect::<Vec<_>>()
    });
    assert_eq!(
        more.collect::<Vec<_>>(),
        [
            ". beta DS 7 13 2 0AFF",
            ". beta NS ns.beta",
            ". ns.beta A 10.2.0.4",
            "in-addr.arpa 2.10.in-addr.arpa DS 7 13 2 0AFF",
            "in-addr.arpa 2.10.in-addr.arpa NS ns.platform.beta",
        ]
    );
    assert_eq!(alone.hints, beside.hints);
    // A world without a root begins at the zone itself.
    let rootless = Plan::beside(&load(vec!["dns.root.enabled=false".to_owned()]), &[], &[], &foreign);
    let hint = ("beta".to_owned(), vec![[10, 2, 0, 4].into()]);
    assert!(
        rootless.hints.contains(&hint) && rootless.hints.iter().filter(|(name, _)| name == "internal").count() == 1
    );
    // What such a world says of itself: what hangs below the root, and what is of its addresses.
    let outward: Vec<_> = alone.outward().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(outward, ["0.0.10.in-addr.arpa", "28.172.in-addr.arpa", "internal"]);
}
