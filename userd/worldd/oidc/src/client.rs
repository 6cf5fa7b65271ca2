//! Clients of a realm: what they may ask for and where answers may go.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::jose::Algorithm;

/// Longest redirect address, in bytes.
const MAX_URI_BYTES: usize = 2048;
/// Most addresses of one kind of one client.
const MAX_URIS: usize = 32;

/// A way to get tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GrantType {
    /// RFC 6749, 4.1.
    #[serde(rename = "authorization_code")]
    AuthorizationCode,
    /// RFC 6749, 6.
    #[serde(rename = "refresh_token")]
    RefreshToken,
    /// RFC 6749, 4.4.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// RFC 8628.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:device_code")]
    DeviceCode,
}

/// A client (relying party) of a realm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its name in requests, `[A-Za-z0-9._-]{1,128}`.
    pub client_id: String,
    /// What the consent page calls it.
    pub name: String,
    /// Digest of its secret; absent: a public client.
    pub secret_digest: Option<String>,
    /// Where codes may be sent, compared byte by byte.
    pub redirect_uris: BTreeSet<String>,
    /// Where a browser may be sent after logout, compared byte by byte.
    pub post_logout_redirect_uris: BTreeSet<String>,
    /// Who is told when a session ends (OpenID Connect Back-Channel Logout).
    pub backchannel_logout_uri: Option<String>,
    /// How it may get tokens.
    pub grant_types: BTreeSet<GrantType>,
    /// How its ID tokens are signed.
    pub id_token_alg: Algorithm,
    /// Scopes it may ask for; empty: all of the realm.
    pub scopes: BTreeSet<String>,
    /// Whether users are asked before it learns of them.
    pub consent_required: bool,
    /// Realm roles of its own account (client credentials).
    pub roles: BTreeSet<String>,
    /// Digest of its registration access token (RFC 7592); absent: not self-registered.
    pub registration_digest: Option<String>,
    /// Whether it may do anything.
    pub enabled: bool,
    /// Unix time of its making, seconds.
    pub created_at: u64,
}

impl Client {
    /// A client without any right, to be filled in.
    pub fn new(client_id: &str, now: u64) -> Self {
        Self {
            client_id: client_id.to_owned(),
            name: client_id.to_owned(),
            secret_digest: None,
            redirect_uris: BTreeSet::new(),
            post_logout_redirect_uris: BTreeSet::new(),
            backchannel_logout_uri: None,
            grant_types: BTreeSet::new(),
            id_token_alg: Algorithm::Rs256,
            scopes: BTreeSet::new(),
            consent_required: false,
            roles: BTreeSet::new(),
            registration_digest: None,
            enabled: true,
            created_at: now,
        }
    }

    /// Whether it cannot keep a secret, so that PKCE is all that binds a code to it.
    pub fn is_public(&self) -> bool {
        self.secret_digest.is_none()
    }

    /// Whether it may use `grant`.
    pub fn may(&self, grant: GrantType) -> bool {
        self.enabled && self.grant_types.contains(&grant)
    }
}

/// Whether `text` can name a client, role or account: it goes into paths and answers as it is.
pub fn is_plain_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@' | b'+'))
        && text.bytes().any(|b| b.is_ascii_alphanumeric())
}

/// Why an address cannot be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Not an absolute address, too long, or with characters no address has.
    #[error("is not an absolute address")]
    Malformed,
    /// A scheme that runs code or reads files, or none of ours.
    #[error("has a scheme that is not allowed")]
    Scheme,
    /// With `#fragment` (RFC 6749, 3.1.2) or user information.
    #[error("has a fragment or user information")]
    Parts,
    /// More than 32 of one kind.
    #[error("are too many")]
    TooMany,
}

/// Checks an address that a client wants to register.
///
/// `https`, `http`, and private-use schemes in the form of a reversed domain name (RFC 8252, 7.1) are allowed.
///
/// # Errors
/// [`UriError`] with the first fault.
pub fn check_uri(text: &str) -> Result<(), UriError> {
    if text.len() > MAX_URI_BYTES || !text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}*".contains(&b)) {
        return Err(UriError::Malformed);
    }
    let url = Url::parse(text).map_err(|_| UriError::Malformed)?;
    let scheme = url.scheme();
    if matches!(scheme, "https" | "http") {
        if !text.to_ascii_lowercase().starts_with(&format!("{scheme}://")) || url.host_str().is_none_or(str::is_empty) {
            return Err(UriError::Malformed);
        }
    } else if !scheme.contains('.') {
        return Err(UriError::Scheme);
    }
    if text.contains('#') || !url.username().is_empty() || url.password().is_some() {
        return Err(UriError::Parts);
    }
    Ok(())
}

/// Checks a list of addresses and makes it a set.
///
/// # Errors
/// [`UriError`] with the first fault.
pub fn check_uris(list: &[String]) -> Result<BTreeSet<String>, UriError> {
    if list.len() > MAX_URIS {
        return Err(UriError::TooMany);
    }
    list.iter().map(|uri| check_uri(uri).map(|()| uri.clone())).collect()
}
