//! Revocation (RFC 8555, section 7.6).

use serde::Deserialize;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    super::{Change, Kind, Problem, Signed, Signer},
    Context, Outcome, Reply,
};
use crate::{
    ca::{Reason, Revocation, Serial},
    jose,
};

#[derive(Deserialize)]
struct Revoke {
    certificate: String,
    #[serde(default)]
    reason: Option<i64>,
}

pub(super) fn decide(context: &Context<'_>, signed: &Signed) -> Result<Outcome, Problem> {
    let wanted: Revoke = super::payload(signed)?;
    let unreadable = || Problem::malformed("the certificate is not base64url of DER");
    let der = jose::decode(&wanted.certificate).ok_or_else(unreadable)?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| unreadable())?;
    let fingerprint = jose::encode(jose::sha256(&der));
    let certificate = Serial::from_bytes(parsed.raw_serial())
        .and_then(|serial| context.state.certificate(serial))
        .filter(|certificate| certificate.fingerprint == fingerprint)
        .ok_or_else(|| Problem::absent("certificate"))?;

    let now = context.now.wall;
    let may = match &signed.signer {
        Signer::Account(id) => {
            certificate.account.as_ref() == Some(id)
                || certificate.identifiers.iter().all(|identifier| context.state.is_authorized(id, identifier, now))
        }
        Signer::Key(key) => {
            jose::decode(&certificate.public_key).is_some_and(|public_key| key.matches_public_key(&public_key))
        }
    };
    if !may {
        return Err(Problem::unauthorized("neither the account nor the key may revoke this certificate"));
    }
    let reason = match wanted.reason {
        None => Reason::Unspecified,
        Some(code) => u8::try_from(code)
            .ok()
            .and_then(|code| Reason::try_from(code).ok())
            .ok_or_else(|| Problem::new(Kind::BadRevocationReason, "the reasons 0, 1, 3, 4, 5 and 9 are allowed"))?,
    };
    if certificate.revoked.is_some() {
        return Err(Problem::new(Kind::AlreadyRevoked, "the certificate is revoked"));
    }
    let change = Change::Revoked { serial: certificate.serial, revocation: Revocation { at: now, reason } };
    Ok(Outcome { changes: vec![change], effects: Vec::new(), reply: Reply::Nothing })
}
