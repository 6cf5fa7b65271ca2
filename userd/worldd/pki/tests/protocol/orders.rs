//! Orders and what comes of them.

use netengine_pki::jose::encode;
use serde_json::{Value, json};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::client::{BASE, Server, csr, leaf};

#[tokio::test]
async fn an_order_becomes_a_certificate() {
    let server = Server::start().await;
    let client = server.registered().await;
    let (key, chain) = client.certificate(&["www.a.test", "A.test", "10.0.0.7"]).await;
    assert_eq!(chain.header("content-type"), "application/pem-certificate-chain");
    assert_eq!(chain.text.matches("BEGIN CERTIFICATE").count(), 2);
    let der = leaf(&chain.text);
    let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
    assert_eq!(certificate.public_key().subject_public_key.data, key.public_key_raw());
    let names = certificate.subject_alternative_name().expect("readable").expect("there");
    assert_eq!(names.value.general_names.len(), 3);
    let listed = server.service.list(None, 10);
    assert!(listed.len() == 1 && listed[0].is_good);
    let (known, kept) = server.service.show(listed[0].certificate.serial).await.expect("read").expect("there");
    assert_eq!((known.profile.as_str(), kept), ("classic", der));
}

#[tokio::test]
async fn profiles_choose_the_lifetime() {
    let server = Server::start().await;
    let client = server.registered().await;
    let directory = client.get("/directory").await.is(200).json();
    assert!(directory["meta"]["profiles"]["shortlived"].is_string(), "{directory}");
    client.order_with(&["a.test"], json!({"profile": "forever"})).await.refused("invalidProfile", 400);
    let order = client.order_with(&["a.test"], json!({"profile": "shortlived"})).await.is(201);
    assert_eq!(order.json()["profile"], "shortlived");
    let ready = client.authorize(&order).await;
    let key = rcgen::KeyPair::generate().expect("a key");
    let done = client.finalize(&ready, &["a.test"], &key).await.is(200).json();
    let chain = client.post(done["certificate"].as_str().expect("a URL"), None).await.is(200);
    let der = leaf(&chain.text);
    let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
    let validity = certificate.validity();
    let lifetime = validity.not_after.timestamp() - validity.not_before.timestamp();
    // The five minutes before now, less the last second.
    assert_eq!(lifetime, 6 * 86_400 + 300 - 1);
}

#[tokio::test]
async fn names_outside_the_world_are_refused_one_by_one() {
    let server = Server::start().await;
    let client = server.registered().await;
    for name in ["example.com", "test", "*.test", "192.0.2.1", "127.0.0.1", "a..test", "*.*.a.test", "ä.test"] {
        client.order(&[name]).await.refused("rejectedIdentifier", 400);
    }
    let several =
        client.order(&["a.test", "example.com", "b.test", "example.org"]).await.refused("rejectedIdentifier", 400);
    let about: Vec<_> = several.json()["subproblems"]
        .as_array()
        .expect("subproblems")
        .iter()
        .map(|one| one["identifier"]["value"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(about, ["example.com", "example.org"]);
    let url = format!("{BASE}/new-order");
    let odd = json!({"identifiers": [{"type": "email", "value": "a@a.test"}]});
    client.post(&url, Some(odd)).await.refused("unsupportedIdentifier", 400);
    let mixed =
        json!({"identifiers": [{"type": "email", "value": "a@a.test"}, {"type": "dns", "value": "example.com"}]});
    client.post(&url, Some(mixed)).await.refused("compound", 400);
    for payload in [json!({}), json!({"identifiers": []}), json!({"identifiers": "a.test"}), json!([])] {
        client.post(&url, Some(payload)).await.refused("malformed", 400);
    }
    let many: Vec<_> = (0..101).map(|n| format!("n{n}.test")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    client.order(&many).await.refused("malformed", 400);
    client.order_with(&["a.test"], json!({"notAfter": "2030-01-01T00:00:00Z"})).await.refused("malformed", 400);
}

#[tokio::test]
async fn each_kind_of_identifier_has_its_challenges() {
    let server = Server::start().await;
    let client = server.registered().await;
    for (name, wanted, wildcard) in [
        ("a.test", &["http-01", "dns-01", "tls-alpn-01"][..], None),
        ("*.a.test", &["dns-01"], Some(true)),
        ("10.0.0.7", &["http-01", "tls-alpn-01"], None),
    ] {
        let order = client.order(&[name]).await.is(201).json();
        assert_eq!(order["identifiers"][0]["value"], name);
        let url = order["authorizations"][0].as_str().expect("a URL");
        let authorization = client.post(url, None).await.is(200).json();
        let kinds: Vec<_> = authorization["challenges"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|challenge| challenge["type"].as_str().expect("a type"))
            .collect();
        assert_eq!(kinds, wanted);
        assert_eq!(authorization["identifier"]["value"], name.trim_start_matches("*."));
        assert_eq!(authorization.get("wildcard").and_then(Value::as_bool), wildcard);
        let token = authorization["challenges"][0]["token"].as_str().expect("a token");
        assert_eq!(token.len(), 43);
        let other = url.replace("/authz/", "/challenge/") + "/http-01";
        if wildcard.is_some() {
            client.post(&other, Some(json!({}))).await.refused("malformed", 404);
        }
    }
}

#[tokio::test]
async fn an_order_is_finalized_when_it_is_ready_and_once() {
    let server = Server::start().await;
    let client = server.registered().await;
    let key = rcgen::KeyPair::generate().expect("a key");
    let order = client.order(&["a.test"]).await.is(201);
    client.finalize(&order.json(), &["a.test"], &key).await.refused("orderNotReady", 403);
    let ready = client.authorize(&order).await;
    let first = client.finalize(&ready, &["a.test"], &key).await.is(200).json();
    client.finalize(&ready, &["a.test"], &key).await.refused("orderNotReady", 403);
    assert_eq!(client.post(order.header("location"), None).await.json()["certificate"], first["certificate"]);
    assert_eq!(server.service.list(None, 10).len(), 1);
}

#[tokio::test]
async fn a_request_that_is_not_for_the_order_is_refused_and_the_order_stays_ready() {
    let server = Server::start().await;
    let client = server.registered().await;
    let key = rcgen::KeyPair::generate().expect("a key");
    let order = client.order(&["a.test", "b.test"]).await.is(201);
    let ready = client.authorize(&order).await;
    let url = ready["finalize"].as_str().expect("a URL").to_owned();
    for names in [&["a.test"][..], &["a.test", "b.test", "c.test"], &["example.com"]] {
        client.finalize(&ready, names, &key).await.refused("badCSR", 400);
    }
    let mut forged = csr(&["a.test", "b.test"], &key);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for bytes in [Vec::new(), vec![0x30; 100], vec![0x30; 33_000], forged] {
        client.post(&url, Some(json!({"csr": encode(bytes)}))).await.refused("badCSR", 400);
    }
    client.post(&url, Some(json!({"csr": "-----BEGIN"}))).await.refused("badCSR", 400);
    client.post(&url, Some(json!({}))).await.refused("malformed", 400);
    client.finalize(&ready, &["a.test", "b.test"], &key).await.is(200);
}

#[tokio::test]
async fn nobody_sees_what_belongs_to_another_account() {
    let server = Server::start().await;
    let (mine, other) = (server.registered().await, server.registered().await);
    let order = mine.order(&["a.test"]).await.is(201);
    let authorization = order.json()["authorizations"][0].as_str().expect("a URL").to_owned();
    let challenge = authorization.replace("/authz/", "/challenge/") + "/http-01";
    let ready = mine.authorize(&order).await;
    let key = rcgen::KeyPair::generate().expect("a key");
    other.finalize(&ready, &["a.test"], &key).await.refused("malformed", 404);
    let done = mine.finalize(&ready, &["a.test"], &key).await.is(200).json();
    let certificate = done["certificate"].as_str().expect("a URL").to_owned();
    for url in [order.header("location"), &authorization, &challenge, &certificate] {
        mine.post(url, None).await.is(200);
        let forbidden = other.post(url, None).await.refused("malformed", 404);
        // The same words as for what does not exist.
        let (head, tail) = url.rsplit_once('/').expect("a URL");
        let absent = match url == challenge {
            true => challenge.replace(&authorization[BASE.len() + 7..], "AAAAAAAAAAAAAAAAAAAAAA"),
            false if tail.len() == 32 => format!("{head}/40000000000000000000000000000000"),
            false => format!("{head}/AAAAAAAAAAAAAAAAAAAAAA"),
        };
        assert_eq!(other.post(&absent, None).await.refused("malformed", 404).text, forbidden.text);
    }
    mine.post(order.header("location"), Some(json!({}))).await.refused("malformed", 400);
}

#[tokio::test]
async fn renewal_information_and_replacement_follow_rfc_9773() {
    let server = Server::start().await;
    let (client, other) = (server.registered().await, server.registered().await);
    client.certificate(&["a.test"]).await;
    let serial = server.service.list(None, 1)[0].certificate.serial;
    let id = server.service.urls().renewal_id(serial);
    let info = client.get(&format!("/renewal-info/{id}")).await.is(200);
    assert!(info.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 60));
    let window = info.json()["suggestedWindow"].clone();
    assert!(window["start"].as_str() < window["end"].as_str(), "{window}");
    for unknown in ["", "x", "AA.AA", &id[1..]] {
        client.get(&format!("/renewal-info/{unknown}")).await.refused("malformed", 404);
    }

    other.order_with(&["a.test"], json!({"replaces": id})).await.refused("malformed", 400);
    client.order_with(&["b.test"], json!({"replaces": id})).await.refused("malformed", 400);
    client.order_with(&["a.test"], json!({"replaces": "AA.AA"})).await.refused("malformed", 400);
    let order = client.order_with(&["a.test", "b.test"], json!({"replaces": id})).await.is(201);
    assert_eq!(order.json()["replaces"], json!(id));
    client.order_with(&["a.test"], json!({"replaces": id})).await.refused("alreadyReplaced", 409);
    let ready = client.authorize(&order).await;
    let key = rcgen::KeyPair::generate().expect("a key");
    client.finalize(&ready, &["a.test", "b.test"], &key).await.is(200);
    client.order_with(&["a.test"], json!({"replaces": id})).await.refused("alreadyReplaced", 409);
    let (old, _) = server.service.show(serial).await.expect("read").expect("there");
    assert!(old.replaced_by.is_some());
}
