//! The recursive resolver of a world, on the router's own addresses (role `gateway`): over UDP and TCP, over TLS (RFC 7858)
//! and over HTTPS (RFC 8484).

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, PoisonError, RwLock},
};

use ipnet::IpNet;
use netengine_dns::{
    dnssec::Anchor,
    name::Name,
    notify,
    plan::Outlook,
    record::{Rdata, Rtype},
    resolve::{Cache, Forward, Network, Resolver as Recursive},
    serve::{Handler, Limiter, Peer, Reply, TcpLimits, Tls, serve_https, serve_tcp, serve_tls, serve_udp},
};
use netengine_proto::{
    control::{AndNetwork, Desired, ServiceHealth},
    trust::Trust,
};
use netengine_spec::Spec;
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
};
use tracing::warn;

use super::{
    clock::System,
    dns::{PORT, hints, outlook},
    listeners::{Listeners, Place, Serving},
    resolver_certificate::{Presented, follow},
};

/// The names of the three ways to ask, with the phases from which they are there.
const PLAIN: (&str, u8, u16) = ("resolver", 2, PORT);
const OVER_TLS: (&str, u8, u16) = ("resolver-tls", 3, 853);
const OVER_HTTPS: (&str, u8, u16) = ("resolver-https", 3, 443);

/// Names that the cache holds.
const NAMES: usize = 20_000;

type Names = Recursive<Network, System>;

/// The resolver.
#[derive(Default)]
pub struct Resolver {
    inside: Option<Arc<Inside>>,
    /// What it was made equal to last.
    revision: String,
    outlook: Option<Outlook>,
    forward: Option<Forward>,
    listeners: Listeners,
    presented: Arc<Presented>,
    following: Option<JoinHandle<()>>,
}

/// Answers only those whose address is one of the world's: what is asked from elsewhere gets no answer at all.
struct Inside {
    names: Names,
    networks: RwLock<Vec<IpNet>>,
    /// The addresses of the world's name servers, whose word it takes that a zone has changed. A forged word costs what is
    /// remembered of the zone, nothing else.
    servers: RwLock<BTreeSet<IpAddr>>,
}

impl Handler for Inside {
    fn handle(&self, request: &[u8], peer: &Peer) -> Reply {
        let source = peer.remote.ip().to_canonical();
        let networks = self.networks.read().unwrap_or_else(PoisonError::into_inner);
        if !networks.iter().any(|network| network.contains(&source)) {
            return Reply::Silence;
        }
        drop(networks);
        let is_server = || self.servers.read().unwrap_or_else(PoisonError::into_inner).contains(&source);
        if let Some(notice) = notify::receive(request).filter(|_| is_server()) {
            self.names.forget_zone(&notice.zone);
            return Reply::Message(notice.answer);
        }
        self.names.handle(request, peer)
    }
}

/// The networks of the spec and those that ANDs have been leased.
fn networks(spec: &Spec, ands: &[AndNetwork]) -> Vec<IpNet> {
    let all = spec.networks().into_iter().map(|network| (network.subnet, network.subnet6));
    let all = all.chain(ands.iter().map(|and| (and.subnet, and.v6.map(|(subnet6, _)| subnet6))));
    all.flat_map(|(v4, v6)| [Some(IpNet::V4(v4)), v6.map(IpNet::V6)]).flatten().collect()
}

impl Resolver {
    /// Makes the resolver equal to what the spec says; what it has learnt is forgotten when that is another state.
    pub async fn apply(&mut self, spec: &Spec, desired: &Desired) {
        let outlook = outlook(spec, &desired.hosts, &desired.ands, &desired.delegations);
        let inside = match &self.inside {
            Some(inside) => {
                // Any name may be another in another state.
                if self.revision != desired.revision {
                    inside.names.set_hints(hints(&outlook.hints));
                }
                inside.clone()
            }
            None => {
                let limiter = Limiter::new(0, 2);
                let cache = Cache::new(NAMES);
                let names =
                    Recursive::new(Network::default(), System::default(), hints(&outlook.hints), cache, limiter);
                self.inside
                    .insert(Arc::new(Inside { names, networks: RwLock::default(), servers: RwLock::default() }))
                    .clone()
            }
        };
        *inside.networks.write().unwrap_or_else(PoisonError::into_inner) = networks(spec, &desired.ands);
        *inside.servers.write().unwrap_or_else(PoisonError::into_inner) = outlook.servers.iter().copied().collect();
        inside.names.set_anchors(anchors(&desired.trust));
        let forward = forward(spec);
        if self.forward.as_ref() != Some(&forward) {
            inside.names.set_forward(forward.clone());
            self.forward = Some(forward);
        }
        let place = |&address: &IpAddr| {
            [PLAIN, OVER_TLS, OVER_HTTPS].map(|(name, phase, port)| Place { phase, name, address, port })
        };
        let mut places: BTreeSet<_> = outlook.resolvers.iter().flat_map(place).collect();
        places.retain(|place| place.phase <= desired.up_to);
        (self.outlook, self.revision) = (Some(outlook), desired.revision.clone());
        self.follow(places.iter().any(|place| place.name != PLAIN.0));
        let tls = match self.presented.config() {
            Ok(config) => Arc::new(Tls::new(config)),
            Err(error) => {
                warn!(service = "resolver", "cannot set up TLS: {error}");
                places.retain(|place| place.name == PLAIN.0);
                return self
                    .listeners
                    .arrange(&places, async |place| listen(place.address, inside.clone()).await)
                    .await;
            }
        };
        let listen = async |place: &Place| match place.name {
            name if name == PLAIN.0 => listen(place.address, inside.clone()).await,
            _ => listen_secured(place, inside.clone(), tls.clone()).await,
        };
        self.listeners.arrange(&places, listen).await;
    }

    /// Reads the certificate now and whenever there is a new one.
    fn follow(&mut self, is_wanted: bool) {
        match (&self.following, is_wanted) {
            (None, true) => self.following = Some(follow(self.presented.clone())),
            (Some(following), false) => {
                following.abort();
                self.following = None;
            }
            _ => {}
        }
    }

    /// Stops answering.
    pub async fn close(&mut self) {
        self.listeners.close_all().await;
        self.follow(false);
        self.inside = None;
        self.outlook = None;
        self.forward = None;
    }

    /// Where it answers over IPv6.
    pub fn addresses_v6(&self) -> Vec<Ipv6Addr> {
        let all = self.outlook.iter().flat_map(|outlook| &outlook.resolvers);
        all.filter_map(|address| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        })
        .collect()
    }

    /// How each address is.
    pub fn health(&self) -> Vec<ServiceHealth> {
        let mut all = self.listeners.health(|_| "recursive".to_owned());
        if !self.presented.is_there() {
            for secured in all.iter_mut().filter(|one| one.serving && one.name != PLAIN.0) {
                secured.serving = false;
                secured.detail = "there is no certificate yet".to_owned();
            }
        }
        all
    }
}

async fn listen(address: IpAddr, inside: Arc<Inside>) -> io::Result<Serving> {
    let udp = UdpSocket::bind((address, PORT)).await?;
    let tcp = TcpListener::bind((address, PORT)).await?;
    let tcp = serve_tcp(tcp, address, inside.clone(), TcpLimits::default());
    let udp = serve_udp(udp, address, inside);
    Ok(Box::pin(async { tokio::try_join!(udp, tcp).map(drop) }))
}

async fn listen_secured(place: &Place, inside: Arc<Inside>, tls: Arc<Tls>) -> io::Result<Serving> {
    let (address, limits) = (place.address, TcpLimits::default());
    let tcp = TcpListener::bind((address, place.port)).await?;
    Ok(match place.name == OVER_TLS.0 {
        true => Box::pin(serve_tls(tcp, address, tls, inside, limits)),
        false => Box::pin(serve_https(tcp, address, tls, inside, limits)),
    })
}

/// The world's root keys; none: nothing is validated.
fn anchors(trust: &Trust) -> Vec<Anchor> {
    let digests = trust.dns_root.iter().filter_map(|ds| Rdata::parse(Rtype::DS, &ds.to_string()).ok());
    digests.map(|ds| Anchor::of_digest(Name::root(), ds)).collect()
}

/// Who is asked for names outside the world.
fn forward(spec: &Spec) -> Forward {
    Forward { servers: spec.gateway_portal.upstream_resolver().into_iter().map(IpAddr::from).collect() }
}
