//! Access tokens (RFC 9068) of the world's two OpenID providers.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use netengine_oidc::{provider::Provider, token::open_access};
use serde_json::Value;

use super::{Authenticate, Principal, RealmKind, Refusal};

/// Longest token that is looked at, bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Reads tokens with the providers' own keys: in-world realms for organisations, the platform's realm for operators.
pub struct OidcAuthenticate {
    platform: Option<Arc<Provider>>,
    inworld: Option<Arc<Provider>>,
    audience: String,
}

impl OidcAuthenticate {
    /// Accepts tokens that are meant for `audience`. A provider that is absent has no bearers.
    pub fn new(platform: Option<Arc<Provider>>, inworld: Option<Arc<Provider>>, audience: &str) -> Self {
        Self { platform, inworld, audience: audience.to_owned() }
    }

    fn read(&self, token: &str, now: u64) -> Option<Principal> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let issuer = issuer(token)?;
        let (_, realm_name) = issuer.rsplit_once("/realms/")?;
        let providers = [(&self.platform, true), (&self.inworld, false)];
        providers.into_iter().find_map(|(provider, is_platform)| {
            // The realm checks that the token is its own: signature by its keys, and its own issuer in the claims.
            provider.as_ref()?.read(realm_name, |realm| {
                let access = open_access(realm, token, now)?;
                let is_meant = match access.claims.get("aud")? {
                    Value::String(one) => *one == self.audience,
                    Value::Array(all) => all.iter().any(|one| *one == self.audience),
                    _ => false,
                };
                let realm_kind = match (&realm.config.organization, is_platform) {
                    (_, true) => RealmKind::Platform,
                    (Some(organisation), false) => RealmKind::Organisation(organisation.clone()),
                    // The organisations' common realm speaks for none of them.
                    (None, false) => return None,
                };
                let roles = access.claims.get("roles").and_then(Value::as_array).into_iter().flatten();
                is_meant.then(|| Principal {
                    subject: access.text("sub").unwrap_or_default().to_owned(),
                    username: access.user_id.as_ref().and_then(|id| Some(realm.users.get(id)?.username.clone())),
                    realm: realm_kind,
                    roles: roles.filter_map(|role| role.as_str().map(str::to_owned)).collect(),
                })
            })?
        })
    }
}

/// Who a token says gave it out. Not verified: it only chooses whose keys are tried.
fn issuer(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    Some(claims.get("iss")?.as_str()?.to_owned())
}

impl Authenticate for OidcAuthenticate {
    async fn verify(&self, token: &str) -> Result<Principal, Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| Refusal)?.as_secs();
        self.read(token, now).ok_or(Refusal)
    }
}
