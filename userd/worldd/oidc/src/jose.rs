//! JSON Web Signatures (RFC 7515) and keys (RFC 7517), as far as a provider signs and reads its own.
//!
//! Only compact form, only ES256 and RS256, only keys of this realm found by `kid`: `none`, HMAC and keys inside the
//! token (`jwk`, `jku`, `x5u`) have no code path.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Longest token that is read, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, 2048 bits.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// Its name in JOSE.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A signing key as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredKey {
    /// What it signs with.
    pub algorithm: Algorithm,
    /// PKCS #8 in base64url.
    pub private: String,
    /// Unix time of its making, seconds.
    pub created_at: u64,
    /// From when on it signs; Unix time, seconds. Served before: clients look for new keys only now and then.
    pub signs_from: u64,
    /// From when on it signs nothing; still served for checking until then plus the longest token lifetime.
    pub retired_at: Option<u64>,
}

/// Why a key cannot be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot make or read a signing key")]
pub struct KeyError;

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

/// A signing key, ready to use.
pub struct Key {
    /// RFC 7638 thumbprint.
    pub kid: String,
    /// As stored.
    pub stored: StoredKey,
    pair: Pair,
    jwk: Map<String, Value>,
}

impl Key {
    /// Makes a key. RSA takes some 100 ms: call it where that may wait.
    ///
    /// # Errors
    /// [`KeyError`] when the library refuses.
    pub fn generate(algorithm: Algorithm, now: u64) -> Result<Self, KeyError> {
        let private = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| KeyError)
                .map(|document| URL_SAFE_NO_PAD.encode(document))?,
            Algorithm::Rs256 => {
                use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
                let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError)?;
                let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| KeyError)?;
                URL_SAFE_NO_PAD.encode(der.as_ref())
            }
        };
        Self::from_stored(StoredKey { algorithm, private, created_at: now, signs_from: now, retired_at: None })
    }

    /// Reads a stored key.
    ///
    /// # Errors
    /// [`KeyError`] when it is damaged.
    pub fn from_stored(stored: StoredKey) -> Result<Self, KeyError> {
        let der = URL_SAFE_NO_PAD.decode(&stored.private).map_err(|_| KeyError)?;
        let text = |bytes: &[u8]| Value::from(URL_SAFE_NO_PAD.encode(bytes));
        let (pair, thumb, mut jwk) = match stored.algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map_err(|_| KeyError)?;
                let point = pair.public_key().as_ref();
                if point.len() != 65 {
                    return Err(KeyError);
                }
                let (x, y) = (text(&point[1..33]), text(&point[33..]));
                let thumb = format!(r#"{{"crv":"P-256","kty":"EC","x":{x},"y":{y}}}"#);
                let jwk = Map::from_iter([
                    ("kty".to_owned(), json!("EC")),
                    ("crv".to_owned(), json!("P-256")),
                    ("x".to_owned(), x),
                    ("y".to_owned(), y),
                ]);
                (Pair::Es256(pair), thumb, jwk)
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(&der).map_err(|_| KeyError)?;
                let (n, e) = rsa_numbers(pair.public_key().as_ref()).ok_or(KeyError)?;
                let (n, e) = (text(n), text(e));
                let thumb = format!(r#"{{"e":{e},"kty":"RSA","n":{n}}}"#);
                let jwk = Map::from_iter([("kty".to_owned(), json!("RSA")), ("n".to_owned(), n), ("e".to_owned(), e)]);
                (Pair::Rs256(pair), thumb, jwk)
            }
        };
        let kid = crate::secret::digest(&thumb);
        jwk.insert("kid".to_owned(), json!(kid));
        jwk.insert("alg".to_owned(), json!(stored.algorithm.as_str()));
        jwk.insert("use".to_owned(), json!("sig"));
        Ok(Self { kid, stored, pair, jwk })
    }

    /// Its public half as a JWK.
    pub fn jwk(&self) -> &Map<String, Value> {
        &self.jwk
    }

    /// Signs `claims` as a compact JWS with the media type `typ`.
    ///
    /// # Errors
    /// [`KeyError`] when the library refuses.
    pub fn sign(&self, typ: &str, claims: &Map<String, Value>) -> Result<String, KeyError> {
        let header = json!({"alg": self.stored.algorithm.as_str(), "typ": typ, "kid": self.kid}).to_string();
        let body = serde_json::to_vec(claims).map_err(|_| KeyError)?;
        let mut token = URL_SAFE_NO_PAD.encode(header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(body, &mut token);
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Es256(pair) => {
                pair.sign(&random, token.as_bytes()).map_err(|_| KeyError).map(|s| URL_SAFE_NO_PAD.encode(s))?
            }
            Pair::Rs256(pair) => {
                let mut bytes = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, token.as_bytes(), &mut bytes).map_err(|_| KeyError)?;
                URL_SAFE_NO_PAD.encode(bytes)
            }
        };
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.pair {
            Pair::Es256(pair) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref()).verify(message, signature)
            }
            Pair::Rs256(pair) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
                .verify(message, signature),
        }
        .is_ok()
    }
}

/// Modulus and exponent of a PKCS #1 `RSAPublicKey`.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = element(0x30, der)?;
    let (n, rest) = element(0x02, sequence)?;
    let (e, _) = element(0x02, rest)?;
    let unsigned = |bytes: &'_ [u8]| bytes.iter().take_while(|b| **b == 0).count();
    Some((&n[unsigned(n)..], &e[unsigned(e)..]))
}

/// The content of one DER element of `tag`, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let count = usize::from(length & 0x7f);
        if count > 4 || rest.len() < count {
            return None;
        }
        let (bytes, rest) = rest.split_at(count);
        (bytes.iter().fold(0, |sum, b| (sum << 8) | usize::from(*b)), rest)
    };
    if found != tag || rest.len() < length {
        return None;
    }
    Some(rest.split_at(length))
}

/// The keys of one realm, newest last.
#[derive(Default)]
pub struct KeySet(pub Vec<Key>);

impl KeySet {
    /// The key that signs with `algorithm` now, when there is one.
    pub fn signer(&self, algorithm: Algorithm, now: u64) -> Option<&Key> {
        let may_sign = |key: &&Key| {
            let stored = &key.stored;
            stored.algorithm == algorithm && stored.signs_from <= now && stored.retired_at.is_none_or(|at| at > now)
        };
        self.0.iter().rev().find(may_sign)
    }

    /// The public keys (RFC 7517, 5).
    pub fn jwks(&self) -> Value {
        json!({"keys": self.0.iter().map(Key::jwk).collect::<Vec<_>>()})
    }

    /// The claims of a token of type `typ` that one of these keys signed. Times and issuer are the caller's to check.
    pub fn open(&self, typ: &str, token: &str) -> Option<Map<String, Value>> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header: Map<String, Value> = decode(header)?;
        if header.contains_key("crit") || header.get("typ")?.as_str()? != typ {
            return None;
        }
        let kid = header.get("kid")?.as_str()?;
        let key = self.0.iter().find(|key| key.kid == kid)?;
        if header.get("alg")?.as_str()? != key.stored.algorithm.as_str() {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if key.verify(message.as_bytes(), &signature) { decode(claims) } else { None }
    }
}

fn decode(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_tokens_open_and_others_do_not() {
        for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
            let key = Key::generate(algorithm, 0).expect("a key");
            let claims = Map::from_iter([("sub".to_owned(), json!("x"))]);
            let token = key.sign("JWT", &claims).expect("signed");
            let again = Key::from_stored(key.stored.clone()).expect("read back");
            assert_eq!(again.kid, key.kid);
            let set = KeySet(vec![again]);
            assert_eq!(set.open("JWT", &token), Some(claims.clone()));
            assert_eq!(set.open("at+jwt", &token), None, "another type");
            let other = KeySet(vec![Key::generate(algorithm, 0).expect("a key")]);
            assert_eq!(other.open("JWT", &token), None, "another key");
            let (head, tail) = token.split_once('.').expect("a header");
            let header = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
            for forged in [
                json!({"alg": "none", "typ": "JWT", "kid": key.kid}),
                json!({"alg": "HS256", "typ": "JWT", "kid": key.kid}),
                json!({"alg": "ES384", "typ": "JWT", "kid": key.kid}),
                json!({"typ": "JWT", "kid": key.kid}),
                json!({"alg": algorithm.as_str(), "typ": "JWT", "kid": key.kid, "crit": ["x"]}),
            ] {
                assert_eq!(set.open("JWT", &format!("{}.{tail}", header(forged))), None);
            }
            let body = tail.split_once('.').expect("a body").0;
            assert_eq!(set.open("JWT", &format!("{head}.{body}.")), None, "no signature");
            assert_eq!(set.open("JWT", &format!("{head}.{body}")), None, "two parts");
        }
    }

    #[test]
    fn rsa_numbers_are_the_modulus_and_the_exponent() {
        let key = Key::generate(Algorithm::Rs256, 0).expect("a key");
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(key.jwk()[name].as_str().expect("text")).expect("base64url");
        assert_eq!(bytes("n").len(), 256);
        assert_eq!(bytes("e"), [1, 0, 1]);
    }
}
