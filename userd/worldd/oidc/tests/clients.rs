//! Relying parties that others wrote get tokens from the provider and agree with it in every check they make.

mod support;

use support::{run_client, site, told};

#[tokio::test]
async fn openid_client_completes_every_flow() {
    let mut site = site().await;
    run_client("openid_client.mjs", told(&site)).await;
    let delivery = site.outbox.try_recv().expect("the client that logged out is told");
    assert_eq!(delivery.uri, "https://127.0.0.1:9/backchannel");
    assert_eq!(delivery.logout_token.split('.').count(), 3);
}

#[tokio::test]
async fn authlib_completes_every_flow() {
    let site = site().await;
    run_client("authlib_rp.py", told(&site)).await;
}

#[tokio::test]
async fn chromium_logs_in_agrees_and_logs_out_without_scripts() {
    let site = site().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let app = format!("http://{free}/callback");
    let mut client = netengine_oidc::client::Client::new("browser", support::now());
    client.redirect_uris.insert(app.clone());
    client.secret_digest = Some(netengine_oidc::secret::digest(support::SECRET));
    client.grant_types.insert(netengine_oidc::client::GrantType::AuthorizationCode);
    client.consent_required = true;
    let put = netengine_oidc::state::Object::Client(client);
    site.provider.change("acme", |tx| tx.put(put)).await.expect("stored");
    let mut told = told(&site);
    told["app"] = app.into();
    told["chromium"] = "/usr/bin/chromium".into();
    if let Ok(picture) = std::env::var("NETENGINE_TEST_PICTURE") {
        told["picture"] = picture.into();
    }
    run_client("chromium.mjs", told).await;
}
