//! Identities: the platform's OpenID provider (phase 4) and the organisations' (phase 6), each with keys and a store of its
//! own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, Limited};
use netengine_oidc::{
    from_spec::{self, Kind, Wanted, WantedRealm},
    provider::{Delivery, Provider},
    secret::Secret,
    serve::Clock,
    store::SqliteStore,
};
use netengine_pki::http::Peer;
use netengine_proto::trust::{Credential, CredentialKind};
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{error, info, warn};

use super::{clock::unix, files};

/// Largest request body, bytes.
const MAX_BODY: usize = 64 * 1024;
/// How long a peer may take for the body of a request.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Logout notices that wait to be delivered; more are dropped, with a warning.
const NOTICES: usize = 1024;
/// How often what has ended is swept away.
const SWEEP: Duration = Duration::from_secs(60);

/// One provider, or why there is none.
#[derive(Default)]
pub struct Identity {
    open: Option<Open>,
    failed: Option<String>,
}

struct Open {
    base: String,
    admin_realm: String,
    file: PathBuf,
    provider: Arc<Provider>,
    /// What its realms were last made from; absent: not all of it is there.
    filled: Option<(Wanted, Vec<Credential>)>,
    notices: Option<mpsc::Receiver<Delivery>>,
    sweeping: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.sweeping.abort();
    }
}

impl Identity {
    /// Makes the provider and its realms what is wanted. Accounts and clients that are there keep what people changed.
    pub async fn apply(&mut self, wanted: Wanted, credentials: &[Credential], directory: &Path, name: &str) {
        self.failed = None;
        let file = directory.join(name);
        let is_same =
            |open: &Open| open.base == wanted.base && open.admin_realm == wanted.admin_realm && open.file == file;
        if !self.open.as_ref().is_some_and(is_same) {
            self.close();
            match open(&wanted, file).await {
                Ok(opened) => self.open = Some(opened),
                Err(why) => {
                    error!(service = "oidc", "{why}");
                    self.failed = Some(why);
                    return;
                }
            }
        }
        let Some(open) = &mut self.open else { return };
        let own = |credential: &&Credential| {
            let realm = credential.issuer.strip_prefix(&wanted.base);
            realm.is_some_and(|rest| rest.starts_with("/realms/"))
        };
        let own: Vec<Credential> = credentials.iter().filter(own).cloned().collect();
        if open.filled.as_ref().is_some_and(|(realms, secrets)| *realms == wanted && *secrets == own) {
            return;
        }
        match fill(&open.provider, &wanted, &own).await {
            Ok(()) => {
                info!(service = "oidc", "{}: {} realms", wanted.base, wanted.realms.len());
                open.filled = Some((wanted, own));
            }
            Err(why) => {
                open.filled = None;
                error!(service = "oidc", "{why}");
                self.failed = Some(why);
            }
        }
    }

    /// Ends the provider; what it has answered is kept.
    pub fn close(&mut self) {
        self.open = None;
        self.failed = None;
    }

    /// The provider.
    pub fn provider(&self) -> Option<Arc<Provider>> {
        self.open.as_ref().map(|open| open.provider.clone())
    }

    /// The logout notices of the provider, once.
    pub fn notices(&mut self) -> Option<mpsc::Receiver<Delivery>> {
        self.open.as_mut()?.notices.take()
    }

    /// What it answers.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn router(&self) -> Result<Router, String> {
        match (&self.failed, self.provider()) {
            (Some(why), _) => Err(why.clone()),
            (None, None) => Err("there is no OpenID provider".to_owned()),
            (None, Some(provider)) => {
                let clock = Clock::default();
                Ok(Router::new().fallback(move |request: Request| answer(provider.clone(), clock, request)))
            }
        }
    }
}

async fn open(wanted: &Wanted, file: PathBuf) -> Result<Open, String> {
    let failed = |error: &dyn std::error::Error| super::chain("cannot open the OpenID provider", error);
    files::reserve(&file).map_err(|error| failed(&error))?;
    let store = SqliteStore::open(&file).await.map_err(|error| failed(&error))?;
    let (outbox, notices) = mpsc::channel(NOTICES);
    let provider = Provider::open(wanted.settings(), Arc::new(store), outbox).await.map_err(|error| failed(&error))?;
    let sweeping = tokio::spawn(sweep(provider.clone()));
    let (base, admin_realm) = (wanted.base.clone(), wanted.admin_realm.clone());
    Ok(Open { base, admin_realm, file, provider, filled: None, notices: Some(notices), sweeping })
}

/// Ends what has ended and replaces keys that are due, until it is dropped.
async fn sweep(provider: Arc<Provider>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        if let Err(error) = provider.tick(unix()).await {
            error!(service = "oidc", "{}", super::chain("cannot sweep", &error));
        }
    }
}

/// Makes the realms, all at once: their changes share the store's transactions.
async fn fill(provider: &Provider, wanted: &Wanted, credentials: &[Credential]) -> Result<(), String> {
    let secrets: Vec<from_spec::Credential> = credentials.iter().filter_map(secret).collect();
    let realms = wanted.realms.iter().map(|realm| fill_realm(provider, realm, &secrets));
    let results: Result<Vec<()>, String> = futures::future::join_all(realms).await.into_iter().collect();
    results?;
    let names = wanted.realms.iter().map(|realm| realm.config.name.as_str()).collect();
    let closed = provider.close_others(&names, unix()).await;
    closed.map_err(|error| super::chain("cannot close the realms that are wanted no more", &error))
}

async fn fill_realm(provider: &Provider, realm: &WantedRealm, secrets: &[from_spec::Credential]) -> Result<(), String> {
    let name = realm.config.name.as_str();
    let failed = |error: &dyn std::error::Error| super::chain(&format!("cannot make the realm {name}"), error);
    let without = provider.fill(realm, secrets, unix()).await.map_err(|error| failed(&error))?;
    match without.first() {
        None => Ok(()),
        Some(first) => Err(format!("the realm {name} has no secret for {first} ({} in all)", without.len())),
    }
}

fn secret(credential: &Credential) -> Option<from_spec::Credential> {
    let kind = match credential.kind {
        CredentialKind::Password => Kind::Password,
        CredentialKind::ClientSecret => Kind::ClientSecret,
        CredentialKind::RegistrationToken => Kind::RegistrationToken,
        CredentialKind::Tsig | CredentialKind::AcmeEab | CredentialKind::AcmeAccount => return None,
    };
    let Credential { issuer, name, .. } = credential;
    let secret = Secret::new(credential.secret.expose().to_owned());
    Some(from_spec::Credential { issuer: issuer.clone(), kind, name: name.clone(), secret })
}

/// One request; its body is read here, within its bounds.
async fn answer(provider: Arc<Provider>, clock: Clock, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Some(&Peer(source)) = head.extensions.get::<Peer>() else {
        warn!(service = "oidc", "a request from nowhere");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let body: Bytes = match tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return closing(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => return closing(StatusCode::REQUEST_TIMEOUT),
    };
    provider.handle(source, clock.now(), Request::from_parts(head, body)).await.map(Body::new)
}

/// What is left of the request is not read.
fn closing(status: StatusCode) -> Response {
    (status, [(axum::http::header::CONNECTION, "close")]).into_response()
}
