//! Certificates: the world's authority with its ACME server (phase 3).

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use netengine_pki::{
    acme::{Certificate, ExternalAccounts, ExternalKey, Policy},
    ca::{Config, Level, Serial},
    name::{Identifier, Scope},
    service::{Renewal, Service},
    store::SqliteStore,
    validate::{Network, Ports},
};
use netengine_proto::{
    control::{CertificateSummary, ControlReply, IssuedCertificate},
    limits,
    trust::{Credential, CredentialKind},
};
use netengine_spec::Spec;
use tokio::task::JoinHandle;
use tracing::{error, info};

use super::{files, files::Places, names::Names};

/// The authority in use.
pub type Authority = Arc<Service<SqliteStore>>;

/// The authority, or why there is none.
#[derive(Default)]
pub struct Pki {
    open: Option<Open>,
    failed: Option<String>,
    /// Counts authorities, so that what was signed by the one before is known.
    generation: u64,
}

struct Open {
    wish: Wish,
    service: Authority,
    background: JoinHandle<()>,
}

/// What makes one authority another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    config: Config,
    policy: Policy,
    origin: String,
    file: PathBuf,
}

/// The authority, and which one since the start.
#[derive(Clone)]
pub struct Issuer {
    /// The authority.
    pub service: Authority,
    /// Its number.
    pub generation: u64,
}

impl Pki {
    /// Opens the authority that the spec wants, unless it is open.
    pub async fn apply(&mut self, spec: &Spec, credentials: &[Credential], places: &Places, names: Names) {
        let wish = Wish::of(spec, credentials, places);
        if self.open.as_ref().is_some_and(|open| open.wish == wish && !open.background.is_finished()) {
            return;
        }
        // Two at once would not know what the other has issued.
        self.close().await;
        match wish.open(names).await {
            Ok(open) => {
                info!(service = "pki", "the authority is open");
                self.generation += 1;
                self.open = Some(open);
            }
            Err(why) => {
                error!(service = "pki", "{why}");
                self.failed = Some(why);
            }
        }
    }

    /// Ends the authority; what it has answered is kept.
    pub async fn close(&mut self) {
        self.failed = None;
        if let Some(Open { background, .. }) = self.open.take() {
            background.abort();
            // It ends by being aborted.
            let _ = background.await;
        }
    }

    /// The authority.
    ///
    /// # Errors
    /// Why there is none.
    pub fn issuer(&self) -> Result<Issuer, String> {
        match &self.open {
            Some(open) => Ok(Issuer { service: open.service.clone(), generation: self.generation }),
            None => Err(self.failed.clone().unwrap_or_else(|| "there is no certificate authority".to_owned())),
        }
    }

    /// The root certificate, DER.
    pub fn root(&self) -> Option<Vec<u8>> {
        self.open.as_ref().map(|open| open.service.authority().signer(Level::Root).certificate().to_vec())
    }

    /// What was issued before the certificate of that number, newest first.
    pub fn certificates(&self, before: Option<&str>) -> ControlReply {
        let Some(open) = &self.open else { return ControlReply::Certificates(Vec::new()) };
        let mut all = open.service.list(None, usize::MAX);
        all.sort_by_key(|one| std::cmp::Reverse((one.certificate.not_before, one.certificate.serial)));
        let from = match before {
            None => 0,
            Some(before) => match all.iter().position(|one| one.certificate.serial.to_string() == before) {
                Some(position) => position + 1,
                None => return ControlReply::Refused(format!("no certificate has the serial number {before:?}")),
            },
        };
        let page = all[from..].iter().take(limits::CERTIFICATES_LISTED).map(|one| summary(&one.certificate));
        ControlReply::Certificates(page.collect())
    }

    /// One certificate with its chain.
    pub async fn certificate(&self, serial: &str) -> ControlReply {
        let (Some(open), Some(serial)) = (&self.open, Serial::from_hex(serial)) else {
            return ControlReply::Certificate(None);
        };
        match open.service.show(serial).await {
            Ok(found) => ControlReply::Certificate(found.map(|(known, der)| IssuedCertificate {
                summary: summary(&known),
                chain: open.service.authority().chain_pem(&der),
            })),
            Err(error) => {
                error!(service = "pki", "{error}");
                ControlReply::Refused("cannot read the certificate".to_owned())
            }
        }
    }
}

impl Wish {
    fn of(spec: &Spec, credentials: &[Credential], places: &Places) -> Self {
        let name = spec.pki.acme.canonical_name.as_str();
        let external = external(credentials);
        Self {
            config: Config::of(spec),
            policy: Policy { external, ..Policy::new(Scope::of(spec), name) },
            origin: format!("https://{name}"),
            file: places.authority.join("pki.db"),
        }
    }

    async fn open(self, names: Names) -> Result<Open, String> {
        let failed = |error: &dyn std::error::Error| super::chain("cannot open the certificate authority", error);
        files::reserve(&self.file).map_err(|error| failed(&error))?;
        let store = SqliteStore::open(&self.file).await.map_err(|error| failed(&error))?;
        let (scope, name) = (self.policy.scope.clone(), &self.policy.caa_identity);
        let network = Network::new(names, scope, Ports::default(), name).map_err(|error| failed(&error))?;
        let opened = Service::open(self.config.clone(), self.policy.clone(), &self.origin, store, network).await;
        let (service, background) = opened.map_err(|error| failed(&error))?;
        Ok(Open { wish: self, service, background: tokio::spawn(background.run()) })
    }
}

/// The keys that accounts may be bound with; nobody needs one.
fn external(credentials: &[Credential]) -> ExternalAccounts {
    let keys = credentials.iter().filter(|credential| credential.kind == CredentialKind::AcmeEab);
    let key = |held: &Credential| ExternalKey::new(URL_SAFE_NO_PAD.decode(held.secret.expose()).ok()?);
    let keys = keys.filter_map(|held| Some((held.name.clone(), key(held)?))).collect();
    ExternalAccounts { required: false, is_reusable: true, keys }
}

/// When certificates of the world's services are renewed.
pub fn renewal(spec: &Spec) -> Option<Renewal> {
    Renewal::of(&spec.pki.rotation_policy, "service")
}

/// Names and addresses in a certificate; what is neither is left out.
pub fn identifiers<'n>(
    names: impl IntoIterator<Item = &'n str>,
    addresses: impl IntoIterator<Item = std::net::IpAddr>,
) -> BTreeSet<Identifier> {
    let names = names.into_iter().filter_map(|name| Identifier::dns(name).ok());
    names.chain(addresses.into_iter().map(Identifier::Ip)).collect()
}

fn summary(certificate: &Certificate) -> CertificateSummary {
    let Certificate { serial, account, identifiers, not_before, not_after, revoked, .. } = certificate;
    CertificateSummary {
        serial: serial.to_string(),
        names: identifiers.iter().map(ToString::to_string).collect(),
        not_before: *not_before,
        not_after: *not_after,
        revoked: revoked.as_ref().map(|revoked| revoked.at),
        account: account.as_ref().map_or_else(|| "world".to_owned(), ToString::to_string),
    }
}
