//! Client-credentials grants (RFC 6749, section 4.4), each client on one kept TLS connection.

use std::time::Instant;

use anyhow::{Result, ensure};
use form_urlencoded::Serializer;
use hyper::Uri;

use super::{Rate, repeat, web::Web};

/// Grants until the time is over.
pub async fn run(issuer: &str, client: &str, secret: &str, clients: usize, seconds: f64) -> Result<Rate> {
    let path = format!("{}/protocol/openid-connect/token", issuer.parse::<Uri>()?.path());
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    let form = form.append_pair("client_id", client).append_pair("client_secret", secret).finish();
    let mut all = Vec::new();
    for _ in 0..clients {
        all.push(Web::connect(issuer).await?);
    }
    repeat(all, seconds, |mut web, until| {
        let (path, form) = (&path, &form);
        async move {
            let mut count = 0;
            while Instant::now() < until {
                let answer = web.post(path, "", form, 200).await?;
                ensure!(answer.body().starts_with(b"{\"access_token\":\"ey"), "no token: {:?}", answer.body());
                count += 1;
            }
            Ok(count)
        }
    })
    .await
}
