//! Which steps follow from what was seen.

use netengine_proto::{
    control::{Desired, ServiceHealth},
    ids::{Uid, WorldId},
    trust::{DelegationSigner, Trust},
};

use super::*;

fn target(up_to: u8) -> Target {
    let spec = crate::orchestrator::tests::spec("w");
    Target::new(spec, up_to, WorldId::from_bytes([1; 8]), Uid(1), Vec::new(), &Default::default()).expect("a target")
}

fn health(desired: &Desired, trust: Trust) -> Health {
    let ntp = desired.ntp.iter().flat_map(|ntp| ntp.addresses.clone());
    let services = ntp.map(|address| ServiceHealth {
        name: "ntp".to_owned(),
        phase: 0,
        address,
        port: 123,
        serving: true,
        detail: String::new(),
    });
    Health {
        revision: desired.revision.clone(),
        services: services.collect(),
        trust,
        zones: Vec::new(),
        issuers: Vec::new(),
    }
}

fn running(target: &Target, trust: Trust) -> Observed {
    let gateway = target.has_gateway().then(|| health(&target.gateway_desired(trust.clone()), Trust::default()));
    Observed {
        applied: Some(target.network.clone()),
        drift: Vec::new(),
        worldd: Seen { health: Some(health(&target.desired, trust)), is_stale: false },
        gateway: Seen { health: gateway, is_stale: false },
        uplink: Seen::default(),
    }
}

fn kinds(target: &Target, observed: &Observed) -> Vec<StepKind> {
    plan(target, observed, false).iter().map(|step| step.kind).collect()
}

use StepKind::{Check, Gateway, Network, Prober, Resolver, Services, Worldd};

#[test]
fn worldd_and_the_routers_services_start_at_the_same_time_after_the_network() {
    let steps = plan(&target(9), &Observed::default(), false);
    let after = |kind| steps.iter().find(|step| step.kind == kind).map(|step| step.after.clone()).expect("a step");
    assert_eq!((after(Worldd), after(Gateway)), (vec![Network], vec![Network]));
    assert_eq!(after(Resolver), [Network, Gateway, Services]);
    assert_eq!(after(Prober), [Network, Worldd, Gateway]);
    assert_eq!(after(Check), [Network, Worldd, Gateway, Services, Resolver, Prober]);
}

#[test]
fn a_worldd_that_runs_waits_for_its_own_links_only() {
    let target = target(9);
    let after = |observed: &Observed, is_unsure| {
        let steps = plan(&target, observed, is_unsure);
        let after = |kind| steps.iter().find(|step| step.kind == kind).map(|step| step.after.clone()).expect("a step");
        (after(Services), after(Resolver))
    };
    let object =
        |node: &str| ObjectName { node: node.to_owned(), kind: ObjectKind::Address, name: "a link".to_owned() };
    let mut seen = running(&target, Trust::default());
    seen.worldd.health.as_mut().expect("seen").revision = "another".to_owned();
    seen.drift = vec![Change { action: ChangeAction::Create, object: object(&Node::Gateway.to_string()) }];
    assert_eq!(after(&seen, false), (vec![], vec![Network]));
    assert_eq!(after(&seen, true), (vec![Network], vec![Network]));
    seen.drift.push(Change { action: ChangeAction::Create, object: object(&Node::Services.to_string()) });
    assert_eq!(after(&seen, false), (vec![Network], vec![Network]));
}

#[test]
fn a_world_that_is_as_it_should_be_is_only_checked() {
    for up_to in [0, 1, 2, 9] {
        let target = target(up_to);
        assert_eq!(kinds(&target, &running(&target, Trust::default())), [Prober, Check], "{up_to}");
    }
}

#[test]
fn what_lacks_or_differs_is_done_and_no_more() {
    let target = target(9);
    let mut seen = running(&target, Trust::default());
    seen.gateway = Seen { health: None, is_stale: true };
    assert_eq!(kinds(&target, &seen), [Gateway, Resolver, Prober, Check]);

    let mut seen = running(&target, Trust::default());
    seen.worldd.health = None;
    assert_eq!(kinds(&target, &seen), [Worldd, Services, Resolver, Prober, Check]);

    let mut seen = running(&target, Trust::default());
    let first = &mut seen.worldd.health.as_mut().expect("seen").services[0];
    first.serving = false;
    assert_eq!(kinds(&target, &seen), [Services, Resolver, Prober, Check]);

    // worldd has another key since: the resolver learns of it.
    let mut seen = running(&target, Trust::default());
    let digest = netengine_proto::bounded::Bounded::new(vec![1]).expect("short");
    let anchor = DelegationSigner { key_tag: 1, algorithm: 13, digest_type: 2, digest };
    let dns_root = netengine_proto::bounded::Bounded::new(vec![anchor]).expect("one");
    seen.worldd.health.as_mut().expect("seen").trust.dns_root = dns_root;
    assert_eq!(kinds(&target, &seen), [Resolver, Prober, Check]);
}

#[test]
fn phases_that_are_not_asked_for_have_no_process_and_no_open_port() {
    let input = |target: &Target| target.network.nodes[0].policy.as_ref().expect("a policy").input.len();
    assert_eq!((input(&target(1)), input(&target(2))), (0, 4));
    assert_eq!(kinds(&target(0), &Observed::default()), [Network, Worldd, Services, Prober, Check]);
    // Fewer phases than before: the router's services end.
    let seen = running(&target(9), Trust::default());
    assert_eq!(kinds(&target(1), &seen), [Network, Services, Gateway, Prober, Check]);
}
