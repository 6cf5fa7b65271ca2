//! Revocation: reasons, and lists of what is revoked (RFC 5280, section 5).

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use serde::{Deserialize, Serialize};

use super::{Authority, CaError, Level, Serial};
use crate::clock::{UnixSeconds, date_time};

/// Why a certificate is revoked: the reasons a subscriber may give (RFC 5280, section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Reason {
    /// None was given.
    Unspecified,
    /// The private key is known to others.
    KeyCompromise,
    /// The names have another owner.
    AffiliationChanged,
    /// There is a newer certificate.
    Superseded,
    /// The service is gone.
    CessationOfOperation,
    /// The right to it was withdrawn.
    PrivilegeWithdrawn,
}

impl Reason {
    /// The number in the CRL.
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    fn for_list(self) -> RevocationReason {
        match self {
            Self::Unspecified => RevocationReason::Unspecified,
            Self::KeyCompromise => RevocationReason::KeyCompromise,
            Self::AffiliationChanged => RevocationReason::AffiliationChanged,
            Self::Superseded => RevocationReason::Superseded,
            Self::CessationOfOperation => RevocationReason::CessationOfOperation,
            Self::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
        }
    }
}

impl From<Reason> for u8 {
    fn from(reason: Reason) -> Self {
        reason.code()
    }
}

impl TryFrom<u8> for Reason {
    type Error = &'static str;

    fn try_from(code: u8) -> Result<Self, Self::Error> {
        [
            Self::Unspecified,
            Self::KeyCompromise,
            Self::AffiliationChanged,
            Self::Superseded,
            Self::CessationOfOperation,
            Self::PrivilegeWithdrawn,
        ]
        .into_iter()
        .find(|reason| reason.code() == code)
        .ok_or("not a reason that a subscriber may give")
    }
}

/// When and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When it was revoked.
    pub at: UnixSeconds,
    /// Why.
    pub reason: Reason,
}

/// One line of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked {
    /// Which certificate.
    pub serial: Serial,
    /// When and why.
    pub revocation: Revocation,
}

/// How long a list is valid.
pub const LIST_LIFETIME_SECS: i64 = 7 * 24 * 3600;

impl Authority {
    /// The revocation list of one issuer, as DER. Each list must have a higher number than the one before it.
    ///
    /// # Errors
    /// [`CaError::Sign`].
    pub fn revocation_list(
        &self,
        level: Level,
        revoked: impl IntoIterator<Item = Revoked>,
        number: u64,
        now: UnixSeconds,
    ) -> Result<Vec<u8>, CaError> {
        let revoked_certs = revoked
            .into_iter()
            .map(|one| RevokedCertParams {
                serial_number: SerialNumber::from_slice(one.serial.bytes()),
                revocation_time: date_time(one.revocation.at),
                reason_code: Some(one.revocation.reason.for_list()),
                invalidity_date: None,
            })
            .collect();
        let list = CertificateRevocationListParams {
            this_update: date_time(now),
            next_update: date_time(now.saturating_add(LIST_LIFETIME_SECS)),
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list
            .signed_by(self.signer(level).issuer())
            .map_err(|source| CaError::Sign { what: "revocation list", source })?;
        Ok(list.der().to_vec())
    }
}
