//! What must not be printed, and where randomness comes from.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Letters and digits that are not mistaken for one another.
const READABLE: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// A password, client secret or token in clear.
///
/// Has neither `Debug` nor `Display` nor `Serialize`, so it reaches no log and no answer by accident; its bytes are
/// overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a text as a secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// A password of 26 letters and digits, 128 bits.
    pub fn password(entropy: &mut dyn Entropy) -> Self {
        let mut text = String::with_capacity(26);
        while text.len() < 26 {
            let mut byte = [0];
            entropy.fill(&mut byte);
            // 248 is the largest multiple of 31 in a byte: above it the first letters would come more often.
            if byte[0] < 248 {
                text.push(char::from(READABLE[usize::from(byte[0]) % READABLE.len()]));
            }
        }
        Self(text)
    }

    /// A token of 256 bits in base64url.
    pub fn token(entropy: &mut dyn Entropy) -> Self {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes);
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The text itself; the one way out.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
}

/// Where random bytes come from. The core has none of its own.
pub trait Entropy {
    /// Fills `bytes` with random bytes fit for keys.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The kernel's random bytes (getrandom(2)).
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl Entropy for Kernel {
    /// # Panics
    /// When the kernel gives none; to go on would be to hand out tokens that can be guessed.
    fn fill(&mut self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the kernel gives random bytes");
    }
}

/// A random identifier of 128 bits in base64url.
pub fn random_id(entropy: &mut dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A random UUID (RFC 9562, version 4): the form of a Keycloak subject.
pub fn random_uuid(entropy: &mut dyn Entropy) -> String {
    let mut b = [0; 16];
    entropy.fill(&mut b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// What is stored of a token or client secret: SHA-256 in base64url.
///
/// Enough because every such value holds 128 random bits or more; passwords go through argon2id instead.
pub fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

/// Compares in time that depends on the lengths only.
pub fn same(a: &str, b: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a.as_bytes(), b.as_bytes()).is_ok()
}
