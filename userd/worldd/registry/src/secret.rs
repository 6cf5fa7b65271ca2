//! Secrets that let a domain be transferred: shown once, kept as a digest.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest as hash},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// A transfer secret of 144 random bits. Cannot be printed or logged by mistake.
#[derive(Clone)]
pub struct TransferSecret(String);

impl std::fmt::Debug for TransferSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TransferSecret(..)")
    }
}

/// The kernel gives no random bytes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("cannot get random bytes from the kernel")]
pub struct NoRandom;

impl TransferSecret {
    /// A new one.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn generate() -> Result<Self, NoRandom> {
        let mut bytes = [0; 18];
        getrandom::fill(&mut bytes).map_err(|_| NoRandom)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text, for the one who may know it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> String {
        digest(&self.0)
    }
}

fn digest(text: &str) -> String {
    hash(&SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// True when `text` is the secret of this digest. Takes the same time for every wrong text of one length.
pub fn is_secret_of(text: &str, kept: &str) -> bool {
    verify_slices_are_equal(digest(text).as_bytes(), kept.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_itself_opens() {
        let (secret, other) =
            (TransferSecret::generate().expect("random"), TransferSecret::generate().expect("random"));
        assert!(is_secret_of(secret.expose(), &secret.digest()));
        assert!(!is_secret_of(other.expose(), &secret.digest()));
        assert!(!is_secret_of("", &secret.digest()));
        assert!(!is_secret_of(&secret.digest(), &secret.digest()), "what is kept does not open");
        assert_eq!(format!("{secret:?}"), "TransferSecret(..)");
    }
}
