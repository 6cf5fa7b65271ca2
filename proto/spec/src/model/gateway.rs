//! Section `gateway_portal`: what leaves and enters the world.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{DnsLabel, DnsName, Endpoint, Pem};

/// What leaves and enters the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayPortal {
    /// Whether the portal exists; without it the world is isolated.
    pub enabled: bool,
    /// The way to the real internet.
    pub real_internet: RealInternet,
    /// The way to other worlds.
    pub cross_world: CrossWorld,
}

impl Default for GatewayPortal {
    fn default() -> Self {
        Self { enabled: true, real_internet: RealInternet::default(), cross_world: CrossWorld::default() }
    }
}

/// The way to the real internet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RealInternet {
    /// What is let through.
    pub mode: InternetMode,
    /// Real host names that resolve to services of the world; needs the mode `mirrored`.
    pub service_mirrors: Vec<ServiceMirror>,
    /// Whether names that the world does not know are asked outside.
    pub upstream_resolver_enabled: bool,
    /// Whom to ask.
    pub upstream_resolver_ip: Option<Ipv4Addr>,
}

/// What is let through to and from the real internet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InternetMode {
    /// Nothing leaves or enters, DNS included.
    #[default]
    Isolated,
    /// Web only, out only.
    Shadowed,
    /// The named real host names resolve to services of the world.
    Mirrored,
    /// Out freely, in to ports 80 and 443.
    Exposed,
    /// Rules of the administrator's own.
    Custom,
}

/// A real host name that a service of the world answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceMirror {
    /// The real host name.
    pub real_hostname: DnsName,
    /// The service's address in the world.
    pub in_world_service: Ipv4Addr,
}

/// The way to other worlds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrossWorld {
    /// How worlds are joined.
    pub mode: CrossWorldMode,
    /// The other worlds.
    pub peers: Vec<Peer>,
}

/// How worlds are joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CrossWorldMode {
    /// Not at all.
    #[default]
    None,
    /// Networks reach each other.
    Peered,
    /// Networks reach each other and trust each other's identities.
    Federated,
}

/// Another world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name.
    pub name: DnsLabel,
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// How it is joined; absent: as in `cross_world.mode`.
    #[serde(default)]
    pub mode: Option<PeerMode>,
    /// The certificate authority it is trusted by.
    #[serde(default)]
    pub trust_anchor_cert: Option<Pem>,
}

/// How one other world is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PeerMode {
    /// Networks reach each other.
    Peered,
    /// Networks reach each other and trust each other's identities.
    Federated,
}
