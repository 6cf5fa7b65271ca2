//! The admin interface and the store: what was answered is there, and stays there over a restart.

mod support;

use std::sync::Arc;

use netengine_oidc::{
    from_spec::{self, Credential, Kind, WantedRealm, WantedUser},
    provider::{Provider, Settings},
    secret::{Kernel, Secret},
    state::Object,
    store::{SqliteStore, Store, StoreError},
};
use serde_json::{Value, json};
use support::{QUERY, Site, now, site, site_with};
use tokio::sync::mpsc;

async fn bearer(site: &Site) -> String {
    let token = site.token(&[("grant_type", "client_credentials")], now()).await.json();
    format!("Bearer {}", token["access_token"].as_str().expect("a token"))
}

async fn admin(site: &Site, method: &str, path: &str, body: Value) -> support::Answer {
    let bearer = bearer(site).await;
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    site.ask(method, &format!("/admin/realms/{path}"), &headers, &body.to_string(), now()).await
}

#[tokio::test]
async fn users_clients_and_roles_are_made_changed_and_removed() {
    let site = site().await;
    let user = json!({"username": "Bob", "email": "bob@acme.corp", "credentials": [{"type": "password", "value": "a long one"}]});
    let made = admin(&site, "POST", "acme/users", user.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.location().rsplit('/').next().expect("an id").to_owned();
    assert_eq!(admin(&site, "POST", "acme/users", user).await.status, 409);
    let found = admin(&site, "GET", "acme/users?username=BOB&exact=true", Value::Null).await.json();
    assert_eq!(found[0]["id"], json!(id));
    assert_eq!(admin(&site, "POST", "acme/roles", json!({"name": "auditor"})).await.status, 201);
    let roles = format!("acme/users/{id}/role-mappings/realm");
    assert_eq!(admin(&site, "POST", &roles, json!([{"name": "auditor"}])).await.status, 204);
    assert_eq!(admin(&site, "POST", &roles, json!([{"name": "nothing"}])).await.status, 404);
    assert_eq!(admin(&site, "GET", &roles, Value::Null).await.json(), json!([{"name": "auditor"}]));
    assert_eq!(admin(&site, "DELETE", "acme/roles/auditor", Value::Null).await.status, 204);
    assert_eq!(admin(&site, "GET", &roles, Value::Null).await.json(), json!([]));
    let short = json!({"type": "password", "value": "short"});
    assert_eq!(admin(&site, "PUT", &format!("acme/users/{id}/reset-password"), short).await.status, 400);
    assert_eq!(admin(&site, "DELETE", &format!("acme/users/{id}"), Value::Null).await.status, 204);
    assert_eq!(admin(&site, "GET", &format!("acme/users/{id}"), Value::Null).await.status, 404);

    let client = json!({"clientId": "wiki", "redirectUris": ["https://wiki.acme.corp/cb"]});
    let made = admin(&site, "POST", "acme/clients", client).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.json()["secret"].as_str().expect("a secret").len(), 43);
    for uri in ["javascript:alert(1)", "https://x/#f", "data:text/html,x", "https://*.acme.corp/", "/relative"] {
        let bad = admin(&site, "PUT", "acme/clients/wiki", json!({"redirectUris": [uri]})).await;
        assert_eq!(bad.status, 400, "{uri}");
    }
    assert!(admin(&site, "GET", "acme/clients/wiki", Value::Null).await.json().get("secret").is_none());
    assert_eq!(admin(&site, "DELETE", "acme/clients/wiki", Value::Null).await.status, 204);
    // The same settings again: what the administrator made stays.
    assert_eq!(admin(&site, "POST", "other/roles", json!({"name": "kept"})).await.status, 201);
    let again = netengine_oidc::realm::RealmConfig::new("other");
    site.provider.create_realm(again, now()).await.expect("there");
    assert_eq!(admin(&site, "GET", "other/roles/kept", Value::Null).await.status, 200);
    // The admin realm reaches the others; without a token there is nothing to see.
    assert_eq!(admin(&site, "GET", "other/users", Value::Null).await.json(), json!([]));
    assert_eq!(site.ask("GET", "/admin/realms/none/users", &[], "", now()).await.status, 401);
}

#[tokio::test]
async fn a_new_password_ends_the_sessions() {
    let site = site().await;
    let session = site.log_in(QUERY, now()).await.cookies();
    let id = "5f0f6f1e-0000-4000-8000-000000000001";
    let fresh = json!({"type": "password", "value": "another long one"});
    assert_eq!(admin(&site, "PUT", &format!("acme/users/{id}/reset-password"), fresh).await.status, 204);
    let path = format!("{}?{QUERY}", support::AUTH);
    assert_eq!(site.ask("GET", &path, &[("cookie", &session)], "", now()).await.status, 200, "the login page");
    assert_eq!(site.log_in(QUERY, now()).await.status, 200, "the old password is wrong now");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("oidc.db");
    let site = site_with(Arc::new(SqliteStore::open(&path).await.expect("a store"))).await;
    let made = admin(&site, "POST", "acme/users", json!({"username": "carol"})).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let code = site.log_in(QUERY, now()).await.sent_back("code").expect("a code");
    let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", support::CALLBACK)];
    let tokens = site.token(&fields, now()).await.json();
    let revoked = site.token(&[("grant_type", "client_credentials")], now()).await.json();
    let revoked = revoked["access_token"].as_str().expect("a token").to_owned();
    let revoke = [("client_id", "web"), ("client_secret", support::SECRET), ("token", revoked.as_str())];
    let done = site.post("/realms/acme/protocol/openid-connect/revoke", "", &revoke, now()).await;
    assert_eq!(done.status, 200);

    // The file alone, as after kill -9: the first provider was never told to stop.
    let copy = directory.path().join("copy.db");
    for end in ["", "-wal"] {
        std::fs::copy(format!("{}{end}", path.display()), format!("{}{end}", copy.display())).expect("copied");
    }
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&copy).await.expect("a store"));
    let base = site.issuer.trim_end_matches("/realms/acme").to_owned();
    let settings = Settings { base, admin_realm: Some("acme".into()) };
    let provider = Provider::open(settings, store, mpsc::channel(1).0).await.expect("loaded");
    let again = Site { provider, ..site };
    assert!(again.provider.read("acme", |realm| realm.user_named("carol").is_some()).expect("the realm"));
    let introspect = "/realms/acme/protocol/openid-connect/token/introspect";
    let state = |token: String| {
        let again = &again;
        async move {
            let fields = [("client_id", "web"), ("client_secret", support::SECRET), ("token", token.as_str())];
            again.post(introspect, "", &fields, now()).await.json()["active"].clone()
        }
    };
    assert_eq!(state(tokens["access_token"].as_str().expect("a token").to_owned()).await, json!(true));
    assert_eq!(state(revoked).await, json!(false), "revoked stays revoked");
    assert_eq!(again.token(&fields, now()).await.json()["error"], "invalid_grant", "a used code stays used");
}

#[tokio::test]
async fn the_spec_makes_realms_users_and_clients_once() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/single-org.yaml"));
    let source = netengine_spec::Source { name: "single-org.yaml".into(), text: text.expect("the example") };
    let sources = netengine_spec::Sources { base: source, overlay: None, sets: Vec::new() };
    let spec = netengine_spec::load(&sources, &|_| None).unwrap_or_else(|_| panic!("the example loads")).spec;
    let platform = from_spec::platform(&spec);
    assert_eq!(platform.base, "https://auth.platform.internal");
    assert_eq!(platform.realms.len(), 1);
    assert_eq!(platform.realms[0].users[0].roles, ["admin", "registry-superadmin"]);
    let wanted = from_spec::inworld(&spec);
    let names: Vec<&str> = wanted.realms.iter().map(|realm| realm.config.name.as_str()).collect();
    assert_eq!(names, ["inworld", "acme-corp"]);
    let credentials = wanted.credentials(&mut Kernel);
    let of = |name: &str| credentials.iter().find(|one| one.name == name).expect("made").secret.expose().to_owned();
    assert_eq!(of("alice").len(), 26);
    let store: Arc<dyn Store> = Arc::new(netengine_oidc::store::MemoryStore);
    let provider = Provider::open(wanted.settings(), store, mpsc::channel(1).0).await.expect("a provider");
    for _ in 0..2 {
        for realm in &wanted.realms {
            let without = provider.fill(realm, &credentials, now()).await.expect("stored");
            assert!(without.is_empty(), "{without:?}");
        }
    }
    provider.read("acme-corp", |realm| {
        assert_eq!(realm.users.len(), 2);
        assert_eq!(realm.config.organization.as_deref(), Some("acme-corp"));
        assert_eq!(realm.issuer, "https://auth.internal/realms/acme-corp");
        assert_eq!(realm.keys.0.len(), 1);
    });
}

#[tokio::test]
async fn who_leaves_the_spec_loses_access_and_comes_back_with_what_they_had() {
    let site = site().await;
    let config = site.provider.read("acme", |realm| realm.config.clone()).expect("the realm");
    let alice = WantedUser { username: "alice".into(), email: "alice@acme.corp".into(), roles: vec!["staff".into()] };
    let bob = WantedUser { username: "Bob".into(), ..alice.clone() };
    let realm = |users: &[&WantedUser]| WantedRealm {
        config: config.clone(),
        users: users.iter().map(|user| (*user).clone()).collect(),
        services: Default::default(),
    };
    let own = |kind, name: &str, secret: &str| Credential {
        issuer: site.issuer.clone(),
        kind,
        name: name.into(),
        secret: Secret::new(secret.into()),
    };
    let secrets =
        [own(Kind::Password, "Bob", "bob's"), own(Kind::RegistrationToken, "registration", "the owner's token")];
    let fill = async |users: &[&WantedUser]| {
        assert!(site.provider.fill(&realm(users), &secrets, now()).await.expect("stored").is_empty());
    };
    let enabled = |name: &str| site.provider.read("acme", |realm| realm.user_named(name).map(|user| user.enabled));
    fill(&[&alice, &bob]).await;
    let page = site.log_in(QUERY, now()).await;
    assert!(page.sent_back("code").is_some());
    fill(&[&bob]).await;
    assert_eq!((enabled("alice"), enabled("bob")), (Some(Some(false)), Some(Some(true))));
    assert!(site.log_in(QUERY, now()).await.headers.get("location").is_none());
    let sessions = || site.provider.read("acme", |realm| realm.sessions.len());
    assert_eq!(sessions(), Some(0), "what she had begun has ended");
    // Others may be disabled by an administrator, and stay so while the spec says the same of them.
    let users = site.provider.read("acme", |realm| realm.user_named("bob").cloned()).flatten().expect("bob");
    let off = netengine_oidc::user::User { enabled: false, ..users };
    site.provider.change("acme", |tx| tx.put(Object::User(off))).await.expect("stored");
    fill(&[&alice, &bob]).await;
    assert_eq!((enabled("alice"), enabled("bob")), (Some(Some(true)), Some(Some(false))));
    assert!(site.log_in(QUERY, now()).await.sent_back("code").is_some(), "her password is what it was");
    // The owner's token registers clients; filling again does not make it new.
    let register = async || {
        let body = json!({"redirect_uris": ["https://app.acme.corp/back"]}).to_string();
        let path = "/realms/acme/clients-registrations/openid-connect";
        let headers = [("authorization", "Bearer the owner's token"), ("content-type", "application/json")];
        site.ask("POST", path, &headers, &body, now()).await
    };
    assert_eq!(register().await.status, 201);
    fill(&[&alice]).await;
    let left = site.provider.read("acme", |realm| realm.initial.values().map(|one| one.remaining).max());
    assert_eq!(left, Some(Some(9_999)));
    // An organisation that left is as one that never was, until it comes back.
    site.provider.close_others(&["other"].into(), now()).await.expect("stored");
    let discovery = "/realms/acme/.well-known/openid-configuration";
    assert_eq!(site.ask("GET", discovery, &[], "", now()).await.status, 404);
    assert_eq!((register().await.status, site.provider.realm_names()), (404, vec!["other".to_owned()]));
    site.provider.tick(now()).await.expect("stored");
    fill(&[&alice]).await;
    assert_eq!(site.ask("GET", discovery, &[], "", now()).await.status, 200);
    assert!(site.log_in(QUERY, now()).await.sent_back("code").is_some());
}

/// A store whose disk is full for a while.
#[derive(Default)]
struct FullDisk {
    is_full: std::sync::atomic::AtomicBool,
    stored: std::sync::Mutex<Vec<netengine_oidc::state::Write>>,
}

impl Store for FullDisk {
    fn load(&self) -> futures::future::BoxFuture<'_, Result<Vec<netengine_oidc::state::Write>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn commit<'a>(
        &'a self,
        writes: &'a [netengine_oidc::state::Write],
    ) -> futures::future::BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if self.is_full.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(StoreError::Database(sqlx::Error::PoolClosed));
            }
            self.stored.lock().expect("not poisoned").extend_from_slice(writes);
            Ok(())
        })
    }
}

#[tokio::test]
async fn nothing_is_promised_while_the_store_fails_and_nothing_is_lost_after() {
    let store = Arc::new(FullDisk::default());
    let site = site_with(Arc::clone(&store) as Arc<dyn Store>).await;
    let bearer = bearer(&site).await;
    let headers = [("authorization", bearer.as_str())];
    let make = |name: &'static str| {
        let (site, headers) = (&site, &headers);
        async move {
            let body = json!({"username": name}).to_string();
            site.ask("POST", "/admin/realms/acme/users", headers, &body, now()).await.status
        }
    };
    store.is_full.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(make("first").await, 503);
    store.is_full.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(make("second").await, 201);
    let stored = store.stored.lock().expect("not poisoned");
    let names: Vec<String> = stored
        .iter()
        .filter_map(|write| match &write.object {
            netengine_oidc::state::Object::User(user) => Some(user.username.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["alice", "first", "second"], "memory and disk agree, in order");
}

#[tokio::test]
async fn what_waits_for_a_store_that_failed_is_stored_by_itself_however_much_it_is() {
    let store = Arc::new(FullDisk::default());
    let site = site_with(Arc::clone(&store) as Arc<dyn Store>).await;
    let count = || store.stored.lock().expect("not poisoned").len();
    let set_full = |is_full| store.is_full.store(is_full, std::sync::atomic::Ordering::Relaxed);
    let role = |name: &str| {
        let name = name.to_owned();
        site.provider.change("acme", move |tx| {
            let mut config = tx.realm().config.clone();
            config.roles.insert(name, String::new());
            tx.put(netengine_oidc::state::Object::Realm(config));
        })
    };
    let before = count();
    set_full(true);
    role("one").await.expect_err("the disk is full");
    set_full(false);
    site.provider.tick(now()).await.expect("stored");
    assert_eq!(count(), before + 1, "nothing else had to happen");

    set_full(true);
    // As many as may wait.
    for n in 0..100 {
        let many = site.provider.change("acme", |tx| {
            for _ in 0..100 {
                let config = tx.realm().config.clone();
                tx.put(netengine_oidc::state::Object::Realm(config));
            }
        });
        many.await.err().unwrap_or_else(|| panic!("the disk is full ({n})"));
    }
    let waits = count();
    role("two").await.expect_err("no more may wait");
    set_full(false);
    role("three").await.expect("the store works again");
    assert!(count() > waits, "all of it is stored");
    let names = site.provider.read("acme", |realm| realm.config.roles.keys().cloned().collect::<Vec<_>>());
    let names = names.expect("the realm");
    assert!(names.contains(&"three".to_owned()) && !names.contains(&"two".to_owned()), "{names:?}");
}
