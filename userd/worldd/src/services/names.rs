//! Names as worldd itself looks them up, for challenges and logout notices: from the zones that it serves at this moment, and
//! by the network only what other servers of the world are delegated. Nothing is remembered from one question to the next, so
//! a change that was acknowledged is seen by the next one; the world's resolver, which remembers, has no part in it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use netengine_dns::{
    authority::Authority,
    dnssec::Signing,
    name::Name,
    record::Rtype,
    resolve::{Cache, Hint, Network, Outcome, Resolver, Upstream},
    serve::{Handler, Limiter, Peer, Reply, Transport},
    zone::Store,
};

use super::clock::{System, unix};

/// Names of one resolution that are remembered until its end.
const NAMES: usize = 200;

/// What the world's names come from, replaced when its zones are.
#[derive(Clone, Default)]
pub struct Names(Arc<RwLock<Option<Source>>>);

/// The zones and where resolution begins.
#[derive(Clone)]
pub struct Source {
    /// What its servers answer from.
    pub store: Arc<Store>,
    /// Its servers.
    pub authority: Arc<Authority<System>>,
    /// Where resolution begins.
    pub hints: Vec<Hint>,
    /// Who signs; then answers are validated.
    pub signing: Option<Arc<Signing>>,
}

impl Names {
    /// From now on from there; none: nothing is found.
    pub fn set(&self, source: Option<Source>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// Resolves one name.
    ///
    /// # Errors
    /// When there are no zones, or their keys cannot be told.
    pub async fn resolve(&self, name: &Name, rtype: Rtype) -> io::Result<Outcome> {
        Ok(self.resolver()?.resolve(name, rtype).await)
    }

    fn resolver(&self) -> io::Result<Resolver<Here, System>> {
        let source = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Source { store, authority, hints, signing } =
            source.ok_or_else(|| io::Error::other("there are no name servers"))?;
        let anchors = signing.map(|signing| signing.anchors(&Name::root(), unix())).transpose();
        let here = Here { store, authority, network: Network::default() };
        let resolver = Resolver::new(here, System::default(), hints, Cache::new(NAMES), Limiter::new(0, 2));
        resolver.set_anchors(anchors.map_err(io::Error::other)?.unwrap_or_default());
        Ok(resolver)
    }
}

impl netengine_pki::validate::Names for Names {
    fn answer(&self, query: Vec<u8>) -> Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send + '_>> {
        Box::pin(async move {
            let here = IpAddr::from([127, 0, 0, 1]);
            let peer = Peer { local: here, remote: SocketAddr::new(here, 0), transport: Transport::Tcp };
            let answer = match self.resolver()?.handle(&query, &peer) {
                Reply::Message(answer) => Some(answer),
                Reply::Later(later) => later.await,
                Reply::Silence | Reply::Messages(_) => None,
            };
            answer.ok_or_else(|| io::ErrorKind::InvalidData.into())
        })
    }
}

/// Asks the servers of this process in this process, others by the network.
struct Here {
    store: Arc<Store>,
    authority: Arc<Authority<System>>,
    network: Network,
}

impl Upstream for Here {
    async fn ask(&self, server: IpAddr, query: Vec<u8>, stream: bool) -> io::Result<Vec<u8>> {
        if self.store.look().view(server).is_none() {
            return self.network.ask(server, query, stream).await;
        }
        let transport = if stream { Transport::Tcp } else { Transport::Udp };
        let peer = Peer { local: server, remote: SocketAddr::new(server, 0), transport };
        match self.authority.handle(&query, &peer) {
            Reply::Message(answer) => Ok(answer),
            Reply::Silence | Reply::Messages(_) | Reply::Later(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
