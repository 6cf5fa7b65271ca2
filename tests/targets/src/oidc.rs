//! An OpenID provider in memory, and requests to it as texts.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::{HeaderMap, Request, StatusCode};
use netengine_oidc::{
    client::{Client, GrantType},
    jose::Algorithm,
    provider::{Provider, Settings},
    realm::RealmConfig,
    registration::create_initial,
    secret::{Kernel, Secret, digest},
    session,
    state::{Object, Write},
    store::{Store, StoreError},
    user::{GENERATED, PasswordHash, User},
    web::request::Moment,
};
use tokio::sync::mpsc;

/// Where the provider says it is.
pub const BASE: &str = "https://auth.internal";
/// When all requests come, seconds since 1970.
pub const NOW: u64 = 1_800_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "correct horse battery staple";

/// Keeps what a provider wrote, for the next one to begin with.
#[derive(Default)]
struct Kept(Mutex<Vec<Write>>);

impl Store for Kept {
    fn load(&self) -> BoxFuture<'_, Result<Vec<Write>, StoreError>> {
        Box::pin(async { Ok(self.0.lock().expect("one thread").clone()) })
    }

    fn commit<'a>(&'a self, writes: &'a [Write]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.lock().expect("one thread").extend_from_slice(writes);
        Box::pin(async { Ok(()) })
    }
}

struct Start {
    writes: Vec<Write>,
    words: BTreeMap<&'static str, String>,
}

static START: LazyLock<Start> = LazyLock::new(|| block_on(start()));

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

async fn open(store: Arc<dyn Store>) -> Arc<Provider> {
    let (outbox, _) = mpsc::channel(16);
    let settings = Settings { base: BASE.to_owned(), admin_realm: Some("acme".to_owned()) };
    Provider::open(settings, store, outbox).await.expect("a provider")
}

/// The realms `acme`, with a user, her session and a client of each kind, and `other`, with nothing.
async fn start() -> Start {
    let kept = Arc::new(Kept::default());
    let provider = open(kept.clone()).await;
    let mut config = RealmConfig::new("acme");
    config.roles.insert("admin".to_owned(), "may administer".to_owned());
    provider.create_realm(config, NOW).await.expect("a realm");
    provider.create_realm(RealmConfig::new("other"), NOW).await.expect("a realm");
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken, GrantType::DeviceCode];
    let mut spa = Client::new("spa", NOW);
    spa.redirect_uris.insert("https://app.acme.corp/callback".to_owned());
    spa.grant_types = BTreeSet::from(grants);
    spa.id_token_alg = Algorithm::Es256;
    let mut web = spa.clone();
    web.client_id = "web".to_owned();
    web.secret_digest = Some(digest(SECRET));
    web.grant_types.insert(GrantType::ClientCredentials);
    web.post_logout_redirect_uris.insert("https://app.acme.corp/bye?x=1".to_owned());
    web.backchannel_logout_uri = Some("https://app.acme.corp/backchannel".to_owned());
    let mut asking = web.clone();
    asking.client_id = "asking".to_owned();
    asking.consent_required = true;
    let id = "5f0f6f1e-0000-4000-8000-000000000001";
    let mut alice = User::new(id.to_owned(), "alice", NOW);
    alice.roles.insert("admin".to_owned());
    alice.password = Some(PasswordHash::new(&Secret::new(PASSWORD.to_owned()), GENERATED, &mut Kernel));
    let (session, initial) = provider
        .change("acme", |tx| {
            for client in [spa, web, asking] {
                tx.put(Object::Client(client));
            }
            tx.put(Object::User(alice));
            let (_, cookie) = session::create(tx, id, NOW, &mut Kernel);
            (cookie, create_initial(tx, 3, 3600, NOW, &mut Kernel))
        })
        .await
        .expect("stored");
    let words = BTreeMap::from([("session", session.expose().to_owned()), ("initial", initial.expose().to_owned())]);
    let writes = kept.0.lock().expect("one thread").clone();
    Start { writes, words }
}

/// An answer, read whole.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The provider, and what its answers told so far.
pub struct Site {
    /// The provider.
    pub provider: Arc<Provider>,
    /// What `$NAME` in a later request stands for: tokens, codes, cookies.
    words: BTreeMap<&'static str, String>,
}

impl Site {
    /// As at the start.
    pub fn new() -> Self {
        let store = Kept(Mutex::new(START.writes.clone()));
        Self { provider: block_on(open(Arc::new(store))), words: START.words.clone() }
    }

    /// Sends a request: a line of method and target, headers, an empty line, a body. `None` for what no HTTP server would
    /// hand over.
    pub fn send(&mut self, text: &str) -> Option<Answer> {
        let text = self.filled(text);
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        let mut lines = head.lines();
        let (method, target) = lines.next()?.split_once(' ')?;
        let mut request = Request::builder().method(method).uri(target);
        let mut has_host = false;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            has_host |= name.eq_ignore_ascii_case("host");
            request = request.header(name, value.trim_start());
        }
        if !has_host {
            request = request.header("host", "auth.internal");
        }
        let request = request.body(Bytes::copy_from_slice(body.as_bytes())).ok()?;
        let moment = Moment { unix_s: NOW, monotonic_ms: 0 };
        let answer = block_on(async {
            let (head, body) = self.provider.handle(IpAddr::from([10, 0, 0, 9]), moment, request).await.into_parts();
            let body = body.collect().await.expect("a body in memory").to_bytes();
            Answer { status: head.status, headers: head.headers, body }
        });
        self.learn(&answer);
        Some(answer)
    }

    fn filled(&self, text: &str) -> String {
        // Longer names first: one may begin another.
        let mut text = text.to_owned();
        for (name, value) in self.words.iter().rev() {
            text = text.replace(&format!("${name}"), value);
        }
        text
    }

    /// Remembers what an answer gives, as a client or browser would.
    fn learn(&mut self, answer: &Answer) {
        let body = String::from_utf8_lossy(&answer.body);
        if let Some((_, rest)) = body.split_once("name=\"csrf\" value=\"") {
            self.words.insert("csrf", rest.split('"').next().unwrap_or_default().to_owned());
        }
        for cookie in answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok()) {
            let pair = cookie.split(';').next().unwrap_or_default();
            match pair.split_once('=') {
                Some(("NE_SESSION", value)) => self.words.insert("session", value.to_owned()),
                Some(("NE_FORM", value)) => self.words.insert("form", value.to_owned()),
                _ => None,
            };
        }
        if let Some((_, rest)) = answer.header("location").and_then(|to| to.split_once("code=")) {
            self.words.insert("code", rest.split('&').next().unwrap_or_default().to_owned());
        }
        let Ok(serde_json::Value::Object(members)) = serde_json::from_slice(&answer.body) else { return };
        for name in [
            "access_token",
            "refresh_token",
            "id_token",
            "device_code",
            "user_code",
            "registration_access_token",
            "client_id",
        ] {
            if let Some(value) = members.get(name).and_then(serde_json::Value::as_str) {
                self.words.insert(name, value.to_owned());
            }
        }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}
