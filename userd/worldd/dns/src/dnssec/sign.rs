//! Signatures of sets, made on demand (RFC 4034, sections 3 and 6).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest;

use super::key::ZoneKey;
use crate::{
    name::{Name, wire_length},
    record::{Rdata, RrSet, Rtype},
    zone::{Node, Zone},
};

const DAY: u64 = 86_400;
/// Days that a signature is valid, from the day before it was made.
const VALID_DAYS: u64 = 14;

/// The keys that sign a zone now.
#[derive(Debug)]
pub struct ZoneKeys {
    /// Sign the DNSKEY set.
    pub key_signing: Vec<Arc<ZoneKey>>,
    /// Sign everything else.
    pub zone_signing: Arc<ZoneKey>,
}

impl ZoneKeys {
    /// True when the keys are the same and have the same roles.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let records = |keys: &Self| keys.key_signing.iter().map(|key| key.dnskey().clone()).collect::<Vec<_>>();
        records(self) == records(other) && self.zone_signing.dnskey() == other.zone_signing.dnskey()
    }
}

/// Signatures made, by the hash of what was signed; bounded, and forgetting in two generations.
pub struct SignatureCache(Mutex<(Generation, Generation)>, usize);

type Generation = HashMap<[u8; 32], [u8; 64]>;

impl fmt::Debug for SignatureCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignatureCache")
    }
}

impl SignatureCache {
    /// Keeps at most `most` signatures, about 150 bytes each.
    pub fn new(most: usize) -> Self {
        Self(Mutex::default(), (most / 2).max(1))
    }

    fn sign(&self, key: &ZoneKey, bytes: &[u8]) -> Option<[u8; 64]> {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(key.dnskey().as_wire());
        context.update(bytes);
        let hash: [u8; 32] = context.finish().as_ref().try_into().ok()?;
        {
            let (young, old) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = young.get(&hash) {
                return Some(*known);
            }
            if let Some(known) = old.remove(&hash) {
                young.insert(hash, known);
                return Some(known);
            }
        }
        let signature = key.sign(bytes).ok()?;
        let (young, old) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if young.len() >= self.1 {
            *old = std::mem::take(young);
        }
        young.insert(hash, signature);
        Some(signature)
    }
}

/// What makes signatures now.
#[derive(Debug, Clone)]
pub struct Signatures {
    /// Those made before.
    pub cache: Arc<SignatureCache>,
    /// Seconds since 1970.
    pub now: u64,
}

impl Signatures {
    /// The RRSIG set of a set of a signed zone; `owner` is the wildcard itself where one answered.
    /// `None` for an unsigned zone.
    pub fn of(&self, zone: &Zone, owner: &Name, set: &RrSet) -> Option<RrSet> {
        let keys = zone.keys()?;
        let signers: &[Arc<ZoneKey>] =
            if set.rtype == Rtype::DNSKEY { &keys.key_signing } else { std::slice::from_ref(&keys.zone_signing) };
        let data = signers.iter().filter_map(|key| self.one(zone, owner, set, key)).collect();
        Some(RrSet { rtype: Rtype::RRSIG, ttl: set.ttl, data })
    }

    fn one(&self, zone: &Zone, owner: &Name, set: &RrSet, key: &ZoneKey) -> Option<Rdata> {
        let labels = owner.label_count() - usize::from(owner.is_wildcard());
        // The same for a whole day, so that one signature serves it; clocks may differ by a day.
        let inception = (self.now / DAY).saturating_sub(1) * DAY;
        let mut wire = set.rtype.to_int().to_be_bytes().to_vec();
        wire.extend_from_slice(&[13, u8::try_from(labels).ok()?]);
        wire.extend_from_slice(&set.ttl.to_be_bytes());
        // 32 bits, compared by RFC 1982.
        wire.extend_from_slice(&((inception + VALID_DAYS * DAY) as u32).to_be_bytes());
        wire.extend_from_slice(&(inception as u32).to_be_bytes());
        wire.extend_from_slice(&key.tag().to_be_bytes());
        wire.extend_from_slice(zone.apex().to_lowercase().as_wire());
        let input = signed_bytes(&wire, owner, set, set.ttl)?;
        wire.extend_from_slice(&self.cache.sign(key, &input)?);
        Some(Rdata::from_wire(wire))
    }
}

/// What a signature is made over (RFC 4034, section 3.1.8.1): `head`, the RRSIG data up to the signer, then the set in
/// canonical form with the TTL that it has in its zone. `None` for data longer than a record can be.
pub(crate) fn signed_bytes(head: &[u8], owner: &Name, set: &RrSet, ttl: u32) -> Option<Vec<u8>> {
    let signer = Name::from_wire(head.get(18..)?).ok()?.to_lowercase();
    let mut bytes = [&head[..18], signer.as_wire()].concat();
    let owner = owner.to_lowercase();
    let mut all: Vec<Vec<u8>> = set.data.iter().map(|data| canonical(set.rtype, data)).collect();
    all.sort_unstable();
    // Two that differ in case only are one (section 6.3).
    all.dedup();
    for data in all {
        bytes.extend_from_slice(owner.as_wire());
        bytes.extend_from_slice(&set.rtype.to_int().to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes.extend_from_slice(&ttl.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(data.len()).ok()?.to_be_bytes());
        bytes.extend_from_slice(&data);
    }
    Some(bytes)
}

/// Data with the names in it in lower case, for the types where that is so (RFC 4034, section 6.2; RFC 6840, section 5.1).
fn canonical(rtype: Rtype, data: &Rdata) -> Vec<u8> {
    let (before, names) = match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME => (0, 1),
        Rtype::MX | Rtype::AFSDB | Rtype::RT | Rtype::KX => (2, 1),
        Rtype::SRV => (6, 1),
        Rtype::SOA | Rtype::RP | Rtype::MINFO => (0, 2),
        Rtype::NAPTR => (naptr_name(data.as_wire()), 1),
        _ => return data.as_wire().to_vec(),
    };
    let mut wire = data.as_wire().to_vec();
    let mut at = before;
    for _ in 0..names {
        let Some(length) = wire.get(at..).and_then(wire_length) else { break };
        wire[at..at + length].make_ascii_lowercase();
        at += length;
    }
    wire
}

/// Where the name of NAPTR data begins: after two numbers and three strings (RFC 3403, section 4.1).
fn naptr_name(data: &[u8]) -> usize {
    (0..3).fold(4, |at, _| at + 1 + data.get(at).map_or(0, |&length| usize::from(length)))
}

impl Zone {
    /// The NSEC set of a node that is part of the chain: what it owns, and which name comes next.
    pub(crate) fn nsec(&self, node: &Node) -> RrSet {
        let next = self.next_in_chain(node).map_or_else(|| self.apex().clone(), |next| next.name.clone());
        let is_cut = node.name != *self.apex() && node.get(Rtype::NS).is_some();
        let own = node.sets.iter().map(|set| set.rtype);
        // At a delegation the addresses of a server of the same name are glue.
        let own = own.filter(|rtype| !is_cut || matches!(*rtype, Rtype::NS | Rtype::DS));
        let mut types: Vec<u16> = own.chain([Rtype::RRSIG, Rtype::NSEC]).map(Rtype::to_int).collect();
        types.sort_unstable();
        let mut wire = next.as_wire().to_vec();
        for window in types.chunk_by(|a, b| a >> 8 == b >> 8) {
            let mut bits = vec![0_u8; usize::from(window[window.len() - 1] & 255) / 8 + 1];
            for rtype in window {
                bits[usize::from(rtype & 255) / 8] |= 0x80 >> (rtype % 8);
            }
            wire.extend_from_slice(&[(window[0] >> 8) as u8, bits.len() as u8]); // at most 255 and 32
            wire.extend_from_slice(&bits);
        }
        let ttl = self.denial_ttl();
        RrSet { rtype: Rtype::NSEC, ttl, data: Arc::new([Rdata::from_wire(wire)]) }
    }
}
