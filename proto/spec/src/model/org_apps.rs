//! Section `org_apps`.

use netengine_proto::names::OrgName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    formats,
    text::{DnsLabel, DnsName, Image, Key, Text},
};

/// Applications of organisations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OrgApps {
    /// Whether applications are deployed.
    pub enabled: bool,
    /// Applications beside the built-in ones (gitea, wordpress, nextcloud).
    pub catalog: Vec<CatalogApp>,
    /// What is deployed where.
    pub deployments: Vec<Deployment>,
}

impl Default for OrgApps {
    fn default() -> Self {
        Self { enabled: true, catalog: Vec::new(), deployments: Vec::new() }
    }
}

impl OrgApps {
    /// The built-in applications and their ports.
    pub const BUILT_IN: [(&'static str, u16); 3] = [("gitea", 3000), ("wordpress", 80), ("nextcloud", 80)];
}

/// One application that can be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CatalogApp {
    /// Its name.
    pub name: Key,
    /// What it is.
    #[serde(default)]
    pub description: Option<Text>,
    /// Its container image.
    pub image: Image,
    /// The TCP port it serves HTTP on.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Whether it gets an OpenID client of its organisation's realm.
    #[serde(default)]
    pub oidc_integration: bool,
    /// In which worlds it may be deployed.
    #[serde(default)]
    pub scope: AppScope,
}

/// In which worlds an application may be deployed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppScope {
    /// Where `metadata.environment` is `dev` or `development`.
    DevOnly,
    /// Where `metadata.lifecycle` is `ephemeral`.
    EphemeralOnly,
    /// Everywhere.
    #[default]
    All,
}

/// One deployed application, at `https://<subdomain>.<domain>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The organisation; it needs the capability `host_services` and an AND.
    #[schemars(schema_with = "formats::name")]
    pub org: OrgName,
    /// The application, built-in or of the catalog.
    pub app: Key,
    /// The organisation's domain; absent: its first one.
    #[serde(default)]
    pub domain: Option<DnsName>,
    /// The name below the domain; absent: the application's name.
    #[serde(default)]
    pub subdomain: Option<DnsLabel>,
}
