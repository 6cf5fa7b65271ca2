//! A certificate authority of a test, and what it gives the servers.

use std::sync::{Arc, Mutex};

use netengine_dns::serve::Tls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};

/// The servers' name.
pub const NAME: &str = "dns.platform.internal";

/// What is presented, and the certificate of the authority that vouches for it.
pub struct TestTls {
    pub tls: Arc<Tls>,
    authorities: Mutex<Vec<tempfile::NamedTempFile>>,
}

impl TestTls {
    pub fn new() -> Self {
        let (config, authority) = make();
        Self { tls: Arc::new(Tls::new(config)), authorities: Mutex::new(vec![authority]) }
    }

    /// Another authority and another certificate from now on.
    pub fn renew(&self) {
        let (config, authority) = make();
        self.tls.replace(config);
        self.authorities.lock().expect("not poisoned").push(authority);
    }

    /// The file with the newest authority's certificate.
    pub fn authority(&self) -> String {
        let all = self.authorities.lock().expect("not poisoned");
        all.last().expect("at least one").path().to_string_lossy().into_owned()
    }
}

fn make() -> (ServerConfig, tempfile::NamedTempFile) {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("signed");
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![NAME.to_owned()]).expect("parameters").signed_by(&own, &issuer);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(
        vec![leaf.expect("signed").der().clone()],
        PrivateKeyDer::try_from(own.serialize_der()).expect("a key"),
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), authority.pem()).expect("written");
    (config.expect("a configuration"), file)
}
