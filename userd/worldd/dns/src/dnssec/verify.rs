//! Checking signatures (RFC 4035, section 5.3), with a bound on the work that a hostile zone can cause (CVE-2023-50387).

use aws_lc_rs::{
    digest,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
    },
};

use super::{key::tag, sign::signed_bytes};
use crate::{
    name::{Name, wire_length},
    record::{Rdata, RrSet, Rtype},
};

/// Signatures of one set that are looked at: with key lifetimes of one day a DNSKEY set of ours has eleven.
const SIGNATURES: usize = 16;
/// Keys of the same tag and algorithm that are tried for one signature.
const TWINS: usize = 4;

/// What is left of the work that one question may cost.
#[derive(Debug)]
pub(crate) struct Effort(u32);

impl Effort {
    /// At most this many public-key operations and key digests together.
    pub(crate) fn new(most: u32) -> Self {
        Self(most)
    }

    /// Nothing is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.0 == 0
    }

    fn spend(&mut self) -> Result<(), Flaw> {
        self.0 = self.0.checked_sub(1).ok_or(Flaw::Effort)?;
        Ok(())
    }
}

/// Why a set is not proven by its signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// There is no signature of this zone.
    Missing,
    /// No key of the zone made any of them.
    NoKey,
    /// The newest has expired.
    Expired,
    /// It begins in the future.
    Early,
    /// It does not fit the set.
    Wrong,
    /// Finding out would take more work than one question may cost.
    Effort,
}

/// A set that is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proven {
    /// How long it may be believed, seconds (section 5.3.3).
    pub(crate) ttl: u32,
    /// A wildcard stood for the owner; this many labels its parent has.
    pub(crate) encloser: Option<usize>,
}

/// A key of a zone.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    record: Rdata,
    tag: u16,
}

impl PublicKey {
    /// Reads DNSKEY data. `None` when it is no key that signs zones (RFC 4034, section 2.1.1), is revoked (RFC 5011), or
    /// of an algorithm that is not known here.
    pub(crate) fn read(record: &Rdata) -> Option<Self> {
        let (flags, rest) = record.as_wire().split_first_chunk::<2>()?;
        let flags = u16::from_be_bytes(*flags);
        let is_zone_key = flags & 0x0100 != 0 && flags & 0x0080 == 0 && rest.first() == Some(&3);
        (is_zone_key && knows_algorithm(*rest.get(1)?))
            .then(|| Self { record: record.clone(), tag: tag(record.as_wire()) })
    }

    fn algorithm(&self) -> u8 {
        self.record.as_wire()[3]
    }

    /// True when `ds`, data of a DS record, is the digest of this key as a key of `zone`.
    pub(crate) fn is_digested_by(&self, zone: &Name, ds: &Rdata, effort: &mut Effort) -> Result<bool, Flaw> {
        let Some((head, wanted)) = ds.as_wire().split_first_chunk::<4>() else { return Ok(false) };
        if head[..2] != self.tag.to_be_bytes() || head[2] != self.algorithm() {
            return Ok(false);
        }
        let Some(algorithm) = digest_of(head[3]) else { return Ok(false) };
        effort.spend()?;
        let mut input = digest::Context::new(algorithm);
        input.update(zone.to_lowercase().as_wire());
        input.update(self.record.as_wire());
        Ok(input.finish().as_ref() == wanted)
    }

    fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let key = &self.record.as_wire()[4..];
        match self.algorithm() {
            8 => rsa(key, &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, bytes, signature),
            10 => rsa(key, &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, bytes, signature),
            // The curve's keys lie there without the byte that says "uncompressed" (RFC 6605, section 4).
            13 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], key].concat()).verify(bytes, signature).is_ok()
            }
            14 => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, [&[4], key].concat()).verify(bytes, signature).is_ok()
            }
            15 => UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature).is_ok(),
            _ => false,
        }
    }
}

/// Data of a key of RSA: length of the exponent in one byte or three, exponent, modulus (RFC 3110, section 2).
fn rsa(key: &[u8], parameters: &'static RsaParameters, bytes: &[u8], signature: &[u8]) -> bool {
    let parts = match key {
        [0, high, low, rest @ ..] => rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))),
        [length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [] => None,
    };
    parts.is_some_and(|(e, n)| RsaPublicKeyComponents { n, e }.verify(parameters, bytes, signature).is_ok())
}

/// RSA with SHA-256 or SHA-512, ECDSA P-256 and P-384, Ed25519 (RFC 8624, section 3.1).
pub(crate) fn knows_algorithm(number: u8) -> bool {
    matches!(number, 8 | 10 | 13 | 14 | 15)
}

fn digest_of(number: u8) -> Option<&'static digest::Algorithm> {
    match number {
        2 => Some(&digest::SHA256),
        4 => Some(&digest::SHA384),
        _ => None,
    }
}

/// True when a DS record names an algorithm and a digest that are known here; one that does not is as if it were not there
/// (RFC 4035, section 5.2).
pub(crate) fn knows_ds(ds: &Rdata) -> bool {
    matches!(ds.as_wire(), [_, _, algorithm, digest, ..] if knows_algorithm(*algorithm) && digest_of(*digest).is_some())
}

/// The fields of an RRSIG record (RFC 4034, section 3.1).
struct Signature<'d> {
    covered: Rtype,
    algorithm: u8,
    labels: usize,
    ttl: u32,
    expiration: u32,
    inception: u32,
    tag: u16,
    signer: Name,
    /// Everything before the signature itself.
    head: &'d [u8],
    bytes: &'d [u8],
}

impl<'d> Signature<'d> {
    fn read(data: &'d Rdata) -> Option<Self> {
        let wire = data.as_wire();
        let fixed = wire.first_chunk::<18>()?;
        let number = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let length = wire_length(&wire[18..])?;
        let (head, bytes) = wire.split_at(18 + length);
        Some(Self {
            covered: Rtype::from_int(u16::from_be_bytes([fixed[0], fixed[1]])),
            algorithm: fixed[2],
            labels: usize::from(fixed[3]),
            ttl: number(4),
            expiration: number(8),
            inception: number(12),
            tag: u16::from_be_bytes([fixed[16], fixed[17]]),
            signer: Name::from_wire(&head[18..]).ok()?,
            head,
            bytes,
        })
    }
}

/// The zone that says it signed a set of `owner`: the first signer named that can be one.
pub(crate) fn signer(owner: &Name, set: Rtype, signatures: Option<&RrSet>) -> Option<Name> {
    let signatures = signatures?.data.iter().take(SIGNATURES).filter_map(Signature::read);
    // A DS set belongs to the zone above its owner.
    let fits = |signature: &Signature<'_>| {
        owner.is_under(&signature.signer) && (set != Rtype::DS || signature.signer != *owner)
    };
    signatures.filter(|signature| signature.covered == set).find(fits).map(|signature| signature.signer)
}

/// Checks that one of `signatures` proves a set of `owner` in `zone`, whose keys are known. `now` is in seconds since 1970,
/// compared by RFC 1982.
///
/// # Errors
/// The [`Flaw`] of the signature that came nearest.
pub(crate) fn check_set(
    (owner, set): (&Name, &RrSet),
    signatures: Option<&RrSet>,
    zone: &Name,
    keys: &[PublicKey],
    now: u32,
    effort: &mut Effort,
) -> Result<Proven, Flaw> {
    let mut flaw = Flaw::Missing;
    let signatures = signatures.map_or(&[][..], |set| &set.data);
    for data in signatures.iter().take(SIGNATURES) {
        let Some(signature) = Signature::read(data) else { continue };
        let own_labels = owner.label_count() - usize::from(owner.is_wildcard());
        if signature.covered != set.rtype || signature.signer != *zone || signature.labels > own_labels {
            continue;
        }
        let (left, age) = (signature.expiration.wrapping_sub(now), now.wrapping_sub(signature.inception));
        if left.cast_signed() < 0 || age.cast_signed() < 0 {
            flaw = if left.cast_signed() < 0 { Flaw::Expired } else { Flaw::Early };
            continue;
        }
        if flaw == Flaw::Missing {
            flaw = Flaw::NoKey;
        }
        let encloser = (signature.labels < own_labels).then_some(signature.labels);
        let Some(signed_owner) = encloser.map_or(Some(owner.clone()), |labels| wildcard(owner, labels)) else {
            continue;
        };
        let Some(bytes) = signed_bytes(signature.head, &signed_owner, set, signature.ttl) else { continue };
        let fits = |key: &&PublicKey| key.tag == signature.tag && key.algorithm() == signature.algorithm;
        for key in keys.iter().filter(fits).take(TWINS) {
            effort.spend()?;
            if key.verifies(&bytes, signature.bytes) {
                return Ok(Proven { ttl: set.ttl.min(signature.ttl).min(left), encloser });
            }
            flaw = Flaw::Wrong;
        }
    }
    Err(flaw)
}

/// The ancestor of a name that has this many labels.
pub(crate) fn ancestor(name: &Name, labels: usize) -> Option<Name> {
    let mut at = name.clone();
    for _ in labels..name.label_count() {
        at = at.parent()?;
    }
    Some(at)
}

/// The wildcard below the ancestor of a name that has this many labels.
pub(crate) fn wildcard(name: &Name, labels: usize) -> Option<Name> {
    ancestor(name, labels)?.child(b"*").ok()
}

#[cfg(test)]
mod tests;
