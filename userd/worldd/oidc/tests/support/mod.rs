//! A provider on the loopback interface, and other people's clients as processes.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use netengine_oidc::{
    client::{Client, GrantType},
    provider::{Delivery, Provider, Settings},
    realm::RealmConfig,
    registration::create_initial,
    secret::{Kernel, Secret, digest},
    serve::{Clock, serve_connection},
    state::Object,
    store::{MemoryStore, Store},
    user::{GENERATED, PasswordHash, User},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

pub const PASSWORD: &str = "correct horse battery staple";
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Where the clients pretend to listen; nothing is ever sent there.
pub const CALLBACK: &str = "http://127.0.0.1:9/callback";

/// A provider with the realm `acme`, the user `alice`, and one client of each kind.
pub struct Site {
    pub provider: Arc<Provider>,
    pub address: SocketAddr,
    pub issuer: String,
    pub initial: Secret,
    pub outbox: mpsc::Receiver<Delivery>,
}

pub async fn site() -> Site {
    site_with(Arc::new(MemoryStore)).await
}

pub async fn site_with(store: Arc<dyn Store>) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let base = format!("http://{address}");
    let (sender, outbox) = mpsc::channel(16);
    let settings = Settings { base: base.clone(), admin_realm: Some("acme".into()) };
    let provider = Provider::open(settings, store, sender).await.expect("a provider");
    let initial = fill(&provider).await;
    let server = Arc::clone(&provider);
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        let clock = Clock::default();
        while let Ok((stream, peer)) = listener.accept().await {
            let provider = Arc::clone(&server);
            connections.spawn(serve_connection(provider, clock, peer.ip(), stream));
            while connections.try_join_next().is_some() {}
        }
    });
    Site { provider, address, issuer: format!("{base}/realms/acme"), initial, outbox }
}

pub fn now() -> u64 {
    Clock::default().now().unix_s
}

async fn fill(provider: &Provider) -> Secret {
    let mut config = RealmConfig::new("acme");
    config.organization = Some("acme".into());
    config.roles.insert("admin".into(), "may administer".into());
    config.roles.insert("staff".into(), "works here".into());
    config.scopes.insert("netengines:read".into(), Some("netengine-api".into()));
    provider.create_realm(config, now()).await.expect("a realm");
    provider.create_realm(RealmConfig::new("other"), now()).await.expect("a realm");
    let all = BTreeSet::from([
        GrantType::AuthorizationCode,
        GrantType::RefreshToken,
        GrantType::ClientCredentials,
        GrantType::DeviceCode,
    ]);
    let mut web = Client::new("web", now());
    web.secret_digest = Some(digest(SECRET));
    web.redirect_uris.insert(CALLBACK.into());
    web.post_logout_redirect_uris.insert("http://127.0.0.1:9/bye".into());
    web.backchannel_logout_uri = Some("https://127.0.0.1:9/backchannel".into());
    web.grant_types = all.clone();
    web.roles.insert("admin".into());
    let mut spa = Client::new("spa", now());
    spa.redirect_uris.insert(CALLBACK.into());
    spa.grant_types = all.iter().copied().filter(|grant| *grant != GrantType::ClientCredentials).collect();
    let mut asking = web.clone();
    asking.client_id = "asking".into();
    asking.name = "A <b>bold</b> app".into();
    asking.consent_required = true;
    let mut alice = User::new("5f0f6f1e-0000-4000-8000-000000000001".into(), "alice", now());
    alice.email = Some("alice@acme.corp".into());
    alice.roles.insert("staff".into());
    alice.password = Some(PasswordHash::new(&Secret::new(PASSWORD.into()), GENERATED, &mut Kernel));
    provider
        .change("acme", |tx| {
            for client in [web, spa, asking] {
                tx.put(Object::Client(client));
            }
            tx.put(Object::User(alice));
            create_initial(tx, 3, 3600, now(), &mut Kernel)
        })
        .await
        .expect("stored")
}

/// What the scripts are told.
pub fn told(site: &Site) -> Value {
    json!({
        "issuer": site.issuer,
        "callback": CALLBACK,
        "secret": SECRET,
        "username": "alice",
        "password": PASSWORD,
        "initial": site.initial.expose(),
    })
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Runs `tests/clients/prepare`, which installs the clients once, and then one of them.
///
/// # Panics
/// When it cannot be installed or when it finds a fault: what it printed is the message.
pub async fn run_client(script: &'static str, told: Value) {
    let done = tokio::task::spawn_blocking(move || {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc-clients");
        let prepared = Command::new("sh").arg(clients().join("prepare")).arg(&place).output().expect("sh runs");
        assert!(prepared.status.success(), "prepare: {}", String::from_utf8_lossy(&prepared.stderr));
        let (program, script) = if script.ends_with(".mjs") {
            // An import is looked up from where the script lies.
            let copy = place.join(script);
            std::fs::copy(clients().join(script), &copy).expect("copied");
            std::fs::copy(clients().join("browser.mjs"), place.join("browser.mjs")).expect("copied");
            (PathBuf::from("node"), copy)
        } else {
            (place.join("venv/bin/python"), clients().join(script))
        };
        Command::new(program)
            .arg(script)
            .arg(told.to_string())
            .env("AUTHLIB_INSECURE_TRANSPORT", "1")
            .output()
            .expect("the client runs")
    })
    .await
    .expect("joined");
    let said = format!("{}\n{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{script}:\n{said}");
    assert!(said.contains("all done"), "{script} ended early:\n{said}");
}

/// An answer, read whole.
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub fn location(&self) -> &str {
        self.headers.get("location").and_then(|value| value.to_str().ok()).unwrap_or_else(|| panic!("{}", self.text))
    }

    /// The value of a parameter of the address it redirects to.
    pub fn sent_back(&self, name: &str) -> Option<String> {
        let url = url::Url::parse(self.location()).expect("an address");
        url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// The cookies it sets, as a browser would send them.
    pub fn cookies(&self) -> String {
        let all = self.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
        all.filter_map(|line| line.split(';').next()).collect::<Vec<_>>().join("; ")
    }

    /// The token in its form.
    pub fn csrf(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("{}", self.text));
        rest.split('"').next().expect("a value").to_owned()
    }
}

impl Site {
    /// Sends one request past the network, at the time `now`.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str, now: u64) -> Answer {
        use http_body_util::BodyExt;
        let mut request = hyper::Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(hyper::body::Bytes::from(body.to_owned())).expect("a request");
        let moment = netengine_oidc::web::request::Moment { unix_s: now, monotonic_ms: now * 1000 };
        let reply = self.provider.handle(self.address.ip(), moment, request).await;
        let (head, body) = reply.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// Posts a form.
    pub async fn post(&self, path: &str, cookies: &str, fields: &[(&str, &str)], now: u64) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("cookie", cookies)];
        self.ask("POST", path, &headers, &body, now).await
    }

    /// Posts to the token endpoint as `web`.
    pub async fn token(&self, fields: &[(&str, &str)], now: u64) -> Answer {
        let mut all = vec![("client_id", "web"), ("client_secret", SECRET)];
        all.extend(fields);
        self.post("/realms/acme/protocol/openid-connect/token", "", &all, now).await
    }

    /// Logs alice in for `query` and returns the answer with the code.
    pub async fn log_in(&self, query: &str, now: u64) -> Answer {
        let page = self.ask("GET", &format!("{AUTH}?{query}"), &[], "", now).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let fields = [("csrf", page.csrf()), ("username", "alice".into()), ("password", PASSWORD.into())];
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let path = format!("/realms/acme/login-actions/authenticate?{query}");
        self.post(&path, &page.cookies(), &fields, now).await
    }
}

pub const AUTH: &str = "/realms/acme/protocol/openid-connect/auth";
/// A plain request of the client `web`.
pub const QUERY: &str =
    "response_type=code&client_id=web&redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcallback&scope=openid&state=s";
