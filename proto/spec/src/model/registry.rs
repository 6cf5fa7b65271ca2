//! Section `world_registry`.

use std::net::Ipv4Addr;

use netengine_proto::names::OrgName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    formats,
    text::{DnsName, Key, Text, Username},
};

/// Organisations, their capabilities, and WHOIS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorldRegistry {
    /// Whether the world has a registry.
    pub enabled: bool,
    /// Where it listens.
    pub listen_ip: Ipv4Addr,
    /// Its name.
    pub canonical_name: DnsName,
    /// The organisations of the world.
    pub organizations: Vec<Organization>,
    /// Accounts of the platform realm that may use the registry.
    pub operators: Vec<RegistryOperator>,
    /// The WHOIS server.
    pub whois: Whois,
}

impl Default for WorldRegistry {
    fn default() -> Self {
        Self {
            enabled: true,
            listen_ip: Ipv4Addr::new(10, 0, 0, 8),
            canonical_name: DnsName::ours("registry.platform.internal"),
            organizations: Vec::new(),
            operators: Vec::new(),
            whois: Whois::default(),
        }
    }
}

/// One organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Organization {
    /// Its name.
    #[schemars(schema_with = "formats::name")]
    pub name: OrgName,
    /// What it is.
    #[serde(default)]
    pub description: Option<Text>,
    /// What it may do; what is not listed is refused.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// The profile its ANDs are meant to have.
    #[serde(default = "business")]
    pub and_profile: Key,
}

fn business() -> Key {
    Key::ours("business")
}

/// What an organisation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Deploy applications.
    HostServices,
    /// Send mail.
    SendMail,
    /// Register domains.
    RegisterDomains,
}

/// An account of the platform realm that may use the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryOperator {
    /// The account.
    pub username: Username,
    /// What it may do.
    #[serde(default)]
    pub role: RegistryRole,
}

/// What a registry operator may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RegistryRole {
    /// Everything.
    Superadmin,
    /// Look only.
    #[default]
    Readonly,
}

/// The WHOIS server (RFC 3912).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Whois {
    /// Whether the world has one.
    pub enabled: bool,
    /// Where it listens.
    pub listen_ip: Ipv4Addr,
    /// Its TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
}

impl Default for Whois {
    fn default() -> Self {
        Self { enabled: true, listen_ip: Ipv4Addr::new(10, 0, 0, 9), port: 43 }
    }
}
