//! Signed requests: the flattened JSON form with everything in the protected header (RFC 8555, section 6.2).

use aws_lc_rs::hmac;
use serde::{Deserialize, de::IgnoredAny};

use super::{Jwk, decode};

/// How a request may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The names of all, as a refused client is told (RFC 8555, section 6.2).
    pub const NAMES: [&'static str; 4] = ["ES256", "ES384", "RS256", "EdDSA"];

    /// The algorithm of this name. `none` and everything symmetric are not among them.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            "RS256" => Some(Self::Rs256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// Who says that they signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The holder of this key.
    Key(Jwk),
    /// The account at this URL, or for a MAC the holder of the key of this name.
    Known(String),
}

/// The protected header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// The name of the algorithm, as sent.
    pub algorithm: String,
    /// Who.
    pub identity: Identity,
    /// The URL that the request is for.
    pub url: String,
    /// The nonce, when there is one.
    pub nonce: Option<String>,
}

/// A JWS that was taken apart but not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jws {
    /// The protected header.
    pub protected: Protected,
    /// What was signed for; empty for POST-as-GET.
    pub payload: Vec<u8>,
    signing_input: Vec<u8>,
    signature: Vec<u8>,
}

/// Why a JWS is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Not JSON of the right shape.
    #[error("cannot read the JWS: {0}")]
    Shape(String),
    /// A member that ACME forbids.
    #[error("cannot take a JWS with an unprotected header, several signatures, `crit` or `b64`")]
    Forbidden,
    /// A member is not base64url.
    #[error("cannot read the member `{0}` of the JWS as base64url")]
    Base64(&'static str),
    /// Neither or both of `jwk` and `kid`.
    #[error("cannot tell who signed: exactly one of `jwk` and `kid` must be there")]
    Identity,
    /// The key is not acceptable.
    #[error("{0}")]
    Key(String),
}

#[derive(Deserialize)]
struct Flattened {
    protected: String,
    payload: String,
    signature: String,
    #[serde(default)]
    header: Option<IgnoredAny>,
    #[serde(default)]
    signatures: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    jwk: Option<serde_json::Value>,
    #[serde(default)]
    kid: Option<String>,
    url: String,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
    #[serde(default)]
    b64: Option<IgnoredAny>,
}

impl Jws {
    /// Takes a request's body apart.
    ///
    /// # Errors
    /// [`JwsError`] with the first thing that is wrong. [`JwsError::Key`] tells of a key that is not supported.
    pub fn parse(body: &[u8]) -> Result<Self, JwsError> {
        // As a text: serde_json looks into no string of a member that it skips, and JSON is UTF-8 (RFC 8259, section 8.1).
        let body = str::from_utf8(body).map_err(|error| JwsError::Shape(error.to_string()))?;
        Self::from_flattened(serde_json::from_str(body).map_err(shape)?)
    }

    /// As [`Jws::parse`], of a JWS inside another's payload (RFC 8555, sections 7.3.4 and 7.3.5).
    ///
    /// # Errors
    /// As [`Jws::parse`].
    pub fn from_value(value: serde_json::Value) -> Result<Self, JwsError> {
        Self::from_flattened(serde_json::from_value(value).map_err(shape)?)
    }

    fn from_flattened(outer: Flattened) -> Result<Self, JwsError> {
        if outer.header.is_some() || outer.signatures.is_some() {
            return Err(JwsError::Forbidden);
        }
        let protected = decode(&outer.protected).ok_or(JwsError::Base64("protected"))?;
        let payload = decode(&outer.payload).ok_or(JwsError::Base64("payload"))?;
        let signature = decode(&outer.signature).ok_or(JwsError::Base64("signature"))?;
        let header: Header = serde_json::from_slice(&protected).map_err(shape)?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(JwsError::Forbidden);
        }
        let identity = match (header.jwk, header.kid) {
            (Some(key), None) => {
                let key = serde_json::from_value(key).map_err(|error| JwsError::Key(error.to_string()))?;
                Identity::Key(key)
            }
            (None, Some(kid)) => Identity::Known(kid),
            _ => return Err(JwsError::Identity),
        };
        let mut signing_input = outer.protected.into_bytes();
        signing_input.push(b'.');
        signing_input.extend_from_slice(outer.payload.as_bytes());
        Ok(Self {
            protected: Protected { algorithm: header.alg, identity, url: header.url, nonce: header.nonce },
            payload,
            signing_input,
            signature,
        })
    }

    /// Whether this key made the signature, with the algorithm that the header names and that the key is for.
    pub fn is_signed_by(&self, key: &Jwk) -> bool {
        Algorithm::named(&self.protected.algorithm) == Some(key.algorithm())
            && key.verifies(&self.signing_input, &self.signature)
    }
}

fn shape(error: serde_json::Error) -> JwsError {
    JwsError::Shape(error.to_string())
}

/// Whether the JWS bears the MAC (HS256, RFC 7518, section 3.2) made with this key; compared in constant time.
pub fn verify_mac(jws: &Jws, key: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    jws.protected.algorithm == "HS256" && hmac::verify(&key, &jws.signing_input, &jws.signature).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{super::encode, *};

    fn flattened(header: serde_json::Value) -> Vec<u8> {
        json!({"protected": encode(header.to_string()), "payload": "", "signature": "AA"}).to_string().into_bytes()
    }

    #[test]
    fn what_acme_forbids_in_a_jws_is_refused() {
        let good = json!({"alg": "ES256", "kid": "k", "url": "u", "nonce": "n"});
        assert!(Jws::parse(&flattened(good.clone())).is_ok());
        for (change, wanted) in [
            (json!({"crit": ["exp"]}), JwsError::Forbidden),
            (json!({"b64": false}), JwsError::Forbidden),
            (json!({"kid": null}), JwsError::Identity),
        ] {
            let mut header = good.clone();
            for (name, value) in change.as_object().expect("an object") {
                header[name] = value.clone();
            }
            assert_eq!(Jws::parse(&flattened(header)), Err(wanted));
        }
        let protected = encode(good.to_string());
        for (body, wanted) in [
            (json!({"protected": protected, "payload": "", "signature": "AA", "header": {}}), JwsError::Forbidden),
            (json!({"protected": protected, "payload": "", "signature": "AA", "signatures": []}), JwsError::Forbidden),
            (json!({"protected": protected, "payload": "=", "signature": "AA"}), JwsError::Base64("payload")),
            (json!({"protected": protected, "payload": "", "signature": "A B"}), JwsError::Base64("signature")),
        ] {
            assert_eq!(Jws::parse(body.to_string().as_bytes()), Err(wanted), "{body}");
        }
        let twice = format!(r#"{{"protected":"{protected}","payload":"","payload":"","signature":"AA"}}"#);
        assert!(matches!(Jws::parse(twice.as_bytes()), Err(JwsError::Shape(why)) if why.contains("duplicate")));
    }

    #[test]
    fn no_algorithm_is_none_or_symmetric() {
        for name in ["none", "None", "HS256", "ES512", "PS256", "RS1", ""] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Jws::parse(&body);
        }

        #[test]
        fn any_header_is_read_or_refused(header in "\\PC{0,200}", payload in "[A-Za-z0-9_=-]{0,40}") {
            let body = json!({"protected": encode(header), "payload": payload, "signature": "AA"}).to_string();
            let _ = Jws::parse(body.as_bytes());
        }
    }
}
