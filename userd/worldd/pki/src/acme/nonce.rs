//! Nonces against replay (RFC 8555, section 6.5).
//!
//! A nonce is a number and a MAC over it. Numbers are given out in order, so a bit for each of the last [`WINDOW`]
//! numbers tells whether it was used; what is older is refused. Memory does not grow however many are asked for, and
//! none survives the process: clients then try again with a fresh one, as the standard tells them.

use aws_lc_rs::{hmac, rand::SystemRandom};

use crate::jose;

/// How many nonces are good at the same time.
pub const WINDOW: u64 = 1 << 16;

/// All nonces of this process.
pub struct Nonces {
    key: hmac::Key,
    next: u64,
    used: Vec<u64>,
}

impl Nonces {
    /// None given out yet.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, next: 0, used: vec![0; (WINDOW / 64) as usize] })
    }

    /// A new nonce.
    pub fn issue(&mut self) -> String {
        let number = self.next;
        self.next += 1;
        // The bit belonged to a number that is now too old.
        let (word, bit) = place(number);
        self.used[word] &= !bit;
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[8..].copy_from_slice(&hmac::sign(&self.key, &number.to_be_bytes()).as_ref()[..16]);
        jose::encode(bytes)
    }

    /// Whether the nonce is one of ours and was not used; from now on it is.
    pub fn consume(&mut self, nonce: &str) -> bool {
        let Some(bytes) = jose::decode(nonce).filter(|bytes| bytes.len() == 24) else { return false };
        let (number, mac) = bytes.split_at(8);
        let wanted = hmac::sign(&self.key, number);
        // The window decides for whom the MAC is right; equal time matters little, and is had for nothing.
        if aws_lc_rs::constant_time::verify_slices_are_equal(&wanted.as_ref()[..16], mac).is_err() {
            return false;
        }
        let number = number.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        if number >= self.next || self.next - number > WINDOW {
            return false;
        }
        let (word, bit) = place(number);
        let was_used = self.used[word] & bit != 0;
        self.used[word] |= bit;
        !was_used
    }
}

fn place(number: u64) -> (usize, u64) {
    let number = number % WINDOW;
    ((number / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once() {
        let mut nonces = Nonces::new().expect("randomness");
        let (first, second) = (nonces.issue(), nonces.issue());
        assert!(nonces.consume(&second) && nonces.consume(&first));
        assert!(!nonces.consume(&first) && !nonces.consume(&second));
    }

    #[test]
    fn what_was_never_given_out_is_not_good() {
        let mut nonces = Nonces::new().expect("randomness");
        let mine = nonces.issue();
        let other = Nonces::new().expect("randomness").issue();
        for bad in ["", "AAAA", "!", other.as_str(), &mine[1..], &format!("{mine}A")] {
            assert!(!nonces.consume(bad), "{bad:?}");
        }
        assert!(nonces.consume(&mine));
    }

    #[test]
    fn old_ones_are_forgotten_and_their_places_are_free() {
        let mut nonces = Nonces::new().expect("randomness");
        let (old, used) = (nonces.issue(), nonces.issue());
        assert!(nonces.consume(&used));
        let rest: Vec<_> = (0..WINDOW).map(|_| nonces.issue()).collect();
        assert!(!nonces.consume(&old) && !nonces.consume(&used));
        assert!(rest.iter().all(|nonce| nonces.consume(nonce)));
    }
}
