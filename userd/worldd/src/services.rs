//! The running services, made equal to the desired ones.
//!
//! One task owns them and takes requests from a queue, so two `Apply` at the same time are two in a row, and a socket
//! that must go is closed before its successor is bound.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    rc::Rc,
};

use futures::FutureExt;
use netengine_proto::{
    control::{ControlReply, Desired, Health, NtpService, ServiceHealth},
    limits,
    names::WorldName,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tracing::{info, warn};

use crate::ntp::{
    answer::Announced,
    clock,
    limit::Limiter,
    server::{self, Counters, Shared},
};

/// A request to the owner of the services: apply this, or with `None` only tell the health; and where the reply goes.
pub type Job = (Option<Desired>, oneshot::Sender<ControlReply>);

/// Requests that wait for the owner; a connection has one at a time, so the queue never overflows.
pub const QUEUE: usize = limits::CONTROL_CONNECTIONS;

/// Asks the owner of the services and waits for its reply.
pub async fn ask(owner: &mpsc::Sender<Job>, desired: Option<Desired>) -> ControlReply {
    let (sender, receiver) = oneshot::channel();
    let gone = || ControlReply::Refused("worldd is stopping".to_owned());
    if owner.send((desired, sender)).await.is_err() {
        return gone();
    }
    receiver.await.unwrap_or_else(|_| gone())
}

/// Owns the services until every sender of the queue is gone, then closes them.
pub async fn own(mut jobs: mpsc::Receiver<Job>) {
    let mut services = Services::default();
    while let Some((desired, reply)) = jobs.recv().await {
        let work = std::panic::AssertUnwindSafe(services.serve(desired)).catch_unwind().await;
        // The asker may have gone; what was applied stays applied.
        let _ =
            reply.send(work.unwrap_or_else(|_| ControlReply::Refused("worldd failed; its log tells why".to_owned())));
    }
    services.ntp.close(|_, _| false).await;
}

#[derive(Default)]
struct Services {
    revision: String,
    ntp: Ntp,
}

impl Services {
    async fn serve(&mut self, desired: Option<Desired>) -> ControlReply {
        if let Some(desired) = desired {
            if let Err(fault) = check(&desired) {
                warn!("refused a desired state: {fault}");
                return ControlReply::Refused(fault);
            }
            self.ntp.apply(desired.ntp.as_ref()).await;
            self.revision = desired.revision;
        }
        ControlReply::Health(Health {
            revision: self.revision.clone(),
            services: self.ntp.health(),
            ..Health::default()
        })
    }
}

/// Whether a desired state is one that can be served; nothing is touched before this.
fn check(desired: &Desired) -> Result<(), String> {
    WorldName::parse(&desired.world).map_err(|error| format!("the world's name {error}"))?;
    let Some(ntp) = &desired.ntp else { return Ok(()) };
    let wrong = match ntp {
        NtpService { port: 0, .. } => "the NTP port is 0".to_owned(),
        NtpService { stratum: 0 | 16.., .. } => format!("NTP stratum {} is not 1 to 15", ntp.stratum),
        NtpService { rate_per_source: 0, .. } => "the NTP rate is 0".to_owned(),
        NtpService { addresses, .. } if addresses.len() > limits::ADDRESSES_PER_LINK => {
            format!("{} NTP addresses are more than {}", addresses.len(), limits::ADDRESSES_PER_LINK)
        }
        NtpService { addresses, .. } => match addresses.iter().find(|ip| ip.is_unspecified() || ip.is_multicast()) {
            Some(ip) => format!("NTP cannot listen on {ip}"),
            None => return Ok(()),
        },
    };
    Err(wrong)
}

/// The NTP server: one listener per address, and why an address that should have one has none.
#[derive(Default)]
struct Ntp {
    shared: Option<Rc<Shared>>,
    listeners: BTreeMap<(IpAddr, u16), Listener>,
    failed: BTreeMap<(IpAddr, u16), String>,
}

struct Listener {
    counters: Rc<Counters>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Ntp {
    async fn apply(&mut self, desired: Option<&NtpService>) {
        self.failed.clear();
        let Some(desired) = desired else { return self.close(|_, _| false).await };
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
    fn health(&self) -> Vec<ServiceHealth> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(change: impl FnOnce(&mut NtpService)) -> Desired {
        let mut ntp =
            NtpService { addresses: vec![IpAddr::from([127, 0, 0, 1])], port: 123, stratum: 1, rate_per_source: 8 };
        change(&mut ntp);
        Desired { world: "blue".to_owned(), ntp: Some(ntp), ..Desired::default() }
    }

    #[test]
    fn a_desired_state_that_cannot_be_served_is_refused_before_anything_is_touched() {
        assert_eq!(check(&desired(|_| {})), Ok(()));
        for (what, bad) in [
            ("port", desired(|ntp| ntp.port = 0)),
            ("stratum", desired(|ntp| ntp.stratum = 0)),
            ("stratum", desired(|ntp| ntp.stratum = 16)),
            ("rate", desired(|ntp| ntp.rate_per_source = 0)),
            ("addresses", desired(|ntp| ntp.addresses = vec![IpAddr::from([127, 0, 0, 1]); 5000])),
            ("0.0.0.0", desired(|ntp| ntp.addresses = vec![IpAddr::from([0, 0, 0, 0])])),
            ("ff02::1", desired(|ntp| ntp.addresses = vec!["ff02::1".parse().expect("an address")])),
            ("name", Desired { world: "a\nb".to_owned(), ..Desired::default() }),
        ] {
            assert!(check(&bad).is_err_and(|why| why.contains(what)), "{what}: {:?}", check(&bad));
        }
    }
}
