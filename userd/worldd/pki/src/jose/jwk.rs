//! Public keys of accounts.

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm};
use serde::{Deserialize, Serialize};

use super::{Algorithm, decode, encode, sha256};

/// A public key that was checked: the right size and, for curves, a point on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Members", try_from = "Members")]
pub enum Jwk {
    /// A point of P-256, uncompressed.
    P256(Box<[u8; 65]>),
    /// A point of P-384, uncompressed.
    P384(Box<[u8; 97]>),
    /// An Ed25519 key.
    Ed25519(Box<[u8; 32]>),
    /// An RSA key of 2048 to 4096 bits; neither number begins with a zero byte.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
}

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Of a type or on a curve that is not supported.
    #[error("cannot use a key of this type or curve; P-256, P-384, Ed25519 and RSA are known")]
    Unsupported,
    /// A private or symmetric key was sent.
    #[error("cannot use a key that holds secret parts")]
    Secret,
    /// A member is absent or not base64url of the right length.
    #[error("cannot read the members of the key")]
    Members,
    /// Too small, too large, even, or with a bad exponent.
    #[error("cannot use an RSA key that is not of 2048 to 4096 bits with an odd exponent of 3 to 4294967295")]
    Rsa,
    /// Not a point of its curve.
    #[error("cannot use a point that is not on its curve")]
    Point,
}

/// The members of a JWK; unknown ones are ignored (RFC 7517, section 4).
#[derive(Serialize, Deserialize, Default)]
pub struct Members {
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    e: Option<String>,
    #[serde(skip_serializing, default)]
    d: Option<serde::de::IgnoredAny>,
    #[serde(skip_serializing, default)]
    k: Option<serde::de::IgnoredAny>,
}

impl TryFrom<Members> for Jwk {
    type Error = JwkError;

    fn try_from(members: Members) -> Result<Self, JwkError> {
        if members.d.is_some() || members.k.is_some() {
            return Err(JwkError::Secret);
        }
        let bytes = |member: &Option<String>| member.as_deref().and_then(decode).ok_or(JwkError::Members);
        match (members.kty.as_str(), members.crv.as_deref()) {
            ("EC", Some("P-256")) => Ok(Self::P256(Box::new(point::<65>(&bytes(&members.x)?, &bytes(&members.y)?)?))),
            ("EC", Some("P-384")) => Ok(Self::P384(Box::new(point::<97>(&bytes(&members.x)?, &bytes(&members.y)?)?))),
            ("OKP", Some("Ed25519")) => {
                let key = bytes(&members.x)?.try_into().map_err(|_| JwkError::Members)?;
                Ok(Self::Ed25519(Box::new(key)))
            }
            ("RSA", None) => Self::rsa(bytes(&members.n)?, bytes(&members.e)?),
            _ => Err(JwkError::Unsupported),
        }
        .and_then(|key| key.parsed().map(|()| key))
    }
}

fn point<const N: usize>(x: &[u8], y: &[u8]) -> Result<[u8; N], JwkError> {
    let half = (N - 1) / 2;
    if x.len() != half || y.len() != half {
        return Err(JwkError::Members);
    }
    let mut out = [4; N];
    out[1..=half].copy_from_slice(x);
    out[half + 1..].copy_from_slice(y);
    Ok(out)
}

impl From<Jwk> for Members {
    fn from(key: Jwk) -> Self {
        let curve = |crv: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            Self {
                kty: "EC".to_owned(),
                crv: Some(crv.to_owned()),
                x: Some(encode(x)),
                y: Some(encode(y)),
                ..Self::default()
            }
        };
        match &key {
            Jwk::P256(point) => curve("P-256", &point[..]),
            Jwk::P384(point) => curve("P-384", &point[..]),
            Jwk::Ed25519(x) => Self {
                kty: "OKP".to_owned(),
                crv: Some("Ed25519".to_owned()),
                x: Some(encode(&x[..])),
                ..Self::default()
            },
            Jwk::Rsa { n, e } => {
                Self { kty: "RSA".to_owned(), n: Some(encode(n)), e: Some(encode(e)), ..Self::default() }
            }
        }
    }
}

impl Jwk {
    fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, JwkError> {
        let bits = (n.len() * 8).saturating_sub(n.first().map_or(0, |first| first.leading_zeros() as usize));
        let good_n = n.first().is_some_and(|&b| b != 0) && n.last().is_some_and(|b| b & 1 == 1);
        let good_e = matches!(e.first(), Some(1..)) && e.len() <= 4 && e.last().is_some_and(|b| b & 1 == 1) && e != [1];
        match good_n && good_e && (2048..=4096).contains(&bits) {
            true => Ok(Self::Rsa { n, e }),
            false => Err(JwkError::Rsa),
        }
    }

    /// Whether the cryptographic library takes it.
    fn parsed(&self) -> Result<(), JwkError> {
        let parses = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            ParsedPublicKey::new(algorithm, key).map(drop).map_err(|_| JwkError::Point)
        };
        match self {
            Self::P256(point) => parses(&signature::ECDSA_P256_SHA256_FIXED, &point[..]),
            Self::P384(point) => parses(&signature::ECDSA_P384_SHA384_FIXED, &point[..]),
            Self::Ed25519(key) => parses(&signature::ED25519, &key[..]),
            Self::Rsa { .. } => Ok(()),
        }
    }

    /// The one algorithm that this key signs with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::P256(_) => Algorithm::Es256,
            Self::P384(_) => Algorithm::Es384,
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Whether this key made the signature over the message, with [`Jwk::algorithm`].
    pub fn verifies(&self, message: &[u8], sig: &[u8]) -> bool {
        let key = |algorithm, key| signature::UnparsedPublicKey::new(algorithm, key).verify(message, sig).is_ok();
        match self {
            Self::P256(point) => key(&signature::ECDSA_P256_SHA256_FIXED, &point[..]),
            Self::P384(point) => key(&signature::ECDSA_P384_SHA384_FIXED, &point[..]),
            Self::Ed25519(public) => key(&signature::ED25519, &public[..]),
            Self::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, sig).is_ok()
            }
        }
    }

    /// The thumbprint (RFC 7638) in base64url: what keys are told apart by.
    pub fn thumbprint(&self) -> String {
        let members = Members::from(self.clone());
        let get = |member: &Option<String>| member.clone().unwrap_or_default();
        // Members in the order of their names, no white space; base64url needs no escapes.
        let canonical = match self {
            Self::P256(_) | Self::P384(_) => format!(
                r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
                get(&members.crv),
                get(&members.x),
                get(&members.y)
            ),
            Self::Ed25519(_) => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, get(&members.x)),
            Self::Rsa { .. } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, get(&members.e), get(&members.n)),
        };
        encode(sha256(canonical.as_bytes()))
    }

    /// The key as a SubjectPublicKeyInfo has it behind the algorithm: to find the certificate that is for this key.
    pub fn matches_public_key(&self, raw: &[u8]) -> bool {
        match self {
            Self::P256(point) => raw == &point[..],
            Self::P384(point) => raw == &point[..],
            Self::Ed25519(key) => raw == &key[..],
            Self::Rsa { n, e } => raw == crate::ca::der::rsa_public_key(n, e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Jwk, String> {
        serde_json::from_str::<Jwk>(json).map_err(|error| error.to_string())
    }

    #[test]
    fn the_thumbprint_is_the_one_of_rfc_7638_section_3_1() {
        let key = parse(
            r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#,
        )
        .expect("a key");
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn the_thumbprint_is_the_one_of_rfc_8037_appendix_a_3() {
        let key = parse(r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#);
        assert_eq!(key.expect("a key").thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn keys_survive_json() {
        for json in [
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        ] {
            let key = parse(json).expect("a key");
            assert_eq!(parse(&serde_json::to_string(&key).expect("JSON")), Ok(key));
        }
    }

    #[test]
    fn keys_that_would_weaken_anything_are_refused() {
        for (bad, wanted) in [
            (r#"{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}"#, "type or curve"),
            (r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#, "type or curve"),
            (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#, "members"),
            (
                r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1"}"#,
                "members",
            ),
            (
                r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}"#,
                "not on its curve",
            ),
            (r#"{"kty":"oct","k":"AAAA"}"#, "secret"),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "RSA"),
            (r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#, "type or curve"),
            (r#"{"kty":"EC","kty":"EC"}"#, "duplicate"),
        ] {
            let error = parse(bad).expect_err(bad);
            assert!(error.contains(wanted), "{bad}: {error}");
        }
    }
}
