//! Certificate requests (PKCS #10, RFC 2986), checked before anything is signed.

use std::collections::BTreeSet;

use rcgen::SubjectPublicKeyInfo;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA, OID_X509_COMMON_NAME},
    prelude::FromDer,
    public_key::PublicKey,
};

use crate::{jose, name::Identifier};

/// The longest request that is read, in bytes.
pub const MAX_LEN: usize = 32 * 1024;

/// A request that holds together: signed by the key in it, with a key worth certifying.
pub struct Request {
    /// What it asks to be named.
    pub identifiers: BTreeSet<Identifier>,
    /// The key that is to be certified.
    pub key: CertifiedPublicKey,
}

/// A public key that a certificate is or will be for.
pub struct CertifiedPublicKey {
    pub(super) info: SubjectPublicKeyInfo,
    /// Whether it is an RSA key: TLS 1.2 may then encipher keys with it.
    pub(super) is_rsa: bool,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub hash: [u8; 32],
    /// The content of the BIT STRING, as [`jose::Jwk::matches_public_key`] compares it.
    pub raw: Vec<u8>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Not DER, not a request, or something behind it.
    #[error("cannot read the certificate request")]
    Malformed,
    /// Larger than [`MAX_LEN`].
    #[error("cannot take a certificate request of more than {MAX_LEN} bytes")]
    TooLong,
    /// The signature is not by the key in the request.
    #[error("cannot verify the signature of the certificate request with the key in it")]
    Signature,
    /// A digest that can be forged.
    #[error("cannot take a certificate request signed with SHA-1")]
    WeakDigest,
    /// Too small, too large, or of a type that is not certified.
    #[error("cannot certify this key: {0}")]
    Key(&'static str),
    /// A name that is not one.
    #[error("cannot certify the name {0:?}")]
    Name(String),
    /// A kind of name that is never certified here.
    #[error("cannot certify names of other kinds than dns and ip")]
    NameKind,
    /// It asks to become an authority.
    #[error("cannot certify an authority")]
    Authority,
    /// It names nothing.
    #[error("cannot certify a request without a name")]
    NoName,
}

impl Request {
    /// Reads and checks a request.
    ///
    /// # Errors
    /// [`CsrError`] with the first thing that is wrong.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_LEN {
            return Err(CsrError::TooLong);
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Malformed)?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed);
        }
        let algorithm = &request.signature_algorithm.algorithm;
        if *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA {
            return Err(CsrError::WeakDigest);
        }
        let key = CertifiedPublicKey::read(&request.certification_request_info.subject_pki)?;
        request.verify_signature().map_err(|_| CsrError::Signature)?;
        let identifiers = identifiers(&request)?;
        Ok(Self { identifiers, key })
    }
}

impl CertifiedPublicKey {
    fn read(info: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> Result<Self, CsrError> {
        let parsed = info.parsed().map_err(|_| CsrError::Malformed)?;
        let is_rsa = match &parsed {
            PublicKey::RSA(key) => {
                check_rsa(key)?;
                true
            }
            // An uncompressed point: P-521 is left out, as browsers leave it out.
            PublicKey::EC(point) if point.data().len() > 97 => return Err(CsrError::Key("its curve is not supported")),
            PublicKey::EC(_) | PublicKey::Unknown(_) => false,
            _ => return Err(CsrError::Key("its type is not supported")),
        };
        let known = SubjectPublicKeyInfo::from_der(info.raw)
            .map_err(|_| CsrError::Key("P-256, P-384, Ed25519 and RSA are supported"))?;
        Ok(Self { info: known, is_rsa, hash: jose::sha256(info.raw), raw: info.subject_public_key.data.to_vec() })
    }

    /// The key of a key pair of ours.
    ///
    /// # Errors
    /// [`CsrError`] as for a request; a key made by [`super::key::generate`] is always taken.
    pub fn of(pair: &rcgen::KeyPair) -> Result<Self, CsrError> {
        use rcgen::PublicKeyData;
        let der = pair.subject_public_key_info();
        let (_, info) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&der).map_err(|_| CsrError::Malformed)?;
        Self::read(&info)
    }
}

fn check_rsa(key: &x509_parser::public_key::RSAPublicKey<'_>) -> Result<(), CsrError> {
    if !(2048..=4096).contains(&key.key_size()) {
        return Err(CsrError::Key("RSA keys are of 2048 to 4096 bits"));
    }
    match key.try_exponent() {
        Ok(exponent) if exponent >= 65537 && exponent % 2 == 1 => Ok(()),
        _ => Err(CsrError::Key("the exponent of an RSA key is odd and at least 65537")),
    }
}

fn identifiers(request: &X509CertificationRequest<'_>) -> Result<BTreeSet<Identifier>, CsrError> {
    let mut found = BTreeSet::new();
    for attribute in request.certification_request_info.subject.iter_attributes() {
        if *attribute.attr_type() == OID_X509_COMMON_NAME {
            let text = attribute.as_str().map_err(|_| CsrError::Malformed)?;
            let parsed = match Identifier::ip(text) {
                Ok(address) => address,
                Err(_) => Identifier::dns(text).map_err(|_| CsrError::Name(text.chars().take(64).collect()))?,
            };
            found.insert(parsed);
        }
    }
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    found.insert(general_name(name)?);
                }
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(CsrError::Authority),
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                return Err(CsrError::Authority);
            }
            ParsedExtension::ParseError { .. } => return Err(CsrError::Malformed),
            // What else a client would like, the profile decides.
            _ => {}
        }
    }
    match found.is_empty() {
        true => Err(CsrError::NoName),
        false => Ok(found),
    }
}

fn general_name(name: &GeneralName<'_>) -> Result<Identifier, CsrError> {
    match name {
        GeneralName::DNSName(text) => {
            Identifier::dns(text).map_err(|_| CsrError::Name(text.chars().take(64).collect()))
        }
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => Ok(Identifier::Ip(v4.into())),
            (_, Ok(v6)) => Ok(Identifier::Ip(v6.into())),
            _ => Err(CsrError::Malformed),
        },
        _ => Err(CsrError::NameKind),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType};

    use super::*;

    fn request(change: impl FnOnce(&mut CertificateParams)) -> (KeyPair, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["www.acme.test".to_owned()]).expect("params");
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        let der = params.serialize_request(&key).expect("a request").der().to_vec();
        (key, der)
    }

    fn refused(der: &[u8]) -> CsrError {
        Request::parse(der).err().expect("refused")
    }

    #[test]
    fn names_are_taken_from_the_subject_and_the_alternative_names() {
        let (_, der) = request(|params| {
            params.distinguished_name.push(rcgen::DnType::CommonName, "Mail.acme.test");
            params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 7].into()));
        });
        let names = Request::parse(&der).expect("a request").identifiers;
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["mail.acme.test", "www.acme.test", "10.0.0.7"]);
    }

    #[test]
    fn requests_that_must_not_be_signed_are_refused() {
        let (_, authority) = request(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert_eq!(refused(&authority), CsrError::Authority);
        let (_, signs) = request(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]);
        assert_eq!(refused(&signs), CsrError::Authority);
        let (_, mail) = request(|params| {
            params.subject_alt_names.push(SanType::Rfc822Name("a@acme.test".try_into().expect("text")));
        });
        assert_eq!(refused(&mail), CsrError::NameKind);
        let (_, nothing) = request(|params| params.subject_alt_names.clear());
        assert_eq!(refused(&nothing), CsrError::NoName);
        let (_, text) = request(|params| params.distinguished_name.push(rcgen::DnType::CommonName, "not a name"));
        assert_eq!(refused(&text), CsrError::Name("not a name".to_owned()));
        assert_eq!(refused(&[0x30; 40_000]), CsrError::TooLong);
        assert_eq!(refused(b"-----BEGIN CERTIFICATE REQUEST-----"), CsrError::Malformed);
        let (_, mut longer) = request(|_| {});
        longer.push(0);
        assert_eq!(refused(&longer), CsrError::Malformed);
    }

    #[test]
    fn a_signature_by_another_key_is_refused() {
        let (_, mut der) = request(|_| {});
        // The name stands in the signed part; another letter of it breaks the signature.
        let at = der.windows(4).position(|part| part == b"acme").expect("the name");
        der[at] = b'b';
        assert_eq!(refused(&der), CsrError::Signature);
    }

    proptest! {
        #[test]
        fn no_change_of_a_byte_changes_what_was_signed(at in 0usize..10_000, to in any::<u8>()) {
            let (key, mut der) = request(|_| {});
            let at = at % der.len();
            der[at] = to;
            // What is outside the signed part may be written in more than one way.
            if let Ok(read) = Request::parse(&der) {
                prop_assert_eq!(read.identifiers, [Identifier::dns("www.acme.test").expect("a name")].into());
                prop_assert_eq!(&read.key.raw, key.public_key_raw());
            }
        }

        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(Request::parse(&bytes).is_err());
        }
    }
}
