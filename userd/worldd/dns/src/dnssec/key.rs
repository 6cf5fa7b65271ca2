//! Keys of zones. All follow from one secret of the world, so that is all that must be kept.

use std::fmt;

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey},
    digest, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};

use crate::{name::Name, record::Rdata};

/// Algorithm number of ECDSA P-256 with SHA-256 (RFC 6605).
const ALGORITHM: u8 = 13;

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The DNSKEY set; its digest is the DS record above.
    KeySigning,
    /// Everything else.
    ZoneSigning,
}

impl Role {
    /// The flags of its DNSKEY record (RFC 4034, section 2.1.1).
    fn flags(self) -> u16 {
        match self {
            Self::KeySigning => 257,
            Self::ZoneSigning => 256,
        }
    }
}

/// The secret of a world from which the keys of its zones follow. Never shown.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// Takes 32 random bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The key of a zone, a role and a generation: always the same.
    ///
    /// # Errors
    /// [`KeyError`] when the cryptographic library refuses; it has no reason to.
    pub fn key(&self, zone: &Name, role: Role, generation: u64) -> Result<ZoneKey, KeyError> {
        // A hash that is no scalar of the curve comes once in 2^32; then the next is taken.
        (0..8_u8)
            .find_map(|attempt| {
                let mut context = hmac::Context::with_key(&self.0);
                context.update(b"netengine zone key");
                context.update(&role.flags().to_be_bytes());
                context.update(&generation.to_be_bytes());
                context.update(&[attempt]);
                context.update(zone.to_lowercase().as_wire());
                ZoneKey::from_scalar(context.sign().as_ref(), role)
            })
            .ok_or(KeyError)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key or a signature could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot make a key or signature of a zone")]
pub struct KeyError;

/// One key of one zone.
pub struct ZoneKey {
    pair: EcdsaKeyPair,
    record: Rdata,
    tag: u16,
}

impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZoneKey({})", self.tag)
    }
}

impl ZoneKey {
    fn from_scalar(scalar: &[u8], role: Role) -> Option<Self> {
        let public = PrivateKey::from_private_key(&ECDH_P256, scalar).ok()?.compute_public_key().ok()?;
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, scalar, public.as_ref()).ok()?;
        // Protocol 3; the point without the byte that says "uncompressed" (RFC 6605, section 4).
        let point = public.as_ref().get(1..65)?;
        let wire = [&role.flags().to_be_bytes()[..], &[3, ALGORITHM], point].concat();
        let tag = tag(&wire);
        Some(Self { pair, record: Rdata::from_wire(wire), tag })
    }

    /// The data of its DNSKEY record.
    pub fn dnskey(&self) -> &Rdata {
        &self.record
    }

    /// Its tag (RFC 4034, appendix B).
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The data of its DS record with SHA-256 (RFC 4509).
    pub fn ds(&self, zone: &Name) -> Rdata {
        let mut input = digest::Context::new(&digest::SHA256);
        input.update(zone.to_lowercase().as_wire());
        input.update(self.record.as_wire());
        Rdata::from_wire([&self.tag.to_be_bytes()[..], &[ALGORITHM, 2], input.finish().as_ref()].concat())
    }

    /// Signs bytes: 64 bytes, r and s (RFC 6605, section 4).
    ///
    /// # Errors
    /// [`KeyError`] when the cryptographic library refuses.
    pub(super) fn sign(&self, bytes: &[u8]) -> Result<[u8; 64], KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), bytes).map_err(|_| KeyError)?;
        signature.as_ref().try_into().map_err(|_| KeyError)
    }
}

/// The tag of DNSKEY data (RFC 4034, appendix B).
pub(super) fn tag(wire: &[u8]) -> u16 {
    let sum: u32 =
        wire.iter().enumerate().map(|(n, &byte)| if n % 2 == 0 { u32::from(byte) << 8 } else { u32::from(byte) }).sum();
    (sum + (sum >> 16)) as u16 // the low 16 bits, as the appendix says
}
