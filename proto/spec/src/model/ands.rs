//! Section `ands`.

use std::collections::BTreeMap;

use netengine_proto::names::{AndName, OrgName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    formats,
    text::{DnsName, Key, Ports},
};

/// Administrative Network Domains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ands {
    /// Profiles beside the built-in ones (residential, business, datacenter, airgapped), which need no declaration.
    #[schemars(schema_with = "formats::key_map::<AndProfile>")]
    pub profiles: BTreeMap<Key, AndProfile>,
    /// The ANDs.
    pub instances: Vec<AndInstance>,
    /// Flows that are let in beside what the profiles allow.
    pub allow: Vec<AndAllow>,
    /// Routing between ANDs by BGP.
    pub bgp_fabric: BgpFabric,
}

/// How an AND is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AndProfile {
    /// Whether hosts get their address by DHCP.
    pub dhcp: bool,
    /// Whether flows leave with the router's address.
    pub nat: bool,
    /// Whether a host's address may change from lease to lease.
    pub dynamic_ip: bool,
    /// What becomes of unsolicited flows from outside.
    pub inbound: Inbound,
    /// Whether the AND's network has a reverse zone.
    pub reverse_dns: bool,
    /// Whether the AND speaks BGP.
    pub bgp: Option<Bgp>,
}

impl Default for AndProfile {
    fn default() -> Self {
        Self { dhcp: true, nat: true, dynamic_ip: true, inbound: Inbound::Blocked, reverse_dns: false, bgp: None }
    }
}

impl AndProfile {
    /// The names of the built-in profiles.
    pub const BUILT_IN: [&'static str; 4] = ["residential", "business", "datacenter", "airgapped"];

    /// The built-in profile of this name.
    pub fn built_in(name: &str) -> Option<Self> {
        let fixed = Self { nat: false, dynamic_ip: false, reverse_dns: true, ..Self::default() };
        match name {
            "residential" => Some(Self::default()),
            "business" => Some(Self { inbound: Inbound::Allowed, ..fixed }),
            "datacenter" => Some(Self { dhcp: false, inbound: Inbound::Allowed, ..fixed }),
            "airgapped" => Some(Self { reverse_dns: false, ..fixed }),
            _ => None,
        }
    }
}

/// What becomes of unsolicited flows from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Inbound {
    /// They are dropped.
    #[default]
    Blocked,
    /// They are let in.
    Allowed,
}

/// Whether an AND speaks BGP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bgp {
    /// It may.
    Optional,
    /// It must.
    Required,
    /// It does not.
    Disabled,
}

/// One AND.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AndInstance {
    /// Its name.
    #[schemars(schema_with = "formats::name")]
    pub name: AndName,
    /// The organisation it belongs to.
    #[schemars(schema_with = "formats::name")]
    pub org: OrgName,
    /// Its profile, built-in or declared.
    pub profile: Key,
    /// The zone of its hosts.
    #[serde(default)]
    pub dns_suffix: Option<DnsName>,
}

/// New flows of a kind that are accepted from one network to another, whatever the profiles say. Answers are always let back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AndAllow {
    /// The AND, or the network under `substrate.networks`, that flows come from.
    #[schemars(schema_with = "formats::name")]
    pub from: AndName,
    /// The AND or network they go to.
    #[schemars(schema_with = "formats::name")]
    pub to: AndName,
    /// Their protocol.
    #[serde(default)]
    pub proto: AllowProto,
    /// Their destination ports, each a number or `first-last`; none are all. For tcp and udp only.
    #[serde(default)]
    pub ports: Vec<Ports>,
}

/// The protocol of flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllowProto {
    /// Every protocol.
    #[default]
    Any,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, and ICMPv6 over IPv6.
    Icmp,
}

/// Routing between ANDs by BGP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BgpFabric {
    /// Whether it exists.
    pub enabled: bool,
}
