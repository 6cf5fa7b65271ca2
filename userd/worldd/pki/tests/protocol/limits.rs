//! Limits, each with a problem document that says when to come back.

use serde_json::json;

use crate::client::{BASE, Server};

#[tokio::test]
async fn orders_are_limited_for_each_account() {
    let server = Server::with(|policy| policy.orders_per_hour = 2).await;
    let (client, other) = (server.registered().await, server.registered().await);
    client.order(&["a.test"]).await.is(201);
    client.order(&["a.test"]).await.is(201);
    let refused = client.order(&["a.test"]).await.refused("rateLimited", 429);
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| (1..=3600).contains(&seconds)));
    other.order(&["a.test"]).await.is(201);
}

#[tokio::test]
async fn pending_orders_are_limited() {
    let server = Server::with(|policy| policy.pending_orders_per_account = 1).await;
    let client = server.registered().await;
    let order = client.order(&["a.test"]).await.is(201);
    client.order(&["b.test"]).await.refused("rateLimited", 429);
    client.authorize(&order).await;
    client.order(&["b.test"]).await.is(201);
}

#[tokio::test]
async fn memory_for_orders_is_bounded() {
    let server = Server::with(|policy| policy.orders = 3).await;
    let client = server.registered().await;
    let first = client.order(&["bad.test"]).await.is(201);
    client.authorize(&first).await;
    for _ in 0..2 {
        client.order(&["a.test"]).await.is(201);
    }
    // The finished one makes room; then all are pending and nothing does.
    client.order(&["a.test"]).await.is(201);
    client.post(first.header("location"), None).await.refused("malformed", 404);
    client.order(&["a.test"]).await.refused("rateLimited", 429);
}

#[tokio::test]
async fn failed_authorizations_are_limited_for_each_name() {
    let server = Server::with(|policy| policy.failures_per_hour = 1).await;
    let client = server.registered().await;
    let order = client.order(&["bad.test"]).await.is(201);
    client.authorize(&order).await;
    let order = client.order(&["bad.test"]).await.is(201).json();
    let challenge = order["authorizations"][0].as_str().expect("a URL").replace("/authz/", "/challenge/") + "/http-01";
    client.post(&challenge, Some(json!({}))).await.refused("rateLimited", 429);
    let order = client.order(&["bad.other.test"]).await.is(201);
    assert_eq!(client.authorize(&order).await["status"], "invalid");
}

#[tokio::test]
async fn accounts_are_limited_for_each_address_and_in_all() {
    let server = Server::with(|policy| {
        policy.accounts_per_hour = 1;
        policy.accounts = 2;
    })
    .await;
    let register = async |source: [u8; 4]| {
        let mut client = server.client();
        client.source = source.into();
        client.post(&format!("{BASE}/new-account"), Some(json!({}))).await
    };
    register([10, 0, 0, 1]).await.is(201);
    register([10, 0, 0, 1]).await.refused("rateLimited", 429);
    register([10, 0, 0, 2]).await.is(201);
    register([10, 0, 0, 3]).await.refused("rateLimited", 429);
}

#[tokio::test]
async fn certificates_are_limited_in_all() {
    let server = Server::with(|policy| policy.certificates = 1).await;
    let client = server.registered().await;
    client.certificate(&["a.test"]).await;
    client.order(&["a.test"]).await.refused("rateLimited", 429);
}
