//! TSIG (RFC 8945): messages signed with a shared secret, one by one and in a stream.

use std::{collections::HashMap, fmt, sync::Arc};

use aws_lc_rs::hmac;

use super::{
    CLASS_ANY, HEADER,
    read::{Malformed, Parsed, RawRecord, Reader},
};
use crate::{name::Name, record::Rtype};

/// Seconds that clocks may differ, in what we sign.
const FUDGE: u16 = 300;

/// The hash under the MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha256`, which everybody has.
    Sha256,
    /// `hmac-sha384`.
    Sha384,
    /// `hmac-sha512`.
    Sha512,
}

impl Algorithm {
    /// All that are served; none shorter (RFC 8945, section 6).
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name, without the final dot.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    fn name(self) -> Name {
        Name::parse(self.as_str()).unwrap_or_else(|_| Name::root())
    }

    fn hash(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// A shared secret with its name. Never shown.
#[derive(Clone)]
pub struct Key {
    name: Name,
    algorithm: Algorithm,
    secret: hmac::Key,
}

impl Key {
    /// A key of this secret, best as long as the hash.
    pub fn new(name: Name, algorithm: Algorithm, secret: &[u8]) -> Self {
        Self { name, algorithm, secret: hmac::Key::new(algorithm.hash(), secret) }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.name
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {})", self.name, self.algorithm.as_str())
    }
}

/// The keys a server knows.
#[derive(Debug, Clone, Default)]
pub struct Keyring(HashMap<Name, Arc<Key>>);

impl Keyring {
    /// Adds a key, replacing one of the same name.
    pub fn insert(&mut self, key: Key) {
        self.0.insert(key.name.clone(), Arc::new(key));
    }

    /// The key of a name.
    pub fn get(&self, name: &Name) -> Option<&Arc<Key>> {
        self.0.get(name)
    }
}

/// What the TSIG record of a message says.
struct Fields<'m> {
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: &'m [u8],
    original_id: u16,
    error: u16,
    other: &'m [u8],
}

impl<'m> Fields<'m> {
    fn read(message: &'m [u8], record: &RawRecord<'m>) -> Result<Self, Malformed> {
        if record.class != CLASS_ANY || record.ttl != 0 {
            return Err(Malformed);
        }
        let mut reader = Reader::at(message, record.end - record.data.len());
        let algorithm = reader.name()?;
        let high = reader.u16()?;
        let time = u64::from(high) << 32 | u64::from(reader.u16()?) << 16 | u64::from(reader.u16()?);
        let fudge = reader.u16()?;
        let length = usize::from(reader.u16()?);
        let mac = reader.take(length)?;
        let (original_id, error) = (reader.u16()?, reader.u16()?);
        let length = usize::from(reader.u16()?);
        let other = reader.take(length)?;
        if reader.position() == record.end {
            Ok(Self { algorithm, time, fudge, mac, original_id, error, other })
        } else {
            Err(Malformed)
        }
    }
}

/// What is wrong with a signature (RFC 8945, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The MAC is wrong.
    BadSig,
    /// The key or its algorithm is not known.
    BadKey,
    /// The clocks differ too much.
    BadTime,
}

impl Fault {
    fn code(self) -> u16 {
        match self {
            Self::BadSig => 16,
            Self::BadKey => 17,
            Self::BadTime => 18,
        }
    }
}

/// Whether a request is signed.
#[derive(Debug)]
pub enum Checked {
    /// It has no TSIG record.
    Unsigned,
    /// It is signed by this key; answer with this signer.
    Signed(Signer),
    /// It is signed wrongly; answer NOTAUTH with this signer.
    Faulty(Fault, Signer),
}

impl Checked {
    /// The key that signed, when one did rightly.
    pub fn key(&self) -> Option<&Arc<Key>> {
        match self {
            Self::Signed(signer) => signer.key.as_ref(),
            _ => None,
        }
    }

    /// What signs the answer.
    pub fn into_signer(self) -> Option<Signer> {
        match self {
            Self::Unsigned => None,
            Self::Signed(signer) | Self::Faulty(_, signer) => Some(signer),
        }
    }
}

/// Checks the signature of a request. `now` is in seconds since 1970.
///
/// # Errors
/// [`Malformed`] when a TSIG record is not the last one, is twice there, or cannot be read.
pub fn check(message: &[u8], parsed: &Parsed<'_>, keys: &Keyring, now: u64) -> Result<Checked, Malformed> {
    let Some(place) = parsed.records.iter().position(|record| record.rtype == Rtype::TSIG) else {
        return Ok(Checked::Unsigned);
    };
    let record = &parsed.records[place];
    if place + 1 != parsed.records.len() || record.section != 3 {
        return Err(Malformed);
    }
    let fields = Fields::read(message, record)?;
    let signer = |key: Option<&Arc<Key>>, prior: &[u8], error| Signer {
        key: key.cloned(),
        name: record.owner.clone(),
        algorithm: fields.algorithm.clone(),
        prior: prior.to_vec(),
        between: Vec::new(),
        first: true,
        error,
        request_time: fields.time,
    };
    let key = keys.get(&record.owner).filter(|key| key.algorithm.name() == fields.algorithm);
    let Some(key) = key else {
        return Ok(Checked::Faulty(Fault::BadKey, signer(None, &[], Some(Fault::BadKey))));
    };
    let mut signed = message[..record.start].to_vec();
    signed[..2].copy_from_slice(&fields.original_id.to_be_bytes());
    let count = parsed.header.counts[3].saturating_sub(1);
    signed[10..HEADER].copy_from_slice(&count.to_be_bytes());
    variables(&mut signed, &record.owner, &fields.algorithm, fields.time, fields.fudge, fields.error, fields.other);
    if hmac::verify(&key.secret, &signed, fields.mac).is_err() {
        return Ok(Checked::Faulty(Fault::BadSig, signer(None, &[], Some(Fault::BadSig))));
    }
    if now.abs_diff(fields.time) > u64::from(fields.fudge) {
        return Ok(Checked::Faulty(Fault::BadTime, signer(Some(key), fields.mac, Some(Fault::BadTime))));
    }
    Ok(Checked::Signed(signer(Some(key), fields.mac, None)))
}

fn variables(out: &mut Vec<u8>, key: &Name, algorithm: &Name, time: u64, fudge: u16, error: u16, other: &[u8]) {
    out.extend_from_slice(key.to_lowercase().as_wire());
    out.extend_from_slice(&CLASS_ANY.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(algorithm.to_lowercase().as_wire());
    out.extend_from_slice(&time.to_be_bytes()[2..]);
    out.extend_from_slice(&fudge.to_be_bytes());
    out.extend_from_slice(&error.to_be_bytes());
    out.extend_from_slice(&u16::try_from(other.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(other);
}

/// Signs the messages of one answer in order.
#[derive(Debug)]
pub struct Signer {
    /// `None` when the fault forbids a MAC.
    key: Option<Arc<Key>>,
    name: Name,
    algorithm: Name,
    /// The MAC of the request, then of the last message signed.
    prior: Vec<u8>,
    /// Unsigned messages since the last signed one.
    between: Vec<u8>,
    first: bool,
    error: Option<Fault>,
    request_time: u64,
}

impl Signer {
    /// A signer of a request of our own (NOTIFY), and of the answers' check.
    pub fn request(key: Arc<Key>) -> Self {
        let (name, algorithm) = (key.name.clone(), key.algorithm.name());
        Self {
            key: Some(key),
            name,
            algorithm,
            prior: Vec::new(),
            between: Vec::new(),
            first: true,
            error: None,
            request_time: 0,
        }
    }

    /// Bytes that [`Signer::sign`] adds at most.
    pub fn len(&self) -> usize {
        self.name.as_wire().len() + 10 + self.algorithm.as_wire().len() + 16 + 64 + 6
    }

    /// Never: a TSIG record has a head.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Appends the TSIG record. `now` is in seconds since 1970.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        if message.len() < HEADER {
            return;
        }
        let error = self.error.map_or(0, Fault::code);
        // For BADTIME the time is the client's and ours lies in the other data, so that it can verify (section 5.2.3).
        let bad_time = self.error == Some(Fault::BadTime);
        let (time, other) =
            if bad_time { (self.request_time, now.to_be_bytes()[2..].to_vec()) } else { (now, Vec::new()) };
        let mac = self.key.as_ref().map_or_else(Vec::new, |key| {
            let mut input = Vec::with_capacity(message.len() + 128);
            if !self.prior.is_empty() {
                input.extend_from_slice(&u16::try_from(self.prior.len()).unwrap_or(0).to_be_bytes());
                input.extend_from_slice(&self.prior);
            }
            input.append(&mut self.between);
            input.extend_from_slice(message);
            if self.first {
                variables(&mut input, &self.name, &self.algorithm, time, FUDGE, error, &other);
            } else {
                input.extend_from_slice(&time.to_be_bytes()[2..]);
                input.extend_from_slice(&FUDGE.to_be_bytes());
            }
            hmac::sign(&key.secret, &input).as_ref().to_vec()
        });
        let id = [message[0], message[1]];
        message.extend_from_slice(self.name.as_wire());
        message.extend_from_slice(&Rtype::TSIG.to_int().to_be_bytes());
        message.extend_from_slice(&CLASS_ANY.to_be_bytes());
        message.extend_from_slice(&[0; 4]);
        let length = self.algorithm.as_wire().len() + 16 + mac.len() + other.len();
        message.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
        message.extend_from_slice(self.algorithm.as_wire());
        message.extend_from_slice(&time.to_be_bytes()[2..]);
        message.extend_from_slice(&FUDGE.to_be_bytes());
        message.extend_from_slice(&u16::try_from(mac.len()).unwrap_or(0).to_be_bytes());
        message.extend_from_slice(&mac);
        message.extend_from_slice(&id);
        message.extend_from_slice(&error.to_be_bytes());
        message.extend_from_slice(&u16::try_from(other.len()).unwrap_or(0).to_be_bytes());
        message.extend_from_slice(&other);
        let count = u16::from_be_bytes([message[10], message[11]]).saturating_add(1);
        message[10..HEADER].copy_from_slice(&count.to_be_bytes());
        self.prior = mac;
        self.first = false;
    }
}
