//! Challenges, checked by really connecting, inside the world.
//!
//! Names are looked up in one given way; only addresses in the world's networks are connected to, only on the two
//! ports the standard names; every wait has a deadline and every answer a bound.

mod caa;
mod dns;
mod http;
mod tls;

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    acme::{ChallengeKind, Kind, Probe, Problem, Verdict},
    name::{Identifier, Scope},
};

/// Looks whether a challenge is met.
pub trait Connect: Send + Sync + 'static {
    /// Connects to whatever the challenge is about.
    ///
    /// # Errors
    /// The problem that the client is shown.
    fn check(&self, probe: &Probe) -> impl Future<Output = Verdict> + Send;
}

/// Looks names up: a resolver by its address, or one in this process.
pub trait Names: Send + Sync + 'static {
    /// The whole answer to a query for recursion, both as messages (RFC 1035, section 4).
    fn answer(&self, query: Vec<u8>) -> Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send + '_>>;
}

/// How long one look may take in all.
const WHOLE: Duration = Duration::from_secs(20);

/// How long one connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// How many addresses of one name are tried.
const ADDRESSES: usize = 4;

/// The ports that challenges are met on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// http-01.
    pub http: u16,
    /// tls-alpn-01, and where http-01 is redirected to `https`.
    pub tls: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { http: 80, tls: 443 }
    }
}

/// The world's network.
pub struct Network {
    names: Arc<dyn Names>,
    scope: Scope,
    ports: Ports,
    caa_identity: String,
    alpn: Arc<ClientConfig>,
    plain: Arc<ClientConfig>,
}

impl Network {
    /// A network whose names are found so. Nothing outside the scope is connected to. CAA records allow us by the identity.
    ///
    /// # Errors
    /// When the TLS library cannot be set up.
    pub fn new(names: impl Names, scope: Scope, ports: Ports, caa_identity: &str) -> Result<Self, rustls::Error> {
        Ok(Self {
            names: Arc::new(names),
            scope,
            ports,
            caa_identity: caa_identity.to_owned(),
            alpn: tls::config(&[tls::ALPN])?,
            plain: tls::config(&[])?,
        })
    }

    async fn look(&self, probe: &Probe) -> Verdict {
        if let Identifier::Dns(name) = &probe.identifier {
            caa::check(self, name, probe).await?;
        }
        match probe.kind {
            ChallengeKind::Http01 => http::check(self, probe).await,
            ChallengeKind::Dns01 => dns::check(self, probe).await,
            ChallengeKind::TlsAlpn01 => tls::check(self, probe).await,
        }
    }

    /// A connection to the first address of the name that answers.
    async fn connect(&self, identifier: &Identifier, port: u16) -> Result<TcpStream, Problem> {
        self.scope.check(identifier).map_err(|why| Problem::new(Kind::RejectedIdentifier, why.to_string()))?;
        let addresses = match identifier {
            Identifier::Ip(address) => vec![*address],
            Identifier::Dns(name) => dns::addresses(self.names.as_ref(), name).await?,
            Identifier::Wildcard(_) => return Err(Problem::internal()),
        };
        let mut inside: Vec<_> = addresses.into_iter().filter(|address| self.scope.holds_address(*address)).collect();
        inside.dedup();
        inside.truncate(ADDRESSES);
        let mut failure = format!("no address of {identifier} lies in this world");
        for address in inside {
            match timeout(CONNECT, TcpStream::connect((address, port))).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = format!("cannot connect to {address} port {port}: {}", error.kind()),
                Err(_) => failure = format!("cannot connect to {address} port {port}: no answer in time"),
            }
        }
        Err(Problem::new(Kind::Connection, failure))
    }
}

impl Connect for Network {
    async fn check(&self, probe: &Probe) -> Verdict {
        match timeout(WHOLE, self.look(probe)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(Problem::new(Kind::Connection, "the challenge took too long")),
        }
    }
}
