//! A world's registry with its zones, in a directory of its own.

use std::{path::Path, sync::Arc};

use netengine_dns::{
    plan::Plan,
    zone::{NoJournal, Store},
};
use netengine_registry::{
    decide::{self, Limits, Registration, Right},
    model::Domain,
    names::DnsNames,
    problem::Problem,
    registry::{Registry, now},
    secret::TransferSecret,
    store::SqliteStore,
};
use netengine_spec::{Source, Sources, Spec};
use tempfile::TempDir;

/// Three organisations; `lurker` may register nothing.
pub const SPEC: &str = r#"
metadata: {name: reg}
substrate:
  networks:
    platform: {subnet: 172.28.0.0/16}
    core: {subnet: 10.0.0.0/24, subnet6: "fd00:10::/64"}
  gateway: {platform_ip: 172.28.0.1, core_ip: 10.0.0.1}
dns:
  tlds:
    - {name: internal, listen_ip: 10.0.0.4}
    - {name: corp, listen_ip: 10.0.0.5}
pki: {}
identity_platform: {}
world_registry:
  organizations:
    - {name: acme-corp, description: The company, capabilities: [host_services, send_mail, register_domains]}
    - {name: rival, capabilities: [register_domains]}
    - {name: lurker, capabilities: []}
  operators:
    - {username: admin, role: superadmin}
    - {username: eve, role: readonly}
domain_registry:
  tld_delegations: [{tld: corp, governed_by: platform}]
  address_space:
    - {cidr: 10.20.0.0/16, label: business-pool}
    - {cidr: 10.30.0.0/25, label: residential-pool}
  initial_domains:
    - {domain: acme.corp, org: acme-corp, records: [{name: www, type: A, value: 10.20.0.9}]}
identity_inworld: {}
ands:
  instances:
    - {name: acme-hq, org: acme-corp, profile: business}
world_services: {mail: {enabled: false}, storage: {enabled: false}}
org_apps: {}
gateway_portal: {}
operator: {}
"#;

/// The spec of a text, with parts set.
pub fn spec(text: &str, sets: &[&str]) -> Spec {
    let base = Source { name: "spec.yaml".to_owned(), text: text.to_owned() };
    let sets = sets.iter().map(|&set| set.to_owned()).collect();
    match netengine_spec::load(&Sources { base, overlay: None, sets }, &|_: &str| None) {
        Ok(loaded) => loaded.spec,
        Err(error) => panic!("{error:?}"),
    }
}

/// A registry and what it stands on.
pub struct World {
    pub dir: TempDir,
    pub spec: Spec,
    pub zones: Arc<Store>,
    pub registry: Arc<Registry>,
}

/// The zones of a spec.
pub fn zones(spec: &Spec) -> Arc<Store> {
    let plan = Plan::of(spec, &[]);
    Arc::new(Store::new(plan.catalog(1).expect("zones"), plan.policy(), NoJournal))
}

/// Opens the registry in a directory.
pub async fn open(dir: &Path, spec: &Spec, zones: &Arc<Store>) -> Arc<Registry> {
    let store = SqliteStore::open(&dir.join("world.db")).await.expect("a database");
    let names = Arc::new(DnsNames::new(zones.clone(), spec));
    Registry::open(store, names, spec, Limits::default()).await.expect("a registry")
}

/// A world of [`SPEC`].
pub async fn world() -> World {
    world_with(&[]).await
}

/// A world of [`SPEC`] with parts set.
pub async fn world_with(sets: &[&str]) -> World {
    let (dir, spec) = (tempfile::tempdir().expect("a directory"), spec(SPEC, sets));
    let zones = zones(&spec);
    let registry = open(dir.path(), &spec, &zones).await;
    World { dir, spec, zones, registry }
}

impl World {
    /// Ends the process, as far as a test can, and starts it again with a spec.
    pub async fn restart(self, spec: Spec) -> Self {
        let Self { dir, registry, .. } = self;
        drop(registry);
        let zones = zones(&spec);
        let registry = open(dir.path(), &spec, &zones).await;
        Self { dir, spec, zones, registry }
    }
}

/// A wish in JSON.
pub fn wish(json: &str) -> Registration {
    serde_json::from_str(json).expect("a registration")
}

/// The right of an organisation.
pub fn of(organisation: &str) -> Right {
    Right::Organisation(organisation.to_owned())
}

/// Registers.
pub async fn register(
    registry: &Arc<Registry>,
    right: Right,
    json: &str,
) -> Result<(Arc<Domain>, TransferSecret), Problem> {
    let (wish, secret) = (wish(json), TransferSecret::generate().expect("random"));
    let digest = secret.digest();
    let decide = move |state: &_, limits| decide::register(state, &right, &wish, limits, digest, now());
    registry.change(decide).await.map(|after| (after.expect("a domain"), secret))
}
