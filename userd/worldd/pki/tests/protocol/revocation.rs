//! Revocation.

use netengine_pki::jose::encode;
use serde_json::json;

use crate::client::{BASE, Server, jws, leaf};

fn url() -> String {
    format!("{BASE}/revoke-cert")
}

#[tokio::test]
async fn the_owner_revokes_once_with_a_reason_that_exists() {
    let server = Server::start().await;
    let (client, other) = (server.registered().await, server.registered().await);
    let (_, chain) = client.certificate(&["a.test"]).await;
    let der = leaf(&chain.text);
    let certificate = encode(&der);
    other.post(&url(), Some(json!({"certificate": certificate}))).await.refused("unauthorized", 403);
    for reason in [2, 6, 7, 8, 10, 11, -1, 256, 1_000_000] {
        let payload = json!({"certificate": certificate, "reason": reason});
        client.post(&url(), Some(payload)).await.refused("badRevocationReason", 400);
    }
    let said = client.post(&url(), Some(json!({"certificate": certificate, "reason": 1}))).await.is(200);
    assert!(said.text.is_empty());
    client.post(&url(), Some(json!({"certificate": certificate}))).await.refused("alreadyRevoked", 400);
    assert!(!server.service.list(None, 1)[0].is_good);
    let list = server.service.published("issuing.crl").expect("signed").expect("enabled");
    let serial = server.service.list(None, 1)[0].certificate.serial;
    assert!(list.bytes.windows(16).any(|part| part == serial.bytes()));
    let id = server.service.urls().renewal_id(serial);
    let info = client.get(&format!("/renewal-info/{id}")).await.is(200).json();
    let now = netengine_pki::clock::rfc3339(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs() as i64,
    );
    assert!(info["suggestedWindow"]["end"].as_str() <= Some(now.as_str()), "renew at once: {info}");
}

#[tokio::test]
async fn who_has_the_key_of_a_certificate_or_the_right_to_its_names_revokes_it() {
    let server = Server::start().await;
    let owner = server.registered().await;

    // The key: a JWS with `jwk`, by the key of the certificate.
    let (key, chain) = owner.certificate(&["a.test"]).await;
    let pair = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &key.serialize_der(),
    );
    let mut stranger = server.client();
    stranger.post(&url(), Some(json!({"certificate": encode(leaf(&chain.text))}))).await.refused("unauthorized", 403);
    stranger.key = crate::client::Key::P256(pair.expect("a key"));
    stranger.post(&url(), Some(json!({"certificate": encode(leaf(&chain.text))}))).await.is(200);

    // The names: another account that has proven all of them.
    let (_, chain) = owner.certificate(&["b.test", "c.test"]).await;
    let certificate = json!({"certificate": encode(leaf(&chain.text))});
    let other = server.registered().await;
    other.certificate(&["b.test"]).await;
    other.post(&url(), Some(certificate.clone())).await.refused("unauthorized", 403);
    other.certificate(&["c.test"]).await;
    other.post(&url(), Some(certificate)).await.is(200);
}

#[tokio::test]
async fn certificates_of_others_are_not_revoked() {
    let server = Server::start().await;
    let client = server.registered().await;
    let (_, chain) = client.certificate(&["a.test"]).await;
    let mut changed = leaf(&chain.text);
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let root = server.service.authority().signer(netengine_pki::ca::Level::Root).certificate().to_vec();
    let elsewhere =
        Server::start().await.service.authority().signer(netengine_pki::ca::Level::Root).certificate().to_vec();
    for der in [changed, root, elsewhere] {
        client.post(&url(), Some(json!({"certificate": encode(der)}))).await.refused("malformed", 404);
    }
    for text in ["", "AAAA", "!", "-----BEGIN CERTIFICATE-----"] {
        client.post(&url(), Some(json!({"certificate": text}))).await.refused("malformed", 400);
    }
    let header = client.protected(&url()).await;
    client.send(&url(), jws(&client.key, &header, "").to_string()).await.refused("malformed", 400);
}
