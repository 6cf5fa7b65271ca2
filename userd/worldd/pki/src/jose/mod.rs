//! JSON Object Signing as ACME uses it: RFC 7515 (JWS), 7517 and 7518 (JWK, algorithms), 7638 (thumbprints), 8037
//! (Ed25519). Nothing else of JOSE is understood.

mod jwk;
mod jws;

pub use jwk::{Jwk, JwkError};
pub use jws::{Algorithm, Identity, Jws, JwsError, Protected, verify_mac};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Base64url without padding (RFC 7515, section 2).
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes behind base64url without padding; `None` for anything else, trailing bits included.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}
