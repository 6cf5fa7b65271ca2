//! Section `gateway_portal`: what leaves and enters the world.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AllowProto;
use crate::{
    formats,
    text::{DnsLabel, DnsName, Endpoint, Pem, Ports},
};

/// The ports of the mode `exposed`: HTTP and HTTPS (RFC 9110, sections 4.2.1 and 4.2.2).
pub const EXPOSED: [u16; 2] = [80, 443];

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

impl GatewayPortal {
    /// The mode in force: a portal that is not enabled lets nothing through.
    pub fn mode(&self) -> InternetMode {
        if self.enabled { self.real_internet.mode } else { InternetMode::Isolated }
    }

    /// The real host names that services of the world answer for.
    pub fn mirrors(&self) -> &[ServiceMirror] {
        if self.mode() == InternetMode::Mirrored { &self.real_internet.service_mirrors } else { &[] }
    }

    /// The resolver outside that is asked for names which the world does not know.
    pub fn upstream_resolver(&self) -> Option<Ipv4Addr> {
        let is_asked = self.mode() != InternetMode::Isolated && self.real_internet.upstream_resolver_enabled;
        self.real_internet.upstream_resolver_ip.filter(|_| is_asked)
    }

    /// Whether anything leaves or enters, so that an administrator must have allowed a way out.
    pub fn needs_uplink(&self) -> bool {
        match self.mode() {
            InternetMode::Isolated => false,
            InternetMode::Mirrored => self.upstream_resolver().is_some(),
            InternetMode::Shadowed | InternetMode::Exposed | InternetMode::Custom => true,
        }
    }

    /// The ports of the host that lead into the world.
    pub fn published(&self) -> Vec<Publish> {
        let internet = &self.real_internet;
        match self.mode() {
            InternetMode::Exposed if internet.publish.is_empty() => {
                EXPOSED.map(|port| Publish { host_port: port, port, to: None, from: None }).into()
            }
            InternetMode::Exposed | InternetMode::Custom => internet.publish.clone(),
            InternetMode::Isolated | InternetMode::Shadowed | InternetMode::Mirrored => Vec::new(),
        }
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
    /// Flows that leave; needs the mode `custom`. What a network may not open by its profile it may not open here either.
    pub rules: Vec<InternetRule>,
    /// TCP ports of the host that lead into the world; needs the mode `exposed` or `custom`. In the mode `exposed` they
    /// lead to ports 80 and 443, and absent ones are the host's own 80 and 443.
    pub publish: Vec<Publish>,
}

/// New flows to the real internet that are accepted. Answers are always let back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InternetRule {
    /// Their protocol.
    #[serde(default)]
    pub proto: AllowProto,
    /// Their destination ports, each a number or `first-last`; none are all. For tcp and udp only.
    #[serde(default)]
    pub ports: Vec<Ports>,
    /// The IPv4 network of the world they come from; absent: from everywhere in it, by IPv4 and IPv6.
    #[serde(default)]
    #[schemars(schema_with = "formats::optional_cidr4")]
    pub from: Option<Ipv4Net>,
    /// The IPv4 network outside they go to; absent: everywhere.
    #[serde(default)]
    #[schemars(schema_with = "formats::optional_cidr4")]
    pub to: Option<Ipv4Net>,
}

/// A TCP port of the host that leads into the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The host's port, within the range that an administrator allows.
    pub host_port: u16,
    /// The port in the world.
    pub port: u16,
    /// The address in the world; absent: the vantage host `core`.
    #[serde(default)]
    pub to: Option<Ipv4Addr>,
    /// The IPv4 network outside that may reach it; absent: everywhere.
    #[serde(default)]
    #[schemars(schema_with = "formats::optional_cidr4")]
    pub from: Option<Ipv4Net>,
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
    /// What `rules` and `publish` say.
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

impl CrossWorld {
    /// The other worlds, each with how it is to be joined; none when the mode is `none`.
    pub fn joins(&self) -> impl Iterator<Item = (&Peer, PeerMode)> {
        let default = match self.mode {
            CrossWorldMode::None => None,
            CrossWorldMode::Peered => Some(PeerMode::Peered),
            CrossWorldMode::Federated => Some(PeerMode::Federated),
        };
        self.peers.iter().filter_map(move |peer| Some((peer, peer.mode.or(default).filter(|_| default.is_some())?)))
    }
}

/// Another world of this host. The worlds are joined when each one's spec names the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name.
    pub name: DnsLabel,
    /// Whose world it is: `world:NAME`, or `world:USER/NAME` of another user; NAME is `name` again.
    pub endpoint: Endpoint,
    /// How it is joined; absent: as in `cross_world.mode`.
    #[serde(default)]
    pub mode: Option<PeerMode>,
    /// Its certificate authority, which must then be the one it has.
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
