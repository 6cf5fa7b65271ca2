//! Registries: organisations, domains, registrar, RDAP over HTTPS; WHOIS (phase 5).

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use netengine_dns::zone::Store;
use netengine_oidc::provider::Provider;
use netengine_proto::control::{AndNetwork, ServiceHealth};
use netengine_registry::{
    authenticate::OidcAuthenticate,
    decide::Limits,
    http::{domain_registry_router, registrar_router, world_registry_router},
    lease::Held,
    names::DnsNames,
    rdap,
    registry::Registry,
    store::SqliteStore,
    whois,
};
use netengine_spec::Spec;
use tokio::{net::TcpListener, task::JoinHandle};
use tracing::error;

use super::{
    files,
    listeners::{Listeners, Place, Serving},
};

/// The audience of tokens that the registries take.
const AUDIENCE: &str = netengine_oidc::from_spec::REGISTRAR;
/// How often what has expired is looked for.
const LOOK: Duration = Duration::from_secs(60);

/// The registries, or why there are none.
#[derive(Default)]
pub struct Registries {
    open: Option<Open>,
    failed: Option<String>,
    whois: Listeners,
}

struct Open {
    file: PathBuf,
    names: Arc<Store>,
    registry: Arc<Registry>,
    /// What it was last filled from.
    spec: Option<Arc<Spec>>,
    looking: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Registries {
    /// Makes the registries follow the spec, and their leases the networks of the ANDs. `names` must serve the plan of the same spec already; `resign` is called after
    /// zones came or went.
    pub async fn apply(
        &mut self,
        spec: &Arc<Spec>,
        ands: &[AndNetwork],
        directory: &Path,
        names: Option<Arc<Store>>,
        resign: impl Fn() + Send + Sync + 'static,
    ) {
        self.failed = None;
        let file = directory.join("registry.db");
        let result = match names {
            None => Err("there are no name servers".to_owned()),
            Some(names) => {
                let is_same = |open: &Open| open.file == file && Arc::ptr_eq(&open.names, &names);
                match &mut self.open {
                    Some(open) if is_same(open) => open.fill(spec).await,
                    _ => {
                        self.open = None;
                        open(spec, file, names, resign).await.map(|opened| self.open = Some(opened))
                    }
                }
            }
        };
        let result = match (result, &self.open) {
            (Ok(()), Some(open)) => open.hold(ands).await,
            (result, _) => result,
        };
        if let Err(why) = result {
            error!(service = "registry", "{why}");
            self.failed = Some(why);
        }
        self.serve_whois(spec).await;
    }

    async fn serve_whois(&mut self, spec: &Spec) {
        let port = spec.world_registry.whois.port;
        let listen =
            spec.listen_addresses().into_iter().filter(|listen| listen.path == "world_registry.whois.listen_ip");
        let addresses = listen.flat_map(|listen| [Some(listen.v4.into()), listen.v6.map(Into::into)]).flatten();
        let places: BTreeSet<_> = addresses.map(|address| Place { phase: 5, name: "whois", address, port }).collect();
        match (&self.open, &self.failed) {
            (Some(open), None) => {
                let registry = open.registry.clone();
                self.whois.arrange(&places, async |place| listen_whois(place, registry.clone()).await).await;
            }
            (_, why) => {
                let why = why.clone().unwrap_or_default();
                self.whois.close_all().await;
                places.into_iter().for_each(|place| self.whois.fail(place, why.clone()));
            }
        }
    }

    /// Ends the registries; what they have answered is kept.
    pub async fn close(&mut self) {
        self.whois.close_all().await;
        self.open = None;
        self.failed = None;
    }

    /// What one of the registries answers.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn router(&self, make: impl FnOnce(Arc<Registry>) -> Router) -> Result<Router, String> {
        match (&self.open, &self.failed) {
            (Some(open), None) => Ok(make(open.registry.clone())),
            (_, why) => Err(why.clone().unwrap_or_else(|| "there are no registries".to_owned())),
        }
    }

    /// How WHOIS is, per address.
    pub fn whois_health(&self) -> Vec<ServiceHealth> {
        self.whois.health(|_| "WHOIS".to_owned())
    }
}

/// Who may do what, by the tokens of both providers.
pub fn authenticate(platform: Option<Arc<Provider>>, inworld: Option<Arc<Provider>>) -> OidcAuthenticate {
    OidcAuthenticate::new(platform, inworld, AUDIENCE)
}

/// The world registry.
pub fn world(registry: Arc<Registry>, authenticate: OidcAuthenticate) -> Router {
    world_registry_router(registry, authenticate)
}

/// The domain registry, and RDAP below `/rdap`.
pub fn domains(registry: Arc<Registry>, authenticate: OidcAuthenticate, spec: &Spec) -> Router {
    let name = spec.domain_registry.canonical_name.as_str();
    let whois = spec.listen_addresses().into_iter().find(|listen| listen.path == "world_registry.whois.listen_ip");
    let base = rdap::Base { url: format!("https://{name}/rdap"), whois: whois.map(|listen| listen.name) };
    let rdap = rdap::router(registry.clone(), base);
    domain_registry_router(registry, authenticate).nest("/rdap", rdap)
}

/// The registrar.
pub fn registrar(registry: Arc<Registry>, authenticate: OidcAuthenticate) -> Router {
    registrar_router(registry, authenticate)
}

impl Open {
    async fn fill(&mut self, spec: &Arc<Spec>) -> Result<(), String> {
        if self.spec.as_ref() == Some(spec) {
            return Ok(());
        }
        self.spec = None;
        let filled = self.registry.fill(spec).await;
        filled.map_err(|error| super::chain("cannot change the registries", &error))?;
        self.spec = Some(spec.clone());
        Ok(())
    }

    async fn hold(&self, ands: &[AndNetwork]) -> Result<(), String> {
        let held = ands.iter().map(|and| Held {
            and: and.name.to_string(),
            organisation: and.org.to_string(),
            profile: and.profile.clone(),
            network: and.subnet,
            network6: and.v6.map(|(network, _)| network),
        });
        let held = self.registry.hold(&held.collect::<Vec<_>>()).await;
        held.map(drop).map_err(|error| super::chain("cannot change the leases", &error))
    }
}

async fn open(
    spec: &Arc<Spec>,
    file: PathBuf,
    names: Arc<Store>,
    resign: impl Fn() + Send + Sync + 'static,
) -> Result<Open, String> {
    let failed = |error: &dyn std::error::Error| super::chain("cannot open the registries", error);
    files::reserve(&file).map_err(|error| failed(&error))?;
    let store = SqliteStore::open(&file).await.map_err(|error| failed(&error))?;
    let published = Arc::new(DnsNames::new(names.clone(), spec).on_zones(resign));
    let registry = Registry::open(store, published, spec, Limits::default()).await.map_err(|error| failed(&error))?;
    let looking = tokio::spawn(look(registry.clone()));
    Ok(Open { file, names, registry, spec: Some(spec.clone()), looking })
}

/// Ends what has expired, until it is dropped.
async fn look(registry: Arc<Registry>) {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(problem) = registry.tick().await {
            error!(service = "registry", "cannot look for what has expired: {problem:?}");
        }
    }
}

async fn listen_whois(place: &Place, registry: Arc<Registry>) -> io::Result<Serving> {
    let listener = TcpListener::bind((place.address, place.port)).await?;
    Ok(Box::pin(
        async move { whois::serve(listener, registry, whois::Limits::default()).await.map(|never| match never {}) },
    ))
}
