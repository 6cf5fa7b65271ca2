//! Networks of ANDs: one for each, for ever.

use std::collections::{BTreeMap, HashMap};

use ipnet::Ipv4Net;
use netengine_registry::{
    from_spec::{Wanted, fill},
    lease::{self, Held, LeaseError},
    model::Moment,
    state::{Change, Holder, Object, State},
};
use proptest::prelude::*;

use crate::world::{SPEC, spec, world};

const NOW: Moment = Moment(1_800_000_000);

fn filled() -> State {
    State::default().after(&fill(&State::default(), &Wanted::of(&spec(SPEC, &[])), NOW))
}

#[derive(Debug, Clone)]
enum Step {
    Lease(u8, bool),
    Release(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..40u8, any::<bool>()).prop_map(|(and, home)| Step::Lease(and, home)),
        (0..40u8).prop_map(Step::Release)
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn an_and_keeps_its_network_and_shares_it_with_nobody(steps in steps()) {
        let mut state = filled();
        let mut first: HashMap<String, (Ipv4Net, u32)> = HashMap::new();
        for step in steps {
            let outcome = match &step {
                Step::Lease(and, true) => lease::choose(&state, &format!("and{and}"), "residential", NOW),
                Step::Lease(and, false) => lease::choose(&state, &format!("and{and}"), "business", NOW),
                Step::Release(and) => lease::release(&state, &format!("and{and}"), NOW),
            };
            match outcome {
                Ok(lease) => {
                    let known = *first.entry(lease.and.clone()).or_insert((lease.network, lease.asn));
                    prop_assert_eq!(known, (lease.network, lease.asn));
                    prop_assert!(lease.pool.contains(&lease.network));
                    prop_assert_eq!(lease.released.is_some(), matches!(step, Step::Release(_)));
                    state = state.after(&[Change::Put(Object::Lease(lease))]);
                }
                Err(LeaseError::None { and }) => prop_assert!(!first.contains_key(&and)),
                // The residential pool has one network.
                Err(LeaseError::UsedUp { and, profile }) => prop_assert!(!first.contains_key(&and) && profile == "residential"),
                Err(other) => prop_assert!(false, "{other}"),
            }
            let mut seen: BTreeMap<Ipv4Net, &str> = BTreeMap::new();
            for lease in state.leases() {
                for (network, other) in &seen {
                    prop_assert!(!network.contains(&lease.network) && !lease.network.contains(network), "{} and {other}", lease.and);
                }
                seen.insert(lease.network, &lease.and);
            }
        }
    }
}

#[test]
fn networks_that_ands_were_given_are_their_leases_and_nobody_elses() {
    let now = |seconds| Moment(NOW.0 + seconds);
    let held = |and: &str, network: &str, network6: Option<&str>| Held {
        and: and.to_owned(),
        organisation: "acme".to_owned(),
        profile: "business".to_owned(),
        network: network.parse().expect("a network"),
        network6: network6.map(|network| network.parse().expect("a network")),
    };
    // One that this registry leased itself is in the way; another is not.
    let mut state = filled();
    for and in ["early", "late"] {
        let lease = lease::choose(&state, and, "business", NOW).expect("a lease");
        state = state.after(&[Change::Put(Object::Lease(lease))]);
    }
    let both = [held("hq", "10.20.0.0/24", Some("fd00:20::/64")), held("lab", "10.20.7.0/24", None)];
    let changes = lease::hold(&state, &both, now(1));
    let state = state.after(&changes);
    assert!(state.lease("early").is_none() && state.lease("late").is_some_and(|lease| lease.released == Some(now(1))));
    let of = |address: &str| match state.holder_of_address(address.parse().expect("an address")) {
        Some(Holder::Lease(lease, network)) => Some((lease.and.as_str(), network.to_string())),
        _ => None,
    };
    assert_eq!(of("10.20.0.9"), Some(("hq", "10.20.0.0/24".to_owned())));
    assert_eq!(of("fd00:20::9"), Some(("hq", "fd00:20::/64".to_owned())));
    assert_eq!((of("10.20.9.9"), of("fd00:21::9")), (None, None));
    let asn = |and: &str| state.lease(and).expect("a lease").asn;
    assert_ne!(asn("hq"), asn("lab"));
    // The same again is no change; one that goes is given back, and comes back with what it had.
    assert_eq!(lease::hold(&state, &both, now(2)), []);
    let gone = state.after(&lease::hold(&state, &both[..1], now(3)));
    assert_eq!(gone.lease("lab").expect("a lease").released, Some(now(3)));
    let back = gone.after(&lease::hold(&gone, &both, now(4)));
    assert_eq!(back.lease("lab"), state.lease("lab"));
}

#[test]
fn a_pool_smaller_than_a_lease_is_leased_whole_and_pools_can_be_appended() {
    let state = filled();
    let home = lease::choose(&state, "home", "residential", NOW).expect("a lease");
    assert_eq!(home.network.to_string(), "10.30.0.0/25");
    let state = state.after(&[Change::Put(Object::Lease(home))]);
    assert!(matches!(lease::choose(&state, "other", "residential", NOW), Err(LeaseError::UsedUp { .. })));
    assert!(matches!(lease::choose(&state, "other", "lunar", NOW), Err(LeaseError::NoPool { .. })));
    let pools = "domain_registry.address_space=[{cidr: 10.20.0.0/16, label: business-pool}, {cidr: 10.30.0.0/25, label: \
                 residential-pool}, {cidr: 10.40.0.0/16, allocated_to: residential-ands}]";
    let state = state.after(&fill(&state, &Wanted::of(&spec(SPEC, &[pools])), NOW));
    let other = lease::choose(&state, "other", "residential", NOW).expect("a lease");
    assert_eq!(other.network.to_string(), "10.40.0.0/24");
}

#[tokio::test]
async fn leases_are_there_after_a_restart_and_after_a_release() {
    let world = world().await;
    let leased = world.registry.lease("acme-hq", "business").await.expect("a lease");
    assert_eq!(
        (leased.network.to_string().as_str(), leased.organisation.as_deref()),
        ("10.20.0.0/24", Some("acme-corp"))
    );
    assert_eq!(world.registry.lease("acme-hq", "residential").await.expect("the same").network, leased.network);
    world.registry.release("acme-hq").await.expect("released");
    let spec = world.spec.clone();
    let world = world.restart(spec).await;
    let second = world.registry.lease("second", "business").await.expect("a lease");
    assert_eq!(second.network.to_string(), "10.20.1.0/24", "what was released is not given to another");
    assert_eq!(world.registry.lease("acme-hq", "business").await.expect("again"), leased);
}
