//! What a user granted a client: codes, device codes, and the families of tokens that come of them.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    authorize::Request,
    client::{Client, GrantType},
    refusal::{ErrorCode, Refusal},
    secret::{Entropy, Secret, digest, random_id, same},
    session::Session,
    state::{Object, Tx},
};

/// Lifetime of an authorization code, seconds.
pub const CODE_S: u64 = 60;
/// How long a redeemed code is remembered, to notice its second use; seconds.
const CODE_MEMORY_S: u64 = 600;
/// Lifetime of a device code, seconds.
pub const DEVICE_S: u64 = 600;
/// How often a device may ask, seconds.
pub const POLL_S: u64 = 5;
/// Letters of user codes: no vowels, so no words; nothing that is mistaken for a digit (RFC 8628, 6.1).
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Most codes, device codes or grants alive in one realm: beyond it new ones are refused.
const MAX_ALIVE: usize = 100_000;

/// A grant: all tokens of one login of one user at one client.
///
/// Holds the digest of the only refresh token that is valid now. Whoever shows another one of this grant shows a used
/// one, so the grant ends with all its tokens (RFC 9700, 4.14.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its identifier: the first half of its refresh tokens.
    pub id: String,
    /// The client.
    pub client_id: String,
    /// The user's subject.
    pub user_id: String,
    /// The session it came of.
    pub sid: Option<String>,
    /// What was granted.
    pub scope: BTreeSet<String>,
    /// Unix time of the password, seconds.
    pub auth_time: u64,
    /// Digest of the second half of the valid refresh token.
    pub refresh_digest: Option<String>,
    /// Unix time of its end, seconds.
    pub expires_at: u64,
}

impl Grant {
    /// Whether it outlives its session (`offline_access`).
    pub fn is_offline(&self) -> bool {
        self.scope.contains("offline_access")
    }
}

/// An authorization code that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// Digest of the code.
    pub digest: String,
    /// The client it was made for.
    pub client_id: String,
    /// The user's subject.
    pub user_id: String,
    /// The session it was made in.
    pub sid: String,
    /// Where it was sent.
    pub redirect_uri: String,
    /// What was granted.
    pub scope: BTreeSet<String>,
    /// To be repeated in the ID token.
    pub nonce: Option<String>,
    /// PKCE challenge, method S256.
    pub challenge: Option<String>,
    /// Unix time of the password, seconds.
    pub auth_time: u64,
    /// Unix time of its end, seconds.
    pub expires_at: u64,
    /// Until when it is remembered, seconds.
    pub keep_until: u64,
    /// The grant it became, once redeemed.
    pub grant_id: Option<String>,
}

/// A device code that was issued (RFC 8628).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Digest of the device code.
    pub digest: String,
    /// What the user types, without the hyphen.
    pub user_code: String,
    /// The client.
    pub client_id: String,
    /// What was asked for.
    pub scope: BTreeSet<String>,
    /// Unix time of its end, seconds.
    pub expires_at: u64,
    /// From when on the device may ask again; Unix time, seconds.
    pub next_poll_at: u64,
    /// How long it must wait between questions, seconds.
    pub interval_s: u64,
    /// The user's answer.
    pub answer: Answer,
}

/// What the user said to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing yet.
    Pending,
    /// No.
    Denied,
    /// Yes, in this session.
    Allowed {
        /// The user's subject.
        user_id: String,
        /// The session.
        sid: String,
        /// Unix time of the password, seconds.
        auth_time: u64,
    },
}

fn full() -> Refusal {
    Refusal::new(ErrorCode::ServerError, "too many requests are open")
}

/// Issues a code for a request that its user agreed to.
///
/// # Errors
/// [`ErrorCode::ServerError`] when too many codes are alive.
pub fn create_code(
    tx: &mut Tx<'_>,
    request: &Request,
    session: &Session,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<Secret, Refusal> {
    if tx.realm().codes.len() >= MAX_ALIVE {
        return Err(full());
    }
    let code = Secret::token(entropy);
    tx.put(Object::Code(Code {
        digest: digest(code.expose()),
        client_id: request.client_id.clone(),
        user_id: session.user_id.clone(),
        sid: session.id.clone(),
        redirect_uri: request.redirect_uri.clone(),
        scope: request.scope.clone(),
        nonce: request.nonce.clone(),
        challenge: request.challenge.clone(),
        auth_time: session.auth_time,
        expires_at: now + CODE_S,
        keep_until: now + CODE_S,
        grant_id: None,
    }));
    Ok(code)
}

/// Redeems a code, once. Returns the grant and the nonce.
///
/// A second use ends the grant of the first (RFC 6749, 4.1.2).
///
/// # Errors
/// [`ErrorCode::InvalidGrant`] with one text for every cause but the verifier's.
pub fn redeem_code(
    tx: &mut Tx<'_>,
    client: &Client,
    code: &str,
    redirect_uri: Option<&str>,
    verifier: Option<&str>,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<(Grant, Option<String>), Refusal> {
    let refused = || Refusal::new(ErrorCode::InvalidGrant, "the code is not valid");
    let mut code = tx.realm().codes.get(&digest(code)).cloned().ok_or_else(refused)?;
    if code.client_id != client.client_id {
        return Err(refused());
    }
    if let Some(grant_id) = &code.grant_id {
        if let Some(grant) = tx.realm().grants.get(grant_id).cloned() {
            tx.delete(Object::Grant(grant));
        }
        return Err(refused());
    }
    let is_live = tx.realm().sessions.get(&code.sid).is_some_and(|session| session.expires_at > now);
    if code.expires_at <= now || redirect_uri != Some(code.redirect_uri.as_str()) || !is_live {
        return Err(refused());
    }
    let is_proven = match (&code.challenge, verifier) {
        (None, None) => true,
        (Some(challenge), Some(verifier)) => is_verifier(verifier) && same(&digest(verifier), challenge),
        // A verifier without a challenge: somebody took the challenge out of the request (RFC 9700, 2.1.1).
        _ => false,
    };
    if !is_proven {
        // Whoever has the code but not the verifier is not the client; the code is burnt.
        tx.delete(Object::Code(code));
        return Err(Refusal::new(ErrorCode::InvalidGrant, "the code verifier does not match"));
    }
    let session = (code.user_id.clone(), code.sid.clone(), code.auth_time);
    let grant = create_grant(tx, client, session, code.scope.clone(), now, entropy)?;
    code.grant_id = Some(grant.id.clone());
    code.keep_until = now + CODE_MEMORY_S;
    let nonce = code.nonce.clone();
    tx.put(Object::Code(code));
    Ok((grant, nonce))
}

/// RFC 7636, 4.1.
fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
}

fn create_grant(
    tx: &mut Tx<'_>,
    client: &Client,
    (user_id, sid, auth_time): (String, String, u64),
    scope: BTreeSet<String>,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<Grant, Refusal> {
    if tx.realm().grants.len() >= MAX_ALIVE {
        return Err(full());
    }
    let config = &tx.realm().config;
    let grant = Grant {
        id: random_id(entropy),
        client_id: client.client_id.clone(),
        user_id,
        sid: Some(sid),
        scope,
        auth_time,
        refresh_digest: None,
        expires_at: now + config.access_s.max(config.refresh_s),
    };
    tx.put(Object::Grant(grant.clone()));
    Ok(grant)
}

/// Gives `grant` a new refresh token, the only valid one from now on.
pub fn rotate(tx: &mut Tx<'_>, grant: &mut Grant, now: u64, entropy: &mut dyn Entropy) -> Secret {
    let secret = Secret::token(entropy);
    grant.refresh_digest = Some(digest(secret.expose()));
    let session_end = grant.sid.as_ref().and_then(|sid| tx.realm().sessions.get(sid)).map(|session| session.expires_at);
    let wanted = now + tx.realm().config.refresh_s;
    grant.expires_at = match session_end {
        Some(end) if !grant.is_offline() => wanted.min(end),
        _ => wanted,
    };
    tx.put(Object::Grant(grant.clone()));
    Secret::new(format!("{}.{}", grant.id, secret.expose()))
}

/// The grant that a refresh token belongs to, whether or not the token is the valid one; and whether it is.
pub fn find_refresh<'a>(realm: &'a crate::realm::Realm, token: &str) -> Option<(&'a Grant, bool)> {
    let (id, secret) = token.split_once('.')?;
    let grant = realm.grants.get(id)?;
    let valid = grant.refresh_digest.as_ref()?;
    Some((grant, same(&digest(secret), valid)))
}

/// Takes a refresh token. The caller rotates the grant it gets.
///
/// # Errors
/// [`ErrorCode::InvalidGrant`]; when the token was used before, the whole grant has ended.
pub fn redeem_refresh(tx: &mut Tx<'_>, client: &Client, token: &str, now: u64) -> Result<Grant, Refusal> {
    let refused = || Refusal::new(ErrorCode::InvalidGrant, "the refresh token is not valid");
    let (grant, is_valid) =
        find_refresh(tx.realm(), token).map(|(grant, is_valid)| (grant.clone(), is_valid)).ok_or_else(refused)?;
    if grant.client_id != client.client_id {
        return Err(refused());
    }
    if !is_valid || grant.expires_at <= now {
        tx.delete(Object::Grant(grant));
        return Err(refused());
    }
    Ok(grant)
}

/// Issues a device code and its user code.
///
/// # Errors
/// [`ErrorCode::ServerError`] when too many are alive.
pub fn create_device(
    tx: &mut Tx<'_>,
    client: &Client,
    scope: BTreeSet<String>,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<(Secret, String), Refusal> {
    if tx.realm().devices.len() >= MAX_ALIVE {
        return Err(full());
    }
    let code = Secret::token(entropy);
    let user_code = loop {
        let mut text = String::with_capacity(8);
        while text.len() < 8 {
            let mut byte = [0];
            entropy.fill(&mut byte);
            if byte[0] < 240 {
                text.push(char::from(USER_CODE_LETTERS[usize::from(byte[0]) % USER_CODE_LETTERS.len()]));
            }
        }
        if find_device(tx.realm(), &text, 0).is_none() {
            break text;
        }
    };
    tx.put(Object::Device(Device {
        digest: digest(code.expose()),
        user_code: user_code.clone(),
        client_id: client.client_id.clone(),
        scope,
        expires_at: now + DEVICE_S,
        next_poll_at: now,
        interval_s: POLL_S,
        answer: Answer::Pending,
    }));
    Ok((code, format!("{}-{}", &user_code[..4], &user_code[4..])))
}

/// The open device request a user typed the code of; case, spaces and hyphens do not count.
pub fn find_device<'a>(realm: &'a crate::realm::Realm, typed: &str, now: u64) -> Option<&'a Device> {
    let wanted: String =
        typed.chars().filter(char::is_ascii_alphanumeric).take(9).map(|c| c.to_ascii_uppercase()).collect();
    realm
        .devices
        .values()
        .find(|device| device.user_code == wanted && device.expires_at > now && device.answer == Answer::Pending)
}

/// Redeems a device code, once its user agreed.
///
/// # Errors
/// The codes of RFC 8628, 3.5.
pub fn redeem_device(
    tx: &mut Tx<'_>,
    client: &Client,
    code: &str,
    now: u64,
    entropy: &mut dyn Entropy,
) -> Result<Grant, Refusal> {
    let refused = || Refusal::new(ErrorCode::InvalidGrant, "the device code is not valid");
    let mut device = tx.realm().devices.get(&digest(code)).cloned().ok_or_else(refused)?;
    if device.client_id != client.client_id || !client.may(GrantType::DeviceCode) {
        return Err(refused());
    }
    if device.expires_at <= now {
        return Err(Refusal::new(ErrorCode::ExpiredToken, "the device code has ended"));
    }
    match device.answer.clone() {
        Answer::Pending => {
            let is_early = now < device.next_poll_at;
            if is_early {
                device.interval_s += POLL_S;
            }
            device.next_poll_at = now + device.interval_s;
            tx.put(Object::Device(device));
            Err(if is_early {
                Refusal::new(ErrorCode::SlowDown, "asked again too soon")
            } else {
                Refusal::new(ErrorCode::AuthorizationPending, "the user has not answered yet")
            })
        }
        Answer::Denied => {
            tx.delete(Object::Device(device));
            Err(Refusal::new(ErrorCode::AccessDenied, "the user said no"))
        }
        Answer::Allowed { user_id, sid, auth_time } => {
            let scope = device.scope.clone();
            tx.delete(Object::Device(device));
            if !tx.realm().sessions.contains_key(&sid) {
                return Err(refused());
            }
            create_grant(tx, client, (user_id, sid, auth_time), scope, now, entropy)
        }
    }
}

/// The S256 challenge of a verifier (RFC 7636, 4.2) is what [`digest`] gives: checks its form.
pub fn is_challenge(text: &str) -> bool {
    text.len() == 43 && URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32)
}
