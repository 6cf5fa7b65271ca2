//! The certificate of the world's resolver: issued by worldd, presented by the gateway's process, handed over in a file of
//! the run directory that both share and nobody else may read.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use netengine_pki::{
    ca::pem,
    name::Identifier,
    service::{OwnCertificate, OwnError, Renewal},
};
use netengine_spec::Spec;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{default_provider, sign::any_ecdsa_type},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::{
    clock::unix,
    files, https,
    pki::{self, Issuer},
};

/// The file: the key and the chain, PEM.
const FILE: &str = "resolver.pem";
/// How often the gateway looks whether the file has changed.
const LOOK: Duration = Duration::from_secs(2);
/// The pause after a certificate that could not be made.
const AGAIN: Duration = Duration::from_secs(60);

/// What makes one certificate another.
#[derive(Clone, PartialEq, Eq)]
struct Wish {
    names: BTreeSet<Identifier>,
    generation: u64,
    renewal: Option<Renewal>,
}

/// worldd's side: keeps the file fresh.
#[derive(Default)]
pub struct ForResolver {
    keeping: Option<(Wish, JoinHandle<()>)>,
}

impl ForResolver {
    /// Has the file hold a certificate of this authority for the resolver's name and addresses.
    pub async fn apply(&mut self, spec: &Spec, issuer: Option<Issuer>) {
        let Some(issuer) = issuer else { return self.close() };
        let name = format!("resolver.{}", spec.dns.platform_zone.name);
        let gateways = spec.networks().into_iter();
        let addresses = gateways.flat_map(|one| [Some(one.gateway.into()), one.gateway6.map(IpAddr::V6)]).flatten();
        let names = pki::identifiers([name.as_str()], addresses);
        let wish = Wish { names, generation: issuer.generation, renewal: pki::renewal(spec) };
        if self.keeping.as_ref().is_some_and(|(old, task)| *old == wish && !task.is_finished()) {
            return;
        }
        self.close();
        // The first is there when this returns: the gateway is told what to do next.
        let first = write(issuer.service.own(wish.names.clone(), &https::profile(wish.renewal)).await);
        let task = tokio::spawn(keep(issuer, wish.clone(), first));
        self.keeping = Some((wish, task));
    }

    /// Renews no longer.
    pub fn close(&mut self) {
        if let Some((_, task)) = self.keeping.take() {
            task.abort();
        }
    }
}

/// Hands a certificate over.
fn write(made: Result<OwnCertificate, OwnError>) -> Option<OwnCertificate> {
    let written =
        made.map_err(|error| super::chain("cannot make the resolver's certificate", &error)).and_then(|own| {
            let chain: String = own.chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
            let text = format!("{}{chain}", pem("PRIVATE KEY", own.key.expose()));
            files::replace(Path::new(FILE), text.as_bytes())
                .map(|()| own)
                .map_err(|error| format!("cannot write the resolver's certificate: {error}"))
        });
    written.inspect_err(|why| error!(service = "pki", "{why}")).ok()
}

/// Renews in time, until it is dropped.
async fn keep(issuer: Issuer, wish: Wish, mut current: Option<OwnCertificate>) {
    loop {
        let due = match (&current, wish.renewal) {
            (None, _) => AGAIN,
            (Some(_), None) => return std::future::pending().await,
            (Some(own), Some(renewal)) => {
                let due = renewal.due_in(own.not_before, own.not_after, unix().cast_signed()).unsigned_abs();
                match due {
                    0 => Duration::ZERO,
                    due => {
                        tokio::time::sleep(renewal.interval.min(Duration::from_secs(due))).await;
                        continue;
                    }
                }
            }
        };
        tokio::time::sleep(due).await;
        match write(issuer.service.issue_own(wish.names.clone(), &https::profile(wish.renewal)).await) {
            Some(next) => current = Some(next),
            None => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// The gateway's side: presents what the file holds.
#[derive(Debug, Default)]
pub struct Presented(RwLock<Option<Arc<CertifiedKey>>>);

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Presented {
    /// Whether there is a certificate.
    pub fn is_there(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// TLS with whatever is there at each handshake; without any, handshakes fail.
    ///
    /// # Errors
    /// When the library refuses its own settings.
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        Ok(builder.with_safe_default_protocol_versions()?.with_no_client_auth().with_cert_resolver(self.clone()))
    }

    fn read(&self) {
        match read() {
            Ok(key) => {
                *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(key));
                info!(service = "resolver", "presents the certificate of {FILE}");
            }
            Err(why) => warn!(service = "resolver", "cannot use {FILE}: {why}"),
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn read() -> Result<CertifiedKey, Failure> {
    let text = files::read(Path::new(FILE))?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&text)?;
    Ok(CertifiedKey::new(chain, any_ecdsa_type(&key)?))
}

/// Reads the file at once, if it is there, and whenever it has been replaced, until the returned task is aborted.
pub fn follow(presented: Arc<Presented>) -> JoinHandle<()> {
    let version = || -> Option<SystemTime> { std::fs::symlink_metadata(FILE).ok()?.modified().ok() };
    let mut seen = version();
    if seen.is_some() {
        presented.read();
    }
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = version();
            if now != seen && now.is_some() {
                presented.read();
            }
            seen = now;
        }
    })
}
