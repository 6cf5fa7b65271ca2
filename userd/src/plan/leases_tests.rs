//! Which network an AND gets.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A spec with these pools (network, label) and ANDs (name, profile).
fn spec(pools: &[(&str, &str)], ands: &[(&str, &str)]) -> Spec {
    let mut value = crate::orchestrator::tests::spec_json("w");
    value["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
    let pools = pools.iter().map(|(cidr, label)| json!({ "cidr": cidr, "label": label }));
    value["domain_registry"]["address_space"] = pools.collect::<Vec<Value>>().into();
    let ands = ands.iter().map(|(name, profile)| json!({ "name": name, "org": "acme", "profile": profile }));
    value["ands"]["instances"] = ands.collect::<Vec<Value>>().into();
    serde_json::from_value(value).expect("a spec")
}

fn name(text: &str) -> AndName {
    AndName::parse(text).expect("a name")
}

/// What is remembered after a choice.
fn after(choice: &Choice, held: &[Held], now: i64) -> Vec<Held> {
    let chosen = choice.leases.iter().map(|(and, lease)| Held { and: and.clone(), lease: *lease, released_at: None });
    let others =
        held.iter().filter(|held| !choice.leases.contains_key(&held.and) && !choice.forgotten.contains(&held.and));
    let others = others.map(|held| Held { released_at: held.released_at.or(Some(now)), ..held.clone() });
    chosen.chain(others).collect()
}

fn networks(choice: &Choice) -> Vec<String> {
    choice.leases.iter().map(|(and, lease)| format!("{and} {} {}", lease.number, lease.network)).collect()
}

#[test]
fn an_and_gets_a_24_of_its_profiles_pool_or_a_smaller_pool_whole() {
    let pools =
        [("10.20.0.0/16", "business-pool"), ("10.30.0.64/26", "residential"), ("10.31.0.0/24", "residential-pool")];
    let ands = [("a", "business"), ("b", "business"), ("c", "residential"), ("d", "residential")];
    let choice = choose(&spec(&pools, &ands), None, &[]).expect("chosen");
    assert_eq!(networks(&choice), ["a 0 10.20.0.0/24", "b 1 10.20.1.0/24", "c 2 10.30.0.64/26", "d 3 10.31.0.0/24"]);
    assert_eq!(choice.new.len(), 4);
    let error = choose(&spec(&pools, &[("e", "datacenter")]), None, &[]).expect_err("no pool");
    assert_eq!(
        error.to_string(),
        "cannot lease a network to ands.instances[0] (e): no pool serves the profile datacenter"
    );
    assert!(error.help().contains("label: datacenter-pool"));
    let many = [("c", "residential"), ("d", "residential"), ("e", "residential")];
    let error = choose(&spec(&pools, &many), None, &[]).expect_err("used up");
    assert!(
        error.to_string().contains("instances[2] (e): the pools of the profile residential are used up"),
        "{error}"
    );
    let tiny = choose(&spec(&[("10.20.0.0/31", "business")], &[("a", "business")]), None, &[]);
    assert!(matches!(tiny, Err(LeaseError::NoPool { .. })), "{tiny:?}");
}

#[test]
fn an_and_keeps_its_network_whatever_becomes_of_its_profile_and_of_others() {
    let pools = [("10.20.0.0/16", "business-pool"), ("10.30.0.0/16", "residential-pool")];
    let first = spec(&pools, &[("a", "business"), ("b", "business")]);
    let held = after(&choose(&first, None, &[]).expect("chosen"), &[], 1);
    let second = spec(&pools, &[("c", "business"), ("b", "residential")]);
    let choice = choose(&second, Some(&first), &held).expect("chosen");
    assert_eq!(networks(&choice), ["b 1 10.20.1.0/24", "c 2 10.20.2.0/24"]);
    assert_eq!((choice.new.len(), choice.forgotten.len()), (1, 0));
    // Back after some time, and in a world that is made anew.
    let held = after(&choice, &held, 2);
    assert_eq!(networks(&choose(&first, None, &held).expect("chosen")), ["a 0 10.20.0.0/24", "b 1 10.20.1.0/24"]);
    // Its pool is another, the network with it.
    let moved = spec(&[("10.40.0.0/16", "business")], &[("a", "business")]);
    let choice = choose(&moved, None, &held).expect("chosen");
    assert_eq!(networks(&choice), ["a 0 10.40.0.0/24"]);
    assert_eq!(choice.forgotten.len(), 3, "no pool holds what was leased before");
}

#[test]
fn the_longest_released_gives_way_when_nothing_is_free_and_what_is_in_force_never() {
    let pools = [("10.20.0.0/23", "business")];
    let of = |ands: &[&str]| spec(&pools, &ands.iter().map(|and| (*and, "business")).collect::<Vec<_>>());
    let held = after(&choose(&of(&["a", "b"]), None, &[]).expect("chosen"), &[], 1);
    let held = after(&choose(&of(&["b"]), Some(&of(&["a", "b"])), &held).expect("kept"), &held, 2);
    let held = after(&choose(&of(&[]), Some(&of(&["b"])), &held).expect("kept"), &held, 3);
    // A rename of what is up: the world may have to be brought back to `b`, so `a` gives way.
    let choice = choose(&of(&["c"]), Some(&of(&["b"])), &held).expect("chosen");
    assert_eq!((networks(&choice), choice.forgotten), (vec!["c 0 10.20.0.0/24".to_owned()], [name("a")].into()));
    let both = choose(&of(&["c", "d"]), Some(&of(&["b"])), &held);
    assert!(matches!(both, Err(LeaseError::UsedUp { index: 1, .. })), "{both:?}");
    assert_eq!(choose(&of(&["c", "d"]), None, &held).expect("nothing is up").forgotten.len(), 2);
}

#[test]
fn numbers_are_bounded_and_given_again() {
    let pools = [("10.0.0.0/10", "business")];
    let old: Vec<Held> = (0..NUMBERS)
        .map(|number| Held {
            and: name(&format!("old-{number}")),
            lease: Lease { number, network: Ipv4Net::new_assert((0x0a00_0000 + (u32::from(number) << 8)).into(), 24) },
            released_at: Some(i64::from(number) + 1),
        })
        .collect();
    let choice = choose(&spec(&pools, &[("new", "business")]), None, &old).expect("chosen");
    assert_eq!(networks(&choice), ["new 0 10.16.0.0/24"]);
    assert_eq!(choice.forgotten, [name("old-0")].into());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_network_and_no_number_is_of_two_ands(worlds in proptest::collection::vec(proptest::collection::btree_set(0u8..12, 0..8), 1..8)) {
        let pools = [("10.20.0.0/22", "business"), ("10.30.0.0/25", "business-pool"), ("10.31.0.0/21", "business")];
        let (mut held, mut before): (Vec<Held>, Option<Spec>) = (Vec::new(), None);
        for (now, ands) in (1..).zip(worlds) {
            let ands: Vec<String> = ands.into_iter().map(|and| format!("and-{and}")).collect();
            let spec = spec(&pools, &ands.iter().map(|and| (and.as_str(), "business")).collect::<Vec<_>>());
            let choice = choose(&spec, before.as_ref(), &held);
            // 4 + 1 + 8 networks; 8 wanted and at most 8 in force.
            let choice = match choice {
                Err(LeaseError::UsedUp { .. }) => continue,
                other => other.expect("chosen"),
            };
            prop_assert_eq!(choice.leases.len(), ands.len());
            for old in held.iter().filter(|old| choice.leases.contains_key(&old.and)) {
                prop_assert_eq!(choice.leases[&old.and], old.lease, "a lease stays");
            }
            held = after(&choice, &held, now);
            let networks: HashSet<_> = held.iter().map(|held| held.lease.network).collect();
            let numbers: HashSet<_> = held.iter().map(|held| held.lease.number).collect();
            prop_assert_eq!((networks.len(), numbers.len()), (held.len(), held.len()));
            for one in &spec.ands.instances {
                prop_assert!(held.iter().any(|held| held.and == one.name), "what is up has its row");
            }
            before = Some(spec);
        }
    }
}
