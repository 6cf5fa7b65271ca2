//! Accounts.

use aws_lc_rs::hmac;
use netengine_pki::{acme::ExternalKey, jose::encode};
use serde_json::{Value, json};

use crate::client::{BASE, Client, Key, Server, jws};

fn new_account() -> String {
    format!("{BASE}/new-account")
}

#[tokio::test]
async fn a_key_has_one_account() {
    let server = Server::start().await;
    let mut client = server.client();
    client.post(&new_account(), Some(json!({"onlyReturnExisting": true}))).await.refused("accountDoesNotExist", 400);
    let first = client.register().await;
    assert_eq!(first.json()["status"], "valid");
    client.kid = None;
    let again = client.post(&new_account(), Some(json!({"contact": ["mailto:x@y.test"]}))).await.is(200);
    assert_eq!(again.header("location"), first.header("location"));
    client.post(&new_account(), Some(json!({"onlyReturnExisting": true}))).await.is(200);
}

#[tokio::test]
async fn contacts_are_checked() {
    let server = Server::start().await;
    let client = server.client();
    for (contact, kind) in [
        ("tel:+1", "unsupportedContact"),
        ("x@y.test", "unsupportedContact"),
        ("mailto:x", "invalidContact"),
        ("mailto:x@y.test,z@y.test", "invalidContact"),
        ("mailto:x@y.test?subject=hi", "invalidContact"),
        ("mailto:x @y.test", "invalidContact"),
        ("mailto:x\n@y.test", "invalidContact"),
    ] {
        client.post(&new_account(), Some(json!({"contact": [contact]}))).await.refused(kind, 400);
    }
    let many = vec!["mailto:x@y.test"; 11];
    client.post(&new_account(), Some(json!({"contact": many}))).await.refused("invalidContact", 400);
}

#[tokio::test]
async fn an_account_is_changed_and_deactivated_by_its_owner_only() {
    let server = Server::start().await;
    let mut client = server.registered().await;
    let other = server.registered().await;
    let url = client.kid.clone().expect("an account");
    let changed = client.post(&url, Some(json!({"contact": ["mailto:x@y.test"]}))).await.is(200).json();
    assert_eq!(changed["contact"], json!(["mailto:x@y.test"]));
    other.post(&url, None).await.refused("unauthorized", 403);
    other.post(&url, Some(json!({"status": "deactivated"}))).await.refused("unauthorized", 403);
    client.post(&url, Some(json!({"status": "revoked"}))).await.refused("malformed", 400);

    let order = client.order(&["a.test"]).await.is(201);
    let gone = client.post(&url, Some(json!({"status": "deactivated"}))).await.is(200).json();
    assert_eq!(gone["status"], "deactivated");
    client.post(order.header("location"), None).await.refused("unauthorized", 403);
    client.kid = None;
    client.post(&new_account(), Some(json!({}))).await.refused("unauthorized", 403);
}

#[tokio::test]
async fn the_orders_of_an_account_are_listed_in_pages() {
    let server = Server::with(|policy| policy.pending_orders_per_account = 2000).await;
    let client = server.registered().await;
    for _ in 0..503 {
        client.order(&["a.test"]).await.is(201);
    }
    let account = client.post(client.kid.as_ref().expect("one"), None).await.json();
    let first = client.post(account["orders"].as_str().expect("a URL"), None).await.is(200);
    assert_eq!(first.json()["orders"].as_array().map(Vec::len), Some(500));
    let links: Vec<_> = first.headers.get_all("link").iter().map(|link| link.to_str().expect("text")).collect();
    let next = links.iter().find(|link| link.contains("rel=\"next\"")).expect("a further page");
    let next = next.split(['<', '>']).nth(1).expect("a URL");
    let second = client.post(next, None).await.is(200);
    assert_eq!(second.json()["orders"].as_array().map(Vec::len), Some(3));
    server.registered().await.post(next, None).await.refused("unauthorized", 403);
}

fn key_change(client: &Client, new: &Key, change: impl FnOnce(&mut Value, &mut Value)) -> Value {
    let url = format!("{BASE}/key-change");
    let mut header = json!({"alg": new.algorithm(), "jwk": new.jwk(), "url": url});
    let mut payload = json!({"account": client.kid, "oldKey": client.key.jwk()});
    change(&mut header, &mut payload);
    jws(new, &header, &payload.to_string())
}

#[tokio::test]
async fn a_changed_key_is_the_only_one_that_counts() {
    let server = Server::start().await;
    let mut client = server.registered().await;
    let url = format!("{BASE}/key-change");
    let new = Key::p384();
    client.post(&url, Some(key_change(&client, &new, |_, _| {}))).await.is(200);
    client.order(&["a.test"]).await.refused("badSignatureAlgorithm", 400);
    client.key = new;
    client.order(&["a.test"]).await.is(201);
    // The old key is free: it may have an account of its own.
}

#[tokio::test]
async fn a_key_change_that_does_not_prove_both_keys_is_refused() {
    let server = Server::start().await;
    let (client, other) = (server.registered().await, server.registered().await);
    let url = format!("{BASE}/key-change");
    let new = Key::p256();
    let forged = {
        let mut inner = key_change(&client, &new, |_, _| {});
        inner["signature"] = json!(encode([0; 64]));
        inner
    };
    for inner in [
        key_change(&client, &new, |header, _| header["url"] = json!(format!("{BASE}/new-order"))),
        key_change(&client, &new, |_, payload| payload["account"] = json!(other.kid)),
        key_change(&client, &new, |_, payload| payload["oldKey"] = other.key.jwk()),
        key_change(&client, &new, |header, _| {
            header["kid"] = json!("x");
            header.as_object_mut().expect("an object").remove("jwk");
        }),
        forged,
        json!({"account": client.kid}),
    ] {
        client.post(&url, Some(inner)).await.refused("malformed", 400);
    }
    let taken = client.post(&url, Some(key_change(&client, &other.key, |_, _| {}))).await.refused("malformed", 409);
    assert_eq!(taken.header("location"), other.kid.as_deref().expect("an account"));
    client.order(&["a.test"]).await.is(201);
}

fn binding(client: &Client, name: &str, mac: &[u8], change: impl FnOnce(&mut Value, &mut Value)) -> Value {
    let mut header = json!({"alg": "HS256", "kid": name, "url": new_account()});
    let mut payload = client.key.jwk();
    change(&mut header, &mut payload);
    let (protected, payload) = (encode(header.to_string()), encode(payload.to_string()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, mac);
    let signature = encode(hmac::sign(&key, format!("{protected}.{payload}").as_bytes()));
    json!({"protected": protected, "payload": payload, "signature": signature})
}

#[tokio::test]
async fn an_external_account_is_needed_and_binds_one_account() {
    let mac = [7; 32];
    let server = Server::with(|policy| {
        policy.external.required = true;
        policy.external.keys.insert("blue".to_owned(), ExternalKey::new(mac.to_vec()).expect("long enough"));
    })
    .await;
    let client = server.client();
    let directory = client.get("/directory").await.is(200).json();
    assert_eq!(directory["meta"]["externalAccountRequired"], true);
    client.post(&new_account(), Some(json!({}))).await.refused("externalAccountRequired", 403);

    let url = new_account();
    let post = |binding: Value| client.post(&url, Some(json!({"externalAccountBinding": binding})));
    post(binding(&client, "blue", &[8; 32], |_, _| {})).await.refused("unauthorized", 403);
    post(binding(&client, "red", &mac, |_, _| {})).await.refused("unauthorized", 403);
    post(binding(&client, "blue", &mac, |header, _| header["alg"] = json!("none")))
        .await
        .refused("badSignatureAlgorithm", 400);
    post(binding(&client, "blue", &mac, |header, _| header["url"] = json!("x"))).await.refused("malformed", 400);
    post(binding(&client, "blue", &mac, |header, _| header["nonce"] = json!("x"))).await.refused("malformed", 400);
    let others = Key::p256().jwk();
    post(binding(&client, "blue", &mac, |_, payload| *payload = others)).await.refused("malformed", 400);
    post(binding(&client, "blue", &mac, |_, _| {})).await.is(201);

    let second = server.client();
    let again = binding(&second, "blue", &mac, |_, _| {});
    second.post(&new_account(), Some(json!({"externalAccountBinding": again}))).await.refused("unauthorized", 403);
}

#[tokio::test]
async fn a_key_that_everybody_has_binds_many_accounts_and_nobody_needs_it() {
    let mac = [7; 32];
    let server = Server::with(|policy| {
        policy.external.is_reusable = true;
        policy.external.keys.insert("world".to_owned(), ExternalKey::new(mac.to_vec()).expect("long enough"));
    })
    .await;
    for _ in 0..2 {
        let client = server.client();
        let bound = binding(&client, "world", &mac, |_, _| {});
        client.post(&new_account(), Some(json!({"externalAccountBinding": bound}))).await.is(201);
        let client = server.client();
        let wrong = binding(&client, "world", &[8; 32], |_, _| {});
        client.post(&new_account(), Some(json!({"externalAccountBinding": wrong}))).await.refused("unauthorized", 403);
        client.post(&new_account(), Some(json!({}))).await.is(201);
    }
}
