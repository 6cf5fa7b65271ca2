//! Authorizations and challenges.

use serde_json::json;

use crate::client::Server;

#[tokio::test]
async fn a_challenge_that_is_not_met_ends_the_order_and_says_why() {
    let server = Server::start().await;
    let client = server.registered().await;
    let order = client.order(&["bad.a.test", "b.test"]).await.is(201);
    let ended = client.authorize(&order).await;
    assert_eq!(ended["status"], "invalid");
    assert_eq!(ended["error"]["type"], "urn:ietf:params:acme:error:incorrectResponse");
    assert_eq!(ended["error"]["identifier"]["value"], "bad.a.test");
    let mut seen = 0;
    for url in ended["authorizations"].as_array().expect("a list") {
        let authorization = client.post(url.as_str().expect("a URL"), None).await.json();
        if authorization["identifier"]["value"] == "bad.a.test" {
            assert_eq!(authorization["status"], "invalid");
            assert_eq!(authorization["challenges"].as_array().map(Vec::len), Some(1));
            assert_eq!(authorization["challenges"][0]["error"]["detail"], "told so");
            seen += 1;
        }
    }
    assert_eq!(seen, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    client.finalize(&ended, &["bad.a.test", "b.test"], &key).await.refused("orderNotReady", 403);
}

#[tokio::test]
async fn a_challenge_begins_with_a_payload_and_asking_again_changes_nothing() {
    let server = Server::start().await;
    let client = server.registered().await;
    let order = client.order(&["a.test"]).await.is(201);
    let authorization = order.json()["authorizations"][0].as_str().expect("a URL").to_owned();
    let challenge = authorization.replace("/authz/", "/challenge/") + "/http-01";
    let shown = client.post(&challenge, None).await.is(200);
    assert_eq!(shown.json()["status"], "pending");
    assert!(shown.headers.get_all("link").iter().any(|link| link == &format!("<{authorization}>;rel=\"up\"")));
    client.post(&challenge, Some(json!([]))).await.refused("malformed", 400);
    let ready = client.authorize(&order).await;
    assert_eq!(ready["status"], "ready");
    let met = client.post(&challenge, Some(json!({}))).await.is(200).json();
    assert!(met["status"] == "valid" && met["validated"].is_string(), "{met}");
    let valid = client.post(&authorization, None).await.json();
    assert_eq!(valid["challenges"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_deactivated_authorization_ends_its_order() {
    let server = Server::start().await;
    let client = server.registered().await;
    let order = client.order(&["a.test"]).await.is(201);
    let url = order.json()["authorizations"][0].as_str().expect("a URL").to_owned();
    let ready = client.authorize(&order).await;
    client.post(&url, Some(json!({"status": "valid"}))).await.refused("malformed", 400);
    let gone = client.post(&url, Some(json!({"status": "deactivated"}))).await.is(200).json();
    assert_eq!(gone["status"], "deactivated");
    client.post(&url, Some(json!({"status": "deactivated"}))).await.refused("malformed", 400);
    let key = rcgen::KeyPair::generate().expect("a key");
    client.finalize(&ready, &["a.test"], &key).await.refused("orderNotReady", 403);
}
