//! The live check of an OpenID provider: discovery, a token by client credentials, and the keys it publishes.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{
    Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    errors::ErrorKind,
    jwk::{JwkSet, PublicKeyUse},
};
use netengine_proto::{control::Fault, trust::Secret};
use serde::Deserialize;
use serde_json::Value;

use super::{
    finding::{Finding, Progress, Seen},
    http::{self, Answer, Http, Shared},
};

const JSON: &str = "application/json";
/// How much later than now a token may claim to be made, seconds: clocks are read at different moments.
const SKEW_S: u64 = 2;

/// What of the discovery document is needed (OpenID Connect Discovery, section 3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    token_endpoint: String,
    jwks_uri: String,
}

/// A token response (RFC 6749, section 5.1).
#[derive(Deserialize)]
struct Issued {
    access_token: String,
    token_type: String,
}

/// The claims that are checked (RFC 9068, section 2.2).
#[derive(Deserialize)]
struct Claims {
    aud: Audience,
    azp: Option<String>,
    exp: u64,
    iat: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(BTreeSet<String>),
}

impl Audience {
    fn contains(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Many(many) => many.contains(name),
        }
    }
}

/// Gets a token and verifies it as a resource server would.
pub async fn check(shared: Shared, issuer: &str, client: (&str, &Secret), progress: &Progress) -> Seen {
    let http = Http::new(shared, progress.clone());
    let url = format!("{issuer}/.well-known/openid-configuration");
    let discovery: Discovery = read(&url, &http.get(&url, JSON).await?)?;
    if discovery.issuer != issuer {
        return Err(Finding::wrong(format!("{url} names the issuer {}", discovery.issuer)));
    }
    let issued = grant(&http, &discovery.token_endpoint, client).await?;
    // After the token, so that a key that has just been rotated in is there.
    let keys: JwkSet = read(&discovery.jwks_uri, &http.get(&discovery.jwks_uri, JSON).await?)?;
    verify(&issued.access_token, &keys, issuer, client.0)
}

/// Reads a JSON answer with status 200.
fn read<T: serde::de::DeserializeOwned>(url: &str, answer: &Answer) -> Result<T, Finding> {
    if answer.status() != StatusCode::OK {
        return Err(http::refusal(url, answer));
    }
    let media = http::media_type(answer);
    if media != JSON && media != "application/jwk-set+json" {
        return Err(Finding::wrong(format!("{url} answered as {media:?}, not {JSON}")));
    }
    serde_json::from_slice(answer.body()).map_err(|error| Finding::wrong(format!("{url} cannot be read: {error}")))
}

/// The client credentials grant (RFC 6749, section 4.4) with HTTP Basic (section 2.3.1).
async fn grant(http: &Http, endpoint: &str, (id, secret): (&str, &Secret)) -> Result<Issued, Finding> {
    let form = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let basic = STANDARD.encode(format!("{}:{}", form(id), form(secret.expose())));
    let request = Request::post(endpoint)
        .header(AUTHORIZATION, format!("Basic {basic}"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, JSON)
        .body(Bytes::from_static(b"grant_type=client_credentials"))
        .map_err(|error| Finding::wrong(format!("the token endpoint {endpoint} cannot be asked: {error}")))?;
    let issued: Issued = read(endpoint, &http.send(request).await?)?;
    if !issued.token_type.eq_ignore_ascii_case("Bearer") {
        return Err(Finding::wrong(format!("{endpoint} gave a token of type {}", issued.token_type)));
    }
    Ok(issued)
}

/// Whether a token is signed with a key that is served, by this issuer, for this client, and holds now.
fn verify(token: &str, keys: &JwkSet, issuer: &str, client: &str) -> Seen {
    let unreadable = |error| Finding::wrong(format!("the token of {issuer} cannot be read: {error}"));
    let header = jsonwebtoken::decode_header(token).map_err(unreadable)?;
    let algorithm = header.alg;
    if !matches!(algorithm, Algorithm::ES256 | Algorithm::RS256) {
        return Err(Finding::wrong(format!("the token of {issuer} is signed with {algorithm:?}")));
    }
    let id = header.kid.ok_or_else(|| Finding::wrong(format!("the token of {issuer} names no key")))?;
    let not_served = |what: &str| Finding::new(Fault::KeyNotServed, format!("the key {id} of {issuer} {what}"));
    let key = keys.find(&id).ok_or_else(|| not_served(&format!("is not among the {} it serves", keys.keys.len())))?;
    if key.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature)
        || key.common.key_algorithm.is_some_and(|served| served.to_string() != format!("{algorithm:?}"))
    {
        return Err(not_served("is served for another use"));
    }
    let key = DecodingKey::from_jwk(key).map_err(|error| not_served(&format!("cannot be used: {error}")))?;

    let mut validation = Validation::new(algorithm);
    validation.leeway = 0;
    validation.validate_nbf = true;
    // Who it is for is judged below: the audience or the authorised party.
    validation.validate_aud = false;
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => not_served("is served, but another one has signed"),
        _ => Finding::wrong(format!("the token of {issuer} does not hold: {error}")),
    })?;
    let claims: Claims = serde_json::from_value(decoded.claims)
        .map_err(|error| Finding::wrong(format!("the claims of the token of {issuer} cannot be read: {error}")))?;
    let now = jsonwebtoken::get_current_timestamp();
    if claims.iat > now + SKEW_S {
        return Err(Finding::wrong(format!("the token of {issuer} is from the future")));
    }
    let azp = claims.azp.as_deref();
    if azp.is_some_and(|party| party != client) || (azp.is_none() && !claims.aud.contains(client)) {
        return Err(Finding::wrong(format!("the token of {issuer} is not for the client {client}")));
    }
    let left = claims.exp.saturating_sub(now);
    Ok(format!("a token of {issuer} for {client}, {algorithm:?}, key {id}, valid for {left} s"))
}
