//! tls-alpn-01 (RFC 8737).

use std::{sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use super::Network;
use crate::{
    acme::{Kind, Probe, Problem, Verdict},
    ca::der,
    jose,
    name::Identifier,
};

/// The protocol that answers challenges and nothing else.
pub(super) const ALPN: &[u8] = b"acme-tls/1";

/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(8);

/// id-pe-acmeIdentifier.
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

pub(super) async fn check(network: &Network, probe: &Probe) -> Verdict {
    let wrong = |why: &str| Problem::new(Kind::IncorrectResponse, format!("{}: {why}", probe.identifier));
    let failed = |why: String| Problem::new(Kind::Tls, format!("{}: {why}", probe.identifier));
    let name = server_name(&probe.identifier);
    let name = ServerName::try_from(name).map_err(|_| Problem::internal())?;
    let stream = network.connect(&probe.identifier, network.ports.tls).await?;
    let connecting = TlsConnector::from(network.alpn.clone()).connect(name, stream);
    let stream = timeout(HANDSHAKE, connecting)
        .await
        .map_err(|_| failed("the TLS handshake took too long".to_owned()))?
        .map_err(|error| failed(format!("the TLS handshake failed: {error}").chars().take(200).collect()))?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(ALPN) {
        return Err(wrong("the server did not agree to acme-tls/1"));
    }
    let certificate = session.peer_certificates().and_then(|all| all.first()).ok_or_else(|| wrong("no certificate"))?;
    inspect(certificate, probe).map_err(wrong)
}

/// The name in the handshake: addresses go by their reverse name (RFC 8738, section 6).
fn server_name(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Ip(std::net::IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Identifier::Ip(std::net::IpAddr::V6(address)) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
        other => other.to_string(),
    }
}

/// RFC 8737, section 3: exactly the one name, and the digest in a critical extension.
fn inspect(certificate: &[u8], probe: &Probe) -> Result<(), &'static str> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| "the certificate cannot be read")?;
    let names = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    let is_named = match (names.map(Vec::as_slice), &probe.identifier) {
        (Some([GeneralName::DNSName(name)]), Identifier::Dns(wanted)) => name.eq_ignore_ascii_case(wanted.as_str()),
        (Some([GeneralName::IPAddress(bytes)]), Identifier::Ip(std::net::IpAddr::V4(v4))) => *bytes == v4.octets(),
        (Some([GeneralName::IPAddress(bytes)]), Identifier::Ip(std::net::IpAddr::V6(v6))) => *bytes == v6.octets(),
        _ => false,
    };
    if !is_named {
        return Err("the certificate does not name exactly this");
    }
    let mut found = certificate.iter_extensions().filter(|extension| extension.oid.to_id_string() == ACME_IDENTIFIER);
    let (Some(extension), None) = (found.next(), found.next()) else {
        return Err("the certificate has not exactly one acmeIdentifier");
    };
    let wanted = der::element(der::tag::OCTET_STRING, &[&jose::sha256(probe.key_authorization.as_bytes())]);
    match (extension.critical, extension.value == wanted) {
        (true, true) => Ok(()),
        (false, _) => Err("the acmeIdentifier is not critical"),
        (true, false) => Err("the acmeIdentifier is not the right one"),
    }
}

/// A client that takes any certificate, for it does not rely on it: what is looked for is in the certificate.
pub(super) fn config(alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.signature_verification_algorithms));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Takes any certificate, but not from one who lacks its key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    /// Verifies with the key alone: the library's own verifier refuses the certificate for its critical extension.
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let key = &certificate.public_key().subject_public_key.data;
        let schemes = self.0.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let mut algorithms = schemes.flat_map(|(_, algorithms)| algorithms.iter());
        match algorithms.any(|algorithm| algorithm.verify_signature(key, message, signed.signature()).is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
