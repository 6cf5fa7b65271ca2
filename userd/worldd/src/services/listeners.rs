//! The places where something listens, made equal to the wanted ones: what stays is not touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    pin::Pin,
};

use netengine_proto::control::ServiceHealth;
use tokio::task::JoinHandle;
use tracing::{info, warn};

/// Where one service listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The phase it belongs to.
    pub phase: u8,
    /// The service, as health names it.
    pub name: &'static str,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

impl Place {
    /// What health says of it.
    pub fn health(&self, serving: bool, detail: String) -> ServiceHealth {
        let Self { phase, name, address, port } = *self;
        ServiceHealth { name: name.to_owned(), phase, address, port, serving, detail }
    }
}

/// Serves at one place until it fails; dropping it closes its sockets.
pub type Serving = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// What listens, and why what should listen does not.
#[derive(Debug, Default)]
pub struct Listeners {
    open: BTreeMap<Place, JoinHandle<()>>,
    failed: BTreeMap<Place, String>,
}

impl Listeners {
    /// Closes what is not wanted or has failed, then opens what is wanted and absent with `listen`.
    pub async fn arrange(
        &mut self,
        wanted: &BTreeSet<Place>,
        mut listen: impl AsyncFnMut(&Place) -> io::Result<Serving>,
    ) {
        self.failed.clear();
        self.close(|place, task| wanted.contains(place) && !task.is_finished()).await;
        for place in wanted {
            if self.open.contains_key(place) {
                continue;
            }
            let Place { name, address, port, .. } = *place;
            match listen(place).await {
                Ok(serving) => {
                    let task = tokio::spawn(async move {
                        if let Err(error) = serving.await {
                            warn!(service = name, "stopped on {address} port {port}: {error}");
                        }
                    });
                    self.open.insert(place.clone(), task);
                    info!(service = name, "listening on {address} port {port}");
                }
                Err(error) => self.fail(place.clone(), format!("cannot listen: {error}")),
            }
        }
    }

    /// Nothing, or not what was wanted, is served there, and this is why.
    pub fn fail(&mut self, place: Place, why: String) {
        let Place { name, address, port, .. } = place;
        warn!(service = name, "does not serve on {address} port {port}: {why}");
        self.failed.insert(place, why);
    }

    /// Closes everything.
    pub async fn close_all(&mut self) {
        self.failed.clear();
        self.close(|_, _| false).await;
    }

    /// Closes what is not to be kept; the sockets are closed when this returns.
    async fn close(&mut self, keep: impl Fn(&Place, &JoinHandle<()>) -> bool) {
        let gone: Vec<_> = self.open.extract_if(.., |place, task| !keep(place, task)).collect();
        for (_, task) in &gone {
            task.abort();
        }
        for (Place { name, address, port, .. }, task) in gone {
            match task.await {
                Err(error) if error.is_panic() => warn!(service = name, "stopped on {address} port {port}: a fault"),
                _ => info!(service = name, "closed {address} port {port}"),
            }
        }
    }

    /// How each place is; `detail` gives the figures of one that serves.
    pub fn health(&self, detail: impl Fn(&Place) -> String) -> Vec<ServiceHealth> {
        let open = self.open.iter().filter(|(place, _)| !self.failed.contains_key(place));
        let open = open.map(|(place, task)| match task.is_finished() {
            true => place.health(false, "the listener has failed; the log tells why".to_owned()),
            false => place.health(true, detail(place)),
        });
        open.chain(self.failed.iter().map(|(place, why)| place.health(false, why.clone()))).collect()
    }
}
