//! Section `substrate`: networks, router, time.

use std::{collections::BTreeMap, net::Ipv4Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use netengine_proto::names::NetworkName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    formats,
    text::{Host, Text},
};

/// Networks, router and time of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Substrate {
    /// The container engine family that applications would be scheduled on when a world spans hosts; on one host it
    /// changes nothing.
    #[serde(default)]
    pub orchestrator: Orchestrator,
    /// Who runs the world services: the built-in servers, or container images.
    #[serde(default)]
    pub runtime: Runtime,
    /// The world's time service.
    #[serde(default)]
    pub ntp: Ntp,
    /// The networks by name. `platform` and `core` must exist. Subnets are immutable.
    #[serde(default = "networks")]
    #[schemars(schema_with = "formats::name_map::<Network>")]
    pub networks: BTreeMap<NetworkName, Network>,
    /// The router's own addresses.
    pub gateway: Gateway,
}

/// Container engine family of applications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Orchestrator {
    /// Docker Swarm.
    #[default]
    Swarm,
    /// K3s.
    K3s,
}

/// Who runs the world services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// The built-in servers.
    #[default]
    Embedded,
    /// The images named by `server` and `oidc_provider`.
    Docker,
}

/// The world's time service. It answers on every listen address of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ntp {
    /// Whether the world has an NTP server.
    pub enabled: bool,
    /// Upstream servers it may follow, only when the gateway mode lets it out.
    pub servers: Vec<Host>,
}

impl Default for Ntp {
    fn default() -> Self {
        Self { enabled: true, servers: vec![Host::ours("pool.ntp.org")] }
    }
}

/// One network of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// How it is built.
    #[serde(default, rename = "type")]
    pub kind: NetworkType,
    /// Its IPv4 network, /8 to /29. Immutable.
    #[schemars(schema_with = "formats::cidr4")]
    pub subnet: Ipv4Net,
    /// Its IPv6 network, at most /96. The IPv6 address of each host is this prefix with the host's IPv4 address in the
    /// low 32 bits. Immutable.
    #[serde(default)]
    #[schemars(schema_with = "formats::optional_cidr6")]
    pub subnet6: Option<Ipv6Net>,
    /// What it is for.
    #[serde(default)]
    pub description: Option<Text>,
    /// How many vantage hosts (hosts to run commands on) it has.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 250))]
    pub vantage_hosts: u8,
}

fn one() -> u8 {
    1
}

/// How a network is built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkType {
    /// A bridge inside the world's router.
    #[default]
    Bridge,
}

/// The router's own addresses. In a network other than `platform` and `core` the router has the first host address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Its address in the network `platform`. Immutable.
    pub platform_ip: Ipv4Addr,
    /// Its address in the network `core`. Immutable.
    pub core_ip: Ipv4Addr,
    /// What it is for.
    #[serde(default)]
    pub description: Option<Text>,
}

fn networks() -> BTreeMap<NetworkName, Network> {
    let network = |name, [a, b, c, d]: [u8; 4], prefix| {
        let subnet = Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix);
        let name = NetworkName::parse(name).expect("a name of ours fits the grammar");
        (name, Network { kind: NetworkType::Bridge, subnet, subnet6: None, description: None, vantage_hosts: one() })
    };
    BTreeMap::from([network("platform", [172, 28, 0, 0], 16), network("core", [10, 0, 0, 0], 24)])
}
