//! Names: the authoritative servers of the root, the top-level domains and the platform zone (phases 1 and 2).

use std::{collections::BTreeSet, io, net::IpAddr, path::Path, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use netengine_dns::{
    authority::{Access, Authority},
    dnssec::{Schedule, Secret, Signing},
    journal::FileJournal,
    name::Name,
    notify::{Secondary, inform, tell},
    plan::{ForeignZone, HostAddress, LeasedNetwork, Outlook, Plan, PlannedZone},
    resolve::{Hint, Network},
    serve::{Limiter, TcpLimits, serve_tcp, serve_udp},
    wire::tsig::{Algorithm, Key},
    zone::{Store, View},
};
use netengine_proto::{
    control::{AndNetwork, Delegation, NamedHost, ServiceHealth},
    trust::{Credential, CredentialKind, DelegationSigner},
};
use netengine_spec::Spec;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::Notify,
    task::JoinHandle,
};
use tracing::{error, info, warn};

use super::{
    clock::{System, unix, unix32},
    files,
    listeners::{Listeners, Place, Serving},
    names::{Names, Source},
};

/// The port of names.
pub const PORT: u16 = 53;
/// The key that may only transfer.
const TRANSFER_KEY: &str = "transfer";
/// The key that may only change.
const UPDATE_KEY: &str = "update";
/// The phase from which the world has a resolver.
const RESOLVER: u8 = 2;
/// The longest that keys of zones are left alone: a clock that jumps is noticed by then.
const LOOK: Duration = Duration::from_secs(3600);

/// The name servers.
#[derive(Default)]
pub struct Dns {
    zones: Option<Zones>,
    listeners: Listeners,
    names: Names,
}

/// What the servers answer from.
struct Zones {
    plan: Plan,
    store: Arc<Store>,
    authority: Arc<Authority<System>>,
    signing: Option<(Arc<Signing>, JoinHandle<()>)>,
    /// Told after zones came or went.
    resign: Arc<Notify>,
    informing: Option<(Road, JoinHandle<()>)>,
    /// Changes of a run before this one were put back: the resolver may not have been told of the last of them.
    is_restored: bool,
}

impl Drop for Zones {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.signing {
            task.abort();
        }
        if let Some((_, task)) = &self.informing {
            task.abort();
        }
    }
}

/// How the world's resolver is told of changes: both ends lie in one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Road {
    /// The address of a name server.
    from: IpAddr,
    /// An address of the resolver.
    to: IpAddr,
}

/// Everything the names of a world follow from.
pub struct Wish<'w> {
    /// The world.
    pub spec: &'w Spec,
    /// Hosts that are not in the spec.
    pub hosts: &'w [NamedHost],
    /// Networks that are not in the spec.
    pub ands: &'w [AndNetwork],
    /// Zones of other worlds.
    pub delegations: &'w [Delegation],
    /// Among them the TSIG keys.
    pub credentials: &'w [Credential],
    /// Phases beyond this are not wanted.
    pub up_to: u8,
    /// Where secrets of the zones are kept.
    pub directory: &'w Path,
}

/// The plan of a world's names.
pub fn plan(spec: &Spec, hosts: &[NamedHost], ands: &[AndNetwork], delegations: &[Delegation]) -> Plan {
    let (hosts, leased, foreign) = parts(spec, hosts, ands, delegations);
    Plan::beside(spec, &hosts, &leased, &foreign)
}

/// What its resolver needs of that plan.
pub fn outlook(spec: &Spec, hosts: &[NamedHost], ands: &[AndNetwork], delegations: &[Delegation]) -> Outlook {
    let (hosts, leased, foreign) = parts(spec, hosts, ands, delegations);
    Outlook::beside(spec, &hosts, &leased, &foreign)
}

fn parts(
    spec: &Spec,
    hosts: &[NamedHost],
    ands: &[AndNetwork],
    delegations: &[Delegation],
) -> (Vec<HostAddress>, Vec<LeasedNetwork>, Vec<ForeignZone>) {
    let host = |host: &NamedHost| HostAddress { name: host.name.clone(), address: host.address };
    let foreign = |zone| foreign(zone, spec.pki.dnssec_enabled);
    (
        hosts.iter().map(host).collect(),
        ands.iter().map(leased).collect(),
        delegations.iter().filter_map(foreign).collect(),
    )
}

/// A world that is not signed has no use for the keys of another.
fn foreign(zone: &Delegation, is_signed: bool) -> Option<ForeignZone> {
    let primary = zone.servers.first()?.name.clone();
    let servers = zone.servers.iter().filter(|server| server.name == primary);
    Some(ForeignZone {
        name: zone.zone.clone(),
        addresses: servers.map(|server| server.address).collect(),
        primary,
        ds: zone.ds.iter().filter(|_| is_signed).map(ToString::to_string).collect(),
    })
}

fn leased(and: &AndNetwork) -> LeasedNetwork {
    let hosts = and.hosts.iter().flat_map(|host| {
        host.addresses.iter().map(|address| HostAddress { name: host.name.clone(), address: *address })
    });
    LeasedNetwork {
        name: and.name.to_string(),
        suffix: and.suffix.clone(),
        has_reverse: and.has_reverse,
        networks: [Some(and.subnet.into()), and.v6.map(|(net, _)| net.into())].into_iter().flatten().collect(),
        routers: [Some(and.router.into()), and.v6.map(|(_, router)| router.into())].into_iter().flatten().collect(),
        hosts: hosts.collect(),
    }
}

/// Where resolution begins.
pub fn hints(planned: &[(String, Vec<IpAddr>)]) -> Vec<Hint> {
    let hint = |(zone, servers): &(String, Vec<IpAddr>)| {
        Some(Hint { zone: Name::parse(zone).ok()?, servers: servers.clone() })
    };
    planned.iter().filter_map(hint).collect()
}

impl Dns {
    /// Makes zones and listeners equal to `plan`, which is the wish's. What was added to zones at run time stays.
    pub async fn apply(&mut self, wish: &Wish<'_>, plan: Plan) {
        let places = places(wish.spec, &plan, wish.up_to);
        let changed = match &mut self.zones {
            Some(zones) if zones.can_become(&plan) => zones.become_(plan),
            _ => {
                // The listeners answer from the authority that goes.
                self.listeners.close_all().await;
                self.zones = None;
                Zones::new(plan, wish.directory).map(|zones| self.zones = Some(zones))
            }
        };
        if let Err(why) = &changed {
            error!(service = "dns", "{why}");
        }
        self.names.set(self.zones.as_ref().map(Zones::source));
        let Some(zones) = &mut self.zones else {
            let why = changed.err().unwrap_or_default();
            places.into_iter().for_each(|place| self.listeners.fail(place, why.clone()));
            return;
        };
        zones.inform(road(wish.spec, &zones.plan).filter(|_| wish.up_to >= RESOLVER));
        zones.authority.set_access(access(&zones.store, wish.credentials));
        let authority = zones.authority.clone();
        self.listeners.arrange(&places, async |place| listen(place.address, authority.clone()).await).await;
        if let Err(why) = changed {
            places.into_iter().for_each(|place| self.listeners.fail(place, why.clone()));
        }
    }

    /// Whether these zones are not those of before with other records: everything that uses the store must be closed first,
    /// for the store goes.
    pub fn starts_anew(&self, plan: &Plan) -> bool {
        self.zones.as_ref().is_some_and(|zones| !zones.can_become(plan))
    }

    /// Stops serving names.
    pub async fn close(&mut self) {
        self.listeners.close_all().await;
        self.names.set(None);
        self.zones = None;
    }

    /// Names for this process itself, whatever becomes of the zones.
    pub fn names(&self) -> Names {
        self.names.clone()
    }

    /// The store of all zones.
    pub fn store(&self) -> Option<Arc<Store>> {
        self.zones.as_ref().map(|zones| zones.store.clone())
    }

    /// To be called after zones were added at run time: where zones are signed, they get keys.
    pub fn resign(&self) -> impl Fn() + Send + Sync + 'static {
        let resign = self.zones.as_ref().map(|zones| zones.resign.clone());
        move || resign.iter().for_each(|resign| resign.notify_one())
    }

    /// The digests of the root's keys; none when zones are not signed.
    pub fn anchors(&self) -> Vec<DelegationSigner> {
        let Some(signing) = self.zones.as_ref().and_then(|zones| zones.signing.as_ref()) else {
            return Vec::new();
        };
        digests(signing, &Name::root())
    }

    /// The zones that other worlds may be delegated: all of the plan's that hang below the root or are of addresses, but those
    /// under real host names, which are mirrored for this world alone.
    pub fn outward(&self, spec: &Spec) -> Vec<Delegation> {
        let Some(zones) = &self.zones else { return Vec::new() };
        let mirrors = spec.gateway_portal.mirrors();
        let is_own = |name: &str| mirrors.iter().all(|mirror| mirror.real_hostname.as_str() != name);
        let delegation = |(name, zone): (&str, &PlannedZone)| {
            let server = |address: &IpAddr| NamedHost { name: zone.primary.clone(), address: *address };
            let signing = zones.signing.as_ref();
            Some(Delegation {
                zone: name.to_owned(),
                servers: zone.addresses.iter().map(server).collect(),
                ds: signing
                    .map_or(Ok(Vec::new()), |signing| Name::parse(name).map(|name| digests(signing, &name)))
                    .ok()?,
            })
        };
        zones.plan.outward().filter(|(name, _)| is_own(name)).filter_map(delegation).collect()
    }

    /// How each address is.
    pub fn health(&self) -> Vec<ServiceHealth> {
        let catalog = self.zones.as_ref().map(|zones| zones.store.snapshot());
        self.listeners.health(|place| {
            let zones = catalog.as_ref().map_or(0, |catalog| catalog.view(place.address).map_or(0, View::len));
            format!("{zones} zones")
        })
    }
}

/// The keys of a zone, as DS records.
fn digests((signing, _): &(Arc<Signing>, JoinHandle<()>), zone: &Name) -> Vec<DelegationSigner> {
    let digest = |ds: &[u8]| {
        let (&[a, b, algorithm, digest_type], digest) = ds.split_first_chunk::<4>()?;
        let digest = netengine_proto::bounded::Bounded::new(digest.to_vec()).ok()?;
        Some(DelegationSigner { key_tag: u16::from_be_bytes([a, b]), algorithm, digest_type, digest })
    };
    match signing.anchors(zone, unix()) {
        Ok(anchors) => anchors.iter().filter_map(|anchor| digest(anchor.ds.as_wire())).collect(),
        Err(error) => {
            error!(service = "dns", "{error}");
            Vec::new()
        }
    }
}

/// The first there is.
fn road(spec: &Spec, plan: &Plan) -> Option<Road> {
    let networks = spec.networks();
    plan.addresses().into_iter().find_map(|from| {
        let IpAddr::V4(v4) = from else { return None };
        let network = networks.iter().find(|network| network.subnet.contains(&v4))?;
        Some(Road { from, to: network.gateway.into() })
    })
}

/// Where name servers are to listen, each with its phase: the root is phase 1, what hangs below it phase 2.
fn places(spec: &Spec, plan: &Plan, up_to: u8) -> BTreeSet<Place> {
    let listen = spec.listen_addresses();
    let root = listen.iter().find(|listen| listen.path == "dns.root.listen_ip");
    let is_root = |address: IpAddr| {
        root.is_some_and(|root| address == IpAddr::V4(root.v4) || root.v6.is_some_and(|v6| address == IpAddr::V6(v6)))
    };
    let place = |address| Place { phase: if is_root(address) { 1 } else { 2 }, name: "dns", address, port: PORT };
    plan.addresses().into_iter().map(place).filter(|place| place.phase <= up_to).collect()
}

impl Zones {
    fn new(plan: Plan, directory: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::error::Error| super::chain("cannot make the zones", error);
        let (cookies, _) = files::seed(directory, "dns.cookies").map_err(|error| failed(&error))?;
        let mut catalog = plan.catalog(unix32()).map_err(|error| failed(&error))?;
        let restored = FileJournal::restore(directory, &mut catalog, plan.policy(), unix32());
        let (journal, restored) = restored.map_err(|error| failed(&error))?;
        if restored.records + restored.dropped > 0 {
            info!(service = "dns", "{} changes put back, {} no longer fit", restored.records, restored.dropped);
        }
        let store = Arc::new(Store::new(catalog, plan.policy(), journal));
        // No limit: over UDP an answer is hardly longer than a question can be, and the policy keeps forged sources out.
        let limiter = Limiter::new(0, 2);
        let authority = Arc::new(Authority::new(store.clone(), System::default(), limiter, "worldd", &cookies));
        let resign = Arc::new(Notify::new());
        let signing = match plan.dnssec {
            None => None,
            Some(lifetimes) => {
                let (seed, epoch) = files::seed(directory, "dnssec.seed").map_err(|error| failed(&error))?;
                let schedule = Schedule { epoch, lifetimes: lifetimes.into() };
                let signing = Arc::new(Signing::new(Secret::new(&seed), schedule));
                signing.refresh(&store, unix()).map_err(|error| failed(&error))?;
                let task = tokio::spawn(keep_signed(signing.clone(), store.clone(), resign.clone()));
                Some((signing, task))
            }
        };
        info!(service = "dns", "{} zones{}", plan.zones.len(), if signing.is_some() { ", signed" } else { "" });
        let is_restored = restored.records > 0;
        Ok(Self { plan, store, authority, signing, resign, informing: None, is_restored })
    }

    /// Has the resolver told of every change from now on, this way.
    fn inform(&mut self, road: Option<Road>) {
        let is_same = |(old, task): &(Road, JoinHandle<()>)| Some(*old) == road && !task.is_finished();
        if self.informing.as_ref().is_some_and(is_same) {
            return;
        }
        if let Some((_, task)) = self.informing.take() {
            task.abort();
        }
        let Some(road) = road else { return };
        let network = Arc::new(Network { source: Some(road.from), ..Network::default() });
        let resolver = Secondary { address: road.to, key: None };
        let root = self.store.snapshot().zone(&Name::root()).cloned().filter(|_| self.is_restored);
        let told = resolver.clone();
        let changes =
            inform(self.store.clone(), network.clone(), Arc::new(System::default()), move |_| vec![told.clone()]);
        self.informing = Some((
            road,
            tokio::spawn(async move {
                if let Some(root) = root {
                    // What it does is in the log.
                    let _ = tell(network.as_ref(), &root, &resolver, unix()).await;
                }
                changes.await;
            }),
        ));
    }

    fn source(&self) -> Source {
        Source {
            store: self.store.clone(),
            authority: self.authority.clone(),
            hints: hints(&self.plan.hints),
            signing: self.signing.as_ref().map(|(signing, _)| signing.clone()),
        }
    }

    /// Whether the difference is one of records, zones and addresses only.
    fn can_become(&self, plan: &Plan) -> bool {
        self.plan.dnssec == plan.dnssec && self.plan.policy() == plan.policy() && self.plan.mailbox == plan.mailbox
    }

    fn become_(&mut self, plan: Plan) -> Result<(), String> {
        if plan == self.plan {
            return Ok(());
        }
        let applied = plan.apply(&self.plan, &self.store, unix32());
        let applied = applied.map_err(|error| format!("cannot change the zones: {error}"))?;
        info!(service = "dns", "zones: {} new, {} gone, {} changed", applied.created, applied.deleted, applied.changed);
        self.plan = plan;
        match &self.signing {
            Some((signing, _)) => signing
                .refresh(&self.store, unix())
                .map(drop)
                .map_err(|error| format!("cannot sign the zones: {error}")),
            None => Ok(()),
        }
    }
}

/// Brings and takes keys in time, until it is dropped.
async fn keep_signed(signing: Arc<Signing>, store: Arc<Store>, resign: Arc<Notify>) {
    loop {
        let wait = match signing.refresh(&store, unix()) {
            Ok(next) => Duration::from_secs(next.saturating_sub(unix()).max(1)).min(LOOK),
            Err(error) => {
                error!(service = "dns", "cannot change the keys of zones: {error}");
                Duration::from_secs(60)
            }
        };
        // Woken, or in time.
        let _ = tokio::time::timeout(wait, resign.notified()).await;
    }
}

/// TSIG keys: one without a zone (`issuer` empty) is for every zone, others for their zone; two names say what it is for.
fn access(store: &Store, credentials: &[Credential]) -> Access {
    let mut access = Access::default();
    for credential in credentials.iter().filter(|credential| credential.kind == CredentialKind::Tsig) {
        let secret = STANDARD.decode(credential.secret.expose()).ok();
        let (Ok(name), Some(secret)) = (Name::parse(&credential.name), secret) else {
            warn!(service = "dns", "the TSIG key {:?} is of no use", credential.name);
            continue;
        };
        for zone in store.look().zones() {
            let apex = zone.apex();
            if credential.issuer.is_empty() || Name::parse(&credential.issuer).is_ok_and(|only| only == *apex) {
                if credential.name != UPDATE_KEY {
                    access.transfer.insert((name.clone(), apex.clone()));
                }
                if credential.name != TRANSFER_KEY {
                    access.update.insert((name.clone(), apex.clone()));
                }
            }
        }
        access.keys.insert(Key::new(name, Algorithm::Sha256, &secret));
    }
    access
}

/// UDP and TCP at one address: one without the other is no name server (RFC 7766).
async fn listen(address: IpAddr, authority: Arc<Authority<System>>) -> io::Result<Serving> {
    let udp = UdpSocket::bind((address, PORT)).await?;
    let tcp = TcpListener::bind((address, PORT)).await?;
    let tcp = serve_tcp(tcp, address, authority.clone(), TcpLimits::default());
    let udp = serve_udp(udp, address, authority);
    Ok(Box::pin(async { tokio::try_join!(udp, tcp).map(drop) }))
}
