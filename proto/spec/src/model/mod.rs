//! The types of a world spec, one file per section or pair of sections.
//!
//! Defaults are the documented ones. Doc comments become the descriptions of the JSON Schema. A [`Spec`] that came from
//! [`crate::load`] or [`crate::load_json`] satisfies every rule of the schema and every check across fields.

mod ands;
mod dns;
mod domains;
mod gateway;
mod getters;
mod identity;
mod metadata;
mod operator;
mod org_apps;
mod pki;
mod registry;
mod services;
mod substrate;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    ands::{AllowProto, AndAllow, AndInstance, AndProfile, Ands, Bgp, BgpFabric, Inbound},
    dns::{Dns, DnsRoot, DnsServer, PlatformZone, SerialPolicy, Tld, ZoneType},
    domains::{AddressPool, DomainRecord, DomainRegistry, InitialDomain, RecordType, Registrar, TldDelegation},
    gateway::{
        CrossWorld, CrossWorldMode, EXPOSED, GatewayPortal, InternetMode, InternetRule, Peer, PeerMode, Publish,
        RealInternet, ServiceMirror,
    },
    getters::{ListenAddress, NetworkView},
    identity::{AdminUser, IdentityInworld, IdentityPlatform, OidcProvider, OrgUser, OrgUsers},
    metadata::{Lifecycle, Metadata, SchemaVersion},
    operator::{Operator, OperatorApi, OperatorAuth, OperatorAuthProvider},
    org_apps::{AppScope, CatalogApp, Deployment, OrgApps},
    pki::{Acme, CertTypeOverride, KeyStorageMode, Pki, RootCa, RotationPolicy},
    registry::{Capability, Organization, RegistryOperator, RegistryRole, Whois, WorldRegistry},
    services::{
        Bucket, BucketScope, Dkim, Dmarc, DmarcPolicy, KeySigningPolicy, Mail, MailServer, MailboxPolicy, Storage,
        StorageServer, WorldServices,
    },
    substrate::{Gateway, Network, NetworkType, Ntp, Orchestrator, Runtime, Substrate},
};

/// One world, `netengine.spec.v1`. Every section must be present; `{}` takes all defaults, except that `metadata` needs
/// `name` and `substrate` needs `gateway`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Who this world is.
    pub metadata: Metadata,
    /// Networks, router and time (phase 0).
    pub substrate: Substrate,
    /// The root zone, the platform zone and the top-level domains (phases 1 and 2).
    pub dns: Dns,
    /// The certificate authority of the world (phase 3).
    pub pki: Pki,
    /// The OpenID provider of the platform (phase 4).
    pub identity_platform: IdentityPlatform,
    /// Organisations, their capabilities, and WHOIS (phase 5).
    pub world_registry: WorldRegistry,
    /// Domains, address pools, and the registrar (phase 5).
    pub domain_registry: DomainRegistry,
    /// The OpenID provider of the organisations (phase 6).
    pub identity_inworld: IdentityInworld,
    /// Administrative Network Domains: the access networks of organisations (phase 7).
    pub ands: Ands,
    /// Mail and object storage (phase 8).
    pub world_services: WorldServices,
    /// Applications of organisations (phase 9).
    pub org_apps: OrgApps,
    /// What leaves and enters the world.
    pub gateway_portal: GatewayPortal,
    /// The API for operators, reachable inside the world.
    pub operator: Operator,
}
