//! Requests to the OpenID provider, several in a row: no failure of the server, no redirect to where no client is
//! registered, no page with a script, nothing in the realm that was not asked.
//!
//! Requests are texts with a line `%%` between them. `$NAME` stands for what an earlier answer gave.

use crate::oidc::{Answer, BASE, Site};

/// Requests of one input that are looked at.
const REQUESTS: usize = 8;

fn registered(site: &Site) -> Vec<String> {
    let uris = site.provider.read("acme", |realm| {
        let of = |client: &netengine_oidc::client::Client| {
            [client.redirect_uris.clone(), client.post_logout_redirect_uris.clone()]
        };
        realm.clients.values().flat_map(of).flatten().collect()
    });
    uris.expect("the realm")
}

fn check(answer: &Answer, before: &[String], after: &[String]) {
    assert!(!answer.status.is_server_error(), "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    assert!(answer.body.len() < 256 * 1024, "{} bytes", answer.body.len());
    if let Some(to) = answer.header("location") {
        let is_own = |to: &str| to.starts_with("/realms/") || to.starts_with(&format!("{BASE}/"));
        let is_of = |uri: &String| {
            to.strip_prefix(uri.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['?', '&']))
        };
        assert!(is_own(to) || before.iter().chain(after).any(is_of), "sent to {to}");
    }
    for cookie in answer.headers.get_all("set-cookie") {
        let cookie = cookie.to_str().expect("text");
        assert!(cookie.contains("HttpOnly") && cookie.contains("Secure") && cookie.contains("SameSite"), "{cookie}");
    }
    let kind = answer.header("content-type").unwrap_or_default();
    if kind.starts_with("text/html") {
        let page = String::from_utf8(answer.body.to_vec()).expect("a page is text").to_ascii_lowercase();
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(
            answer.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
        );
    }
    if kind.starts_with("application/json") && !answer.body.is_empty() {
        serde_json::from_slice::<serde_json::Value>(&answer.body).expect("JSON");
    }
}

/// One input.
pub fn target(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut site = Site::new();
    for request in text.split("\n%%\n").take(REQUESTS) {
        let before = registered(&site);
        let Some(answer) = site.send(request) else { continue };
        check(&answer, &before, &registered(&site));
    }
    let is_empty = |realm: &netengine_oidc::realm::Realm| {
        realm.sessions.is_empty() && realm.grants.is_empty() && realm.codes.is_empty()
    };
    assert_eq!(site.provider.read("other", is_empty), Some(true), "a session or a grant in a realm without users");
}
