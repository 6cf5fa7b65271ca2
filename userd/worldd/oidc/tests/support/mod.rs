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
    web.backchannel_logout_uri = Some("http://127.0.0.1:9/backchannel".into());
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
