//! What the store refuses was never answered with success, and is not believed afterwards.

use std::sync::Arc;

use netengine_pki::{
    acme::{Probe, Verdict},
    store::MemoryStore,
    validate::Connect,
};
use serde_json::json;

use crate::client::{Server, Told};

impl Server {
    /// What a full disk does.
    fn refuse(&self, refuses: bool) {
        self.service.store().refuse(refuses);
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_was_not_kept_was_not_issued() {
    let server = Server::start().await;
    let client = server.registered().await;
    let order = client.order(&["a.test"]).await.is(201);
    let ready = client.authorize(&order).await;
    let key = rcgen::KeyPair::generate().expect("a key");
    server.refuse(true);
    let refused = client.finalize(&ready, &["a.test"], &key).await.refused("serverInternal", 503);
    assert!(refused.headers.contains_key("retry-after"));
    server.refuse(false);
    // Until the state has been read anew everything is refused; then the order is as it was kept.
    loop {
        let said = client.post(order.header("location"), None).await;
        if said.status == 200 {
            assert_eq!(said.json()["status"], "ready");
            break;
        }
        said.refused("serverInternal", 503);
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
    }
    assert!(server.service.list(None, 10).is_empty());
    client.finalize(&ready, &["a.test"], &key).await.is(200);
    assert_eq!(server.service.list(None, 10).len(), 1);
}

#[tokio::test]
async fn own_certificates_are_listed_and_revoked_by_the_operator() {
    use netengine_pki::{ca::Profiles, ca::Reason, name::Identifier};
    let server = Server::start().await;
    let profiles = Profiles::default();
    let names = [Identifier::dns("ca.test").expect("a name")].into();
    let profile = profiles.get("shortlived").expect("a profile");
    let own = server.service.issue_own(names, profile).await.expect("a certificate");
    assert_eq!(own.chain.len(), 2);
    server.service.revoke(own.serial, Reason::Superseded).await.expect("revoked");
    server.service.revoke(own.serial, Reason::KeyCompromise).await.expect("revoked already");
    let (known, _) = server.service.show(own.serial).await.expect("read").expect("there");
    assert_eq!(known.revoked.map(|revocation| revocation.reason), Some(Reason::Superseded));
    let outside = [Identifier::dns("example.com").expect("a name")].into();
    assert!(server.service.issue_own(outside, profile).await.is_err());
}

#[tokio::test]
async fn a_restart_serves_the_certificate_that_it_has_unless_anything_about_it_is_another() {
    use netengine_pki::{ca::Profiles, ca::Reason, name::Identifier};
    let (store, profiles) = (Arc::<MemoryStore>::default(), Profiles::default());
    let name = |name: &str| [Identifier::dns(name).expect("a name")].into();
    let (short, classic) =
        (profiles.get("shortlived").expect("a profile"), profiles.get("classic").expect("a profile"));
    let first = Server::on(store.clone(), Told, |_| {}).await;
    let own = first.service.own(name("ca.test"), short).await.expect("a certificate");
    drop(first);
    let second = Server::on(store.clone(), Told, |_| {}).await;
    let again = second.service.own(name("ca.test"), short).await.expect("a certificate");
    assert_eq!((again.serial, &again.chain, again.key.expose()), (own.serial, &own.chain, own.key.expose()));
    assert_eq!((again.not_before, again.not_after), (own.not_before, own.not_after));
    assert_eq!(second.service.list(None, 10).len(), 1);
    for other in [
        second.service.own(name("other.test"), short).await,
        second.service.own(name("ca.test"), classic).await,
        // One for other circumstances has taken its place.
        second.service.own(name("ca.test"), short).await,
        second.service.issue_own(name("ca.test"), short).await,
    ] {
        assert_ne!(other.expect("a certificate").serial, own.serial);
    }
    let now = second.service.own(name("ca.test"), short).await.expect("a certificate");
    second.service.revoke(now.serial, Reason::KeyCompromise).await.expect("revoked");
    assert_ne!(second.service.own(name("ca.test"), short).await.expect("a certificate").serial, now.serial);
}

/// Begins to look and never ends.
struct Endless;

impl Connect for Endless {
    async fn check(&self, _: &Probe) -> Verdict {
        std::future::pending().await
    }
}

#[tokio::test]
async fn everything_goes_on_after_a_restart_even_a_challenge_that_was_being_looked_at() {
    let store = Arc::<MemoryStore>::default();
    let first = Server::on(store.clone(), Endless, |_| {}).await;
    let root = first.service.authority().root_pem();
    let mut client = first.registered().await;
    let order = client.order(&["a.test"]).await.is(201);
    let authorization = order.json()["authorizations"][0].as_str().expect("a URL").to_owned();
    let challenge = authorization.replace("/authz/", "/challenge/") + "/http-01";
    let begun = client.post(&challenge, Some(json!({}))).await.is(200);
    assert_eq!(begun.json()["status"], "processing");
    let waiting = client.post(&authorization, None).await.is(200);
    assert_eq!((waiting.json()["status"].as_str(), waiting.header("retry-after")), (Some("pending"), "1"));
    drop(first);

    let second = Server::on(store, Told, |_| {}).await;
    assert_eq!(second.service.authority().root_pem(), root);
    client.moves_to(&second);
    let ready = loop {
        let order = client.post(order.header("location"), None).await.is(200).json();
        if order["status"] != "pending" {
            break order;
        }
        tokio::task::yield_now().await;
    };
    let key = rcgen::KeyPair::generate().expect("a key");
    client.finalize(&ready, &["a.test"], &key).await.is(200);
}

/// SQLite ends a transaction that meets a full disk by itself. A connection that does not know it would keep what comes later in
/// a transaction that never ends.
#[tokio::test]
async fn after_a_full_disk_what_is_kept_is_kept() {
    use netengine_pki::{
        acme::{Change, Own},
        ca::{Secret, Serial},
        store::{SqliteStore, Store},
    };
    use sqlx::sqlite::SqlitePoolOptions;

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("pki.db");
    // A disk of 64 pages.
    let options = SqliteStore::options(&file).pragma("max_page_count", "64");
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.expect("a database");
    let store = SqliteStore::new(pool.clone()).await.expect("tables");
    let own = |names: &str, bytes: usize| {
        let serial = Serial::from_hex(&"4a".repeat(16)).expect("a number");
        let (names, circumstances) = (names.to_owned(), "x".repeat(bytes));
        Change::Own(Own { names, circumstances, serial, key: Secret::from_pkcs8(vec![1]) })
    };
    let refused = store.commit(&[own("large", 1 << 20)]).await.expect_err("there is no room");
    assert!(refused.is_full(), "{refused:?}");
    // Somebody who gave up.
    drop(pool.begin().await.expect("a transaction"));
    store.commit(&[own("small", 1)]).await.expect("there is room");
    let other = SqliteStore::open(&file).await.expect("a second reader");
    assert!(other.own("small").await.expect("read").is_some());
    assert!(other.own("large").await.expect("read").is_none());
}
