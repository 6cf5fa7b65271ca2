//! The time service.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    rc::Rc,
};

use netengine_proto::{
    control::{NtpService, ServiceHealth},
    limits,
};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::ntp::{
    answer::Announced,
    clock,
    limit::Limiter,
    server::{self, Counters, Shared},
};

/// The NTP server: one listener per address, and why an address that should have one has none.
#[derive(Default)]
pub struct Ntp {
    shared: Option<Rc<Shared>>,
    listeners: BTreeMap<(IpAddr, u16), Listener>,
    failed: BTreeMap<(IpAddr, u16), String>,
}

struct Listener {
    counters: Rc<Counters>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Ntp {
    /// Makes the listeners equal to the desired ones.
    pub async fn apply(&mut self, desired: Option<&NtpService>) {
        self.failed.clear();
        let Some(desired) = desired else { return self.close_all().await };
        let shared = self.share(desired);
        let wanted: BTreeSet<_> = desired.addresses.iter().map(|&address| (address, desired.port)).collect();
        self.close(|key, listener| wanted.contains(key) && !listener.task.is_finished()).await;
        for key @ (address, _) in wanted {
            if self.listeners.contains_key(&key) {
                continue;
            }
            match server::listen(address, desired.port) {
                Ok(socket) => {
                    let counters = Rc::<Counters>::default();
                    let task = tokio::task::spawn_local(server::serve(socket, shared.clone(), counters.clone()));
                    self.listeners.insert(key, Listener { counters, task });
                    info!(service = "ntp", "listening on {address} port {}", desired.port);
                }
                Err(error) => {
                    warn!(service = "ntp", "cannot listen on {address} port {}: {error}", desired.port);
                    self.failed.insert(key, format!("cannot listen: {error}"));
                }
            }
        }
    }

    /// Closes everything.
    pub async fn close_all(&mut self) {
        self.close(|_, _| false).await;
    }

    /// What all listeners share, made or changed to what is desired.
    fn share(&mut self, desired: &NtpService) -> Rc<Shared> {
        if let Some(shared) = &self.shared {
            shared.clock.set(Announced { stratum: desired.stratum, ..shared.clock.get() });
            shared.limiter.borrow_mut().set_rate(desired.rate_per_source);
            return shared.clone();
        }
        let clock = Announced { stratum: desired.stratum, precision: clock::precision() };
        let shared = Rc::new(Shared::new(clock, Limiter::new(desired.rate_per_source, limits::NTP_SOURCES)));
        self.shared.insert(shared).clone()
    }

    /// Closes the listeners that are not to be kept; their sockets are closed when this returns.
    async fn close(&mut self, keep: impl Fn(&(IpAddr, u16), &Listener) -> bool) {
        let gone: Vec<_> = self.listeners.extract_if(.., |key, listener| !keep(key, listener)).collect();
        for (_, listener) in &gone {
            listener.task.abort();
        }
        for ((address, port), listener) in gone {
            match listener.task.await {
                Ok(Err(error)) => warn!(service = "ntp", "stopped on {address} port {port}: {error}"),
                Err(error) if error.is_panic() => warn!(service = "ntp", "stopped on {address} port {port}: a fault"),
                _ => info!(service = "ntp", "closed {address} port {port}"),
            }
        }
    }

    /// Per address, in order.
    pub fn health(&self) -> Vec<ServiceHealth> {
        let one = |&(address, port): &(IpAddr, u16), serving, detail| ServiceHealth {
            name: "ntp".to_owned(),
            phase: 0,
            address,
            port,
            serving,
            detail,
        };
        let stratum = self.shared.as_ref().map_or(0, |shared| shared.clock.get().stratum);
        let listeners = self.listeners.iter().map(|(key, listener)| {
            let Counters { served, kissed, dropped } = &*listener.counters;
            let (served, kissed, dropped) = (served.get(), kissed.get(), dropped.get());
            match listener.task.is_finished() {
                true => one(key, false, "the listener has failed; the log tells why".to_owned()),
                false => one(
                    key,
                    true,
                    format!("stratum {stratum}, {served} answered, {kissed} told to slow down, {dropped} dropped"),
                ),
            }
        });
        let failed = self.failed.iter().map(|(key, why)| one(key, false, why.clone()));
        let mut all: Vec<_> = listeners.chain(failed).collect();
        all.sort_by_key(|health| (health.address, health.port));
        all
    }
}
