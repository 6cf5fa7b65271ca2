//! Section `pki`.

use std::{collections::BTreeMap, net::Ipv4Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    formats,
    text::{Country, DnsName, Key, Text},
};

/// The certificate authority of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pki {
    /// The root certificate.
    pub root_ca: RootCa,
    /// The ACME server.
    pub acme: Acme,
    /// Whether an intermediate signs instead of the root.
    pub intermediate_ca_enabled: bool,
    /// Whether zones are signed.
    pub dnssec_enabled: bool,
    /// How long a key-signing key is used, in days.
    #[schemars(range(min = 1, max = 3650))]
    pub dnssec_ksk_lifetime_days: u32,
    /// How long a zone-signing key is used, in days.
    #[schemars(range(min = 1, max = 3650))]
    pub dnssec_zsk_lifetime_days: u32,
    /// Whether revocation lists are published.
    pub crl_enabled: bool,
    /// Whether revocation is answered by OCSP.
    pub ocsp_enabled: bool,
    /// When service certificates are replaced.
    pub rotation_policy: RotationPolicy,
}

impl Default for Pki {
    fn default() -> Self {
        Self {
            root_ca: RootCa::default(),
            acme: Acme::default(),
            intermediate_ca_enabled: false,
            dnssec_enabled: false,
            dnssec_ksk_lifetime_days: 365,
            dnssec_zsk_lifetime_days: 30,
            crl_enabled: false,
            ocsp_enabled: false,
            rotation_policy: RotationPolicy::default(),
        }
    }
}

/// The root certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RootCa {
    /// Common name.
    pub cn: Text,
    /// Organisation.
    pub o: Text,
    /// Country, two letters.
    pub c: Country,
    /// Whether its key outlives the world.
    pub key_storage_mode: KeyStorageMode,
    /// How long it is valid, in days.
    #[schemars(range(min = 1, max = 36500))]
    pub cert_lifetime_days: u32,
}

impl Default for RootCa {
    fn default() -> Self {
        Self {
            cn: Text::ours("NetEngine World Root CA"),
            o: Text::ours("NetEngine"),
            // XX is reserved for users by ISO 3166-1: a world is no country.
            c: Country::ours("XX"),
            key_storage_mode: KeyStorageMode::Ephemeral,
            cert_lifetime_days: 3650,
        }
    }
}

/// Whether a key outlives its world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyStorageMode {
    /// It goes away with the world.
    #[default]
    Ephemeral,
    /// It is kept for the next world of that name and owner.
    Persistent,
}

/// The ACME server (RFC 8555).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acme {
    /// Whether the world has one.
    pub enabled: bool,
    /// Where it listens. Immutable.
    pub listen_ip: Ipv4Addr,
    /// Its name.
    pub canonical_name: DnsName,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            enabled: true,
            listen_ip: Ipv4Addr::new(10, 0, 0, 6),
            canonical_name: DnsName::ours("ca.platform.internal"),
        }
    }
}

/// When service certificates are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RotationPolicy {
    /// Whether they are replaced before they expire.
    pub enabled: bool,
    /// How often each is looked at, in hours.
    #[schemars(range(min = 1, max = 8760))]
    pub default_interval_hours: u32,
    /// How long before expiry a warning is raised, in days.
    #[schemars(range(min = 1, max = 3650))]
    pub default_warning_days: u32,
    /// Other values for some types of certificate.
    #[schemars(schema_with = "formats::key_map::<CertTypeOverride>")]
    pub cert_type_overrides: BTreeMap<Key, CertTypeOverride>,
}

impl Default for RotationPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            default_interval_hours: 24,
            default_warning_days: 30,
            cert_type_overrides: BTreeMap::new(),
        }
    }
}

/// Rotation of one type of certificate; what is absent is as in the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CertTypeOverride {
    /// How often it is looked at, in hours.
    #[schemars(range(min = 1, max = 8760))]
    pub rotation_interval_hours: Option<u32>,
    /// How long before expiry a warning is raised, in days.
    #[schemars(range(min = 1, max = 3650))]
    pub expiry_warning_days: Option<u32>,
}
