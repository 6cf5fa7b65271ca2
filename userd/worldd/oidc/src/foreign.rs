//! Access tokens of an issuer of another world: read by its public keys alone, as any resource server would (RFC 9068,
//! section 4). What that issuer has revoked is not known here; its tokens are short-lived.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::token::{ACCESS, Access, SKEW_S};

/// Keys taken of one issuer.
const KEYS: usize = 16;
/// Longest token that is read, bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// An issuer and its keys for access tokens (ES256), by key id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignIssuer {
    issuer: String,
    keys: BTreeMap<String, [u8; 65]>,
}

impl ForeignIssuer {
    /// From a key set (RFC 7517, section 5). Keys of other kinds are left out.
    pub fn new(issuer: &str, jwks: &Value) -> Self {
        let all = jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
        Self { issuer: issuer.to_owned(), keys: all.filter_map(es256).take(KEYS).collect() }
    }

    /// Whose tokens these are.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Reads an access token that holds at `now` (Unix time, seconds).
    pub fn open(&self, token: &str, now: u64) -> Option<Access> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let header = decode(header)?;
        let word = |name: &str| header.get(name).and_then(Value::as_str);
        if header.contains_key("crit") || word("typ")? != ACCESS || word("alg")? != "ES256" {
            return None;
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.keys.get(word("kid")?)?);
        key.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims = decode(claims)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let number = |name: &str| claims.get(name).and_then(Value::as_u64);
        if text("iss")? != self.issuer || number("exp")? <= now || number("iat")? > now.saturating_add(SKEW_S) {
            return None;
        }
        let scope = text("scope")?.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        Some(Access { user_id: None, scope, claims })
    }
}

/// The id of a key on P-256 and its point, uncompressed (SEC 1, section 2.3.3).
fn es256(jwk: &Value) -> Option<(String, [u8; 65])> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if (text("kty")?, text("crv")?) != ("EC", "P-256") {
        return None;
    }
    let mut point = [4; 65];
    for (name, place) in [("x", 1..33), ("y", 33..65)] {
        let bytes: [u8; 32] = URL_SAFE_NO_PAD.decode(text(name)?).ok()?.try_into().ok()?;
        point[place].copy_from_slice(&bytes);
    }
    Some((text("kid")?.to_owned(), point))
}

fn decode(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jose::{Algorithm, Key, KeySet};

    const ISSUER: &str = "https://auth.beta/realms/platform";

    fn claims(change: impl FnOnce(&mut Value)) -> Map<String, Value> {
        let mut claims = json!({ "iss": ISSUER, "exp": 200, "iat": 100, "scope": "a b", "aud": "api" });
        change(&mut claims);
        claims.as_object().expect("an object").clone()
    }

    #[test]
    fn tokens_of_the_issuers_own_keys_are_read_while_they_hold() {
        let key = |algorithm| Key::generate(algorithm, 0).expect("a key");
        let (signer, rsa, other) = (key(Algorithm::Es256), key(Algorithm::Rs256), key(Algorithm::Es256));
        let sign = |key: &Key, typ: &str, claims: &Map<String, Value>| key.sign(typ, claims).expect("signed");
        let good = sign(&signer, ACCESS, &claims(|_| {}));
        let forged = [
            sign(&other, ACCESS, &claims(|_| {})),
            sign(&rsa, ACCESS, &claims(|_| {})),
            sign(&signer, "JWT", &claims(|_| {})),
            sign(&signer, ACCESS, &claims(|claims| claims["iss"] = json!("https://auth.gamma/realms/platform"))),
            sign(&signer, ACCESS, &claims(|claims| claims["iat"] = json!(1000))),
            sign(&signer, ACCESS, &claims(|claims| claims["scope"] = json!(7))),
            good.replace('.', ""),
            format!("{good}A"),
            String::new(),
        ];
        let jwks = KeySet(vec![rsa, signer]).jwks();
        let issuer = ForeignIssuer::new(ISSUER, &jwks);
        let scope = issuer.open(&good, 150).expect("it holds").scope;
        assert_eq!(scope.into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(issuer.open(&good, 200).is_none(), "it is over");
        for token in forged {
            assert!(issuer.open(&token, 150).is_none(), "{token}");
        }
        for nothing in
            [json!(null), json!({ "keys": 7 }), json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": "AA" }] })]
        {
            assert!(ForeignIssuer::new(ISSUER, &nothing).open(&good, 150).is_none(), "{nothing}");
        }
    }
}
