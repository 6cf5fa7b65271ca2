//! What must not pass for a signed request.

use axum::{body::Body, http::Request};
use netengine_pki::jose::encode;
use serde_json::json;

use crate::client::{BASE, Client, Key, Server, jws};

fn new_order() -> String {
    format!("{BASE}/new-order")
}

const PAYLOAD: &str = r#"{"identifiers":[{"type":"dns","value":"a.test"}]}"#;

async fn send(client: &Client, change: impl FnOnce(&mut serde_json::Value)) -> crate::client::Said {
    let mut protected = client.protected(&new_order()).await;
    change(&mut protected);
    client.send(&new_order(), jws(&client.key, &protected, PAYLOAD).to_string()).await
}

#[tokio::test]
async fn every_supported_key_signs() {
    let server = Server::start().await;
    for key in [Key::p256(), Key::p384(), Key::ed25519()] {
        let mut client = server.client();
        client.key = key;
        client.register().await;
        client.order(&["a.test"]).await.is(201);
    }
}

#[tokio::test]
async fn an_algorithm_that_is_none_symmetric_or_another_keys_is_refused() {
    let server = Server::start().await;
    let client = server.registered().await;
    for algorithm in ["none", "HS256", "ES384", "RS256", "EdDSA", "ES512", ""] {
        let said = send(&client, |header| header["alg"] = json!(algorithm)).await;
        let said = said.refused("badSignatureAlgorithm", 400);
        assert_eq!(said.json()["algorithms"], json!(["ES256", "ES384", "RS256", "EdDSA"]), "{algorithm}");
    }
    // `none` with no signature at all.
    let mut header = client.protected(&new_order()).await;
    header["alg"] = json!("none");
    let body = json!({"protected": encode(header.to_string()), "payload": encode(PAYLOAD), "signature": ""});
    client.send(&new_order(), body.to_string()).await.refused("badSignatureAlgorithm", 400);
}

#[tokio::test]
async fn a_key_on_a_wrong_curve_or_too_small_is_refused() {
    let server = Server::start().await;
    let client = server.client();
    let url = format!("{BASE}/new-account");
    let short = encode(vec![0xff; 128]);
    for jwk in [
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!({"kty": "EC", "crv": "P-256", "x": encode([1; 32]), "y": encode([1; 32])}),
        json!({"kty": "RSA", "n": short, "e": "AQAB"}),
        json!({"kty": "oct", "k": encode([1; 32])}),
    ] {
        let mut header = client.protected(&url).await;
        header["jwk"] = jwk;
        client.send(&url, jws(&client.key, &header, "{}").to_string()).await.refused("badPublicKey", 400);
    }
}

#[tokio::test]
async fn a_signature_that_does_not_verify_is_refused_and_uses_up_no_nonce() {
    let server = Server::start().await;
    let client = server.registered().await;
    let header = client.protected(&new_order()).await;
    let good = jws(&client.key, &header, PAYLOAD);
    for (member, value) in [
        ("signature", encode([0; 64])),
        ("signature", encode([0; 3])),
        ("signature", String::new()),
        ("payload", encode(PAYLOAD.replace("a.test", "b.test"))),
    ] {
        let mut bad = good.clone();
        bad[member] = json!(value);
        client.send(&new_order(), bad.to_string()).await.refused("malformed", 400);
    }
    client.send(&new_order(), good.to_string()).await.is(201);
}

#[tokio::test]
async fn a_nonce_that_is_absent_foreign_or_used_is_refused_and_a_new_one_is_given() {
    let server = Server::start().await;
    let client = server.registered().await;
    let body = jws(&client.key, &client.protected(&new_order()).await, PAYLOAD).to_string();
    client.send(&new_order(), body.clone()).await.is(201);
    let replayed = client.send(&new_order(), body).await.refused("badNonce", 400);
    let fresh = replayed.header("replay-nonce").to_owned();
    send(&client, |header| header["nonce"] = json!("AAAA")).await.refused("badNonce", 400);
    send(&client, |header| drop(header.as_object_mut().expect("an object").remove("nonce")))
        .await
        .refused("badNonce", 400);
    let other = Server::start().await.client().nonce().await;
    send(&client, |header| header["nonce"] = json!(other)).await.refused("badNonce", 400);
    send(&client, |header| header["nonce"] = json!(fresh)).await.is(201);
}

#[tokio::test]
async fn a_request_for_another_url_is_refused() {
    let server = Server::start().await;
    let client = server.registered().await;
    for url in [format!("{BASE}/key-change"), "https://evil.test/acme/acme/new-order".to_owned(), String::new()] {
        send(&client, |header| header["url"] = json!(url)).await.refused("unauthorized", 403);
    }
    // A forged host header does not make another URL right.
    let evil = new_order().replace("ca.test", "evil.test");
    let mut header = client.protected(&new_order()).await;
    header["url"] = json!(evil);
    let request = Request::post("/acme/acme/new-order").header("host", "evil.test");
    let request = request.header("content-type", "application/jose+json");
    let body = Body::from(jws(&client.key, &header, PAYLOAD).to_string());
    client.request(request.body(body).expect("a request")).await.refused("unauthorized", 403);
}

#[tokio::test]
async fn the_kid_of_another_account_is_of_no_use() {
    let server = Server::start().await;
    let (mine, other) = (server.registered().await, server.registered().await);
    send(&mine, |header| header["kid"] = json!(other.kid)).await.refused("malformed", 400);
    for kid in ["", "x", &format!("{BASE}/account/AAAAAAAAAAAAAAAAAAAAAA"), "https://evil.test/acme/acme/account/x"] {
        send(&mine, |header| header["kid"] = json!(kid)).await.refused("accountDoesNotExist", 400);
    }
}

#[tokio::test]
async fn jwk_and_kid_are_not_interchangeable() {
    let server = Server::start().await;
    let mut client = server.registered().await;
    let jwk = client.key.jwk();
    send(&client, |header| header["jwk"] = jwk.clone()).await.refused("malformed", 400);
    send(&client, |header| drop(header.as_object_mut().expect("an object").remove("kid")))
        .await
        .refused("malformed", 400);
    let url = format!("{BASE}/new-account");
    client.post(&url, Some(json!({}))).await.refused("malformed", 400);
    client.kid = None;
    client.post(&new_order(), Some(json!({}))).await.refused("malformed", 400);
}

#[tokio::test]
async fn what_is_no_acme_request_is_told_so() {
    let server = Server::start().await;
    let client = server.registered().await;
    for body in ["", "{", "[]", "null", "{\"protected\":1}", "\u{0}"] {
        client.send(&new_order(), body).await.refused("malformed", 400);
    }
    client.send(&new_order(), vec![b'a'; 70_000]).await.refused("malformed", 413);
    client.send(&new_order(), "[".repeat(60_000)).await.refused("malformed", 400);
    for path in ["/", "/new-order/x", "/order/..%2f..", "/certificate/zz", "/authz/AAAA"] {
        client.get(path).await.refused("malformed", 404);
    }
    let said = client.get("/new-order").await.refused("malformed", 405);
    assert_eq!(said.header("allow"), "POST");
    let request = Request::post("/acme/acme/new-order").header("content-type", "application/json");
    client.request(request.body(Body::from("{}")).expect("a request")).await.refused("malformed", 415);
    let request = Request::post("/acme/acme/directory").body(Body::empty()).expect("a request");
    client.request(request).await.refused("malformed", 405);
}
