//! Networks of ANDs, on both databases.

use std::collections::BTreeSet;

use netengine_proto::names::AndName;
use serde_json::json;

use super::*;
use crate::{
    orchestrator::tests::spec_json,
    plan::leases::{LeaseError, Leases},
};

/// A spec with these ANDs and room for four.
fn with(ands: &[&str]) -> Spec {
    let mut value = spec_json("w");
    value["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
    value["domain_registry"]["address_space"] = json!([{ "cidr": "10.20.0.0/22", "label": "business" }]);
    let ands = ands.iter().map(|and| json!({ "name": and, "org": "acme", "profile": "business" }));
    value["ands"]["instances"] = ands.collect();
    serde_json::from_value(value).expect("a spec")
}

fn up(name: &str, ands: &[&str]) -> Operation {
    Operation { spec: Some(with(ands)), ..operation(ALICE, name) }
}

fn text(leases: &Leases) -> Vec<String> {
    leases.iter().map(|(and, lease)| format!("{and} {} {}", lease.number, lease.network)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_and_has_its_network_again_after_its_world_was_removed() {
    for database in databases() {
        let store = open(&database).await;
        let first = up("w", &["a", "b"]);
        store.begin_up(&first, false, SIZE, SIZE, None).await.expect("begun");
        let both = ["a 0 10.20.0.0/24", "b 1 10.20.1.0/24"];
        assert_eq!(text(&store.leases(&first.world).await.expect("read")), both);
        // Undone: the world is gone, its leases are not.
        store.finish_failed(&first, &failure()).await.expect("ended");
        let second = up("w", &["b", "c"]);
        store.begin_up(&second, false, SIZE, SIZE, None).await.expect("begun");
        let third = ["b 1 10.20.1.0/24", "c 2 10.20.2.0/24"];
        let chosen = store.complete_leases(&second.world, &with(&["b", "c"]), 9).await.expect("there");
        assert_eq!(text(&chosen)[1..], third);
        let held = store.held_leases(ALICE, &second.world.name).await.expect("read");
        let released: Vec<_> =
            held.iter().filter(|held| held.released_at.is_some()).map(|held| held.and.as_str()).collect();
        assert_eq!(released, ["a"]);
        store.finish_failed(&second, &failure()).await.expect("ended");
        let again = up("w", &["a", "c"]);
        store.begin_up(&again, false, SIZE, SIZE, None).await.expect("begun");
        let held = store.held_leases(ALICE, &again.world.name).await.expect("read");
        let released: Vec<_> =
            held.iter().filter(|held| held.released_at.is_some()).map(|held| held.and.as_str()).collect();
        assert_eq!((held.len(), released), (3, vec!["b"]));
        // Another world of the same owner has networks of its own, which may be the same.
        let other = up("v", &["a"]);
        store.begin_up(&other, false, SIZE, SIZE, None).await.expect("begun");
        assert_eq!(text(&store.leases(&other.world).await.expect("read")), ["a 0 10.20.0.0/24"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_used_up_leaves_nothing_behind() {
    for database in databases() {
        let store = open(&database).await;
        let many = up("w", &["a", "b", "c", "d", "e"]);
        let refused = store.begin_up(&many, false, SIZE, SIZE, None).await;
        assert!(matches!(refused, Err(StoreError::Lease(LeaseError::UsedUp { index: 4, .. }))), "{refused:?}");
        assert!(store.held_leases(ALICE, &many.world.name).await.expect("read").is_empty());
        assert_eq!(store.held(ALICE).await.expect("counted"), Size::default());
        // Before phase 7 none is asked for.
        store.begin_up(&Operation { up_to: 6, ..many }, false, SIZE, SIZE, None).await.expect("begun");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_choose_at_once_no_two_have_one_network() {
    for database in databases() {
        let store = open(&database).await;
        let world = up("w", &[]).world;
        // A second daemon on the same database.
        let other = open(&database).await;
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..16 {
            let (store, world) = (if n % 2 == 0 { store.clone() } else { other.clone() }, world.clone());
            let names = [format!("and-{}", n % 4), format!("and-{}", (n + 1) % 4)];
            tasks.spawn(async move {
                let spec = with(&[&names[0], &names[1]]);
                let leases = store.complete_leases(&world, &spec, 9).await;
                leases.map(|leases| names.map(|name| leases[&AndName::parse(&name).expect("a name")]))
            });
        }
        for chosen in tasks.join_all().await {
            let [one, two] = chosen.expect("chosen");
            assert_ne!(one.network, two.network);
        }
        let held = store.held_leases(ALICE, &world.name).await.expect("read");
        let networks: BTreeSet<_> = held.iter().map(|held| held.lease.network).collect();
        assert_eq!((held.len(), networks.len()), (4, 4), "{}", database.url);
        // Nobody else's.
        assert!(store.held_leases(Uid(1), &world.name).await.expect("read").is_empty());
    }
}
