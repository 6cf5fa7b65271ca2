//! The state of each feature of the spec, as data.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{AndProfile, Bgp, CrossWorldMode, Orchestrator, Runtime, Spec};

/// How far a feature has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureState {
    /// It has its meaning and keeps it.
    Stable,
    /// It works and may change.
    Experimental,
    /// The value is accepted for later and changes nothing now.
    Reserved,
    /// The value is refused.
    Unsupported,
}

/// One active use of a feature that is not stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureUse {
    /// The path in the spec.
    pub path: String,
    /// How far the feature has come.
    pub state: FeatureState,
    /// What that means here.
    pub reason: String,
    /// The value of this spec.
    pub current: Value,
    /// The default value.
    pub default: Value,
}

/// One feature that is not stable: where a spec uses it, with the values.
struct Feature {
    state: FeatureState,
    reason: &'static str,
    default: fn() -> Value,
    uses: fn(&Spec) -> Vec<(String, Value)>,
}

/// Every feature that is not stable. What is not listed is stable.
const FEATURES: &[Feature] = &[
    Feature {
        state: FeatureState::Reserved,
        reason: "worlds run on one host, where the orchestrator changes nothing",
        default: || json!(Orchestrator::default()),
        uses: |spec| when(spec.substrate.orchestrator == Orchestrator::K3s, "substrate.orchestrator", "k3s"),
    },
    Feature {
        state: FeatureState::Unsupported,
        reason: "world services are run by the built-in servers only",
        default: || json!(Runtime::default()),
        uses: |spec| when(spec.substrate.runtime == Runtime::Docker, "substrate.runtime", "docker"),
    },
    Feature {
        state: FeatureState::Experimental,
        reason: "an addition of this product; how flows are named may change",
        default: || json!([]),
        uses: |spec| when(!spec.ands.allow.is_empty(), "ands.allow", json!(spec.ands.allow)),
    },
    Feature {
        state: FeatureState::Unsupported,
        reason: "ANDs have no BGP router",
        default: || Value::Null,
        uses: |spec| {
            let profiles = spec.ands.profiles.iter();
            profiles.filter_map(|(name, profile)| bgp_use(name.as_str(), profile)).collect()
        },
    },
    Feature {
        state: FeatureState::Unsupported,
        reason: "ANDs are joined by the world's router, not by BGP",
        default: || json!(false),
        uses: |spec| when(spec.ands.bgp_fabric.enabled, "ands.bgp_fabric.enabled", true),
    },
    Feature {
        state: FeatureState::Experimental,
        reason: "an addition of this product; how flows and ports are named may change",
        default: || json!([]),
        uses: |spec| {
            let internet = &spec.gateway_portal.real_internet;
            let rules = when(!internet.rules.is_empty(), "gateway_portal.real_internet.rules", json!(internet.rules));
            let ports = !internet.publish.is_empty();
            let ports = when(ports, "gateway_portal.real_internet.publish", json!(internet.publish));
            rules.into_iter().chain(ports).collect()
        },
    },
    Feature {
        state: FeatureState::Experimental,
        reason: "worlds of one host are joined; how the other one is named may change",
        default: || json!(CrossWorldMode::default()),
        uses: |spec| {
            let mode = spec.gateway_portal.cross_world.mode;
            when(mode != CrossWorldMode::None, "gateway_portal.cross_world.mode", json!(mode))
        },
    },
];

fn when(is_active: bool, path: &str, value: impl Into<Value>) -> Vec<(String, Value)> {
    if is_active { vec![(path.to_owned(), value.into())] } else { Vec::new() }
}

fn bgp_use(name: &str, profile: &AndProfile) -> Option<(String, Value)> {
    let bgp = profile.bgp.filter(|bgp| *bgp != Bgp::Disabled)?;
    Some((format!("ands.profiles.{name}.bgp"), json!(bgp)))
}

/// The active fields of a spec that are not stable, with state, reason, current and default value.
pub fn explain(spec: &Spec) -> Vec<FeatureUse> {
    let mut found = Vec::new();
    for feature in FEATURES {
        for (path, current) in (feature.uses)(spec) {
            let default = (feature.default)();
            found.push(FeatureUse { path, state: feature.state, reason: feature.reason.to_owned(), current, default });
        }
    }
    found
}
