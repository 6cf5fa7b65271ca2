//! Private keys.

use std::fmt;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use super::CaError;

/// A private key as PKCS #8 (RFC 5208). It cannot be printed and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// From a store.
    pub fn from_pkcs8(der: Vec<u8>) -> Self {
        Self(Zeroizing::new(der))
    }

    /// For a store or a TLS library, for nothing else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A new key on P-256: the curve every client knows and the fastest to sign with.
///
/// # Errors
/// [`CaError::Key`] when the library has no randomness.
pub fn generate() -> Result<(KeyPair, Secret), CaError> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CaError::Key)?;
    let secret = Secret::from_pkcs8(pair.serialize_der());
    Ok((pair, secret))
}

/// The key pair behind a secret.
///
/// # Errors
/// [`CaError::Key`] when the bytes are no P-256 key.
pub fn load(secret: &Secret) -> Result<KeyPair, CaError> {
    let der = rustls::pki_types::PrivatePkcs8KeyDer::from(secret.expose().to_vec());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(CaError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_printed() {
        let (_, secret) = generate().expect("a key");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert!(load(&secret).is_ok());
        assert!(load(&Secret::from_pkcs8(vec![1, 2, 3])).is_err());
    }
}
