//! The root, the intermediate, and when their certificates are made anew.

use netengine_spec::{Spec, model::KeyStorageMode};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType,
    DnValue, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SerialNumber,
    string::PrintableString,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{CaError, Secret, Serial, der, key};
use crate::{
    clock::{UnixSeconds, date_time},
    jose,
    name::Scope,
};

/// Certificates are valid from a little before now, for clients whose clock is a little behind.
pub const BACKDATE_SECS: i64 = 300;

/// What the authority is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Common name of the root, cut to 64 characters in certificates (RFC 5280, appendix A.1).
    pub common_name: String,
    /// Organisation, cut likewise.
    pub organization: String,
    /// Two letters.
    pub country: String,
    /// How long the root is valid, in seconds.
    pub root_lifetime_secs: i64,
    /// Whether an intermediate signs instead of the root.
    pub intermediate: bool,
    /// Whether the keys outlive the world. Not the authority's business: whoever keeps [`Material`] obeys it.
    pub storage: KeyStorageMode,
    /// What certificates may name; it becomes the name constraints.
    pub scope: Scope,
    /// What certificates say of where to ask.
    pub publication: Publication,
}

/// URLs that go into certificates. The paths of one server: see [`crate::http`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publication {
    /// `http://NAME`, without a slash at the end: the issuers' certificates are at `/pki/root.der` and so on.
    pub base: String,
    /// Whether there are revocation lists.
    pub crl: bool,
    /// Whether OCSP is answered.
    pub ocsp: bool,
}

impl Config {
    /// As the world's spec has it.
    pub fn of(spec: &Spec) -> Self {
        let (pki, root) = (&spec.pki, &spec.pki.root_ca);
        Self {
            common_name: root.cn.to_string(),
            organization: root.o.to_string(),
            country: root.c.to_string(),
            root_lifetime_secs: i64::from(root.cert_lifetime_days) * 24 * 3600,
            intermediate: pki.intermediate_ca_enabled,
            storage: root.key_storage_mode,
            scope: Scope::of(spec),
            publication: Publication {
                base: format!("http://{}", pki.acme.canonical_name),
                crl: pki.crl_enabled,
                ocsp: pki.ocsp_enabled,
            },
        }
    }

    fn subject(&self, suffix: &str) -> DistinguishedName {
        let cut = |text: &str, limit: usize| text.chars().take(limit).collect::<String>();
        let mut name = DistinguishedName::new();
        if let Ok(country) = PrintableString::try_from(self.country.as_str()) {
            name.push(DnType::CountryName, DnValue::PrintableString(country));
        }
        if !self.organization.is_empty() {
            name.push(DnType::OrganizationName, cut(&self.organization, 64));
        }
        name.push(DnType::CommonName, format!("{}{suffix}", cut(&self.common_name, 64 - suffix.len())));
        name
    }

    fn constraints(&self) -> NameConstraints {
        let names = self.scope.permitted_names().into_iter().map(|name| GeneralSubtree::DnsName(name.to_string()));
        let networks = self.scope.networks.iter().map(|network| {
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(network.network(), network.prefix_len()))
        });
        let permitted: Vec<_> = names.chain(networks).collect();
        // A type of name that is not constrained is allowed altogether: a world without networks permits no address.
        let excluded = match self.scope.networks.is_empty() {
            true => vec![
                GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
                GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
            ],
            false => Vec::new(),
        };
        NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
    }
}

/// Everything that makes the authority the same one tomorrow. Holds private keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Material {
    /// The root.
    pub root: KeyAndCertificate,
    /// The intermediate, when there is one.
    pub intermediate: Option<KeyAndCertificate>,
}

/// A key with the certificate that is for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAndCertificate {
    /// The private key.
    pub key: Secret,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

/// Which issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// The root.
    Root,
    /// Whoever signs certificates of services: the intermediate if there is one, else the root.
    Issuing,
}

/// One issuer, ready to sign.
pub struct Signer {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
    serial: Option<Serial>,
    not_after: UnixSeconds,
    /// The subject's name, DER: OCSP names an issuer by a digest of it and of the key.
    pub(super) name_der: Vec<u8>,
    pub(super) public_key_raw: Vec<u8>,
    key_identifier: Vec<u8>,
}

impl Signer {
    fn open(kept: &KeyAndCertificate) -> Result<Self, CaError> {
        let pair = key::load(&kept.key)?;
        let (_, certificate) = X509Certificate::from_der(&kept.certificate).map_err(|_| CaError::Certificate)?;
        let is_for_the_key = certificate.public_key().subject_public_key.data == pair.public_key_raw();
        let key_identifier = subject_key_identifier(&certificate).ok_or(CaError::Certificate)?;
        if !is_for_the_key {
            return Err(CaError::Certificate);
        }
        let not_after = certificate.validity().not_after.timestamp();
        let serial = Serial::from_bytes(certificate.raw_serial());
        let name_der = certificate.subject().as_raw().to_vec();
        let der = rustls::pki_types::CertificateDer::from(kept.certificate.as_slice());
        let public_key_raw = pair.public_key_raw().to_vec();
        let issuer = Issuer::from_ca_cert_der(&der, pair).map_err(|_| CaError::Certificate)?;
        Ok(Self {
            issuer,
            certificate: kept.certificate.clone(),
            serial,
            not_after,
            name_der,
            public_key_raw,
            key_identifier,
        })
    }

    /// For signing with the library.
    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Its certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// The number of its certificate.
    pub fn serial(&self) -> Option<Serial> {
        self.serial
    }

    /// Until when its certificate is valid.
    pub fn not_after(&self) -> UnixSeconds {
        self.not_after
    }

    /// The subject key identifier: the authority key identifier of what it signs.
    pub fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }
}

fn subject_key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

/// The authority.
pub struct Authority {
    config: Config,
    root: Signer,
    intermediate: Option<Signer>,
}

impl Authority {
    /// Opens the authority from what was kept, making what is absent or does not fit the configuration any more.
    ///
    /// A root that does not fit (other names, other constraints, expired) is certified anew with the same key, so what
    /// was signed before stays valid for whoever trusts the new root. Keep the second value before anything is signed.
    ///
    /// # Errors
    /// [`CaError`]; kept material that cannot be read is an error, never replaced.
    pub fn open(config: Config, kept: Option<Material>, now: UnixSeconds) -> Result<(Self, Material), CaError> {
        let (kept_root, kept_intermediate) = match kept {
            Some(kept) => (Some(kept.root), kept.intermediate),
            None => (None, None),
        };
        let root_is_new;
        let root = match kept_root {
            Some(kept) if config.fits_root(&kept, now)? => {
                root_is_new = false;
                kept
            }
            other => {
                root_is_new = true;
                let secret = match other {
                    Some(kept) => kept.key,
                    None => key::generate()?.1,
                };
                config.certify_root(secret, now)?
            }
        };
        let signer = Signer::open(&root)?;
        let intermediate = match (config.intermediate, kept_intermediate) {
            (false, _) => None,
            (true, Some(kept)) if !root_is_new && Signer::open(&kept)?.not_after > now => Some(kept),
            (true, kept) => {
                let secret = match kept {
                    Some(kept) => kept.key,
                    None => key::generate()?.1,
                };
                Some(config.certify_intermediate(secret, &signer, now)?)
            }
        };
        let material = Material { root, intermediate };
        let intermediate = material.intermediate.as_ref().map(Signer::open).transpose()?;
        Ok((Self { config, root: signer, intermediate }, material))
    }

    /// The issuer.
    pub fn signer(&self, level: Level) -> &Signer {
        match level {
            Level::Root => &self.root,
            Level::Issuing => self.intermediate.as_ref().unwrap_or(&self.root),
        }
    }

    /// Whether an intermediate stands between the root and certificates.
    pub fn has_intermediate(&self) -> bool {
        self.intermediate.is_some()
    }

    /// What it was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The root certificate as PEM: what the world's hosts trust.
    pub fn root_pem(&self) -> String {
        super::pem("CERTIFICATE", &self.root.certificate)
    }
}

impl Config {
    /// Whether a kept root is what this configuration would make, apart from its key, serial number and dates.
    fn fits_root(&self, kept: &KeyAndCertificate, now: UnixSeconds) -> Result<bool, CaError> {
        let pair = key::load(&kept.key)?;
        let (_, have) = X509Certificate::from_der(&kept.certificate).map_err(|_| CaError::Certificate)?;
        if have.public_key().subject_public_key.data != pair.public_key_raw() {
            return Err(CaError::Certificate);
        }
        let made = self.root_params(now)?.self_signed(&pair).map_err(sign("root"))?;
        let (_, want) = X509Certificate::from_der(made.der()).map_err(|_| CaError::Certificate)?;
        let lifetime = |certificate: &X509Certificate<'_>| {
            certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp()
        };
        let extensions = |certificate: &X509Certificate<'_>| {
            certificate.extensions().iter().map(|one| (one.oid.to_id_string(), one.value.to_vec())).collect::<Vec<_>>()
        };
        Ok(have.subject().as_raw() == want.subject().as_raw()
            && extensions(&have) == extensions(&want)
            && lifetime(&have) == lifetime(&want)
            && have.validity().not_after.timestamp() > now)
    }

    fn root_params(&self, now: UnixSeconds) -> Result<CertificateParams, CaError> {
        let mut params = authority_params(now, now.saturating_add(self.root_lifetime_secs))?;
        params.distinguished_name = self.subject("");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.name_constraints = Some(self.constraints());
        Ok(params)
    }

    fn certify_root(&self, secret: Secret, now: UnixSeconds) -> Result<KeyAndCertificate, CaError> {
        let pair = key::load(&secret)?;
        let made = self.root_params(now)?.self_signed(&pair).map_err(sign("root"))?;
        Ok(KeyAndCertificate { key: secret, certificate: made.der().to_vec() })
    }

    fn certify_intermediate(
        &self,
        secret: Secret,
        root: &Signer,
        now: UnixSeconds,
    ) -> Result<KeyAndCertificate, CaError> {
        let pair = key::load(&secret)?;
        let mut params = authority_params(now, root.not_after)?;
        params.distinguished_name = self.subject(" (intermediate)");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.name_constraints = Some(self.constraints());
        params.use_authority_key_identifier_extension = true;
        self.point_to(Level::Root, &mut params);
        let made = params.signed_by(&pair, &root.issuer).map_err(sign("intermediate"))?;
        Ok(KeyAndCertificate { key: secret, certificate: made.der().to_vec() })
    }

    /// Adds where to ask about a certificate that this issuer signs.
    pub(super) fn point_to(&self, issuer: Level, params: &mut CertificateParams) {
        let Publication { base, crl, ocsp } = &self.publication;
        let name = match issuer {
            Level::Root => "root",
            Level::Issuing => "issuing",
        };
        if *crl {
            params.crl_distribution_points =
                vec![CrlDistributionPoint { uris: vec![format!("{base}/pki/{name}.crl")] }];
        }
        // Authority information access (RFC 5280, section 4.2.2.1): OCSP is .48.1, the issuer's certificate .48.2.
        let describe = |method: u8, url: String| {
            let oid = der::oid(&[0x2b, 6, 1, 5, 5, 7, 0x30, method]);
            der::sequence(&[&oid, &der::element(0x86, &[url.as_bytes()])])
        };
        let mut accesses = Vec::new();
        if *ocsp {
            accesses.push(describe(1, format!("{base}/pki/ocsp")));
        }
        accesses.push(describe(2, format!("{base}/pki/{name}.der")));
        let content = der::sequence(&accesses.iter().map(Vec::as_slice).collect::<Vec<_>>());
        params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], content));
    }
}

fn authority_params(now: UnixSeconds, not_after: UnixSeconds) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.not_before = date_time(now.saturating_sub(BACKDATE_SECS));
    params.not_after = date_time(not_after);
    params.serial_number = Some(SerialNumber::from_slice(Serial::random()?.bytes()));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn sign(what: &'static str) -> impl Fn(rcgen::Error) -> CaError {
    move |source| CaError::Sign { what, source }
}

/// The unique identifier of a certificate for ACME renewal information (RFC 9773, section 4.1).
pub fn renewal_id(authority_key_identifier: &[u8], serial: Serial) -> String {
    format!("{}.{}", jose::encode(authority_key_identifier), jose::encode(serial.bytes()))
}
