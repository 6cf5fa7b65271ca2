//! The recursive resolver of a world, on the router's own addresses (role `gateway`).

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use ipnet::IpNet;
use netengine_dns::{
    plan::Plan,
    resolve::{Cache, Network, Resolver as Recursive},
    serve::{Handler, Limiter, Peer, Reply, TcpLimits, serve_tcp, serve_udp},
};
use netengine_proto::control::{Desired, ServiceHealth};
use netengine_spec::Spec;
use tokio::net::{TcpListener, UdpSocket};

use super::{
    clock::System,
    dns::{PORT, hints, plan},
    listeners::{Listeners, Place, Serving},
};

/// Names that the cache holds.
const NAMES: usize = 20_000;

type Names = Recursive<Network, System>;

/// The resolver.
#[derive(Default)]
pub struct Resolver {
    inside: Option<Arc<Inside>>,
    plan: Option<Plan>,
    listeners: Listeners,
}

/// Answers only those whose address is one of the world's: what is asked from elsewhere gets no answer at all.
struct Inside {
    names: Names,
    networks: RwLock<Vec<IpNet>>,
}

impl Handler for Inside {
    fn handle(&self, request: &[u8], peer: &Peer) -> Reply {
        let source = peer.remote.ip().to_canonical();
        let networks = self.networks.read().unwrap_or_else(PoisonError::into_inner);
        if !networks.iter().any(|network| network.contains(&source)) {
            return Reply::Silence;
        }
        drop(networks);
        self.names.handle(request, peer)
    }
}

fn networks(spec: &Spec) -> Vec<IpNet> {
    let all = spec.networks().into_iter();
    all.flat_map(|network| [Some(IpNet::V4(network.subnet)), network.subnet6.map(IpNet::V6)]).flatten().collect()
}

impl Resolver {
    /// Makes the resolver equal to what the spec says; what it has learnt is forgotten when the names have changed.
    pub async fn apply(&mut self, spec: &Spec, desired: &Desired) {
        let plan = plan(spec, &desired.hosts);
        let inside = match &self.inside {
            Some(inside) => {
                if self.plan.as_ref() != Some(&plan) {
                    inside.names.set_hints(hints(&plan));
                }
                inside.clone()
            }
            None => {
                let limiter = Limiter::new(0, 2);
                let cache = Cache::new(NAMES);
                let names = Recursive::new(Network::default(), System::default(), hints(&plan), cache, limiter);
                self.inside.insert(Arc::new(Inside { names, networks: RwLock::default() })).clone()
            }
        };
        *inside.networks.write().unwrap_or_else(PoisonError::into_inner) = networks(spec);
        let place = |&address| Place { phase: 2, name: "resolver", address, port: PORT };
        let places: BTreeSet<_> =
            plan.resolvers.iter().map(place).filter(|place| place.phase <= desired.up_to).collect();
        self.plan = Some(plan);
        self.listeners.arrange(&places, async |place| listen(place.address, inside.clone()).await).await;
    }

    /// Stops answering.
    pub async fn close(&mut self) {
        self.listeners.close_all().await;
        self.inside = None;
        self.plan = None;
    }

    /// How each address is.
    pub fn health(&self) -> Vec<ServiceHealth> {
        self.listeners.health(|_| "recursive".to_owned())
    }
}

async fn listen(address: IpAddr, inside: Arc<Inside>) -> io::Result<Serving> {
    let udp = UdpSocket::bind((address, PORT)).await?;
    let tcp = TcpListener::bind((address, PORT)).await?;
    let tcp = serve_tcp(tcp, address, inside.clone(), TcpLimits::default());
    let udp = serve_udp(udp, address, inside);
    Ok(Box::pin(async { tokio::try_join!(udp, tcp).map(drop) }))
}
