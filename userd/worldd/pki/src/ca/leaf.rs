//! Certificates of services.

use std::collections::BTreeSet;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber,
};

use super::{Authority, CaError, CertifiedPublicKey, Level, Profile, Serial, authority::BACKDATE_SECS, pem};
use crate::{
    clock::{UnixSeconds, date_time},
    name::Identifier,
};

/// A certificate that was just signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its number.
    pub serial: Serial,
    /// DER.
    pub der: Vec<u8>,
    /// Valid from.
    pub not_before: UnixSeconds,
    /// Valid until.
    pub not_after: UnixSeconds,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_hash: [u8; 32],
}

impl Authority {
    /// Signs a certificate for these names. It ends no later than the issuer's own.
    ///
    /// # Errors
    /// [`CaError`]; a name outside the world is refused here too, whoever asks.
    pub fn issue(
        &self,
        identifiers: &BTreeSet<Identifier>,
        key: &CertifiedPublicKey,
        profile: &Profile,
        now: UnixSeconds,
    ) -> Result<Leaf, CaError> {
        for identifier in identifiers {
            let outside = |source| CaError::Outside { identifier: identifier.to_string(), source };
            self.config().scope.check(identifier).map_err(outside)?;
        }
        let signer = self.signer(Level::Issuing);
        if signer.not_after() <= now {
            return Err(CaError::Expired);
        }
        let serial = Serial::random()?;
        let not_before = now.saturating_sub(BACKDATE_SECS);
        // The last second is part of the validity (RFC 5280, section 4.1.2.5).
        let not_after = now.saturating_add(i64::from(profile.lifetime_secs) - 1).min(signer.not_after());

        let mut params = CertificateParams::default();
        params.not_before = date_time(not_before);
        params.not_after = date_time(not_after);
        params.serial_number = Some(SerialNumber::from_slice(serial.bytes()));
        params.distinguished_name = subject(identifiers);
        params.subject_alt_names = identifiers.iter().map(alternative_name).collect::<Result<_, _>>()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if key.is_rsa {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if profile.client_auth {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        self.config().point_to(Level::Issuing, &mut params);
        let made = params
            .signed_by(&key.info, signer.issuer())
            .map_err(|source| CaError::Sign { what: "certificate", source })?;
        Ok(Leaf { serial, der: made.der().to_vec(), not_before, not_after, key_hash: key.hash })
    }

    /// The certificate with its issuer's behind it, as PEM (RFC 8555, section 9.1). Without an intermediate the root
    /// follows: clients split the chain in two and do not take an empty half.
    pub fn chain_pem(&self, leaf: &[u8]) -> String {
        pem("CERTIFICATE", leaf) + &pem("CERTIFICATE", self.signer(Level::Issuing).certificate())
    }
}

/// The first name that fits as a common name; an empty subject when none does.
fn subject(identifiers: &BTreeSet<Identifier>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    let fits =
        |identifier: &&Identifier| !matches!(identifier, Identifier::Ip(_)) && identifier.to_string().len() <= 64;
    if let Some(first) = identifiers.iter().find(fits) {
        name.push(DnType::CommonName, first.to_string());
    }
    name
}

fn alternative_name(identifier: &Identifier) -> Result<SanType, CaError> {
    let text = |text: String| text.try_into().map_err(|source| CaError::Sign { what: "certificate", source });
    Ok(match identifier {
        Identifier::Ip(address) => SanType::IpAddress(*address),
        named => SanType::DnsName(text(named.to_string())?),
    })
}
