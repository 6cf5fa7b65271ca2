//! Section `ands`.

use std::collections::BTreeMap;

use netengine_proto::names::{AndName, OrgName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    formats,
    text::{DnsName, Key},
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

/// Routing between ANDs by BGP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BgpFabric {
    /// Whether it exists.
    pub enabled: bool,
}
