//! What a client inside a world trusts, and secrets on their way to where they are used.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{bounded::Bounded, limits};

/// What commands, probes and resolvers of a world trust; all empty until the world has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trust {
    /// The world's certificate authorities, DER.
    pub certificates: Bounded<Bounded<u8, { limits::CERTIFICATE_BYTES }>, { limits::TRUST_ANCHORS }>,
    /// The keys of the world's DNS root as DS records; empty when the world is not signed.
    pub dns_root: Bounded<DelegationSigner, { limits::DNS_ANCHORS }>,
}

/// A DS record (RFC 4034, section 5) without its owner, which is the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DelegationSigner {
    /// The tag of the key it stands for.
    pub key_tag: u16,
    /// The key's algorithm; 13 is ECDSA P-256 (RFC 6605).
    pub algorithm: u8,
    /// The digest's algorithm; 2 is SHA-256 (RFC 4509).
    pub digest_type: u8,
    /// The digest.
    pub digest: Bounded<u8, { limits::DNS_DIGEST_BYTES }>,
}

impl fmt::Display for DelegationSigner {
    /// The record's data in presentation form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.key_tag, self.algorithm, self.digest_type)?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// A password, client secret or key. It travels and is stored, but is never printed or logged.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that uses it or shows it to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A secret of a world and what it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// What kind of secret.
    pub kind: CredentialKind,
    /// Where it is used: an OpenID issuer, or empty.
    pub issuer: String,
    /// Account name, client identifier or key name.
    pub name: String,
    /// The secret.
    pub secret: Secret,
}

/// Kinds of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// An account's password.
    Password,
    /// A confidential client's secret (RFC 6749, section 2.3.1).
    ClientSecret,
    /// An initial access token for client registration (RFC 7591, section 3).
    RegistrationToken,
    /// A TSIG key (RFC 8945), HMAC-SHA256, base64.
    Tsig,
    /// A key that ACME accounts may be bound with (RFC 8555, section 7.3.4), HMAC-SHA256, base64url.
    AcmeEab,
    /// The key of the live checks' ACME account, PKCS #8, base64.
    AcmeAccount,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let name = "alice".to_owned();
        let secret = Secret::new("hunter2".to_owned());
        let held = Credential { kind: CredentialKind::Password, issuer: String::new(), name, secret };
        assert!(!format!("{held:?}").contains("hunter2"));
    }

    #[test]
    fn an_anchor_reads_like_a_zone_file() {
        let digest = Bounded::new(vec![0x0a, 0xff]).expect("short");
        let anchor = DelegationSigner { key_tag: 7, algorithm: 13, digest_type: 2, digest };
        assert_eq!(anchor.to_string(), "7 13 2 0AFF");
    }
}
