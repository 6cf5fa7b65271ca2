//! Accounts, orders, authorizations, challenges, certificates (RFC 8555, section 7.1) as they are kept.

use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Problem;
use crate::{
    ca::{Revocation, Serial},
    clock::UnixSeconds,
    jose::{self, Jwk},
    name::Identifier,
};

/// The random name of an object: 128 bits in base64url. Nobody guesses it, and it tells nothing.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Id(Arc<str>);

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.as_str().to_owned()
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not the name of an object")
    }
}

impl Id {
    /// From random bytes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(jose::encode(bytes).into())
    }

    /// From a URL's last part; `None` when no object can have that name.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 22 && jose::decode(text).is_some()).then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 8555, section 7.1.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountStatus {
    /// In use.
    Valid,
    /// Given up by its owner.
    Deactivated,
    /// Withdrawn by the authority.
    Revoked,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name.
    pub id: Id,
    /// Its key.
    pub key: Jwk,
    /// Its status.
    pub status: AccountStatus,
    /// How to reach the owner.
    pub contact: Vec<String>,
    /// The name of the external key it was bound with.
    pub external: Option<String>,
    /// When it was made.
    pub created: UnixSeconds,
}

/// RFC 8555, section 7.1.6. `processing` is never seen: a certificate is signed while the request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// Authorizations are missing.
    Pending,
    /// It may be finalized.
    Ready,
    /// The certificate is there.
    Valid,
    /// It will never be.
    Invalid,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub id: Id,
    /// Whose.
    pub account: Id,
    /// As it was left; see [`Order::status_at`].
    pub status: OrderStatus,
    /// For what.
    pub identifiers: BTreeSet<Identifier>,
    /// Under which profile.
    pub profile: String,
    /// Whether the client named the profile.
    pub profile_was_named: bool,
    /// The certificate that this one replaces.
    pub replaces: Option<Serial>,
    /// One for each identifier.
    pub authorizations: Vec<Id>,
    /// When it becomes invalid, unless it is valid by then.
    pub expires: UnixSeconds,
    /// Why it is invalid.
    pub error: Option<Problem>,
    /// Its certificate.
    pub certificate: Option<Serial>,
}

impl Order {
    /// The status at this moment: what has expired is invalid.
    pub fn status_at(&self, now: UnixSeconds) -> OrderStatus {
        match self.status {
            OrderStatus::Pending | OrderStatus::Ready if now >= self.expires => OrderStatus::Invalid,
            status => status,
        }
    }
}

/// RFC 8555, section 7.1.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthorizationStatus {
    /// No challenge was met yet.
    Pending,
    /// One was.
    Valid,
    /// One was answered wrong.
    Invalid,
    /// Given up by its owner.
    Deactivated,
    /// Too late.
    Expired,
    /// Withdrawn.
    Revoked,
}

/// The right of an account to one identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// Its name.
    pub id: Id,
    /// Whose.
    pub account: Id,
    /// The order it was made for.
    pub order: Id,
    /// For what; a wildcard's is for the name behind the `*.` and [`Authorization::wildcard`] is set.
    pub identifier: Identifier,
    /// Whether it is for everything directly below the identifier.
    pub wildcard: bool,
    /// As it was left; see [`Authorization::status_at`].
    pub status: AuthorizationStatus,
    /// When it ends.
    pub expires: UnixSeconds,
    /// 256 random bits in base64url; all challenges have the same, each of them proves the same thing.
    pub token: String,
    /// The ways to prove it.
    pub challenges: Vec<Challenge>,
}

impl Authorization {
    /// The status at this moment.
    pub fn status_at(&self, now: UnixSeconds) -> AuthorizationStatus {
        match self.status {
            AuthorizationStatus::Pending if now >= self.expires => AuthorizationStatus::Invalid,
            AuthorizationStatus::Valid if now >= self.expires => AuthorizationStatus::Expired,
            status => status,
        }
    }

    /// The challenge of this kind.
    pub fn challenge(&self, kind: ChallengeKind) -> Option<&Challenge> {
        self.challenges.iter().find(|challenge| challenge.kind == kind)
    }
}

/// How control over an identifier is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChallengeKind {
    /// A file on port 80 (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A TXT record (RFC 8555, section 8.4).
    #[serde(rename = "dns-01")]
    Dns01,
    /// A certificate on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl ChallengeKind {
    /// All.
    pub const ALL: [Self; 3] = [Self::Http01, Self::Dns01, Self::TlsAlpn01];

    /// Its name in the registry; the last part of the challenge's URL too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The ways to prove control over this: a wildcard's only by DNS (RFC 8555, section 7.1.3), an address's never by
    /// DNS (RFC 8738, section 7).
    pub fn for_identifier(identifier: &Identifier) -> &'static [Self] {
        match identifier {
            Identifier::Dns(_) => &Self::ALL,
            Identifier::Wildcard(_) => &[Self::Dns01],
            Identifier::Ip(_) => &[Self::Http01, Self::TlsAlpn01],
        }
    }
}

/// RFC 8555, section 7.1.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChallengeStatus {
    /// Nothing was heard from the client.
    Pending,
    /// The server looks.
    Processing,
    /// Met.
    Valid,
    /// Not met.
    Invalid,
}

/// One way to prove one authorization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Which way.
    pub kind: ChallengeKind,
    /// Its status.
    pub status: ChallengeStatus,
    /// When it was met.
    pub validated: Option<UnixSeconds>,
    /// Why it was not.
    pub error: Option<Problem>,
}

/// What is known of a certificate that was issued, whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its number.
    pub serial: Serial,
    /// Whose; `None` for the authority's own services.
    pub account: Option<Id>,
    /// What it names.
    pub identifiers: BTreeSet<Identifier>,
    /// Under which profile it was issued.
    pub profile: String,
    /// Valid from.
    pub not_before: UnixSeconds,
    /// Valid until.
    pub not_after: UnixSeconds,
    /// SHA-256 of the whole certificate, base64url.
    pub fingerprint: String,
    /// The raw public key, base64url: whoever holds the private one may revoke.
    pub public_key: String,
    /// Whether and why it is revoked.
    pub revoked: Option<Revocation>,
    /// The certificate that came in its place.
    pub replaced_by: Option<Serial>,
}
