//! The token endpoint: who the client is, and what it gets (RFC 6749, 2.3, 3.2, 5).

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    authorize::check_scope,
    client::{Client, GrantType},
    form::Params,
    grant::{self, Grant},
    realm::Realm,
    refusal::{ErrorCode, Refusal},
    secret::{Entropy, Secret, digest, same},
    state::Tx,
    token,
};

/// What a client shows to prove who it is.
pub struct Credentials {
    /// Its identifier.
    pub client_id: String,
    /// Its secret; absent for public clients.
    pub secret: Option<Secret>,
}

/// Reads the client's credentials from the header `Authorization` or the form, not both (RFC 6749, 2.3).
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] or [`ErrorCode::InvalidClient`].
pub fn credentials(authorization: Option<&str>, form: &Params) -> Result<Credentials, Refusal> {
    let Some(header) = authorization else {
        let client_id = form.get("client_id").ok_or(Refusal::new(ErrorCode::InvalidClient, "no client is named"))?;
        let secret = form.get("client_secret").map(|secret| Secret::new(secret.to_owned()));
        return Ok(Credentials { client_id: client_id.to_owned(), secret });
    };
    let refused = || Refusal::new(ErrorCode::InvalidClient, "the header Authorization is not Basic");
    if form.get("client_secret").is_some() {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "the client authenticates in two ways"));
    }
    let (scheme, encoded) = header.split_once(' ').ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refused());
    }
    let bytes = STANDARD.decode(encoded.trim()).map_err(|_| refused())?;
    let text = String::from_utf8(bytes).map_err(|_| refused())?;
    let (id, secret) = text.split_once(':').ok_or_else(refused)?;
    let client_id = unescape(id).ok_or_else(refused)?;
    if form.get("client_id").is_some_and(|given| given != client_id) {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "two clients are named"));
    }
    let secret = unescape(secret).ok_or_else(refused)?;
    Ok(Credentials { client_id, secret: (!secret.is_empty()).then(|| Secret::new(secret)) })
}

/// Both halves of Basic are form-encoded first (RFC 6749, 2.3.1).
fn unescape(text: &str) -> Option<String> {
    let whole = format!("v={}", text.replace('&', "%26"));
    form_urlencoded::parse(whole.as_bytes()).next().map(|(_, value)| value.into_owned())
}

/// Finds the client that `credentials` prove.
///
/// # Errors
/// [`ErrorCode::InvalidClient`], with one text for unknown clients and wrong secrets.
pub fn authenticate<'a>(realm: &'a Realm, credentials: &Credentials) -> Result<&'a Client, Refusal> {
    let refused = || Refusal::new(ErrorCode::InvalidClient, "client and secret do not match");
    let client = realm.clients.get(&credentials.client_id).filter(|client| client.enabled);
    let given = credentials.secret.as_ref().map(|secret| digest(secret.expose()));
    match (client, given) {
        (Some(client), None) if client.is_public() => Ok(client),
        (Some(client), Some(given)) if client.secret_digest.as_ref().is_some_and(|known| same(known, &given)) => {
            Ok(client)
        }
        _ => Err(refused()),
    }
}

/// Answers a token request.
///
/// # Errors
/// A [`Refusal`] for the client; changes made so far (a grant ended for reuse) stand all the same.
pub fn exchange(
    tx: &mut Tx<'_>,
    client: &Client,
    form: &Params,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<Value, Refusal> {
    let missing = |text| Refusal::new(ErrorCode::InvalidRequest, text);
    let allowed = |grant_type| {
        if client.may(grant_type) {
            Ok(())
        } else {
            Err(Refusal::new(ErrorCode::UnauthorizedClient, "the client may not use this grant type"))
        }
    };
    match form.get("grant_type").ok_or(missing("grant_type is missing"))? {
        "authorization_code" => {
            allowed(GrantType::AuthorizationCode)?;
            let code = form.get("code").ok_or(missing("code is missing"))?;
            let (redirect_uri, verifier) = (form.get("redirect_uri"), form.get("code_verifier"));
            let (grant, nonce) = grant::redeem_code(tx, client, code, redirect_uri, verifier, now, entropy)?;
            let scope = grant.scope.clone();
            answer(tx, client, grant, scope, nonce.as_deref(), now, entropy)
        }
        "refresh_token" => {
            allowed(GrantType::RefreshToken)?;
            let token = form.get("refresh_token").ok_or(missing("refresh_token is missing"))?;
            // The scope is judged before the token is used up.
            let wanted = form.get("scope").map(|text| check_scope(tx.realm(), client, text)).transpose()?;
            let grant = grant::redeem_refresh(tx, client, token, now)?;
            let scope = wanted.unwrap_or_else(|| grant.scope.clone());
            if !scope.is_subset(&grant.scope) {
                return Err(Refusal::new(ErrorCode::InvalidScope, "more is asked for than was granted"));
            }
            answer(tx, client, grant, scope, None, now, entropy)
        }
        "client_credentials" => {
            allowed(GrantType::ClientCredentials)?;
            if client.is_public() {
                return Err(Refusal::new(ErrorCode::UnauthorizedClient, "public clients have no credentials"));
            }
            let mut scope = check_scope(tx.realm(), client, form.get("scope").unwrap_or(""))?;
            // No user, so nothing to log in to and nothing to keep alive.
            scope.retain(|word| word != "openid" && word != "offline_access");
            let token = token::mint_access(tx.realm(), client, None, &scope, now, entropy)?;
            Ok(body(tx.realm(), &token, &scope))
        }
        "urn:ietf:params:oauth:grant-type:device_code" => {
            allowed(GrantType::DeviceCode)?;
            let code = form.get("device_code").ok_or(missing("device_code is missing"))?;
            let grant = grant::redeem_device(tx, client, code, now, entropy)?;
            let scope = grant.scope.clone();
            answer(tx, client, grant, scope, None, now, entropy)
        }
        _ => Err(Refusal::new(ErrorCode::UnsupportedGrantType, "no such grant type")),
    }
}

fn body(realm: &Realm, token: &str, scope: &BTreeSet<String>) -> Value {
    json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": realm.config.access_s,
        "scope": scope.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
    })
}

/// The tokens of a grant: access, ID when `openid` was granted, refresh when the client may.
fn answer(
    tx: &mut Tx<'_>,
    client: &Client,
    mut grant: Grant,
    scope: BTreeSet<String>,
    nonce: Option<&str>,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<Value, Refusal> {
    let gone = || Refusal::new(ErrorCode::InvalidGrant, "the account is not there any more");
    let user = tx.realm().users.get(&grant.user_id).filter(|user| user.enabled).cloned().ok_or_else(gone)?;
    let access = token::mint_access(tx.realm(), client, Some((&grant, &user)), &scope, now, entropy)?;
    let mut body = body(tx.realm(), &access, &scope);
    if grant.scope.contains("openid") {
        body["id_token"] = json!(token::mint_id(tx.realm(), client, (&grant, &user), nonce, &access, now)?);
    }
    if client.may(GrantType::RefreshToken) {
        let refresh = grant::rotate(tx, &mut grant, now, entropy);
        body["refresh_token"] = json!(refresh.expose());
        body["refresh_expires_in"] = json!(grant.expires_at.saturating_sub(now));
    }
    Ok(body)
}
