//! What must not work.

mod support;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use support::{AUTH, CALLBACK, PASSWORD, QUERY, SECRET, Site, now, site};

const AUTHENTICATE: &str = "/realms/acme/login-actions/authenticate";
const USERINFO: &str = "/realms/acme/protocol/openid-connect/userinfo";

async fn tokens(site: &Site, now: u64) -> Value {
    let code = site.log_in(QUERY, now).await.sent_back("code").expect("a code");
    let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
    let answer = site.token(&fields, now).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn only_the_issuers_own_host_is_served() {
    let site = site().await;
    let path = "/realms/acme/.well-known/openid-configuration";
    assert_eq!(site.ask("GET", path, &[], "", now()).await.status, 200);
    for host in ["evil.example", "", "127.0.0.1", "127.0.0.1:1"] {
        let answer = site.ask("GET", path, &[("host", host)], "", now()).await;
        assert_eq!(answer.status, 421, "{host}");
        assert!(!answer.text.contains("evil"));
    }
    let own = site.address.to_string();
    let twice = [("host", own.as_str()), ("host", "evil.example")];
    assert_eq!(site.ask("GET", path, &twice, "", now()).await.status, 421);
    let forwarded = [("x-forwarded-host", "evil.example"), ("forwarded", "host=evil.example")];
    let answer = site.ask("GET", path, &forwarded, "", now()).await;
    assert_eq!(answer.json()["issuer"], json!(site.issuer));
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_registered() {
    let site = site().await;
    for uri in [
        "http://127.0.0.1:9/callback/",
        "http://127.0.0.1:9/callback?x=1",
        "http://127.0.0.1:9/Callback",
        "http://127.0.0.1:9/callback/../evil",
        "http://127.0.0.1:9@evil.example/callback",
        "http://127.0.0.1:9/callback#f",
        "https://evil.example/",
        "//evil.example",
        "javascript:alert(1)",
    ] {
        let pairs = [("response_type", "code"), ("client_id", "web"), ("redirect_uri", uri)];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        for path in [AUTH, AUTHENTICATE, "/realms/acme/login-actions/consent"] {
            let method = if path == AUTH { "GET" } else { "POST" };
            let answer = site.ask(method, &format!("{path}?{query}"), &[], "", now()).await;
            assert_eq!(answer.status, 400, "{uri} {path}");
            assert!(answer.headers.get("location").is_none());
            assert!(!answer.text.contains("evil"), "{}", answer.text);
        }
        let pairs = [("client_id", "web"), ("post_logout_redirect_uri", uri)];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let path = format!("/realms/acme/protocol/openid-connect/logout?{query}");
        let answer = site.ask("GET", &path, &[], "", now()).await;
        assert_eq!((answer.status, answer.headers.get("location")), (400, None), "{uri}");
    }
}

#[tokio::test]
async fn a_request_that_breaks_the_protocol_goes_back_as_an_error() {
    let site = site().await;
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let base = "redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcallback&state=s%26x";
    for (more, error) in [
        ("client_id=web", "invalid_request"),
        ("client_id=web&response_type=token", "unsupported_response_type"),
        ("client_id=web&response_type=code%20id_token", "unsupported_response_type"),
        ("client_id=web&response_type=code&response_mode=fragment", "invalid_request"),
        ("client_id=web&response_type=code&request=x.y.z", "request_not_supported"),
        ("client_id=web&response_type=code&request_uri=http%3A%2F%2Fx", "request_uri_not_supported"),
        ("client_id=web&response_type=code&scope=openid%20root", "invalid_scope"),
        ("client_id=web&response_type=code&prompt=none%20login", "invalid_request"),
        ("client_id=web&response_type=code&prompt=none", "login_required"),
        ("client_id=web&response_type=code&max_age=-1", "invalid_request"),
        ("client_id=spa&response_type=code", "invalid_request"),
        (&format!("client_id=spa&response_type=code&code_challenge={challenge}"), "invalid_request"),
        (
            &format!("client_id=spa&response_type=code&code_challenge={challenge}&code_challenge_method=plain"),
            "invalid_request",
        ),
        ("client_id=spa&response_type=code&code_challenge=short&code_challenge_method=S256", "invalid_request"),
    ] {
        let answer = site.ask("GET", &format!("{AUTH}?{base}&{more}"), &[], "", now()).await;
        assert_eq!(answer.status, 303, "{more}: {}", answer.text);
        assert!(answer.location().starts_with("http://127.0.0.1:9/callback?error="), "{}", answer.location());
        assert_eq!(answer.sent_back("error").as_deref(), Some(error), "{more}");
        assert_eq!(answer.sent_back("state").as_deref(), Some("s&x"));
        assert_eq!(answer.sent_back("iss").as_deref(), Some(site.issuer.as_str()));
    }
    let twice = site.ask("GET", &format!("{AUTH}?{QUERY}&client_id=spa"), &[], "", now()).await;
    assert_eq!((twice.status, twice.headers.get("location")), (400, None));
}

#[tokio::test]
async fn an_account_that_logs_in_for_the_first_time_twice_at_once_is_let_in_twice() {
    // The first login replaces the generated password's cheap hash.
    let site = site().await;
    let (one, other) = tokio::join!(site.log_in(QUERY, now()), site.log_in(QUERY, now()));
    assert_eq!((one.status, other.status), (303, 303), "{} {}", one.text, other.text);
}

#[tokio::test]
async fn forged_login_forms_are_refused() {
    let site = site().await;
    let path = format!("{AUTHENTICATE}?{QUERY}");
    let page = site.ask("GET", &format!("{AUTH}?{QUERY}"), &[], "", now()).await;
    let (csrf, cookies) = (page.csrf(), page.cookies());
    let right = [("csrf", csrf.as_str()), ("username", "alice"), ("password", PASSWORD)];
    let other = site.ask("GET", &format!("{AUTH}?{QUERY}"), &[], "", now()).await.cookies();
    for (cookies, fields) in [
        ("", &right[..]),
        (other.as_str(), &right[..]),
        (cookies.as_str(), &right[1..]),
        (cookies.as_str(), &[("csrf", "AAAA"), ("username", "alice"), ("password", PASSWORD)][..]),
    ] {
        let answer = site.post(&path, cookies, fields, now()).await;
        assert_eq!(answer.status, 403, "{}", answer.text);
        assert!(!answer.cookies().contains("NE_SESSION"));
    }
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(right).finish();
    for origin in ["http://evil.example", "null"] {
        let headers =
            [("content-type", "application/x-www-form-urlencoded"), ("cookie", cookies.as_str()), ("origin", origin)];
        assert_eq!(site.ask("POST", &path, &headers, &body, now()).await.status, 403, "{origin}");
    }
    assert_eq!(site.post(&path, &cookies, &right, now()).await.status, 303, "the real one");
    // A session alone agrees to nothing.
    let session = site.log_in(QUERY, now()).await.cookies();
    let consent = format!("/realms/acme/login-actions/consent?{}", QUERY.replace("=web", "=asking"));
    assert_eq!(site.post(&consent, &session, &[("answer", "allow")], now()).await.status, 403);
}

#[tokio::test]
async fn a_login_link_does_not_log_out() {
    let site = site().await;
    let session = site.log_in(QUERY, now()).await.cookies();
    let path = "/realms/acme/protocol/openid-connect/logout";
    let page = site.ask("GET", path, &[("cookie", &session)], "", now()).await;
    assert!(page.text.contains("Log out?"), "{}", page.text);
    let still = site.ask("GET", &format!("{AUTH}?{QUERY}"), &[("cookie", &session)], "", now()).await;
    assert_eq!(still.status, 303);
    let cookies = format!("{session}; {}", page.cookies());
    let done = site.post("/realms/acme/login-actions/logout", &cookies, &[("csrf", &page.csrf())], now()).await;
    assert!(done.text.contains("You are logged out."));
    let after = site.ask("GET", &format!("{AUTH}?{QUERY}"), &[("cookie", &session)], "", now()).await;
    assert_eq!(after.status, 200);
}

#[tokio::test]
async fn unknown_names_wrong_passwords_and_throttling_look_alike() {
    let site = site().await;
    let page = site.ask("GET", &format!("{AUTH}?{QUERY}"), &[], "", now()).await;
    let (csrf, cookies) = (page.csrf(), page.cookies());
    let mut seen: Vec<Vec<(u16, String)>> = Vec::new();
    for name in ["alice", "nobody"] {
        let mut answers = Vec::new();
        for _ in 0..12 {
            let fields = [("csrf", csrf.as_str()), ("username", name), ("password", "guess")];
            let answer = site.post(&format!("{AUTHENTICATE}?{QUERY}"), &cookies, &fields, 1_800_000_000).await;
            answers.push((answer.status, answer.text.replace(name, "NAME")));
        }
        seen.push(answers);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0][9].0, 200);
    assert_eq!(seen[0][10].0, 429, "the eleventh attempt waits");
    // Even the right password waits now, and works after the pause.
    let right = [("csrf", csrf.as_str()), ("username", "alice"), ("password", PASSWORD)];
    let path = format!("{AUTHENTICATE}?{QUERY}");
    assert_eq!(site.post(&path, &cookies, &right, 1_800_000_000).await.status, 429);
    assert_eq!(site.post(&path, &cookies, &right, 1_800_000_031).await.status, 303);
}

#[tokio::test]
async fn codes_and_tokens_end_on_time() {
    let site = site().await;
    let start = now();
    let code = site.log_in(QUERY, start).await.sent_back("code").expect("a code");
    let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
    assert_eq!(site.token(&fields, start + 60).await.json()["error"], "invalid_grant");
    let tokens = tokens(&site, start).await;
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().expect("a token"));
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(site.ask("GET", USERINFO, &headers, "", start + 299).await.status, 200);
    assert_eq!(site.ask("GET", USERINFO, &headers, "", start + 300).await.status, 401);
    assert_eq!(site.ask("GET", USERINFO, &headers, "", start - 61).await.status, 401, "from the future");
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().expect("one"))];
    assert_eq!(site.token(&refresh, start + 1800).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_code_is_bound_to_client_address_and_verifier() {
    let site = site().await;
    let start = now();
    let code = || async { site.log_in(QUERY, start).await.sent_back("code").expect("a code") };
    let grant = ("grant_type", "authorization_code");
    let first = code().await;
    let wrong_address = [grant, ("code", first.as_str()), ("redirect_uri", "http://127.0.0.1:9/other")];
    assert_eq!(site.token(&wrong_address, start).await.json()["error"], "invalid_grant");
    assert_eq!(site.token(&[grant, ("code", first.as_str())], start).await.json()["error"], "invalid_grant");
    let other = [grant, ("code", first.as_str()), ("redirect_uri", CALLBACK), ("client_id", "spa")];
    let answer = site.post("/realms/acme/protocol/openid-connect/token", "", &other, start).await;
    assert_eq!(answer.json()["error"], "invalid_grant");
    // A verifier for a code that was asked for without a challenge: somebody stripped it.
    let verifier = "a".repeat(43);
    let stripped = [grant, ("code", first.as_str()), ("redirect_uri", CALLBACK), ("code_verifier", verifier.as_str())];
    assert_eq!(site.token(&stripped, start).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_code_or_a_refresh_token_that_comes_twice_ends_what_was_given_for_it() {
    let site = site().await;
    let start = now();
    let code = site.log_in(QUERY, start).await.sent_back("code").expect("a code");
    let fields = [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
    let first = site.token(&fields, start).await.json();
    let text = |tokens: &Value, name: &str| tokens[name].as_str().expect("a token").to_owned();
    let userinfo = |tokens: &Value| {
        let bearer = format!("Bearer {}", text(tokens, "access_token"));
        let site = &site;
        async move { site.ask("GET", USERINFO, &[("authorization", bearer.as_str())], "", start).await.status }
    };
    let refresh = |tokens: &Value| {
        let (token, site) = (text(tokens, "refresh_token"), &site);
        async move { site.token(&[("grant_type", "refresh_token"), ("refresh_token", token.as_str())], start).await }
    };
    assert_eq!(userinfo(&first).await, 200);
    assert_eq!(site.token(&fields, start).await.json()["error"], "invalid_grant");
    assert_eq!(userinfo(&first).await, 401, "whoever was first may have been a thief");
    assert_eq!(refresh(&first).await.json()["error"], "invalid_grant");

    let first = tokens(&site, start).await;
    let second = refresh(&first).await.json();
    assert_eq!(userinfo(&second).await, 200);
    assert_eq!(refresh(&first).await.json()["error"], "invalid_grant");
    assert_eq!(userinfo(&second).await, 401);
    assert_eq!(refresh(&second).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn forged_and_foreign_tokens_open_nothing() {
    let site = site().await;
    let start = now();
    let tokens = tokens(&site, start).await;
    let access = tokens["access_token"].as_str().expect("a token");
    let id = tokens["id_token"].as_str().expect("a token");
    let parts: Vec<&str> = access.split('.').collect();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).expect("base64url")).expect("JSON");
    let with = |alg: &str| {
        let mut header = header.clone();
        header["alg"] = json!(alg);
        URL_SAFE_NO_PAD.encode(header.to_string())
    };
    let forged = [
        format!("{}.{}.", with("none"), parts[1]),
        format!("{}.{}.{}", with("none"), parts[1], parts[2]),
        format!("{}.{}.{}", with("HS256"), parts[1], parts[2]),
        format!("{}.{}.{}", with("RS256"), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(r#"{"sub":"x"}"#), parts[2]),
        id.to_owned(),
        "a.b.c".to_owned(),
        "x".repeat(20_000),
        String::new(),
    ];
    for token in &forged {
        let bearer = format!("Bearer {token}");
        for path in [USERINFO, "/admin/realms/acme/users"] {
            let answer = site.ask("GET", path, &[("authorization", &bearer)], "", start).await;
            assert_eq!(answer.status, 401, "{token}");
        }
        let fields = [("client_id", "web"), ("client_secret", SECRET), ("token", token.as_str())];
        let path = "/realms/acme/protocol/openid-connect/token/introspect";
        let answer = site.post(path, "", &fields, start).await;
        assert!(token.is_empty() || answer.text == r#"{"active":false}"#, "{}", answer.text);
    }
    // A token of one realm is nothing in another; a user without the role is no administrator.
    let bearer = format!("Bearer {access}");
    let headers = [("authorization", bearer.as_str())];
    let other = "/realms/other/protocol/openid-connect/userinfo";
    assert_eq!(site.ask("GET", other, &headers, "", start).await.status, 401);
    assert_eq!(site.ask("GET", "/admin/realms/acme/users", &headers, "", start).await.status, 403);
}

#[tokio::test]
async fn rotated_keys_are_served_before_they_sign_and_after() {
    let site = site().await;
    let start = now();
    let kids = |answer: support::Answer| -> Vec<String> {
        let keys = answer.json()["keys"].as_array().expect("keys").clone();
        keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
    };
    let certs = "/realms/acme/protocol/openid-connect/certs";
    let grant = [("grant_type", "client_credentials")];
    let kid = |token: &Value| {
        let token = token["access_token"].as_str().expect("a token").to_owned();
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a header")).expect("base64url");
        let header: Value = serde_json::from_slice(&header).expect("JSON");
        header["kid"].as_str().expect("a kid").to_owned()
    };
    let old = kid(&site.token(&grant, start).await.json());
    site.provider.rotate_keys("acme", 600, start).await.expect("rotated");
    assert_eq!(kid(&site.token(&grant, start + 599).await.json()), old, "the old one signs until the new one is known");
    let served = kids(site.ask("GET", certs, &[], "", start).await);
    let fresh = kid(&site.token(&grant, start + 600).await.json());
    assert_ne!(fresh, old);
    assert!(served.contains(&fresh) && served.contains(&old), "{served:?}");
    site.provider.tick(start + 600 + 299).await.expect("swept");
    assert!(kids(site.ask("GET", certs, &[], "", start).await).contains(&old), "its last token still holds");
    site.provider.tick(start + 600 + 300).await.expect("swept");
    assert!(!kids(site.ask("GET", certs, &[], "", start).await).contains(&old));
}

#[tokio::test]
async fn wrong_methods_types_and_paths_are_refused_politely() {
    let site = site().await;
    let token = "/realms/acme/protocol/openid-connect/token";
    assert_eq!(site.ask("GET", token, &[], "", now()).await.status, 405);
    let json = [("content-type", "application/json")];
    assert_eq!(site.ask("POST", token, &json, "{}", now()).await.json()["error"], "invalid_request");
    for path in ["/", "/realms", "/realms/none/protocol/openid-connect/certs", "/realms/acme/../../etc/passwd", "*"] {
        assert_eq!(site.ask("GET", path, &[], "", now()).await.status, 404, "{path}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded"), ("authorization", "Basic !!!")];
    let answer = site.ask("POST", token, &form, "grant_type=client_credentials", now()).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("invalid_client")));
    assert!(answer.headers.contains_key("www-authenticate"));
    let nobody = [("client_id", "nobody"), ("client_secret", "x"), ("grant_type", "client_credentials")];
    let unknown = site.post(token, "", &nobody, now()).await;
    let wrong = [("client_id", "web"), ("client_secret", "x"), ("grant_type", "client_credentials")];
    assert_eq!(unknown.text, site.post(token, "", &wrong, now()).await.text);
}
