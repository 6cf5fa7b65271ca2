//! Logins with a password as a browser does them: the page with its form, then the form. Each is a new browser, without any cookie,
//! on a kept connection.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http_body_util::Full;
use hyper::{Request, Response, Uri};
use serde_json::{Value, json};

use super::{
    Rate, repeat,
    web::{Web, expect},
};

/// Where the client pretends to listen; nothing is ever sent there.
const CALLBACK: &str = "http://127.0.0.1:9/callback";
/// The client that is made for this.
const CLIENT: &str = "bench";

/// Logins until the time is over. `admin`: a client that may make clients, and its secret; `user`: name and password.
pub async fn run(
    issuer: &str,
    admin: &(String, String),
    user: &(String, String),
    clients: usize,
    seconds: f64,
) -> Result<Rate> {
    let realm = issuer.parse::<Uri>()?.path().to_owned();
    make_client(issuer, &realm, admin).await?;
    let query = Serializer::new(String::new())
        .extend_pairs([("response_type", "code"), ("client_id", CLIENT), ("redirect_uri", CALLBACK)])
        .extend_pairs([("scope", "openid"), ("state", "s")])
        .finish();
    let page = format!("{realm}/protocol/openid-connect/auth?{query}");
    let mut all = Vec::new();
    for _ in 0..clients {
        all.push(Web::connect(issuer).await?);
    }
    repeat(all, seconds, |mut web, until| {
        let page = &page;
        async move {
            let mut count = 0;
            while Instant::now() < until {
                log_in(&mut web, page, user).await?;
                count += 1;
            }
            Ok(count)
        }
    })
    .await
}

async fn log_in(web: &mut Web, page: &str, (name, password): &(String, String)) -> Result<()> {
    let shown = expect(web.send(Request::get(page).body(Full::default())?).await?, 200)?;
    let text = std::str::from_utf8(shown.body())?;
    let between = |start: &str| Some(text.split_once(start)?.1.split_once('"')?.0.replace("&amp;", "&"));
    let action = between("<form method=\"post\" action=\"").map(|action| action.replace("&#38;", "&"));
    let (action, csrf) = action.zip(between("name=\"csrf\" value=\"")).context("a form")?;
    let form = Serializer::new(String::new())
        .extend_pairs([("csrf", csrf.as_str()), ("username", name), ("password", password)])
        .finish();
    let back = web.post(&action, &cookies(&shown), &form, 303).await?;
    let to = back.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
    ensure!(to.starts_with(CALLBACK) && to.contains("code="), "no code: {to}");
    Ok(())
}

fn cookies(answer: &Response<Bytes>) -> String {
    let all = answer.headers().get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    all.filter_map(|line| line.split(';').next()).collect::<Vec<_>>().join("; ")
}

/// A client with a redirect address, by the provider's admin interface.
async fn make_client(issuer: &str, realm: &str, (admin, secret): &(String, String)) -> Result<()> {
    let mut web = Web::connect(issuer).await?;
    let form = Serializer::new(String::new())
        .extend_pairs([("grant_type", "client_credentials"), ("client_id", admin), ("client_secret", secret)])
        .finish();
    let granted = web.post(&format!("{realm}/protocol/openid-connect/token"), "", &form, 200).await?;
    let granted: Value = serde_json::from_slice(granted.body())?;
    let token = granted["access_token"].as_str().context("a token")?;
    let wanted = json!({"clientId": CLIENT, "redirectUris": [CALLBACK], "standardFlowEnabled": true});
    let request = Request::post(format!("/admin{realm}/clients")).header("content-type", "application/json");
    let request = request.header("authorization", format!("Bearer {token}"));
    expect(web.send(request.body(Full::from(wanted.to_string()))?).await?, 201).map(drop)
}
