//! The certificate authority: what it signs and how. It keeps nothing; its keys come from and go to a store.

pub mod authority;
pub mod csr;
pub mod der;
pub mod key;
mod leaf;
pub mod ocsp;
mod profile;
mod revocation;

pub use authority::{Authority, Config, Level, Material, Publication};
pub use csr::{CertifiedPublicKey, CsrError, Request};
pub use key::Secret;
pub use leaf::Leaf;
pub use profile::{Profile, Profiles};
pub use revocation::{LIST_LIFETIME_SECS, Reason, Revocation, Revoked};

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why the authority cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The key is not usable, or none could be made.
    #[error("cannot use the authority's key")]
    Key(#[source] rcgen::Error),
    /// Signing failed.
    #[error("cannot sign the {what}")]
    Sign {
        /// What was to be signed.
        what: &'static str,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// A certificate that was kept cannot be read.
    #[error("cannot read the authority's certificate")]
    Certificate,
    /// The authority's certificate ends before that.
    #[error("cannot issue: the authority's certificate has expired")]
    Expired,
    /// No randomness.
    #[error("cannot draw a random number")]
    Random,
    /// Certificates were asked for nothing, or for what lies outside.
    #[error("cannot issue for {identifier}")]
    Outside {
        /// What was asked for.
        identifier: String,
        /// Why not.
        #[source]
        source: crate::name::OutsideScope,
    },
    /// The key is not acceptable.
    #[error("cannot issue for this key")]
    PublicKey(#[source] CsrError),
}

/// The serial number of a certificate: 128 random bits of which the first two are 01, so that it is always 16 bytes
/// long and positive (RFC 5280, section 4.1.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Serial([u8; 16]);

impl Serial {
    /// A new one.
    ///
    /// # Errors
    /// [`CaError::Random`].
    pub fn random() -> Result<Self, CaError> {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CaError::Random)?;
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Ok(Self(bytes))
    }

    /// From the content of an INTEGER or from hexadecimal's bytes; `None` when no certificate of ours has it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self).filter(|serial| serial.0[0] & 0xc0 == 0x40)
    }

    /// From 32 hexadecimal digits, of either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Self::from_bytes(&bytes)
    }

    /// Big-endian.
    pub fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> Self {
        serial.to_string()
    }
}

impl TryFrom<String> for Serial {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_hex(&text).ok_or("not a serial number")
    }
}

/// PEM (RFC 7468) of one DER structure.
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    // Base64 is ASCII: every index is between characters.
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap_or_default());
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use netengine_spec::{model::KeyStorageMode, text::DnsName};

    use super::*;
    use crate::name::{Identifier, Scope};

    pub(super) fn config(intermediate: bool) -> Config {
        Config {
            common_name: "Root".to_owned(),
            organization: "NetEngine".to_owned(),
            country: "XX".to_owned(),
            root_lifetime_secs: 3650 * 86_400,
            intermediate,
            storage: KeyStorageMode::Ephemeral,
            scope: Scope {
                zones: Vec::new(),
                tlds: vec![DnsName::parse("test").expect("a name")],
                networks: vec!["10.0.0.0/8".parse().expect("a network")],
            },
            publication: Publication { base: "http://ca.test".to_owned(), crl: true, ocsp: true },
        }
    }

    pub(super) fn authority(intermediate: bool) -> Authority {
        Authority::open(config(intermediate), None, NOW).expect("an authority").0
    }

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn the_authority_stays_the_same_until_its_constraints_change() {
        let (first, kept) = Authority::open(config(true), None, NOW).expect("made");
        let (again, same) = Authority::open(config(true), Some(kept.clone()), NOW + 1000).expect("opened");
        assert_eq!((first.root_pem(), &kept), (again.root_pem(), &same));

        let mut wider = config(true);
        wider.scope.tlds.push(DnsName::parse("blue").expect("a name"));
        let (changed, material) = Authority::open(wider, Some(kept.clone()), NOW + 1000).expect("opened");
        assert_ne!(changed.root_pem(), first.root_pem());
        assert_eq!(material.root.key, kept.root.key, "the key is the same: what it signed stays good");
        assert_ne!(
            material.intermediate.expect("one").certificate,
            kept.intermediate.clone().expect("one").certificate
        );

        let (without, _) = Authority::open(config(false), Some(kept), NOW).expect("opened");
        assert!(!without.has_intermediate());
        assert_eq!(without.root_pem(), first.root_pem());
    }

    #[test]
    fn an_expired_root_is_certified_anew_with_the_same_key() {
        let (_, kept) = Authority::open(config(false), None, NOW).expect("made");
        let later = NOW + 3651 * 86_400;
        let (authority, renewed) = Authority::open(config(false), Some(kept.clone()), later).expect("opened");
        assert_eq!(renewed.root.key, kept.root.key);
        assert!(authority.signer(Level::Root).not_after() > later);
    }

    #[test]
    fn material_that_does_not_fit_together_is_an_error() {
        let (_, mut kept) = Authority::open(config(false), None, NOW).expect("made");
        let (_, other) = Authority::open(config(false), None, NOW).expect("made");
        kept.root.key = other.root.key;
        assert!(matches!(Authority::open(config(false), Some(kept.clone()), NOW), Err(CaError::Certificate)));
        kept.root.certificate.clear();
        assert!(matches!(Authority::open(config(false), Some(kept), NOW), Err(CaError::Certificate)));
    }

    #[test]
    fn nobody_gets_a_certificate_for_what_lies_outside() {
        let authority = authority(false);
        let (pair, _) = key::generate().expect("a key");
        let public = CertifiedPublicKey::of(&pair).expect("a key");
        let profiles = Profiles::default();
        let profile = profiles.get("classic").expect("a profile");
        let issue = |name: Identifier| authority.issue(&[name].into(), &public, profile, NOW);
        for outside in ["example.com", "test", "*.test"] {
            let refused = issue(Identifier::dns(outside).expect("a name"));
            assert!(matches!(refused, Err(CaError::Outside { .. })), "{outside}");
        }
        assert!(matches!(issue(Identifier::ip("192.0.2.1").expect("an address")), Err(CaError::Outside { .. })));
        let leaf = issue(Identifier::dns("www.acme.test").expect("a name")).expect("a certificate");
        assert_eq!(leaf.not_after, NOW + i64::from(profile.lifetime_secs) - 1);
        let expired =
            authority.issue(&[Identifier::dns("a.test").expect("a name")].into(), &public, profile, i64::MAX / 4);
        assert!(matches!(expired, Err(CaError::Expired)));
    }

    #[test]
    fn serials_are_positive_have_one_length_and_survive_text() {
        for _ in 0..100 {
            let serial = Serial::random().expect("a serial");
            assert!((0x40..0x80).contains(&serial.bytes()[0]));
            assert_eq!(Serial::from_hex(&serial.to_string()), Some(serial));
        }
        for bad in [
            "",
            "zz",
            "+f000000000000000000000000000000",
            "00000000000000000000000000000000",
            "é000000000000000000000000000000",
        ] {
            assert_eq!(Serial::from_hex(bad), None, "{bad}");
        }
    }
}
