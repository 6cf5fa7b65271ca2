//! All services of a world, joined: which phase wants which, and what one needs of another.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use netengine_oidc::{foreign::ForeignIssuer, from_spec, provider::Provider};
use netengine_pki::http::{publication_router, router as acme_router};
use netengine_proto::{
    bounded::Bounded,
    control::{ControlReply, Delegation, Desired, Health, IssuerKeys, ServiceHealth},
    trust::Trust,
};
use netengine_spec::{
    Spec,
    model::{ListenAddress, ServiceMirror},
};
use tokio::task::JoinHandle;

use super::{
    api::Api,
    check::Wanted,
    dns::{self, Dns},
    files::{Files, NoDataDirectory, Places},
    https::{Endpoint, Https},
    identity::Identity,
    logout,
    ntp::Ntp,
    pki::{self, Pki},
    registry::{self, Registries},
    resolver_certificate::ForResolver,
};

/// The port of HTTPS.
const HTTPS: u16 = 443;
/// The port where certificates and lists of revoked ones are published.
const HTTP: u16 = 80;
/// Issuers that are told.
const ISSUERS: usize = 64;
/// Who issues and names certificates.
const PKI: u8 = 3;
/// Who people of the platform are.
const PLATFORM_IDENTITY: u8 = 4;
/// What is registered.
const REGISTRIES: u8 = 5;
/// Who people of organisations are.
const INWORLD_IDENTITY: u8 = 6;

/// The services of a world.
pub struct World {
    files: Files,
    revision: String,
    zones: Vec<Delegation>,
    ntp: Ntp,
    dns: Dns,
    pki: Pki,
    platform: Identity,
    inworld: Identity,
    registries: Registries,
    https: Https,
    resolver: ForResolver,
    api: Option<Arc<Api>>,
    couriers: Vec<JoinHandle<()>>,
}

impl World {
    /// None yet.
    pub fn new(data: Option<PathBuf>) -> Self {
        Self {
            files: Files::new(data),
            revision: String::new(),
            zones: Vec::new(),
            ntp: Ntp::default(),
            dns: Dns::default(),
            pki: Pki::default(),
            platform: Identity::default(),
            inworld: Identity::default(),
            registries: Registries::default(),
            https: Https::default(),
            resolver: ForResolver::default(),
            api: None,
            couriers: Vec::new(),
        }
    }

    /// Makes every service what is wanted of it.
    ///
    /// # Errors
    /// [`NoDataDirectory`]; nothing was touched then.
    pub async fn apply(&mut self, Wanted { desired, spec }: Wanted) -> Result<(), NoDataDirectory> {
        let places = spec.as_ref().map(|spec| self.files.places(spec)).transpose()?;
        self.ntp.apply(desired.ntp.as_ref()).await;
        match spec.as_ref().zip(places) {
            Some((spec, places)) => self.apply_spec(spec, &desired, &places).await,
            None => self.close_spec().await,
        }
        self.revision = desired.revision;
        if let Some(api) = &self.api {
            api.tell(&self.services());
        }
        Ok(())
    }

    async fn apply_spec(&mut self, spec: &Arc<Spec>, desired: &Desired, places: &Places) {
        let Desired { hosts, ands, delegations, credentials, up_to, .. } = desired;
        let (up_to, directory) = (*up_to, places.state.as_path());
        let wish = dns::Wish { spec, hosts, ands, delegations, credentials, up_to, directory };
        // Made once: with 500 ANDs it is a thousand zones.
        let plan = dns::plan(spec, hosts, ands, delegations);
        if self.dns.starts_anew(&plan) {
            self.https.close().await;
            self.registries.close().await;
        }
        self.dns.apply(&wish, plan).await;
        self.zones = self.dns.outward(spec);
        let (names, resign, looked_up) = (self.dns.store(), self.dns.resign(), self.dns.names());
        let Self { pki, platform, inworld, registries, .. } = self;
        // Each has a database of its own to open.
        tokio::join!(
            async {
                match up_to >= PKI {
                    true => pki.apply(spec, credentials, places, looked_up).await,
                    false => pki.close().await,
                }
            },
            async {
                match up_to >= PLATFORM_IDENTITY {
                    true => {
                        let wanted = from_spec::platform(spec);
                        platform.apply(wanted, credentials, directory, "identity-platform.db").await;
                    }
                    false => platform.close(),
                }
            },
            async {
                match up_to >= INWORLD_IDENTITY {
                    true => {
                        let wanted = from_spec::inworld(spec);
                        inworld.apply(wanted, credentials, directory, "identity-inworld.db").await;
                    }
                    false => inworld.close(),
                }
            },
            async {
                match up_to >= REGISTRIES {
                    true => registries.apply(spec, ands, directory, names, resign).await,
                    false => registries.close().await,
                }
            },
        );
        self.send_couriers();
        let endpoints = self.endpoints(spec, desired);
        self.https.apply(endpoints, self.pki.issuer(), pki::renewal(spec)).await;
        let issuer = self.pki.issuer().ok().filter(|_| up_to >= PKI);
        self.resolver.apply(spec, issuer).await;
    }

    /// Everything over HTTPS that is wanted up to this phase.
    fn endpoints(&mut self, spec: &Spec, desired: &Desired) -> Vec<Endpoint> {
        let up_to = desired.up_to;
        let (platform, inworld) = (self.platform.provider(), self.inworld.provider());
        let foreign = desired.issuers.iter().filter_map(|foreign| {
            let keys = serde_json::from_str(&foreign.keys).ok()?;
            Some(ForeignIssuer::new(&foreign.issuer, &keys))
        });
        let api = Api::new(spec, [&platform, &inworld].into_iter().flatten().cloned().collect(), foreign.collect());
        let who = || registry::authenticate(platform.clone(), inworld.clone());
        let registries = &self.registries;
        let mut all = Vec::new();
        for listen in spec.listen_addresses() {
            let secured = |name, phase, port, router| endpoint(&listen, name, phase, port, router);
            match listen.path.as_str() {
                "pki.acme.listen_ip" => {
                    let issuer = self.pki.issuer();
                    let router = issuer.as_ref().map(|issuer| acme_router(issuer.service.clone()));
                    all.push(secured("acme", PKI, HTTPS, router.map_err(Clone::clone)));
                    let router = issuer.map(|issuer| publication_router(issuer.service));
                    let plain = secured("pki", PKI, HTTP, router);
                    all.push(Endpoint { names: Default::default(), ..plain });
                }
                "identity_platform.listen_ip" => {
                    all.push(secured("oidc-platform", PLATFORM_IDENTITY, HTTPS, self.platform.router()));
                }
                "operator.api.listen_ip" => {
                    all.push(secured("api", PLATFORM_IDENTITY, spec.operator.api.port, Ok(api.router())));
                }
                "world_registry.listen_ip" => {
                    let router = registries.router(|registry| registry::world(registry, who()));
                    all.push(secured("registry", REGISTRIES, HTTPS, router));
                }
                "domain_registry.listen_ip" => {
                    let router = registries.router(|registry| registry::domains(registry, who(), spec));
                    all.push(secured("domainreg", REGISTRIES, HTTPS, router));
                }
                "domain_registry.registrar.listen_ip" => {
                    let router = registries.router(|registry| registry::registrar(registry, who()));
                    all.push(secured("registrar", REGISTRIES, HTTPS, router));
                }
                "identity_inworld.listen_ip" => {
                    all.push(secured("oidc-inworld", INWORLD_IDENTITY, HTTPS, self.inworld.router()));
                }
                _ => {}
            }
        }
        all.retain(|endpoint| endpoint.phase <= up_to);
        // Who answers at an address answers for the real host names that lead to it.
        for endpoint in all.iter_mut().filter(|endpoint| !endpoint.names.is_empty()) {
            let here = |mirror: &&ServiceMirror| endpoint.addresses.contains(&mirror.in_world_service.into());
            let names = spec.gateway_portal.mirrors().iter().filter(here).map(|mirror| mirror.real_hostname.as_str());
            let names: Vec<_> = names.collect();
            endpoint.names.extend(pki::identifiers(names, []));
        }
        self.api = Some(api);
        all
    }

    /// Has the notices of providers delivered that were opened just now.
    fn send_couriers(&mut self) {
        self.couriers.retain(|courier| !courier.is_finished());
        let Some(root) = self.pki.root() else { return };
        for identity in [&mut self.platform, &mut self.inworld] {
            if let Some(notices) = identity.notices() {
                self.couriers.push(tokio::spawn(logout::deliver(notices, self.dns.names(), root.clone())));
            }
        }
    }

    async fn close_spec(&mut self) {
        self.resolver.close();
        self.https.close().await;
        self.registries.close().await;
        self.inworld.close();
        self.platform.close();
        self.couriers.drain(..).for_each(|courier| courier.abort());
        self.pki.close().await;
        self.dns.close().await;
        self.zones.clear();
        self.api = None;
    }

    /// Closes everything.
    pub async fn close(&mut self) {
        self.close_spec().await;
        self.ntp.close_all().await;
    }

    /// How each service is, in the order of the phases.
    pub fn health(&self) -> Health {
        let (zones, issuers) = (self.zones.clone(), self.issuers());
        Health { services: self.services(), zones, issuers, ..self.told() }
    }

    /// Which services do not serve.
    pub fn summary(&self) -> Health {
        let mut services = self.services();
        services.retain(|service| !service.serving);
        Health { services, ..self.told() }
    }

    /// What is served, and what the world's clients are to trust.
    fn told(&self) -> Health {
        let root = self.pki.root().and_then(|root| Bounded::new(root).ok());
        let certificates = Bounded::new(root.into_iter().collect()).unwrap_or_default();
        let dns_root = Bounded::new(self.dns.anchors()).unwrap_or_default();
        let trust = Trust { certificates, dns_root };
        Health { revision: self.revision.clone(), trust, ..Health::default() }
    }

    /// The issuers of both providers with their keys.
    fn issuers(&self) -> Vec<IssuerKeys> {
        let providers = [self.platform.provider(), self.inworld.provider()].into_iter().flatten();
        let of = |provider: Arc<Provider>| {
            let told =
                |name: String| provider.read(&name, |realm| (realm.issuer.clone(), realm.keys.jwks().to_string()));
            let all = provider.realm_names().into_iter().filter_map(told);
            all.map(|(issuer, keys)| IssuerKeys { issuer, keys }).collect::<Vec<_>>()
        };
        providers.flat_map(of).take(ISSUERS).collect()
    }

    fn services(&self) -> Vec<ServiceHealth> {
        let mut services = self.ntp.health();
        services.extend(self.dns.health());
        services.extend(self.https.health());
        services.extend(self.registries.whois_health());
        services.sort_by(|a, b| (a.phase, &a.name, a.address, a.port).cmp(&(b.phase, &b.name, b.address, b.port)));
        services
    }

    /// What was issued, newest first.
    pub fn certificates(&self, before: Option<&str>) -> ControlReply {
        self.pki.certificates(before)
    }

    /// One certificate.
    pub async fn certificate(&self, serial: &str) -> ControlReply {
        self.pki.certificate(serial).await
    }
}

fn endpoint(
    listen: &ListenAddress,
    name: &'static str,
    phase: u8,
    port: u16,
    router: Result<axum::Router, String>,
) -> Endpoint {
    let addresses: Vec<IpAddr> = [Some(listen.v4.into()), listen.v6.map(Into::into)].into_iter().flatten().collect();
    let names = pki::identifiers([listen.name.as_str()], addresses.iter().copied());
    Endpoint { name, phase, addresses, port, names, router }
}
