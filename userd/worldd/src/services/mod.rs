//! The running services, made equal to the desired ones.
//!
//! One task owns them and takes requests from a queue, so two `Apply` at the same time are two in a row, and a socket
//! that must go is closed before its successor is bound. Each service is a module with the same three verbs: `apply` makes
//! it what the spec says and touches nothing else, `close`, and `health`, per address.

pub mod advert;
pub mod api;
pub mod check;
pub mod clock;
pub mod dhcp;
pub mod dns;
pub mod files;
pub mod https;
pub mod identity;
pub mod link;
pub mod listeners;
pub mod logout;
pub mod names;
pub mod ntp;
pub mod pki;
pub mod registry;
pub mod resolver;
pub mod resolver_certificate;
pub mod world;

use std::{io, os::fd::OwnedFd, panic::AssertUnwindSafe, path::PathBuf};

use futures::FutureExt;
use netengine_proto::{
    control::{ControlReply, Desired, Health},
    limits,
};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use self::{advert::Advertiser, check::Wanted, dhcp::Dhcp, ntp::Ntp, resolver::Resolver, world::World};

/// The phase that ANDs are of.
pub const PHASE_OF_ANDS: u8 = 7;

/// What the owner of the services is asked.
#[derive(Debug)]
pub enum Request {
    /// Serve this.
    Apply(Box<Desired>),
    /// How is each service?
    Health,
    /// Which services do not serve?
    Summary,
    /// What was issued before this serial number, newest first.
    Certificates(Option<String>),
    /// The certificate of this serial number.
    Certificate(String),
}

/// A request and where its reply goes.
pub type Job = (Request, oneshot::Sender<ControlReply>);

/// Requests that wait for the owner; a connection has one at a time, so the queue never overflows.
pub const QUEUE: usize = limits::CONTROL_CONNECTIONS;

/// Asks the owner of the services and waits for its reply.
pub async fn ask(owner: &mpsc::Sender<Job>, request: Request) -> ControlReply {
    let (sender, receiver) = oneshot::channel();
    let gone = || ControlReply::Refused("worldd is stopping".to_owned());
    if owner.send((request, sender)).await.is_err() {
        return gone();
    }
    receiver.await.unwrap_or_else(|_| gone())
}

/// Which services this process has.
pub enum Services {
    /// Those of a world.
    World(Box<World>),
    /// Those of its router.
    Gateway(Box<Gateway>),
}

/// The services of a world's router.
#[derive(Default)]
pub struct Gateway {
    revision: String,
    resolver: Resolver,
    dhcp: Dhcp,
    advertiser: Advertiser,
    ntp: Ntp,
}

impl Services {
    /// The services of a world; what outlives the world's run lies in `data`.
    pub fn world(data: Option<PathBuf>) -> Self {
        Self::World(Box::new(World::new(data)))
    }

    /// The services of its router; `solicitations` is the raw ICMPv6 socket that rootd handed over.
    ///
    /// # Errors
    /// When the event loop refuses the socket.
    pub fn gateway(solicitations: Option<OwnedFd>) -> io::Result<Self> {
        let advertiser = Advertiser::new(solicitations)?;
        Ok(Self::Gateway(Box::new(Gateway { advertiser, ..Gateway::default() })))
    }

    /// Owns the services until every sender of the queue is gone, then closes them.
    pub async fn own(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some((request, reply)) = jobs.recv().await {
            let work = AssertUnwindSafe(self.serve(request)).catch_unwind().await;
            let failed = || ControlReply::Refused("worldd failed; its log tells why".to_owned());
            // The asker may have gone; what was applied stays applied.
            let _ = reply.send(work.unwrap_or_else(|_| failed()));
        }
        match &mut self {
            Self::World(world) => world.close().await,
            Self::Gateway(gateway) => gateway.close().await,
        }
    }

    async fn serve(&mut self, request: Request) -> ControlReply {
        if let (Request::Certificates(_) | Request::Certificate(_), Self::Gateway(_)) = (&request, &self) {
            return ControlReply::Refused("no certificates are issued here".to_owned());
        }
        if let (Request::Certificates(before), Self::World(world)) = (&request, &self) {
            return world.certificates(before.as_deref());
        }
        if let (Request::Certificate(serial), Self::World(world)) = (&request, &self) {
            return world.certificate(serial).await;
        }
        let is_whole = matches!(request, Request::Health);
        if let Request::Apply(desired) = request {
            let wanted = match Wanted::read(*desired) {
                Ok(wanted) => wanted,
                Err(fault) => {
                    warn!("refused a desired state: {fault}");
                    return ControlReply::Refused(fault);
                }
            };
            match self {
                Self::World(world) => {
                    if let Err(fault) = world.apply(wanted).await {
                        warn!("refused a desired state: {fault}");
                        return ControlReply::Refused(fault.to_string());
                    }
                }
                Self::Gateway(gateway) => gateway.apply(wanted).await,
            }
        }
        ControlReply::Health(match self {
            Self::World(world) if is_whole => world.health(),
            Self::World(world) => world.summary(),
            Self::Gateway(gateway) if is_whole => gateway.health(),
            Self::Gateway(gateway) => gateway.summary(),
        })
    }
}

impl Gateway {
    async fn apply(&mut self, Wanted { desired, spec }: Wanted) {
        match &spec {
            Some(spec) => self.resolver.apply(spec, &desired).await,
            None => self.resolver.close().await,
        }
        let is_wanted = desired.up_to >= PHASE_OF_ANDS;
        let ands = if is_wanted { &desired.ands[..] } else { &[] };
        self.dhcp.apply(ands).await;
        self.ntp.apply(desired.ntp.as_ref().filter(|_| is_wanted)).await;
        self.advertiser.apply(ands, &self.resolver.addresses_v6());
        self.revision = desired.revision;
    }

    async fn close(&mut self) {
        self.advertiser.close();
        self.dhcp.close().await;
        self.ntp.close_all().await;
        self.resolver.close().await;
    }

    fn health(&self) -> Health {
        let services =
            [self.resolver.health(), self.dhcp.health(), self.advertiser.health(), self.ntp.health()].concat();
        Health { revision: self.revision.clone(), services, ..Health::default() }
    }

    fn summary(&self) -> Health {
        let mut health = self.health();
        health.services.retain(|service| !service.serving);
        health
    }
}

/// What failed, and its causes, on one line.
fn chain(what: &str, error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.fold(what.to_owned(), |text, cause| format!("{text}: {cause}"))
}
