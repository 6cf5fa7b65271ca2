//! What differs between two plans.

use std::collections::BTreeSet;

use netengine_proto::ids::{Uid, WorldId};
use netengine_spec::Spec;
use serde_json::json;

use super::*;
use crate::plan::leases::choose;

/// A world with these ANDs, each with its profile, and so many vantage hosts in network `platform`.
fn plan(ands: &[(&str, &str)], hosts: u8) -> NetworkPlan {
    let mut spec = serde_json::to_value(crate::orchestrator::tests::spec("w")).expect("a value");
    spec["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
    let pool = |(profile, n)| json!({ "cidr": format!("10.{n}.0.0/16"), "label": format!("{profile}-pool") });
    let pools = [("business", 64), ("residential", 65), ("airgapped", 66)].map(pool);
    spec["domain_registry"]["address_space"] = json!(pools);
    spec["substrate"]["networks"]["platform"]["vantage_hosts"] = json!(hosts);
    let and = |(name, profile): &(&str, &str)| json!({ "name": name, "org": "acme", "profile": profile });
    spec["ands"]["instances"] = ands.iter().map(and).collect();
    let spec: Spec = serde_json::from_value(spec).expect("a spec");
    let leases = choose(&spec, None, &[]).expect("leases").leases;
    crate::plan::network_plan(&spec, 9, WorldId::from_bytes([1; 8]), Uid(1), &leases).expect("a plan")
}

/// The difference by all objects of both.
fn whole(before: &NetworkPlan, after: &NetworkPlan) -> BTreeSet<String> {
    let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (objects(before).into_iter().collect(), objects(after).into_iter().collect());
    let change = |action, object: &ObjectName| format!("{:?}", Change { action, object: object.clone() });
    let made = after.iter().filter_map(|(name, attributes)| match before.get(name) {
        None => Some(change(ChangeAction::Create, name)),
        Some(was) => (was != attributes).then(|| change(ChangeAction::Change, name)),
    });
    let gone = before.keys().filter(|name| !after.contains_key(name)).map(|name| change(ChangeAction::Delete, name));
    made.chain(gone).collect()
}

#[test]
fn what_both_plans_have_makes_no_difference_to_the_difference() {
    let plans = [
        plan(&[], 0),
        plan(&[], 2),
        plan(&[("a", "business"), ("b", "airgapped")], 0),
        plan(&[("b", "airgapped"), ("a", "business")], 1),
        plan(&[("a", "residential"), ("c", "business"), ("b", "airgapped")], 0),
        plan(&[("c", "business")], 3),
    ];
    for (before, after) in plans.iter().flat_map(|before| plans.iter().map(move |after| (before, after))) {
        let found = diff(Some(before), after);
        let listed: BTreeSet<_> = found.iter().map(|change| format!("{change:?}")).collect();
        assert_eq!((listed.len(), &listed), (found.len(), &whole(before, after)));
        assert_eq!(found.is_empty(), before == after);
    }
    assert_eq!(diff(None, &plans[2]).len(), objects(&plans[2]).len());
}
