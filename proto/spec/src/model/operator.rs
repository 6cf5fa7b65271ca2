//! Section `operator`.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{DnsName, Scope, Url};

/// The API for operators.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Operator {
    /// Where it is reached inside the world.
    pub api: OperatorApi,
    /// Who may use it.
    pub auth: OperatorAuth,
}

/// Where the API is reached inside the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OperatorApi {
    /// Whether it exists inside the world; on the host it always does.
    pub enabled: bool,
    /// Where it listens.
    pub listen_ip: Ipv4Addr,
    /// Its TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Its name.
    pub canonical_name: DnsName,
}

impl Default for OperatorApi {
    fn default() -> Self {
        Self {
            enabled: true,
            listen_ip: Ipv4Addr::new(172, 28, 0, 11),
            port: 8080,
            canonical_name: DnsName::ours("api.platform.internal"),
        }
    }
}

/// Who may use the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OperatorAuth {
    /// How callers prove who they are.
    pub provider: OperatorAuthProvider,
    /// Whose tokens are accepted; absent: the platform realm's issuer.
    pub issuer: Option<Url>,
    /// The scope a token needs.
    pub required_scope: Scope,
}

impl Default for OperatorAuth {
    fn default() -> Self {
        Self { provider: OperatorAuthProvider::Oidc, issuer: None, required_scope: Scope::ours("netengines:read") }
    }
}

/// How callers of the API prove who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperatorAuthProvider {
    /// A bearer token of an OpenID provider.
    #[default]
    Oidc,
}
