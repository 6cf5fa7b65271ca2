//! The JSON Schema of the spec, made from the types.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::model::Spec;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut settings = SchemaSettings::draft2020_12();
    // Inlined, so that editors show descriptions beside keys and our own walk needs no references.
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<Spec>().to_value()
});

/// The JSON Schema (draft 2020-12) of a spec file, for editors. `proto/spec/spec.schema.json` is a copy of it.
pub fn schema() -> Value {
    SCHEMA.clone()
}

pub(crate) fn schema_ref() -> &'static Value {
    &SCHEMA
}
