//! What is registered. Every type is stored as JSON, and shown by the interfaces in the same form.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use netengine_spec::model::{Capability, DomainRecord, RecordType, RegistryRole};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;

/// Time to live of records that are given none, seconds; the spec's default.
pub const DEFAULT_TTL: u32 = 300;

/// A moment, in seconds since 1970; written as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `days` days later.
    pub fn plus_days(self, days: u64) -> Self {
        Self(self.0.saturating_add(days.saturating_mul(86_400)))
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The year 9999 is the last that RFC 3339 can say.
        let seconds = i64::try_from(self.0).unwrap_or(i64::MAX).min(253_402_300_799);
        let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        f.write_str(&at.format(&Rfc3339).unwrap_or_default())
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let at = OffsetDateTime::parse(&text, &Rfc3339).map_err(serde::de::Error::custom)?;
        Ok(Self(u64::try_from(at.unix_timestamp()).unwrap_or(0)))
    }
}

/// Where an object comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The spec declares it; it goes when the spec declares it no more.
    Spec,
    /// It was registered in the running world; no spec takes it away.
    Registered,
}

/// An organisation of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Organisation {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it may do; what is not listed is refused.
    #[schema(value_type = Vec<String>, example = json!(["register_domains"]))]
    pub capabilities: BTreeSet<Capability>,
    /// The profile its ANDs are meant to have.
    pub and_profile: String,
    /// False when the spec declares it no more and it still holds domains: it may do nothing then.
    pub active: bool,
    /// When it was first known.
    #[schema(value_type = String, format = DateTime)]
    pub created: Moment,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated: Moment,
}

impl Organisation {
    /// True when it may do this.
    pub fn may(&self, capability: Capability) -> bool {
        self.active && self.capabilities.contains(&capability)
    }
}

/// An account of the platform realm that may use the registries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Operator {
    /// The account.
    pub username: String,
    /// What it may do.
    #[schema(value_type = String, example = "superadmin")]
    pub role: RegistryRole,
}

/// A top-level domain of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tld {
    /// The top-level domain.
    pub tld: String,
    /// An organisation, or a name of the platform: for it the registry registers below it. Absent: the registry does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governed_by: Option<String>,
    /// The name of its server, which hosts domains without servers of their own.
    pub server: String,
    /// Where that server listens.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// A pool that ANDs take their networks from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Its place in the spec: pools are tried in this order.
    pub position: u32,
    /// Its network.
    #[schema(value_type = String, example = "10.20.0.0/16")]
    pub cidr: Ipv4Net,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_to: Option<String>,
    /// The profiles whose ANDs it serves, by its label and by whom it is for.
    pub profiles: BTreeSet<String>,
}

/// A network of an AND. It belongs to the AND of that name for ever, also after it was released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// The AND.
    pub and: String,
    /// Its network: a /24, or the whole pool where that is smaller.
    #[schema(value_type = String, example = "10.20.0.0/24")]
    pub network: Ipv4Net,
    /// Its IPv6 network, where the world has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub network6: Option<Ipv6Net>,
    /// The pool it was taken from.
    #[schema(value_type = String, example = "10.20.0.0/16")]
    pub pool: Ipv4Net,
    /// The profile that the AND had then.
    pub profile: String,
    /// The organisation that the AND belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Its autonomous system, of those for private use (RFC 6996).
    pub asn: u32,
    /// When it was first taken.
    #[schema(value_type = String, format = DateTime)]
    pub created: Moment,
    /// When it was given back, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub released: Option<Moment>,
}

/// A network of the world's substrate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// What it is called.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its networks, one for each family.
    #[schema(value_type = Vec<String>)]
    pub subnets: Vec<IpNet>,
}

/// Status of a domain, in the words of EPP (RFC 5731, section 2.3; RFC 3915, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// The holder wants it out of DNS.
    ClientHold,
    /// The holder wants it not to be deleted.
    ClientDeleteProhibited,
    /// The holder wants it not to be renewed.
    ClientRenewProhibited,
    /// The holder wants it not to be transferred.
    ClientTransferProhibited,
    /// The holder wants it not to be changed.
    ClientUpdateProhibited,
    /// The registry keeps it out of DNS.
    ServerHold,
    /// The registry lets nobody delete it.
    ServerDeleteProhibited,
    /// The registry lets nobody renew it.
    ServerRenewProhibited,
    /// The registry lets nobody transfer it.
    ServerTransferProhibited,
    /// The registry lets nobody change it.
    ServerUpdateProhibited,
    /// It has expired: out of DNS, and gone in thirty days unless it is renewed.
    RedemptionPeriod,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ClientHold,
        Self::ClientDeleteProhibited,
        Self::ClientRenewProhibited,
        Self::ClientTransferProhibited,
        Self::ClientUpdateProhibited,
        Self::ServerHold,
        Self::ServerDeleteProhibited,
        Self::ServerRenewProhibited,
        Self::ServerTransferProhibited,
        Self::ServerUpdateProhibited,
        Self::RedemptionPeriod,
    ];

    /// Its word in EPP.
    pub fn word(self) -> &'static str {
        match self {
            Self::ClientHold => "clientHold",
            Self::ClientDeleteProhibited => "clientDeleteProhibited",
            Self::ClientRenewProhibited => "clientRenewProhibited",
            Self::ClientTransferProhibited => "clientTransferProhibited",
            Self::ClientUpdateProhibited => "clientUpdateProhibited",
            Self::ServerHold => "serverHold",
            Self::ServerDeleteProhibited => "serverDeleteProhibited",
            Self::ServerRenewProhibited => "serverRenewProhibited",
            Self::ServerTransferProhibited => "serverTransferProhibited",
            Self::ServerUpdateProhibited => "serverUpdateProhibited",
            Self::RedemptionPeriod => "redemptionPeriod",
        }
    }

    /// True when the holder sets it.
    pub fn is_clients(self) -> bool {
        self.word().starts_with("client")
    }
}

/// What a contact is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContactRole {
    /// Questions about the registration.
    Administrative,
    /// Questions about its servers.
    Technical,
    /// Questions about money.
    Billing,
    /// Complaints.
    Abuse,
}

impl ContactRole {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Administrative => "administrative",
            Self::Technical => "technical",
            Self::Billing => "billing",
            Self::Abuse => "abuse",
        }
    }
}

/// Whom to ask about a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// What for.
    pub role: ContactRole,
    /// Name of a person or a team.
    pub name: String,
    /// E-mail address.
    pub email: String,
}

/// A name server of a domain, with its addresses when its name lies in the domain (glue).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NameServer {
    /// Its name.
    pub name: String,
    /// Its addresses; empty when its name lies in another domain.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// A registered domain.
///
/// Its records are those of the spec's `initial_domains`: NS records of `@` that name other servers than the top-level
/// domain's make it a delegation, the addresses of such servers inside the domain are glue; without them the top-level
/// domain's server hosts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name, in lower case.
    pub name: String,
    /// The organisation that holds it.
    pub organisation: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Its records.
    pub records: Vec<DomainRecord>,
    /// Whom to ask.
    pub contacts: Vec<Contact>,
    /// Its status; empty is `ok`.
    pub status: BTreeSet<Status>,
    /// When it was registered.
    pub created: Moment,
    /// When it was last changed.
    pub updated: Moment,
    /// When it was last transferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transferred: Option<Moment>,
    /// When it ends.
    pub expires: Moment,
    /// SHA-256 of the secret that lets another organisation take it, in hexadecimal; none has been given out when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_digest: Option<String>,
}

impl Domain {
    /// A domain without anything, to try its name.
    pub fn empty(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            organisation: String::new(),
            origin: Origin::Registered,
            records: Vec::new(),
            contacts: Vec::new(),
            status: BTreeSet::new(),
            created: Moment(0),
            updated: Moment(0),
            transferred: None,
            expires: Moment(0),
            transfer_digest: None,
        }
    }

    /// The whole name of the owner of one of its records.
    pub fn owner(&self, record: &DomainRecord) -> String {
        match record.name.as_str() {
            "@" => self.name.clone(),
            label => format!("{label}.{}", self.name),
        }
    }

    /// Its name servers by its own records, in their order.
    pub fn name_servers(&self) -> Vec<NameServer> {
        let named = self.records.iter().filter(|record| record.kind == RecordType::Ns && record.name.as_str() == "@");
        named
            .map(|record| {
                let name = record.value.as_str().trim_end_matches('.').to_ascii_lowercase();
                let addresses = self.records.iter().filter(|glue| self.owner(glue) == name).filter_map(address);
                NameServer { addresses: addresses.collect(), name }
            })
            .collect()
    }

    /// True when it is to be in DNS.
    pub fn is_served(&self) -> bool {
        let away = [Status::ClientHold, Status::ServerHold, Status::RedemptionPeriod];
        !away.iter().any(|status| self.status.contains(status))
    }

    /// The words of its status; `ok` when there is nothing to say (RFC 5731, section 2.3).
    pub fn status_words(&self) -> Vec<&'static str> {
        if self.status.is_empty() { vec!["ok"] } else { self.status.iter().map(|status| status.word()).collect() }
    }
}

/// The address in an A or AAAA record.
fn address(record: &DomainRecord) -> Option<IpAddr> {
    match record.kind {
        RecordType::A => record.value.as_str().parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        RecordType::Aaaa => record.value.as_str().parse().ok().map(IpAddr::V6),
        _ => None,
    }
}
