//! One registration reaches DNS, exactly as an initial domain of the spec does.

use std::{collections::BTreeMap, sync::Arc};

use netengine_dns::{
    dnssec::{Lifetimes, Schedule, Secret, Signing},
    name::Name,
    plan::Plan,
    record::Rtype,
    zone::{Catalog, Zone},
};
use netengine_registry::{
    decide::{self, Limits, PatchDomain, Right},
    names::DnsNames,
    problem::Kind,
    registry::{Registry, now},
    store::SqliteStore,
    whois,
};

use crate::world::{SPEC, of, open, register, spec, world, zones};

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

/// All of a zone but its serial.
fn content(zone: &Zone) -> Vec<String> {
    let all = zone.records().map(|record| {
        let data = match record.rtype {
            Rtype::SOA => format!("{:?} {:?} {}", zone.soa().primary, zone.soa().mailbox, zone.soa().minimum),
            _ => format!("{:?}", record.data),
        };
        format!("{:?} {} {} {data}", record.owner, record.ttl, record.rtype)
    });
    all.collect()
}

/// All zones, and who serves them.
fn everything(catalog: &Catalog) -> BTreeMap<String, (Vec<String>, Vec<String>)> {
    let all = catalog.zones().map(|zone| {
        let mut servers: Vec<_> = catalog.servers_of(zone.apex()).map(|address| address.to_string()).collect();
        servers.sort();
        (format!("{:?}", zone.apex()), (content(zone), servers))
    });
    all.collect()
}

const HOSTED: &str = r#"[{"name": "@", "type": "MX", "value": "10 mail.shop.corp", "ttl": 60},
    {"name": "www", "type": "A", "value": "10.20.0.7"}, {"name": "*", "type": "CNAME", "value": "www.shop.corp"},
    {"name": "_sip._tcp", "type": "SRV", "value": "1 2 5060 www.shop.corp"}, {"name": "@", "type": "TXT", "value": "a; b"}]"#;
const DELEGATED: &str = r#"[{"name": "@", "type": "NS", "value": "ns1.shop.corp"}, {"name": "@", "type": "NS", "value": "ns.acme.corp"},
    {"name": "ns1", "type": "A", "value": "10.20.0.8"}, {"name": "ns1", "type": "AAAA", "value": "fd00:10::8"},
    {"name": "unseen", "type": "A", "value": "10.20.0.9"}]"#;

#[tokio::test]
async fn a_registration_makes_the_zones_that_the_spec_would_have_made() {
    for records in ["[]", HOSTED, DELEGATED, r#"[{"name": "@", "type": "NS", "value": "ns.corp"}]"#] {
        let world = world().await;
        let before = everything(&world.zones.snapshot());
        let wanted = format!(r#"{{"name": "shop.corp", "records": {records}}}"#);
        register(&world.registry, of("rival"), &wanted).await.expect("registered");

        let initial = format!(
            "domain_registry.initial_domains=[{{domain: acme.corp, org: acme-corp, records: [{{name: www, type: A, value: \
             10.20.0.9}}]}}, {{domain: shop.corp, org: rival, records: {records}}}]"
        );
        let planned = Plan::of(&spec(SPEC, &[&initial]), &[]).catalog(1).expect("zones");
        assert_eq!(everything(&world.zones.snapshot()), everything(&planned), "{records}");

        world.registry.change(|state, _| decide::delete(state, &of("rival"), "shop.corp")).await.expect("deleted");
        assert_eq!(everything(&world.zones.snapshot()), before, "{records}");
    }
}

#[tokio::test]
async fn name_servers_given_by_name_become_a_delegation_with_glue_and_go_again() {
    let world = world().await;
    let before = everything(&world.zones.snapshot());
    let wanted = r#"{"name": "shop.corp", "nameservers": [{"name": "ns1.shop.corp", "addresses": ["10.20.0.8"]}]}"#;
    register(&world.registry, of("rival"), wanted).await.expect("registered");
    let served = everything(&world.zones.snapshot());
    assert!(!served.contains_key("shop.corp."), "{:?}", served.keys());
    let corp = served.values().flat_map(|(records, _)| records).filter(|text| text.contains("shop.corp")).count();
    assert_eq!(corp, 2, "an NS record and its glue");

    let patch: PatchDomain = serde_json::from_str(r#"{"nameservers": []}"#).expect("a patch");
    let decide = move |state: &_, _| decide::update(state, &of("rival"), "shop.corp", &patch, now());
    world.registry.change(decide).await.expect("changed");
    assert!(world.zones.snapshot().zone(&name("shop.corp")).is_some(), "hosted now");
    let text = whois::answer(&world.registry.state(), b"shop.corp", now());
    assert!(text.contains("Name Server: ns.corp\r\n"), "{text}");
    world.registry.change(|state, _| decide::delete(state, &Right::Superadmin, "shop.corp")).await.expect("deleted");
    assert_eq!(everything(&world.zones.snapshot()), before);
}

#[tokio::test]
async fn who_may_not_register_gets_nothing_and_nothing_changes() {
    let world = world().await;
    let before = everything(&world.zones.snapshot());
    let cases = [
        (of("lurker"), r#"{"name": "shop.corp"}"#, Kind::NotCapable),
        (of("nobody"), r#"{"name": "shop.corp"}"#, Kind::Invalid),
        (of("rival"), r#"{"name": "shop.corp", "organisation": "acme-corp"}"#, Kind::Forbidden),
        (Right::Readonly, r#"{"name": "shop.corp", "organisation": "rival"}"#, Kind::Forbidden),
        (of("rival"), r#"{"name": "acme.corp"}"#, Kind::Taken),
        (of("rival"), r#"{"name": "a.shop.corp"}"#, Kind::InvalidName),
        (of("rival"), r#"{"name": "corp"}"#, Kind::InvalidName),
        (of("rival"), r#"{"name": "auth.internal"}"#, Kind::InvalidName),
        (of("rival"), r#"{"name": "ns.corp"}"#, Kind::Reserved),
        (of("rival"), r#"{"name": "shop.corp", "years": 11}"#, Kind::Invalid),
        (of("rival"), r#"{"name": "shop.corp", "years": 0}"#, Kind::Invalid),
        (of("rival"), r#"{"name": "shop.corp", "records": [{"type": "CNAME", "value": "x.corp"}]}"#, Kind::Invalid),
        (of("rival"), r#"{"name": "shop.corp", "records": [{"type": "A", "value": "10.0.0"}]}"#, Kind::Invalid),
        (
            of("rival"),
            r#"{"name": "shop.corp", "records": [{"type": "A", "value": "10.0.0.1", "ttl": 0}]}"#,
            Kind::Invalid,
        ),
        (of("rival"), r#"{"name": "shop.corp", "records": [{"type": "PTR", "value": "x.corp"}]}"#, Kind::Invalid),
        (of("rival"), r#"{"name": "shop.corp", "nameservers": [{"name": "ns.shop.corp"}]}"#, Kind::Invalid),
        (
            of("rival"),
            r#"{"name": "shop.corp", "nameservers": [{"name": "ns.x.corp", "addresses": ["10.0.0.1"]}]}"#,
            Kind::Invalid,
        ),
    ];
    for (right, json, kind) in cases {
        let refused = register(&world.registry, right.clone(), json).await.expect_err(json);
        assert_eq!(refused.kind, kind, "{right:?} {json}: {refused}");
    }
    assert_eq!(everything(&world.zones.snapshot()), before);
    assert_eq!(world.registry.state().domain_count(), 1);
}

#[tokio::test]
async fn a_name_of_the_world_cannot_be_hidden() {
    let text = SPEC.replace("tld: corp", "tld: internal");
    let (dir, spec) = (tempfile::tempdir().expect("a directory"), spec(&text, &["domain_registry.initial_domains=[]"]));
    let registry = open(dir.path(), &spec, &zones(&spec)).await;
    for taken in ["auth.internal", "platform.internal", "root.internal", "ns.internal"] {
        let refused = register(&registry, of("rival"), &format!(r#"{{"name": "{taken}"}}"#)).await.expect_err(taken);
        assert_eq!(refused.kind, Kind::Reserved, "{taken}");
        assert!(registry.check(taken).is_err(), "{taken}");
    }
    register(&registry, of("rival"), r#"{"name": "free.internal"}"#).await.expect("registered");
}

#[tokio::test]
async fn everything_is_served_again_after_a_restart() {
    let world = world().await;
    let wanted = format!(r#"{{"name": "shop.corp", "records": {HOSTED}}}"#);
    register(&world.registry, of("rival"), &wanted).await.expect("registered");
    let patch: PatchDomain = serde_json::from_str(r#"{"records": []}"#).expect("a patch");
    let decide = move |state: &_, _| decide::update(state, &of("acme-corp"), "acme.corp", &patch, now());
    world.registry.change(decide).await.expect("changed");
    let (served, state) = (everything(&world.zones.snapshot()), world.registry.state());
    let spec = world.spec.clone();
    let world = world.restart(spec).await;
    assert_eq!(everything(&world.zones.snapshot()), served);
    assert_eq!(world.registry.state(), state);
    world.registry.change(|state, _| decide::delete(state, &Right::Superadmin, "acme.corp")).await.expect("deleted");
    let spec = world.spec.clone();
    let world = world.restart(spec).await;
    assert!(world.zones.snapshot().zone(&name("acme.corp")).is_none(), "deleted stays deleted");
    assert!(world.registry.state().domain("acme.corp").is_none());
}

#[tokio::test]
async fn in_a_signed_world_a_hosted_domain_is_signed_and_a_delegated_one_has_no_digest_of_the_worlds_key() {
    let (dir, spec) = (tempfile::tempdir().expect("a directory"), spec(SPEC, &[]));
    let zones = zones(&spec);
    let year = 365 * 86_400;
    let schedule = Schedule { epoch: now().0, lifetimes: Lifetimes { ksk: year, zsk: year } };
    let signing = Arc::new(Signing::new(Secret::new(&[7; 32]), schedule));
    signing.refresh(&zones, now().0).expect("signed");
    let (signer, signed) = (signing.clone(), zones.clone());
    let names = DnsNames::new(zones.clone(), &spec).on_zones(move || {
        signer.refresh(&signed, now().0).expect("signed");
    });
    let store = SqliteStore::open(&dir.path().join("world.db")).await.expect("a database");
    let registry = Registry::open(store, Arc::new(names), &spec, Limits::default()).await.expect("a registry");
    let types = |zone: &str, owner: &str| {
        let catalog = zones.snapshot();
        let node = catalog.zone(&name(zone)).and_then(|zone| zone.node(&name(owner)).cloned());
        node.map(|node| node.sets.iter().map(|set| set.rtype).collect::<Vec<_>>()).unwrap_or_default()
    };
    register(&registry, of("rival"), r#"{"name": "shop.corp"}"#).await.expect("registered");
    assert!(types("shop.corp", "shop.corp").contains(&Rtype::DNSKEY));
    assert_eq!(types("corp", "shop.corp"), [Rtype::NS, Rtype::DS]);
    let set = |json: &str| {
        let patch: PatchDomain = serde_json::from_str(json).expect("a patch");
        registry.change(move |state, _| decide::update(state, &of("rival"), "shop.corp", &patch, now()))
    };
    set(r#"{"nameservers": [{"name": "ns.shop.corp", "addresses": ["10.20.0.8"]}]}"#).await.expect("changed");
    assert_eq!(types("corp", "shop.corp"), [Rtype::NS]);
    set(r#"{"nameservers": []}"#).await.expect("changed");
    assert_eq!(types("corp", "shop.corp"), [Rtype::NS, Rtype::DS]);
    assert_eq!(types("corp", "ns.shop.corp"), [], "the glue is gone");
}
