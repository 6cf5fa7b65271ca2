//! How far an answer is proven (RFC 4035, section 4.3), and what a client is told when it is not (RFC 8914).

use crate::dnssec::verify::Flaw;

/// An extended error: why an answer is SERVFAIL (RFC 8914, section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtendedError(pub u16);

impl ExtendedError {
    /// A signature does not fit.
    pub const BOGUS: Self = Self(6);
    /// A signature has expired.
    pub const EXPIRED: Self = Self(7);
    /// A signature is not valid yet.
    pub const NOT_YET_VALID: Self = Self(8);
    /// No key of the zone fits its DS record or a signature.
    pub const DNSKEY_MISSING: Self = Self(9);
    /// A set of a signed zone has no signature.
    pub const RRSIGS_MISSING: Self = Self(10);
    /// A denial lacks what proves it.
    pub const NSEC_MISSING: Self = Self(12);
    /// No server of the zone answers, or none sensibly.
    pub const NO_REACHABLE_AUTHORITY: Self = Self(22);

    /// What it means, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::BOGUS => "DNSSEC Bogus",
            Self::EXPIRED => "Signature Expired",
            Self::NOT_YET_VALID => "Signature Not Yet Valid",
            Self::DNSKEY_MISSING => "DNSKEY Missing",
            Self::RRSIGS_MISSING => "RRSIGs Missing",
            Self::NSEC_MISSING => "NSEC Missing",
            Self::NO_REACHABLE_AUTHORITY => "No Reachable Authority",
            _ => "Other",
        }
    }
}

impl From<Flaw> for ExtendedError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Missing => Self::RRSIGS_MISSING,
            Flaw::NoKey => Self::DNSKEY_MISSING,
            Flaw::Expired => Self::EXPIRED,
            Flaw::Early => Self::NOT_YET_VALID,
            Flaw::Wrong | Flaw::Effort => Self::BOGUS,
        }
    }
}

/// How far something is proven. Greater is worse: a whole is as good as its worst part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// A chain of signatures leads to it from a trust anchor.
    Secure,
    /// A chain of signatures leads to the statement that its zone is not signed.
    Insecure,
    /// No trust anchor is above it, or it cannot be signed by its nature.
    Indeterminate,
    /// It should be signed and is not, or wrongly.
    Bogus(ExtendedError),
}

impl Security {
    /// The reason when it is bogus.
    pub fn error(self) -> Option<ExtendedError> {
        match self {
            Self::Bogus(error) => Some(error),
            _ => None,
        }
    }
}
