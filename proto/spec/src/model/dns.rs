//! Section `dns`.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{DnsLabel, DnsName, SoaMailbox, Text};

/// The root zone, the platform zone and the top-level domains.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// The root zone `.`.
    pub root: DnsRoot,
    /// The zone that holds the platform's services.
    pub platform_zone: PlatformZone,
    /// The top-level domains, each served at its own address.
    pub tlds: Vec<Tld>,
}

/// The root zone `.`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsRoot {
    /// Whether the world has a root zone.
    pub enabled: bool,
    /// The kind of server.
    #[serde(rename = "type")]
    pub kind: ZoneType,
    /// Which server serves it.
    pub server: DnsServer,
    /// Where it is served. Immutable.
    pub listen_ip: Ipv4Addr,
    /// The primary name server in its SOA record.
    pub soa_primary_ns: DnsName,
    /// The responsible mailbox in its SOA record.
    pub soa_email: SoaMailbox,
    /// How serial numbers of zones are chosen.
    pub serial_policy: SerialPolicy,
}

impl Default for DnsRoot {
    fn default() -> Self {
        Self {
            enabled: true,
            kind: ZoneType::Authoritative,
            server: DnsServer::Coredns,
            listen_ip: Ipv4Addr::new(10, 0, 0, 2),
            soa_primary_ns: DnsName::ours("root.internal"),
            soa_email: SoaMailbox::ours("admin.internal"),
            serial_policy: SerialPolicy::Timestamp,
        }
    }
}

/// The zone that holds the platform's services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PlatformZone {
    /// Its name.
    pub name: DnsName,
    /// The kind of server.
    #[serde(rename = "type")]
    pub kind: ZoneType,
    /// Where it is served.
    pub listen_ip: Ipv4Addr,
}

impl Default for PlatformZone {
    fn default() -> Self {
        Self {
            name: DnsName::ours("platform.internal"),
            kind: ZoneType::Authoritative,
            listen_ip: Ipv4Addr::new(10, 0, 0, 3),
        }
    }
}

/// One top-level domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tld {
    /// Its name, one label.
    pub name: DnsLabel,
    /// What it is for.
    #[serde(default)]
    pub description: Option<Text>,
    /// The kind of server.
    #[serde(default, rename = "type")]
    pub kind: ZoneType,
    /// Where it is served.
    pub listen_ip: Ipv4Addr,
}

/// The kind of a zone's server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ZoneType {
    /// It has the zone's data itself.
    #[default]
    Authoritative,
}

/// Which server serves a zone. With `runtime: embedded` it is the built-in one under either name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DnsServer {
    /// CoreDNS.
    #[default]
    Coredns,
    /// The built-in server.
    Embedded,
}

/// How the serial number of a zone is chosen (RFC 1912, section 2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SerialPolicy {
    /// From the time of the change.
    #[default]
    Timestamp,
    /// Always 1, for reproducible zones.
    Fixed,
}
