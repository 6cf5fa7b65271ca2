//! Relying parties that others wrote get tokens from the provider and agree with it in every check they make.

mod support;

use support::{run_client, site, told};

#[tokio::test]
async fn openid_client_completes_every_flow() {
    let mut site = site().await;
    run_client("openid_client.mjs", told(&site)).await;
    let delivery = site.outbox.try_recv().expect("the client that logged out is told");
    assert_eq!(delivery.uri, "http://127.0.0.1:9/backchannel");
    assert_eq!(delivery.logout_token.split('.').count(), 3);
}

#[tokio::test]
async fn authlib_completes_every_flow() {
    let site = site().await;
    run_client("authlib_rp.py", told(&site)).await;
}
