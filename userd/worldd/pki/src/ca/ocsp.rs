//! OCSP (RFC 6960), signed by the issuer itself: no delegated responder, so no certificate in the answer.
//!
//! Answered is the basic response type for requests that name certificates by SHA-1 or SHA-256 of this issuer. A
//! request's signature is not looked at (section 2.3 allows that); its nonce is sent back (RFC 9654).

use rcgen::SigningKey;

use super::{
    Authority, CaError, Level, Revocation, Serial,
    der::{self, element, expect, generalized_time, oid, sequence, tag},
};
use crate::clock::UnixSeconds;

/// The longest request that is read, in bytes.
pub const MAX_LEN: usize = 4096;

/// The most certificates that one request may ask about.
const MAX_CERTIFICATES: usize = 16;

/// The longest nonce (RFC 9654, section 2.1).
const MAX_NONCE: usize = 128;

/// How long an answer is good.
const LIFETIME_SECS: i64 = 24 * 3600;

const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const OCSP_BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
const OCSP_NONCE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2];

/// What is known of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Issued and not revoked.
    Good,
    /// Revoked.
    Revoked(Revocation),
    /// Never issued by this issuer.
    Unknown,
}

/// Answers that are no more than a status (section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Malformed = 1,
    InternalError = 2,
    Unauthorized = 6,
}

/// What one CertID asks, and the bytes that name it.
struct Asked<'a> {
    certificate_id: &'a [u8],
    serial: Option<Serial>,
    issuer: Option<Level>,
}

struct Parsed<'a> {
    asked: Vec<Asked<'a>>,
    nonce: Option<&'a [u8]>,
}

/// Answers a request. There is always an answer; what cannot be answered says so.
pub fn answer(
    authority: &Authority,
    request: &[u8],
    status: impl Fn(Level, Serial) -> Status,
    now: UnixSeconds,
) -> Vec<u8> {
    let refused = |refusal: Refusal| sequence(&[&element(tag::ENUMERATED, &[&[refusal as u8]])]);
    let Some(parsed) = (request.len() <= MAX_LEN).then(|| parse(authority, request)).flatten() else {
        return refused(Refusal::Malformed);
    };
    // One answer has one signature: all certificates must be of one issuer, and that one of ours.
    let level = parsed.asked.first().and_then(|asked| asked.issuer);
    let Some(level) = level.filter(|level| parsed.asked.iter().all(|asked| asked.issuer == Some(*level))) else {
        return refused(Refusal::Unauthorized);
    };
    match respond(authority, level, &parsed, |serial| status(level, serial), now) {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(service = "pki", "{error}");
            refused(Refusal::InternalError)
        }
    }
}

/// OCSPRequest (section 4.1.1).
fn parse<'a>(authority: &Authority, request: &'a [u8]) -> Option<Parsed<'a>> {
    let (request, rest) = expect(request, tag::SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let (mut tbs, _signature) = expect(request, tag::SEQUENCE)?;
    // [0] version, [1] requestorName: neither changes the answer.
    for optional in [0xa0, 0xa1] {
        if let Some((_, rest)) = expect(tbs, optional) {
            tbs = rest;
        }
    }
    let (mut list, rest) = expect(tbs, tag::SEQUENCE)?;
    let mut asked = Vec::new();
    while !list.is_empty() {
        let (one, rest) = expect(list, tag::SEQUENCE)?;
        asked.push(certificate_id(authority, one)?);
        list = rest;
    }
    let is_good = !asked.is_empty() && asked.len() <= MAX_CERTIFICATES;
    let nonce = match expect(rest, 0xa2) {
        Some((extensions, [])) => nonce(extensions)?,
        Some(_) => return None,
        None if rest.is_empty() => None,
        None => return None,
    };
    is_good.then_some(Parsed { asked, nonce })
}

/// Request ::= SEQUENCE { reqCert CertID, ... }.
fn certificate_id<'a>(authority: &Authority, one: &'a [u8]) -> Option<Asked<'a>> {
    let (content, after) = expect(one, tag::SEQUENCE)?;
    let whole = &one[..one.len() - after.len()];
    let (algorithm, rest) = expect(content, tag::SEQUENCE)?;
    let (algorithm, _parameters) = expect(algorithm, tag::OID)?;
    let (name_hash, rest) = expect(rest, tag::OCTET_STRING)?;
    let (key_hash, rest) = expect(rest, tag::OCTET_STRING)?;
    let (serial, rest) = expect(rest, tag::INTEGER)?;
    let digest = match algorithm {
        SHA1 => Some(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY),
        SHA256 => Some(&aws_lc_rs::digest::SHA256),
        _ => None,
    };
    let is_of = |level: Level| {
        let signer = authority.signer(level);
        digest.is_some_and(|digest| {
            let hash = |bytes: &[u8]| aws_lc_rs::digest::digest(digest, bytes);
            hash(&signer.name_der).as_ref() == name_hash && hash(&signer.public_key_raw).as_ref() == key_hash
        })
    };
    let issuer = [Level::Issuing, Level::Root].into_iter().find(|level| is_of(*level));
    rest.is_empty().then(|| Asked { certificate_id: whole, serial: Serial::from_bytes(serial), issuer })
}

/// The content of the nonce extension. `None` for extensions that cannot be read; `Some(None)` for none of interest.
fn nonce(extensions: &[u8]) -> Option<Option<&[u8]>> {
    let (mut list, rest) = expect(extensions, tag::SEQUENCE)?;
    if !rest.is_empty() {
        return None;
    }
    let mut found = None;
    while !list.is_empty() {
        let (one, rest) = expect(list, tag::SEQUENCE)?;
        let (name, value) = expect(one, tag::OID)?;
        if name == OCSP_NONCE {
            let (value, _) = expect(value, tag::OCTET_STRING)?;
            found = Some(value).filter(|value| value.len() <= MAX_NONCE + 3);
        }
        list = rest;
    }
    Some(found)
}

/// OCSPResponse with a BasicOCSPResponse (section 4.2.1).
fn respond(
    authority: &Authority,
    level: Level,
    parsed: &Parsed<'_>,
    status: impl Fn(Serial) -> Status,
    now: UnixSeconds,
) -> Result<Vec<u8>, CaError> {
    let signer = authority.signer(level);
    let this_update = generalized_time(now);
    let next_update = element(0xa0, &[&generalized_time(now.saturating_add(LIFETIME_SECS))]);
    let mut responses = Vec::new();
    for asked in &parsed.asked {
        let status = match asked.serial.map_or(Status::Unknown, &status) {
            Status::Good => element(0x80, &[]),
            Status::Revoked(revocation) => {
                let reason = element(0xa0, &[&element(tag::ENUMERATED, &[&[revocation.reason.code()]])]);
                // The reason `unspecified` is said by saying none (RFC 5280, section 5.3.1).
                let reason = if revocation.reason.code() == 0 { Vec::new() } else { reason };
                element(0xa1, &[&generalized_time(revocation.at), &reason])
            }
            Status::Unknown => element(0x82, &[]),
        };
        responses.extend_from_slice(&sequence(&[asked.certificate_id, &status, &this_update, &next_update]));
    }
    // responderID byKey: SHA-1 of the public key, as the standard has it.
    let key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &signer.public_key_raw);
    let responder = element(0xa2, &[&element(tag::OCTET_STRING, &[key.as_ref()])]);
    let extensions = match parsed.nonce {
        Some(nonce) => {
            let one = sequence(&[&oid(OCSP_NONCE), &element(tag::OCTET_STRING, &[nonce])]);
            element(0xa1, &[&sequence(&[&one])])
        }
        None => Vec::new(),
    };
    let data = sequence(&[&responder, &generalized_time(now), &sequence(&[&responses]), &extensions]);
    let signature =
        signer.issuer().key().sign(&data).map_err(|source| CaError::Sign { what: "OCSP answer", source })?;
    let basic = sequence(&[&data, &sequence(&[&oid(ECDSA_WITH_SHA256)]), &der::bit_string(&signature)]);
    let bytes = sequence(&[&oid(OCSP_BASIC), &element(tag::OCTET_STRING, &[&basic])]);
    Ok(sequence(&[&element(tag::ENUMERATED, &[&[0]]), &element(0xa0, &[&bytes])]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::authority, *};

    #[test]
    fn requests_that_are_none_are_called_malformed() {
        let authority = authority(false);
        for request in [&b""[..], b"GET /", &[0x30, 0], &[0x30; MAX_LEN + 1]] {
            let answered = answer(&authority, request, |_, _| Status::Good, 0);
            assert_eq!(answered, [0x30, 3, 0x0a, 1, 1]);
        }
    }

    #[test]
    fn another_issuers_certificates_are_not_answered_for() {
        let authority = authority(false);
        let algorithm = sequence(&[&oid(SHA256), &element(tag::NULL, &[])]);
        let hash = element(tag::OCTET_STRING, &[&[7; 32]]);
        let id = sequence(&[&algorithm, &hash, &hash, &der::integer(&[1])]);
        let request = sequence(&[&sequence(&[&sequence(&[&sequence(&[&id])])])]);
        let answered = answer(&authority, &request, |_, _| Status::Good, 0);
        assert_eq!(answered, [0x30, 3, 0x0a, 1, 6]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let authority = authority(false);
            prop_assert!(!answer(&authority, &bytes, |_, _| Status::Good, 0).is_empty());
        }
    }
}
