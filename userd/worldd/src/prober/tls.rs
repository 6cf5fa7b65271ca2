//! What the checks trust: the world's certificates, and nothing else.

use std::{io, sync::Arc};

use netengine_proto::{control::Fault, trust::Trust};
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_rustls::TlsConnector;

use super::finding::Finding;

/// The trust of one request, made once.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    /// `None` while the world has no certificate authority: nothing is trusted.
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl Tls {
    /// Trusts these certificates only.
    ///
    /// # Errors
    /// A certificate that cannot be a root; the request is at fault.
    pub fn new(trust: &Trust) -> Result<Self, Finding> {
        let ours =
            |error: &dyn std::error::Error| Finding::ours(format!("cannot trust the world's certificates: {error}"));
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in trust.certificates.iter() {
            roots.add(CertificateDer::from(certificate.to_vec())).map_err(|error| ours(&error))?;
        }
        let roots = Arc::new(roots);
        let verifier = match roots.is_empty() {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
                    .build()
                    .map_err(|error| ours(&error))?,
            ),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ours(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), verifier })
    }

    /// What connects.
    pub fn connector(&self) -> &TlsConnector {
        &self.connector
    }

    /// Verifies a chain, leaf first, for a server of this name now.
    ///
    /// # Errors
    /// As a TLS handshake with that chain would end.
    pub fn verify(&self, chain: &[CertificateDer<'_>], name: &ServerName<'_>) -> Result<(), Finding> {
        let untrusted = |what: &str| Finding::new(Fault::CertificateUntrusted, what);
        let (leaf, others) = chain.split_first().ok_or_else(|| untrusted("a chain without a certificate"))?;
        let verifier = self.verifier.as_ref().ok_or_else(|| untrusted("the world has no certificate to trust"))?;
        let verified = verifier.verify_server_cert(leaf, others, name, &[], UnixTime::now());
        verified.map(drop).map_err(|error| finding(&name.to_str(), &error))
    }
}

/// A name that a certificate can have.
///
/// # Errors
/// It is none.
pub fn server_name(host: &str) -> Result<ServerName<'static>, Finding> {
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(bare).map_err(|_| Finding::ours(format!("cannot verify a certificate for the name {host}")))
}

/// What a handshake's error tells of the server.
pub fn handshake(host: &str, error: &io::Error) -> Finding {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => finding(host, error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Finding::wrong(format!("{host} closed the connection during the TLS handshake"))
        }
        None => Finding::io(&format!("speak TLS with {host}"), error),
    }
}

fn finding(host: &str, error: &rustls::Error) -> Finding {
    let detail = format!("TLS with {host}: {error}");
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Finding::new(Fault::CertificateExpired, detail)
        }
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Finding::new(Fault::CertificateUntrusted, detail)
        }
        rustls::Error::AlertReceived(_) => Finding::new(Fault::Refused, detail),
        _ => Finding::wrong(detail),
    }
}
