//! One mistake is told once: wherever a whole spec is broken in one place, exactly that place is told, and nothing that
//! merely follows from it.

use netengine_spec::{Severity, Source, Sources, load, load_json};
use serde_json::{Value, json};

/// The richest example with every default written out.
fn whole() -> Value {
    let text = include_str!("../../../examples/dev-sandbox.yaml").replace(
        "org_apps:",
        "org_apps:\n  deployments: [{org: acme-corp, app: gitea, domain: acme.corp, subdomain: git}]",
    );
    let base = Source { name: "base.yaml".to_owned(), text };
    let loaded = load(&Sources { base, overlay: None, sets: Vec::new() }, &|_| None).expect("the example loads");
    serde_json::to_value(&loaded.spec).expect("a spec is JSON")
}

/// Every value of a tree, as JSON pointer and as path.
fn places(value: &Value, pointer: &str, path: &str, found: &mut Vec<(String, String)>) {
    found.push((pointer.to_owned(), path.to_owned()));
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                places(value, &format!("{pointer}/{key}"), &path, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{pointer}/{index}"), &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// Breaks each place in turn and asserts that only this place is told.
fn assert_only_the_broken_place_is_told(broken: impl Fn(&Value) -> Value) {
    let whole = whole();
    let mut all = Vec::new();
    places(&whole, "", "", &mut all);
    assert!(all.len() > 200, "only {} places", all.len());
    for (pointer, path) in all {
        let mut value = whole.clone();
        let place = value.pointer_mut(&pointer).expect("the place is there");
        *place = broken(place);
        let found = load_json(&value).expect_err("a broken spec is refused");
        let errors: Vec<_> = found.iter().filter(|found| found.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 1, "{path}: {found:#?}");
        assert_eq!(errors[0].path, path);
        let of_other_places: Vec<_> = found.iter().filter(|found| found.severity != Severity::Error).collect();
        assert!(of_other_places.is_empty(), "{path}: {of_other_places:#?}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_told_once() {
    assert_only_the_broken_place_is_told(|value| if value.is_array() { json!("wrong") } else { json!([["wrong"]]) });
}

#[test]
fn an_unknown_key_is_told_once() {
    let whole = whole();
    let mut all = Vec::new();
    places(&whole, "", "", &mut all);
    let maps_of_the_users_names = ["substrate.networks", "ands.profiles", "pki.rotation_policy.cert_type_overrides"];
    for (pointer, path) in all {
        let mut value = whole.clone();
        let place = value.pointer_mut(&pointer).expect("the place is there");
        let Some(map) = place.as_object_mut().filter(|_| !maps_of_the_users_names.contains(&path.as_str())) else {
            continue;
        };
        map.insert("zzz".to_owned(), json!(1));
        let found = load_json(&value).expect_err("an unknown key is refused");
        assert_eq!(found.len(), 1, "{path}: {found:#?}");
        assert!(found[0].message.starts_with("unknown key \"zzz\" in "), "{path}: {}", found[0]);
    }
}

#[test]
fn a_mistyped_key_is_told_once_with_the_key_that_was_meant() {
    let whole = whole();
    let mut all = Vec::new();
    places(&whole, "", "", &mut all);
    for (pointer, path) in all {
        let Some((parent, key)) = pointer.rsplit_once('/').filter(|(_, key)| key.parse::<usize>().is_err()) else {
            continue;
        };
        // A name of the user's is no known key, and of the keys `c`, `cn`, `o` a mistyped one may mean another.
        if parent == "/substrate/networks" || key.len() < 3 {
            continue;
        }
        let mut value = whole.clone();
        let map = value.pointer_mut(parent).and_then(Value::as_object_mut).expect("a map");
        let held = map.remove(key).expect("the key is there");
        let mistyped = format!("{key}x");
        map.insert(mistyped.clone(), held);
        let found = load_json(&value).expect_err("a mistyped key is refused");
        let unknown: Vec<_> = found.iter().filter(|found| found.message.starts_with("unknown key")).collect();
        assert_eq!(unknown.len(), 1, "{path}: {found:#?}");
        assert_eq!(unknown[0].help, Some(format!("did you mean `{key}`?")), "{path}");
        // A required key is also told as missing; nothing else follows.
        let others: Vec<_> = found.iter().filter(|found| !found.message.starts_with("unknown key")).collect();
        assert!(others.iter().all(|found| found.message.contains(" lacks ")), "{path}: {others:#?}");
    }
}
