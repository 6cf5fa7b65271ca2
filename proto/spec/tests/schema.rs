//! The committed JSON Schema is the one of the types.

use std::{fs, path::PathBuf};

use netengine_spec::schema;
use serde_json::Value;

/// Run with `NETENGINE_BLESS=1` to write the file anew after a change of the model.
#[test]
fn the_committed_schema_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("spec.schema.json");
    let current = serde_json::to_string_pretty(&schema()).expect("a schema is JSON") + "\n";
    if std::env::var_os("NETENGINE_BLESS").is_some() {
        fs::write(&path, &current).expect("the schema can be written");
    }
    let committed = fs::read_to_string(&path).expect("the schema is committed");
    assert!(committed == current, "spec.schema.json is out of date; run this test with NETENGINE_BLESS=1");
}

/// The structural walk reads only these constructs; a new one in the model must be taught to it first.
#[test]
fn the_schema_holds_only_what_the_structural_walk_reads() {
    let schema = schema();
    let mut open = vec![(String::from("$"), &schema)];
    let mut seen = 0;
    while let Some((path, node)) = open.pop() {
        seen += 1;
        let keys = node.as_object().unwrap_or_else(|| panic!("{path} is not a schema"));
        for (key, value) in keys {
            let at = format!("{path}.{key}");
            match key.as_str() {
                "$schema" | "title" | "description" | "default" | "pattern" | "required" | "propertyNames"
                | "const" => {}
                "minimum" | "maximum" => assert!(value.as_i64().is_some(), "{at} is not a whole number"),
                "format" => assert!(value.is_string(), "{at}"),
                "type" => {
                    let kinds = value.as_array().map_or(vec![value], |kinds| kinds.iter().collect());
                    let known = ["object", "array", "string", "integer", "boolean", "null"];
                    assert!(
                        kinds.iter().all(|kind| kind.as_str().is_some_and(|kind| known.contains(&kind))),
                        "{at}: {value}"
                    );
                    let is_text = kinds.iter().any(|kind| *kind == "string");
                    assert!(
                        !is_text || keys.contains_key("format") || keys.contains_key("const"),
                        "{at} has no format"
                    );
                    let is_map = kinds.iter().any(|kind| *kind == "object");
                    assert!(!is_map || keys.contains_key("additionalProperties"), "{at} takes unknown keys");
                }
                "items" => open.push((at, value)),
                "additionalProperties" if *value == Value::Bool(false) => {}
                "additionalProperties" => open.push((at, value)),
                "properties" => {
                    let properties = value.as_object().expect("properties are a map");
                    open.extend(properties.iter().map(|(name, schema)| (format!("{at}.{name}"), schema)));
                }
                "oneOf" | "anyOf" => {
                    let options = value.as_array().expect("options are a list").iter().enumerate();
                    open.extend(options.map(|(index, option)| (format!("{at}[{index}]"), option)));
                }
                other => panic!("{path} holds {other}, which the structural walk does not read"),
            }
        }
    }
    assert!(seen > 200, "only {seen} schemas were seen");
}

#[test]
fn every_key_of_the_schema_is_described() {
    let schema = schema();
    let mut open = vec![(String::from("$"), &schema)];
    while let Some((path, node)) = open.pop() {
        for (name, property) in node["properties"].as_object().into_iter().flatten() {
            let at = format!("{path}.{name}");
            assert!(
                property["description"].as_str().is_some_and(|text| text.ends_with('.')),
                "{at} has no description"
            );
            open.push((at, property));
        }
        for key in ["items", "additionalProperties"] {
            open.extend(node.get(key).filter(|inner| inner.is_object()).map(|inner| (format!("{path}.{key}"), inner)));
        }
    }
}
