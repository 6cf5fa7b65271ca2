//! A request's body as a JWS: none verifies with a key that did not sign it.

use std::sync::LazyLock;

use crate::acme::Person;
use netengine_pki::jose::{Algorithm, Identity, Jwk, Jws, verify_mac};

/// Keys whose private halves nobody who sends bytes has; one of each type.
static STRANGERS: LazyLock<Vec<Jwk>> = LazyLock::new(|| {
    let p256 = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    let rsa = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB"}"#;
    let keys = [p256, rsa].map(|key| serde_json::from_str(key).expect("a key"));
    keys.into_iter().chain([Person::new(9).key]).collect()
});

/// One input.
pub fn target(body: &[u8]) {
    let Ok(jws) = Jws::parse(body) else { return };
    assert!(STRANGERS.iter().all(|key| !jws.is_signed_by(key)), "a key verified what it did not sign");
    assert!(!verify_mac(&jws, b"a key of thirty-two bytes, unseen"));
    let text = str::from_utf8(body).expect("JSON is UTF-8");
    // Half a surrogate pair in a member that a JWS does not know is in the grammar, but in no text (RFC 8259, section 8.2).
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text) else { return };
    assert_eq!(Jws::from_value(value.clone()).as_ref(), Ok(&jws), "one body, two meanings");
    let Identity::Key(key) = &jws.protected.identity else { return };
    if !jws.is_signed_by(key) {
        return;
    }
    assert!(Algorithm::named(&jws.protected.algorithm) == Some(key.algorithm()));
    // What was signed is what was sent: any other payload fails.
    let mut changed = value;
    let payload = changed["payload"].as_str().expect("a text").to_owned() + "AAAA";
    changed["payload"] = payload.into();
    if let Ok(changed) = Jws::from_value(changed) {
        assert!(!changed.is_signed_by(key), "a changed payload verifies");
    }
}
