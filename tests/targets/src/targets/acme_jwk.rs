//! Account keys: what is taken survives being written, with the same thumbprint.

use netengine_pki::jose::{Jwk, decode};

/// One input.
pub fn target(json: &[u8]) {
    let Ok(key) = serde_json::from_slice::<Jwk>(json) else { return };
    let written = serde_json::to_vec(&key).expect("JSON");
    assert!(!written.windows(4).any(|part| part == br#""d":"#), "a secret part is written");
    let again: Jwk = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again, key);
    assert_eq!(again.thumbprint(), key.thumbprint());
    assert_eq!(decode(&key.thumbprint()).map(|hash| hash.len()), Some(32));
    assert!(!key.verifies(b"message", &[0; 64]) && !key.verifies(b"message", &[]), "a signature of nothing verifies");
}
