//! Clients that register themselves (RFC 7591, 7592), with an initial access token.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    client::{Client, GrantType, UriError, check_uris},
    jose::Algorithm,
    realm::Realm,
    refusal::{ErrorCode, Refusal},
    secret::{Entropy, Secret, digest, random_uuid},
    state::{Object, Tx},
};

/// Most clients of a realm that self-registration may lead to.
const MAX_CLIENTS: usize = 10_000;
/// The name of the token that a realm's owner holds, among credentials.
pub const OWNERS_TOKEN: &str = "registration";

/// A token that allows some registrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialAccess {
    /// Digest of the token.
    pub digest: String,
    /// Registrations left.
    pub remaining: u32,
    /// Unix time of its end, seconds.
    pub expires_at: u64,
}

/// Client metadata, as far as it means something here; other members are ignored (RFC 7591, 2).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    client_name: Option<String>,
    redirect_uris: Vec<String>,
    post_logout_redirect_uris: Vec<String>,
    backchannel_logout_uri: Option<String>,
    grant_types: Option<BTreeSet<String>>,
    response_types: Option<Vec<String>>,
    token_endpoint_auth_method: Option<String>,
    id_token_signed_response_alg: Option<String>,
    scope: Option<String>,
}

/// Makes an initial access token for `count` registrations within `seconds`.
pub fn create_initial(tx: &mut Tx<'_>, count: u32, seconds: u64, now: u64, entropy: &mut dyn Entropy) -> Secret {
    let token = Secret::token(entropy);
    let digest = digest(token.expose());
    tx.put(Object::Initial(InitialAccess { digest, remaining: count, expires_at: now.saturating_add(seconds) }));
    token
}

/// Makes the realm take its owner's token, for as many registrations as it may have clients. One that it knows stays as it is.
pub(crate) fn keep_owners(tx: &mut Tx<'_>, token: &Secret) {
    let digest = digest(token.expose());
    if !tx.realm().initial.contains_key(&digest) {
        tx.put(Object::Initial(InitialAccess { digest, remaining: MAX_CLIENTS as u32, expires_at: u64::MAX }));
    }
}

/// Registers a client, using up one registration of the token.
///
/// # Errors
/// [`ErrorCode::InvalidToken`], [`ErrorCode::InvalidRedirectUri`], [`ErrorCode::InvalidClientMetadata`]; nothing is used up then.
pub fn register(
    tx: &mut Tx<'_>,
    token: Option<&str>,
    metadata: &Metadata,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<Value, Refusal> {
    let refused = || Refusal::new(ErrorCode::InvalidToken, "an initial access token is needed");
    let initial = token.and_then(|token| tx.realm().initial.get(&digest(token))).cloned().ok_or_else(refused)?;
    if initial.expires_at <= now || initial.remaining == 0 {
        return Err(refused());
    }
    if tx.realm().clients.len() >= MAX_CLIENTS {
        return Err(Refusal::new(ErrorCode::InvalidClientMetadata, "the realm has too many clients"));
    }
    let mut client = Client::new(&random_uuid(entropy), now);
    let is_public = fill(tx.realm(), &mut client, metadata)?;
    let secret = (!is_public).then(|| Secret::token(entropy));
    client.secret_digest = secret.as_ref().map(|secret| digest(secret.expose()));
    let access = Secret::token(entropy);
    client.registration_digest = Some(digest(access.expose()));
    client.consent_required = true;
    let remaining = initial.remaining - 1;
    tx.put(Object::Initial(InitialAccess { remaining, ..initial }));
    tx.put(Object::Client(client.clone()));
    Ok(response(tx.realm(), &client, secret.as_ref(), Some(&access)))
}

/// Replaces the metadata of a self-registered client (RFC 7592, 2.2).
///
/// # Errors
/// As [`register`]; whether a client has a secret cannot be changed.
pub fn update(tx: &mut Tx<'_>, mut client: Client, metadata: &Metadata) -> Result<Value, Refusal> {
    let was_public = client.is_public();
    if fill(tx.realm(), &mut client, metadata)? != was_public {
        let text = "a client cannot become public, nor a public one confidential";
        return Err(Refusal::new(ErrorCode::InvalidClientMetadata, text));
    }
    tx.put(Object::Client(client.clone()));
    Ok(response(tx.realm(), &client, None, None))
}

/// Puts checked metadata into `client`; returns whether it wants to be public.
fn fill(realm: &Realm, client: &mut Client, metadata: &Metadata) -> Result<bool, Refusal> {
    let invalid = |text| Refusal::new(ErrorCode::InvalidClientMetadata, text);
    let bad_uri =
        |error: UriError| Refusal { code: ErrorCode::InvalidRedirectUri, text: format!("an address {error}").into() };
    client.redirect_uris = check_uris(&metadata.redirect_uris).map_err(bad_uri)?;
    client.post_logout_redirect_uris = check_uris(&metadata.post_logout_redirect_uris).map_err(bad_uri)?;
    let backchannel: Vec<String> = metadata.backchannel_logout_uri.iter().cloned().collect();
    client.backchannel_logout_uri = check_uris(&backchannel).map_err(bad_uri)?.pop_first();
    if client.backchannel_logout_uri.as_ref().is_some_and(|uri| !uri.starts_with("https://")) {
        return Err(invalid("backchannel_logout_uri is not https"));
    }
    let types = metadata.grant_types.clone().unwrap_or_else(|| BTreeSet::from(["authorization_code".to_owned()]));
    client.grant_types = types
        .into_iter()
        .map(|name| serde_json::from_value(Value::String(name)))
        .collect::<Result<_, _>>()
        .map_err(|_| invalid("grant_types names one that is not supported"))?;
    if metadata.response_types.iter().flatten().any(|kind| kind != "code") {
        return Err(invalid("only the response type code"));
    }
    if client.grant_types.contains(&GrantType::AuthorizationCode) && client.redirect_uris.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidRedirectUri, "redirect_uris is empty"));
    }
    client.id_token_alg = match metadata.id_token_signed_response_alg.as_deref() {
        None | Some("RS256") => Algorithm::Rs256,
        Some("ES256") => Algorithm::Es256,
        Some(_) => return Err(invalid("id_token_signed_response_alg is not supported")),
    };
    let scopes: BTreeSet<String> =
        metadata.scope.iter().flat_map(|text| text.split(' ')).filter(|s| !s.is_empty()).map(str::to_owned).collect();
    // A scope with an audience opens an interface of the world: only an administrator gives it.
    if scopes.iter().any(|scope| realm.config.scopes.get(scope).is_none_or(Option::is_some)) {
        return Err(invalid("scope names one that is unknown or reserved"));
    }
    let open = realm.config.scopes.iter().filter(|(_, audience)| audience.is_none()).map(|(name, _)| name.clone());
    client.scopes = if scopes.is_empty() { open.collect() } else { scopes };
    if let Some(name) = &metadata.client_name {
        if name.len() > 256 || name.chars().any(char::is_control) {
            return Err(invalid("client_name is too long or holds control characters"));
        }
        client.name.clone_from(name);
    }
    let is_public = match metadata.token_endpoint_auth_method.as_deref() {
        None | Some("client_secret_basic" | "client_secret_post") => false,
        Some("none") => true,
        Some(_) => return Err(invalid("token_endpoint_auth_method is not supported")),
    };
    if is_public && client.grant_types.contains(&GrantType::ClientCredentials) {
        return Err(invalid("a public client has no client credentials"));
    }
    Ok(is_public)
}

/// The answer to a registration (RFC 7591, 3.2.1).
pub fn response(realm: &Realm, client: &Client, secret: Option<&Secret>, access: Option<&Secret>) -> Value {
    let path = format!("{}/clients-registrations/openid-connect/{}", realm.issuer, client.client_id);
    let mut body = json!({
        "client_id": client.client_id,
        "client_id_issued_at": client.created_at,
        "client_name": client.name,
        "redirect_uris": client.redirect_uris,
        "post_logout_redirect_uris": client.post_logout_redirect_uris,
        "grant_types": client.grant_types,
        "response_types": ["code"],
        "token_endpoint_auth_method": if client.is_public() { "none" } else { "client_secret_basic" },
        "id_token_signed_response_alg": client.id_token_alg.as_str(),
        "scope": client.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
        "registration_client_uri": path,
    });
    if let Some(uri) = &client.backchannel_logout_uri {
        body["backchannel_logout_uri"] = json!(uri);
    }
    if let Some(secret) = secret {
        body["client_secret"] = json!(secret.expose());
        body["client_secret_expires_at"] = json!(0);
    }
    if let Some(access) = access {
        body["registration_access_token"] = json!(access.expose());
    }
    body
}
