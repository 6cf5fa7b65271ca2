//! The committed JSON Schema is the one of the types.

use std::{fs, path::PathBuf};

use netengine_spec::schema;

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
