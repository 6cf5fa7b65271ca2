//! Section `domain_registry`.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;
use netengine_proto::names::OrgName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    formats,
    text::{DnsLabel, DnsName, RecordName, Text},
};

/// Domains, address pools, and the registrar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DomainRegistry {
    /// Whether the world has a domain registry.
    pub enabled: bool,
    /// Where it listens.
    pub listen_ip: Ipv4Addr,
    /// Its name.
    pub canonical_name: DnsName,
    /// Who governs which top-level domain.
    pub tld_delegations: Vec<TldDelegation>,
    /// The pools that ANDs take their networks from. Existing entries are immutable; appending is allowed.
    pub address_space: Vec<AddressPool>,
    /// The registrar.
    pub registrar: Registrar,
    /// Domains that exist from the start.
    pub initial_domains: Vec<InitialDomain>,
}

impl Default for DomainRegistry {
    fn default() -> Self {
        Self {
            enabled: true,
            listen_ip: Ipv4Addr::new(10, 0, 0, 10),
            canonical_name: DnsName::ours("domainreg.platform.internal"),
            tld_delegations: Vec::new(),
            address_space: Vec::new(),
            registrar: Registrar::default(),
            initial_domains: Vec::new(),
        }
    }
}

/// Who governs a top-level domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TldDelegation {
    /// The top-level domain, declared under `dns.tlds`.
    pub tld: DnsLabel,
    /// An organisation, or a name of the platform such as `platform` or `registrar`.
    pub governed_by: Text,
}

/// A pool that ANDs take their networks from.
///
/// It serves profile P when its label is `P` or `P-pool`, or when it is allocated to `P` or `P-ands`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressPool {
    /// Its IPv4 network.
    #[schemars(schema_with = "formats::cidr4")]
    pub cidr: Ipv4Net,
    /// What it is called.
    #[serde(default)]
    pub label: Option<Text>,
    /// Whom it is for.
    #[serde(default)]
    pub allocated_to: Option<Text>,
}

impl AddressPool {
    /// The names of profiles whose ANDs take their networks from the pool, by its label and by whom it is allocated to.
    /// Not every name need be a profile's.
    pub fn profiles(&self) -> BTreeSet<&str> {
        let (label, owner) = (self.label.as_ref().map(Text::as_str), self.allocated_to.as_ref().map(Text::as_str));
        let stems =
            [label.and_then(|text| text.strip_suffix("-pool")), owner.and_then(|text| text.strip_suffix("-ands"))];
        [label, owner].into_iter().chain(stems).flatten().collect()
    }

    /// True when ANDs of this profile take their networks from the pool.
    pub fn serves(&self, profile: &str) -> bool {
        self.profiles().contains(profile)
    }
}

/// The registrar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Registrar {
    /// Whether the world has one.
    pub enabled: bool,
    /// Where it listens.
    pub listen_ip: Ipv4Addr,
    /// Its name.
    pub canonical_name: DnsName,
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            enabled: true,
            listen_ip: Ipv4Addr::new(10, 0, 0, 11),
            canonical_name: DnsName::ours("registrar.platform.internal"),
        }
    }
}

/// A domain that exists from the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InitialDomain {
    /// Its name, under a declared top-level domain.
    pub domain: DnsName,
    /// The organisation that holds it.
    #[schemars(schema_with = "formats::name")]
    pub org: OrgName,
    /// Its records.
    #[serde(default)]
    pub records: Vec<DomainRecord>,
}

/// One record of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainRecord {
    /// Its owner inside the domain; `@` is the domain itself.
    #[serde(default = "apex")]
    pub name: RecordName,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// Its data, in the presentation form of its type (RFC 1035, section 5.1).
    pub value: Text,
    /// Its time to live, in seconds.
    #[serde(default = "ttl")]
    #[schemars(range(min = 1, max = 604800))]
    pub ttl: u32,
}

fn apex() -> RecordName {
    RecordName::ours("@")
}

fn ttl() -> u32 {
    300
}

/// The type of a DNS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Alias.
    Cname,
    /// Mail exchanger, `<preference> <name>`.
    Mx,
    /// Text.
    Txt,
    /// Name server.
    Ns,
    /// Service, `<priority> <weight> <port> <name>`.
    Srv,
    /// Certificate authority authorisation, `<flags> <tag> <value>`.
    Caa,
    /// Pointer.
    Ptr,
}
