//! What a running world cannot change: the paths marked (I) in the reference.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::Spec;

/// A change to an immutable path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImmutableViolation {
    /// The path in the spec.
    pub path: String,
    /// The value of the running world; null when absent.
    pub old: Value,
    /// The value asked for; null when absent.
    pub new: Value,
    /// Why it cannot change.
    pub reason: String,
}

const LIFECYCLE: &str = "what may be thrown away was promised when the world was made";
const SUBNET: &str = "every address of the world lies in its networks";
const GATEWAY: &str = "hosts of the world route through the router's address";
const ROOT: &str = "every resolver of the world holds the root server's address";
const ACME: &str = "issued certificates and clients point at the authority's address";
const POOL: &str = "leases of ANDs were taken from it; append a pool instead";

/// The changes from `old` to `new` that a running world cannot follow, in the order of the sections.
///
/// Appending to `domain_registry.address_space` is allowed; changing, reordering or removing its entries is not. Adding
/// or removing a network is a change of `substrate.networks`.
pub fn immutable_violations(old: &Spec, new: &Spec) -> Vec<ImmutableViolation> {
    let mut found = Vec::new();
    let mut compare = |path: String, old: Value, new: Value, reason: &str| {
        if old != new {
            found.push(ImmutableViolation { path, old, new, reason: reason.to_owned() });
        }
    };
    compare("metadata.lifecycle".into(), json!(old.metadata.lifecycle), json!(new.metadata.lifecycle), LIFECYCLE);

    let (old_networks, new_networks) = (&old.substrate.networks, &new.substrate.networks);
    let added = new_networks.keys().filter(|name| !old_networks.contains_key(*name));
    for name in old_networks.keys().chain(added) {
        let (before, after) = (old_networks.get(name), new_networks.get(name));
        let subnet = |network: Option<&crate::model::Network>| json!(network.map(|network| network.subnet));
        let subnet6 = |network: Option<&crate::model::Network>| json!(network.and_then(|network| network.subnet6));
        compare(format!("substrate.networks.{name}.subnet"), subnet(before), subnet(after), SUBNET);
        compare(format!("substrate.networks.{name}.subnet6"), subnet6(before), subnet6(after), SUBNET);
    }
    let (before, after) = (&old.substrate.gateway, &new.substrate.gateway);
    compare("substrate.gateway.platform_ip".into(), json!(before.platform_ip), json!(after.platform_ip), GATEWAY);
    compare("substrate.gateway.core_ip".into(), json!(before.core_ip), json!(after.core_ip), GATEWAY);
    compare("dns.root.listen_ip".into(), json!(old.dns.root.listen_ip), json!(new.dns.root.listen_ip), ROOT);
    compare("pki.acme.listen_ip".into(), json!(old.pki.acme.listen_ip), json!(new.pki.acme.listen_ip), ACME);
    let after = &new.domain_registry.address_space;
    for (index, pool) in old.domain_registry.address_space.iter().enumerate() {
        let path = format!("domain_registry.address_space[{index}]");
        compare(path, json!(pool), json!(after.get(index)), POOL);
    }
    found
}
