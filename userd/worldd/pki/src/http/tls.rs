//! The certificate that is served, swapped while connections go on.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{default_provider, sign::any_ecdsa_type},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::service::OwnCertificate;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The library refuses the key or its own settings.
    #[error("cannot set up TLS")]
    Library(#[from] rustls::Error),
}

/// The certificate of one service. Handshakes that begin after [`SwappedCertificate::swap`] get the new one;
/// connections that exist are not touched.
#[derive(Debug)]
pub struct SwappedCertificate(RwLock<Arc<CertifiedKey>>);

impl SwappedCertificate {
    /// Begins with this one.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(first: &OwnCertificate) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(RwLock::new(certified(first)?))))
    }

    /// From now on this one.
    ///
    /// # Errors
    /// [`TlsError`]; then the one before is still served.
    pub fn swap(&self, next: &OwnCertificate) -> Result<(), TlsError> {
        let next = certified(next)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

impl ResolvesServerCert for SwappedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certified(own: &OwnCertificate) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.key.expose().to_vec()));
    let chain = own.chain.iter().cloned().map(CertificateDer::from).collect();
    Ok(Arc::new(CertifiedKey::new(chain, any_ecdsa_type(&key)?)))
}

/// A server of HTTP/1.1 over TLS 1.2 and 1.3 with this certificate.
///
/// # Errors
/// [`TlsError`].
pub fn server_config(certificate: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
