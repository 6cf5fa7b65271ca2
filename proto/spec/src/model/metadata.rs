//! Section `metadata`.

use netengine_proto::names::WorldName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{formats, text::Text};

/// Who this world is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The schema this file is written for.
    #[serde(default)]
    pub schema_version: SchemaVersion,
    /// The name of the world, unique per owner.
    #[schemars(schema_with = "formats::name")]
    pub name: WorldName,
    /// The version of this file, for people.
    #[serde(default = "version")]
    pub version: Text,
    /// Whether the world's state may be thrown away. A persistent world asks for confirmation before it is removed. Immutable.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// A label shown in the status.
    #[serde(default)]
    pub organization: Option<Text>,
    /// A label shown in the status.
    #[serde(default)]
    pub environment: Option<Text>,
}

fn version() -> Text {
    Text::ours("1.0")
}

/// The schema a spec is written for; there is one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SchemaVersion {
    /// Version 1.
    #[default]
    #[serde(rename = "netengine.spec.v1")]
    V1,
}

/// What becomes of a world's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lifecycle {
    /// State may go away with the world.
    #[default]
    Ephemeral,
    /// State is kept; removal must be confirmed with the world's name.
    Persistent,
}
