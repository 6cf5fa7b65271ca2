//! Tokens: access (RFC 9068), ID (OpenID Connect Core, 2), logout (Back-Channel Logout, 2.4).

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest as hash};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::{
    client::Client,
    grant::Grant,
    jose::{Algorithm, KeyError},
    realm::Realm,
    refusal::{ErrorCode, Refusal},
    secret::{Entropy, random_id},
    session::Notice,
    user::User,
};

/// Media type of access tokens: keeps ID and logout tokens from being taken for one.
pub(crate) const ACCESS: &str = "at+jwt";
/// Media type of ID tokens.
const ID: &str = "JWT";
/// Media type of logout tokens.
const LOGOUT: &str = "logout+jwt";
/// How much later than now a token may claim to be made, seconds: clocks of one world differ a little.
pub(crate) const SKEW_S: u64 = 60;

impl From<KeyError> for Refusal {
    fn from(_: KeyError) -> Self {
        Self::new(ErrorCode::ServerError, "cannot sign")
    }
}

fn sign(
    realm: &Realm,
    algorithm: Algorithm,
    typ: &str,
    claims: &Map<String, Value>,
    now: u64,
) -> Result<String, Refusal> {
    let key = realm.keys.signer(algorithm, now).ok_or(KeyError)?;
    Ok(key.sign(typ, claims)?)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// What a scope tells about a user (OpenID Connect Core, 5.4), with Keycloak's role claims.
pub fn user_claims(realm: &Realm, user: &User, scope: &BTreeSet<String>) -> Map<String, Value> {
    let mut claims = Map::new();
    claims.insert("sub".into(), json!(user.id));
    if scope.contains("profile") {
        claims.insert("preferred_username".into(), json!(user.username));
        claims.insert("name".into(), json!(user.display_name()));
        for (name, value) in [("given_name", &user.given_name), ("family_name", &user.family_name)] {
            if let Some(value) = value {
                claims.insert(name.into(), json!(value));
            }
        }
    }
    if scope.contains("email")
        && let Some(email) = &user.email
    {
        claims.insert("email".into(), json!(email));
        // The world made the address together with the account.
        claims.insert("email_verified".into(), json!(true));
    }
    insert_roles(realm, &user.roles, &mut claims);
    claims
}

/// `realm_access.roles` as Keycloak has it, the same list as `roles`, and `organization`.
fn insert_roles(realm: &Realm, roles: &BTreeSet<String>, claims: &mut Map<String, Value>) {
    claims.insert("realm_access".into(), json!({"roles": roles}));
    claims.insert("roles".into(), json!(roles));
    if let Some(organization) = &realm.config.organization {
        claims.insert("organization".into(), json!(organization));
    }
}

fn join(scope: &BTreeSet<String>) -> String {
    scope.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Who an access token is for: the audiences of its scopes, and the client itself.
fn audience(realm: &Realm, client: &Client, scope: &BTreeSet<String>) -> Value {
    let mut all: BTreeSet<&str> = scope.iter().filter_map(|name| realm.config.scopes.get(name)?.as_deref()).collect();
    all.insert(&client.client_id);
    if all.len() == 1 { json!(client.client_id) } else { json!(all) }
}

/// Makes the access token of a grant, or of the client itself when there is none.
///
/// # Errors
/// [`ErrorCode::ServerError`] when the realm cannot sign.
pub fn mint_access(
    realm: &Realm,
    client: &Client,
    grant: Option<(&Grant, &User)>,
    scope: &BTreeSet<String>,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<String, Refusal> {
    let mut claims = object(json!({
        "iss": realm.issuer,
        "aud": audience(realm, client, scope),
        "azp": client.client_id,
        "client_id": client.client_id,
        "scope": join(scope),
        "iat": now,
        "exp": now + realm.config.access_s,
        "jti": random_id(entropy),
        "typ": "Bearer",
    }));
    match grant {
        Some((grant, user)) => {
            claims.extend(user_claims(realm, user, scope));
            claims.insert("sid".into(), json!(grant.sid));
            claims.insert("auth_time".into(), json!(grant.auth_time));
            claims.insert("grant".into(), json!(grant.id));
        }
        None => {
            claims.insert("sub".into(), json!(service_subject(client)));
            claims.insert("preferred_username".into(), json!(service_subject(client)));
            insert_roles(realm, &client.roles, &mut claims);
        }
    }
    sign(realm, Algorithm::Es256, ACCESS, &claims, now)
}

/// The subject of a client's own tokens: Keycloak's name for it. No user can have it: a subject of a user is a UUID.
fn service_subject(client: &Client) -> String {
    format!("service-account-{}", client.client_id)
}

/// Makes the ID token that goes with `access_token`.
///
/// # Errors
/// [`ErrorCode::ServerError`] when the realm has no key of the client's algorithm.
pub fn mint_id(
    realm: &Realm,
    client: &Client,
    (grant, user): (&Grant, &User),
    nonce: Option<&str>,
    access_token: &str,
    now: u64,
) -> Result<String, Refusal> {
    let mut claims = object(json!({
        "iss": realm.issuer,
        "aud": client.client_id,
        "azp": client.client_id,
        "iat": now,
        "exp": now + realm.config.access_s,
        "auth_time": grant.auth_time,
        "sid": grant.sid,
        // Both algorithms use SHA-256: the left half of it (OpenID Connect Core, 3.1.3.6).
        "at_hash": URL_SAFE_NO_PAD.encode(&hash(&SHA256, access_token.as_bytes()).as_ref()[..16]),
    }));
    claims.extend(user_claims(realm, user, &grant.scope));
    if let Some(nonce) = nonce {
        claims.insert("nonce".into(), json!(nonce));
    }
    sign(realm, client.id_token_alg, ID, &claims, now)
}

/// Makes the token that tells a client of the end of a session.
///
/// # Errors
/// [`ErrorCode::ServerError`] when the realm cannot sign.
pub fn mint_logout(
    realm: &Realm,
    client: &Client,
    notice: &Notice,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<String, Refusal> {
    let claims = object(json!({
        "iss": realm.issuer,
        "sub": notice.user_id,
        "aud": client.client_id,
        "iat": now,
        "exp": now + 120,
        "jti": random_id(entropy),
        "sid": notice.sid,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }));
    sign(realm, client.id_token_alg, LOGOUT, &claims, now)
}

/// A valid access token.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// All its claims.
    pub claims: Map<String, Value>,
    /// The user's subject; absent: the client's own token.
    pub user_id: Option<String>,
    /// Its scopes.
    pub scope: BTreeSet<String>,
}

impl Access {
    /// A claim that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// Whether its user or client had the realm role `role` when it was made.
    pub fn has_role(&self, role: &str) -> bool {
        self.claims.get("roles").and_then(Value::as_array).is_some_and(|roles| roles.iter().any(|known| known == role))
    }
}

/// Reads an access token of this realm that holds now: signed by us, not ended, not revoked, its grant, user and
/// client still there.
pub fn open_access(realm: &Realm, token: &str, now: u64) -> Option<Access> {
    let claims = realm.keys.open(ACCESS, token)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let number = |name: &str| claims.get(name).and_then(Value::as_u64);
    if text("iss")? != realm.issuer || number("exp")? <= now || number("iat")? > now + SKEW_S {
        return None;
    }
    if realm.denied.contains_key(text("jti")?) {
        return None;
    }
    realm.clients.get(text("client_id")?).filter(|client| client.enabled)?;
    let user_id = match text("grant") {
        Some(grant) => {
            let grant = realm.grants.get(grant).filter(|grant| grant.expires_at > now)?;
            Some(realm.users.get(&grant.user_id).filter(|user| user.enabled)?.id.clone())
        }
        None => None,
    };
    let scope = text("scope")?.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Some(Access { user_id, scope, claims })
}

/// Reads an ID token that comes back as a hint. It may have ended: it only says which session is meant.
pub fn open_hint(realm: &Realm, token: &str) -> Option<Map<String, Value>> {
    let claims = realm.keys.open(ID, token)?;
    (claims.get("iss")?.as_str()? == realm.issuer).then_some(claims)
}
