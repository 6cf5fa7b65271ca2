//! Sections `identity_platform` and `identity_inworld`.

use std::net::Ipv4Addr;

use netengine_proto::names::OrgName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    formats,
    text::{DnsName, Email, Key, Scope, Username},
};

fn scopes() -> Vec<Scope> {
    ["openid", "profile", "email"].map(Scope::ours).to_vec()
}

/// The OpenID provider of the platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityPlatform {
    /// Whose URL layout and behaviour it has.
    pub oidc_provider: OidcProvider,
    /// Where it listens.
    pub listen_ip: Ipv4Addr,
    /// Its name; the issuer is `https://<canonical_name>/realms/<realm_name>`.
    pub canonical_name: DnsName,
    /// Its realm.
    pub realm_name: Key,
    /// Its first account.
    pub admin_user: AdminUser,
    /// The scopes it grants.
    pub scopes: Vec<Scope>,
}

impl Default for IdentityPlatform {
    fn default() -> Self {
        Self {
            oidc_provider: OidcProvider::Keycloak,
            listen_ip: Ipv4Addr::new(10, 0, 0, 7),
            canonical_name: DnsName::ours("auth.platform.internal"),
            realm_name: Key::ours("platform"),
            admin_user: AdminUser::default(),
            scopes: scopes(),
        }
    }
}

/// Which OpenID provider. Both names have Keycloak's URL layout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OidcProvider {
    /// Keycloak.
    #[default]
    Keycloak,
    /// The built-in provider.
    Embedded,
}

/// The first account of the platform; its password is generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminUser {
    /// Its account name.
    pub username: Username,
    /// Its address.
    pub email: Email,
}

impl Default for AdminUser {
    fn default() -> Self {
        Self { username: Username::ours("admin"), email: Email::ours("admin@platform.internal") }
    }
}

/// The OpenID provider of the organisations, one realm each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityInworld {
    /// Whose URL layout and behaviour it has.
    pub oidc_provider: OidcProvider,
    /// Where it listens.
    pub listen_ip: Ipv4Addr,
    /// Its name.
    pub canonical_name: DnsName,
    /// The realm of accounts that belong to no organisation.
    pub realm_name: Key,
    /// The scopes it grants.
    pub scopes: Vec<Scope>,
    /// The accounts of each organisation.
    pub org_users: Vec<OrgUsers>,
}

impl Default for IdentityInworld {
    fn default() -> Self {
        Self {
            oidc_provider: OidcProvider::Keycloak,
            listen_ip: Ipv4Addr::new(10, 0, 0, 12),
            canonical_name: DnsName::ours("auth.internal"),
            realm_name: Key::ours("inworld"),
            scopes: scopes(),
            org_users: Vec::new(),
        }
    }
}

/// The accounts of one organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgUsers {
    /// The organisation.
    #[schemars(schema_with = "formats::name")]
    pub org: OrgName,
    /// Its accounts.
    #[serde(default)]
    pub users: Vec<OrgUser>,
}

/// One account of an organisation; its password is generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgUser {
    /// Its account name, unique in the organisation.
    pub username: Username,
    /// Its address; absent: the account name at the organisation's first domain.
    #[serde(default)]
    pub email: Option<Email>,
}
