//! Pure planning: from a spec and what was observed to what has to be done. Nothing here waits, reads a clock or a file.

pub mod ands;
pub mod diff;
pub mod leases;
pub mod network;
pub mod peers;
pub mod phases;
pub mod portal;
pub mod probes;
pub mod reach;
mod revision;
pub mod secrets;
pub mod steps;

use std::net::IpAddr;

use netengine_proto::{
    control::{Desired, NtpService},
    ids::{Uid, WorldId},
    names::HostName,
    plan::{NetworkPlan, Node},
    trust::{Credential, Trust},
};
use netengine_spec::Spec;

pub use self::network::{PlanError, network_plan};
use self::{leases::Leases, peers::HeldPeer};

/// The NTP port (RFC 5905, section 7.2).
pub const NTP_PORT: u16 = 123;
/// What our NTP server announces: it follows the host's clock, which itself has a source of some stratum.
const NTP_STRATUM: u8 = 10;
/// Requests per second of one source before kiss-o'-death: clients ask once in 64 s at least, once in 2 s in a burst.
const NTP_RATE: u32 = 16;

/// Everything a world is to be, derived from its spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The spec.
    pub spec: Spec,
    /// The last phase to bring up.
    pub up_to: u8,
    /// Its network.
    pub network: NetworkPlan,
    /// What its worldd serves.
    pub desired: Desired,
    /// Where a client of network `core` is sure to reach the world's time server.
    pub ntp_addresses: Vec<IpAddr>,
    /// Where a client of network `core` looks names up; empty when the world has no resolver.
    pub resolvers: Vec<IpAddr>,
    /// The vantage host that live checks run in.
    pub prober: HostName,
    /// The worlds that its spec names, as they stand; see [`Target::beside`].
    pub peers: Vec<HeldPeer>,
}

impl Target {
    /// A draft with secrets.
    ///
    /// # Errors
    /// As [`Target::draft`].
    #[cfg(test)]
    pub fn new(
        spec: Spec,
        up_to: u8,
        world: WorldId,
        owner: Uid,
        credentials: Vec<Credential>,
        leases: &Leases,
    ) -> Result<Self, PlanError> {
        Ok(Self::draft(spec, up_to, world, owner, leases)?.with(credentials))
    }

    /// Derives it without secrets, so that no process can be told yet what to serve. `leases` are the networks of its ANDs; an AND without one
    /// is not brought up.
    ///
    /// # Errors
    /// [`PlanError`] when the spec asks for more than a network or a plan can hold.
    pub fn draft(spec: Spec, up_to: u8, world: WorldId, owner: Uid, leases: &Leases) -> Result<Self, PlanError> {
        let ands = ands::ands(&spec, up_to, world, leases)?;
        let network = network::network_with(&spec, up_to, world, owner, leases, &ands)?;
        let services = network.cables.iter().flat_map(|cable| [&cable.a, &cable.b]);
        let services: Vec<_> = services.filter(|end| end.node == Node::Services).collect();
        let addresses: Vec<IpAddr> = services.iter().flat_map(|end| end.addresses.iter().map(|a| a.addr())).collect();
        let own = network::own_addresses(&spec)?;
        let ntp = NtpService { addresses, port: NTP_PORT, stratum: NTP_STRATUM, rate_per_source: NTP_RATE };
        let ntp = spec.substrate.ntp.enabled.then_some(ntp);
        let ntp_addresses = if ntp.is_some() { own } else { Vec::new() };
        let prober = HostName::parse(network::CORE).map_err(|_| PlanError::Name(network::CORE.to_owned()))?;
        let of_prober = network.nodes.iter().filter(|node| node.node == Node::Host(prober.clone()));
        let resolvers = of_prober.filter_map(|node| node.resolver.as_ref());
        let resolvers = resolvers.flat_map(|resolver| resolver.name_servers.iter().copied());
        let resolvers = resolvers.filter(|_| phases::names_resolve(up_to)).collect();
        let desired = Desired {
            world: spec.name().to_string(),
            ntp,
            spec: Some(serde_json::to_string(&spec).map_err(|error| PlanError::Spec(error.to_string()))?),
            up_to,
            hosts: network::named_hosts(&spec)?,
            ands,
            ..Desired::default()
        };
        Ok(Self { spec, up_to, network, desired, ntp_addresses, resolvers, prober, peers: Vec::new() })
    }

    /// A draft beside other worlds that stand so.
    ///
    /// # Errors
    /// [`PlanError`] when they are more than a plan can hold.
    pub fn beside(self, peers: Vec<HeldPeer>) -> Result<Self, PlanError> {
        let network = peers::join(self.network, &peers)?;
        let (delegations, issuers) = (peers::delegations(&peers), peers::issuers(&peers));
        let desired = Desired { delegations, issuers, ..self.desired };
        Ok(Self { network, desired, peers, ..self })
    }

    /// A draft with the secrets that the world has, see [`secrets`]: its processes can be told.
    #[must_use]
    pub fn with(self, credentials: Vec<Credential>) -> Self {
        Self { desired: revision::named(Desired { credentials, ..self.desired }), ..self }
    }

    /// Whether the world's router has services of its own.
    pub fn has_gateway(&self) -> bool {
        phases::names_resolve(self.up_to)
    }

    /// What the router's services are to be once worldd's keys are known.
    pub fn gateway_desired(&self, trust: Trust) -> Desired {
        let (revision, ntp) = (self.gateway_revision(&trust), self.gateway_ntp());
        let Desired { world, spec, up_to, hosts, ands, delegations, .. } = self.desired.clone();
        Desired { revision, world, ntp, spec, up_to, hosts, trust, ands, delegations, ..Desired::default() }
    }

    /// Its name: it follows from what worldd serves and from worldd's keys.
    pub fn gateway_revision(&self, trust: &Trust) -> String {
        revision::beside(&self.desired.revision, trust)
    }

    /// Where hosts of ANDs ask the time: their router, which is all that some of them reach.
    pub fn gateway_ntp(&self) -> Option<NtpService> {
        let addresses: Vec<IpAddr> = self.desired.ands.iter().flat_map(ands::router_addresses).collect();
        let ntp = self.desired.ntp.as_ref().filter(|_| !addresses.is_empty())?;
        Some(NtpService { addresses, ..ntp.clone() })
    }

    /// Whether the world has a way out.
    pub fn has_uplink(&self) -> bool {
        portal::needs_uplink(&self.spec, self.up_to)
    }

    /// Whether it is the other, other ANDs left aside: then worldd's own services are what they were.
    pub fn differs_in_ands_only(&self, other: &Target) -> bool {
        let spec = Spec { ands: other.spec.ands.clone(), ..self.spec.clone() };
        self.up_to == other.up_to && self.peers == other.peers && spec == other.spec
    }

    /// Namespaces and links it needs, as counted against quotas.
    pub fn size(&self) -> (i64, i64) {
        let links = self.network.bridges.len() + 2 * self.network.cables.len();
        (i64::try_from(self.network.nodes.len()).unwrap_or(i64::MAX), i64::try_from(links).unwrap_or(i64::MAX))
    }
}

/// The vantage hosts of a plan, in its order.
pub fn hosts(network: &NetworkPlan) -> impl Iterator<Item = &HostName> {
    network.nodes.iter().filter_map(|node| match &node.node {
        Node::Host(name) => Some(name),
        Node::Gateway | Node::Services | Node::Uplink => None,
    })
}
