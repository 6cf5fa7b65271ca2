//! The interfaces: real tokens, forged ones, and what is no request.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http_body_util::BodyExt;
use netengine_oidc::{
    client::{Client, GrantType},
    from_spec,
    jose::Algorithm,
    provider::Provider,
    realm::RealmConfig,
    secret::Kernel,
    state::Object,
    store::MemoryStore,
    token::mint_access,
    user::User,
};
use netengine_registry::{
    authenticate::OidcAuthenticate,
    http::{AUDIENCE, MAX_BODY_BYTES, domain_registry_router, registrar_router, world_registry_router},
    rdap,
    registry::now,
    whois,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{World, world};

/// The interfaces of a world with its two providers.
pub struct Site {
    pub world: World,
    pub platform: Arc<Provider>,
    pub inworld: Arc<Provider>,
    pub registrar: Router,
    pub domains: Router,
    pub registry: Router,
    pub rdap: Router,
}

async fn provider(wanted: from_spec::Wanted) -> Arc<Provider> {
    let (outbox, _) = tokio::sync::mpsc::channel(1);
    let provider = Provider::open(wanted.settings(), Arc::new(MemoryStore), outbox).await.expect("a provider");
    for realm in wanted.realms {
        provider.create_realm(realm.config.clone(), now().0).await.expect("a realm");
        let put = |realm: &from_spec::WantedRealm| {
            let clients = realm.services.iter().map(|(name, roles)| {
                let mut client = Client::new(name, now().0);
                client.grant_types.insert(GrantType::ClientCredentials);
                client.roles = roles.iter().cloned().collect();
                Object::Client(client)
            });
            let users = realm
                .users
                .iter()
                .map(|user| Object::User(User::new(format!("id-{}", user.username), &user.username, now().0)));
            clients.chain(users).collect::<Vec<_>>()
        };
        let objects = put(&realm);
        provider
            .change(&realm.config.name, |tx| objects.into_iter().for_each(|object| tx.put(object)))
            .await
            .expect("kept");
    }
    provider
}

pub async fn site() -> Site {
    let world = world().await;
    let platform = provider(from_spec::platform(&world.spec)).await;
    let inworld = provider(from_spec::inworld(&world.spec)).await;
    let verify = || OidcAuthenticate::new(Some(platform.clone()), Some(inworld.clone()), AUDIENCE);
    let base = rdap::Base { url: "https://domainreg.platform.internal/rdap".to_owned(), whois: None };
    Site {
        registrar: registrar_router(world.registry.clone(), verify()),
        domains: domain_registry_router(world.registry.clone(), verify()),
        registry: world_registry_router(world.registry.clone(), verify()),
        rdap: rdap::router(world.registry.clone(), base),
        platform,
        inworld,
        world,
    }
}

/// A token of a realm's own program.
fn token(provider: &Provider, realm: &str, scope: &str, at: u64) -> String {
    let minted = provider.read(realm, |realm| {
        let client = realm.clients.get(from_spec::API_CLIENT).expect("the program");
        mint_access(realm, client, None, &[scope.to_owned()].into(), at, &mut Kernel).expect("a token")
    });
    minted.expect("the realm")
}

impl Site {
    pub fn bearer(&self, organisation: &str) -> String {
        token(&self.inworld, organisation, "registrar", now().0)
    }

    pub fn operator(&self) -> String {
        token(&self.platform, "platform", "registrar", now().0)
    }
}

pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub body: Value,
    pub head: axum::http::HeaderMap,
}

async fn read(response: Response<Body>) -> Answer {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).expect("JSON") };
    Answer { status: head.status.as_u16(), kind, body, head: head.headers }
}

pub async fn ask(router: &Router, method: &str, path: &str, token: &str, body: impl Into<Body>) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let Ok(response) = router.clone().oneshot(request.body(body.into()).expect("a request")).await;
    read(response).await
}

fn word(answer: &Answer) -> &str {
    assert_eq!(answer.kind, "application/problem+json", "{}", answer.body);
    assert_eq!(answer.body["status"], answer.status);
    answer.body["type"].as_str().and_then(|text| text.strip_prefix("urn:netengine:problem:")).expect("a type")
}

#[tokio::test]
async fn a_domain_lives_from_check_to_deletion_and_dns_whois_and_rdap_agree() {
    let site = site().await;
    let (rival, acme, router) = (site.bearer("rival"), site.bearer("acme-corp"), &site.registrar);
    let names = json!({"names": ["shop.corp", "acme.corp", "ns.corp", "x.internal", "-"]}).to_string();
    let checked = ask(router, "POST", "/v1/domains/check", &rival, names).await;
    let free: Vec<_> =
        checked.body["results"].as_array().expect("a list").iter().map(|one| one["available"] == true).collect();
    assert_eq!(free, [true, false, false, false, false], "{}", checked.body);

    let wish =
        json!({"name": "shop.corp", "records": [{"name": "www", "type": "A", "value": "10.20.0.7"}]}).to_string();
    let made = ask(router, "POST", "/v1/domains", &rival, wish.clone()).await;
    assert_eq!(
        (made.status, &made.head["location"]),
        (201, &"/v1/domains/shop.corp".parse().expect("a value")),
        "{}",
        made.body
    );
    let secret = made.body["transfer_secret"].as_str().expect("a secret").to_owned();
    let again = ask(router, "POST", "/v1/domains", &acme, wish).await;
    assert_eq!((again.status, word(&again)), (409, "taken"));

    let seen = |name: &'static str| {
        let (registry, zones, router) = (site.world.registry.clone(), site.world.zones.clone(), site.rdap.clone());
        async move {
            let zone = netengine_dns::name::Name::parse(name).expect("a name");
            let whois = whois::answer(&registry.state(), name.as_bytes(), now());
            let rdap = ask(&router, "GET", &format!("/domain/{name}"), "", "").await;
            let registrant = rdap.body["entities"][0]["handle"].as_str().unwrap_or_default().to_owned();
            let told = whois
                .lines()
                .find_map(|line| line.strip_prefix("Registrant Organization: "))
                .unwrap_or_default()
                .to_owned();
            (zones.snapshot().zone(&zone).is_some(), told, rdap.status, registrant)
        }
    };
    assert_eq!(seen("shop.corp").await, (true, "rival".to_owned(), 200, "rival".to_owned()));

    let shown = ask(router, "GET", "/v1/domains/shop.corp", &acme, "").await;
    assert_eq!((shown.status, shown.body.get("records"), shown.body.get("transfer_secret")), (200, None, None));
    let other = ask(router, "PATCH", "/v1/domains/shop.corp", &acme, r#"{"records": []}"#).await;
    assert_eq!((other.status, word(&other)), (403, "not-holder"));
    let bad =
        ask(router, "PATCH", "/v1/domains/shop.corp", &rival, r#"{"records": [{"type": "A", "value": "x"}]}"#).await;
    assert_eq!((bad.status, bad.body["errors"][0]["pointer"].as_str()), (422, Some("#/records/0/value")));
    let held = ask(router, "PATCH", "/v1/domains/shop.corp", &rival, r#"{"status": ["clientHold"]}"#).await;
    assert_eq!((held.status, &held.body["status"]), (200, &json!(["clientHold"])));
    assert!(!seen("shop.corp").await.0, "on hold it is not in DNS");
    assert_eq!(
        ask(router, "PATCH", "/v1/domains/shop.corp", &rival, r#"{"status": []}"#).await.body["status"],
        json!(["ok"])
    );
    assert_eq!(ask(router, "POST", "/v1/domains/shop.corp/renew", &rival, r#"{"years": 3}"#).await.status, 200);

    let take = json!({"secret": secret}).to_string();
    let taken = ask(router, "POST", "/v1/domains/shop.corp/transfer", &acme, take).await;
    assert_eq!((taken.status, &taken.body["organisation"]), (200, &json!("acme-corp")), "{}", taken.body);
    assert_eq!(seen("shop.corp").await, (true, "acme-corp".to_owned(), 200, "acme-corp".to_owned()));
    let mine = ask(router, "GET", "/v1/domains?limit=1", &acme, "").await;
    assert_eq!(
        (mine.body["domains"][0]["name"].as_str(), mine.body["next"].as_str()),
        (Some("acme.corp"), Some("acme.corp"))
    );
    let rest = ask(router, "GET", "/v1/domains?limit=1&after=acme.corp", &acme, "").await;
    assert_eq!((rest.body["domains"][0]["name"].as_str(), rest.body.get("next")), (Some("shop.corp"), None));
    assert_eq!(ask(router, "GET", "/v1/domains?organisation=acme-corp", &rival, "").await.status, 403);

    assert_eq!(ask(router, "DELETE", "/v1/domains/shop.corp", &rival, "").await.status, 403);
    assert_eq!(ask(router, "DELETE", "/v1/domains/shop.corp", &acme, "").await.status, 204);
    assert_eq!(seen("shop.corp").await, (false, String::new(), 404, String::new()));
}

#[tokio::test]
async fn forged_tokens_open_nothing_and_all_look_alike() {
    let site = site().await;
    let good = site.bearer("rival");
    assert_eq!(ask(&site.registrar, "GET", "/v1/domains", &good, "").await.status, 200);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let parts: Vec<&str> = good.split('.').collect();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).expect("base64")).expect("claims");
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).expect("base64")).expect("a header");
    let with = |map: &Value, key: &str, value: Value| {
        let mut map = map.clone();
        map[key] = value;
        part(&map)
    };
    let other = site.bearer("acme-corp");
    let of_other: Vec<&str> = other.split('.').collect();
    // The realm of another world, with a key of its own and the same issuer.
    let (outbox, _) = tokio::sync::mpsc::channel(1);
    let settings = from_spec::inworld(&site.world.spec).settings();
    let foreign = Provider::open(settings, Arc::new(MemoryStore), outbox).await.expect("a provider");
    let mut config = RealmConfig::new("rival");
    config.organization = Some("rival".to_owned());
    config.scopes.insert("registrar".to_owned(), Some("registrar".to_owned()));
    foreign.create_realm(config, now().0).await.expect("a realm");
    let put = Object::Client(Client::new(from_spec::API_CLIENT, now().0));
    foreign.change("rival", |tx| tx.put(put)).await.expect("kept");

    // The realm's own signature below other claims.
    let signed = |typ: &str, key: &str, value: u64| {
        let mut claims = claims.clone();
        claims[key] = json!(value);
        let claims = claims.as_object().expect("claims").clone();
        let signed = site.inworld.read("rival", |realm| {
            realm.keys.signer(Algorithm::Es256, now().0).expect("a key").sign(typ, &claims).expect("signed")
        });
        signed.expect("the realm")
    };
    let right = ask(&site.registrar, "GET", "/v1/domains", &signed("at+jwt", "iat", now().0), "").await;
    assert_eq!(right.status, 200, "signing as the realm does works");

    let none = json!({"alg": "none", "typ": "at+jwt"});
    for (what, forged) in [
        ("no signature", format!("{}.{}.", part(&none), parts[1])),
        ("none with a signature", format!("{}.{}.{}", part(&none), parts[1], parts[2])),
        ("HMAC", format!("{}.{}.{}", with(&header, "alg", json!("HS256")), parts[1], parts[2])),
        (
            "another organisation in the claims",
            format!("{}.{}.{}", parts[0], with(&claims, "organization", json!("acme-corp")), parts[2]),
        ),
        ("another realm's signature", format!("{}.{}.{}", parts[0], parts[1], of_other[2])),
        (
            "another realm as issuer",
            format!(
                "{}.{}.{}",
                parts[0],
                with(&claims, "iss", json!(site.inworld.read("acme-corp", |realm| realm.issuer.clone()))),
                parts[2]
            ),
        ),
        ("another world's key", token(&foreign, "rival", "registrar", now().0)),
        ("expired", signed("at+jwt", "exp", now().0)),
        ("of the future", signed("at+jwt", "iat", now().0 + 3600)),
        ("an ID token", signed("JWT", "iat", now().0)),
        ("another audience", token(&site.inworld, "rival", "openid", now().0)),
        ("the common realm", token(&site.inworld, "inworld", "registrar", now().0)),
        ("a longer one", format!("{good}.x")),
        ("nothing", "x".to_owned()),
        ("dots", "...".to_owned()),
        ("very long", "a".repeat(20_000)),
    ] {
        let answer = ask(&site.registrar, "GET", "/v1/domains", &forged, "").await;
        assert_eq!((answer.status, word(&answer)), (401, "unauthenticated"), "{what}");
        assert_eq!(answer.head["www-authenticate"], "Bearer", "{what}");
        assert_eq!(answer.body["detail"], "a valid bearer token for this service is needed", "{what}");
    }
    assert_eq!(ask(&site.registrar, "GET", "/v1/domains", "", "").await.status, 401);
}

#[tokio::test]
async fn operators_write_the_registries_and_organisations_do_not() {
    let site = site().await;
    let (rival, operator) = (site.bearer("rival"), site.operator());
    let narrowed = r#"{"capabilities": ["send_mail"]}"#;
    let refused = ask(&site.registry, "PATCH", "/v1/organisations/rival", &rival, narrowed).await;
    assert_eq!((refused.status, word(&refused)), (403, "forbidden"));
    assert_eq!(ask(&site.registry, "PATCH", "/v1/organisations/rival", &operator, narrowed).await.status, 200);
    let wish = r#"{"name": "shop.corp"}"#;
    let refused = ask(&site.registrar, "POST", "/v1/domains", &rival, wish).await;
    assert_eq!((refused.status, word(&refused)), (403, "not-capable"), "it counts at once");
    assert_eq!(
        ask(&site.registry, "GET", "/v1/organisations/rival", "", "").await.body["capabilities"],
        json!(["send_mail"])
    );
    assert_eq!(ask(&site.registry, "GET", "/v1/operators", &rival, "").await.status, 403);
    assert_eq!(
        ask(&site.registry, "GET", "/v1/operators", &operator, "").await.body["operators"][0]["username"],
        "admin"
    );

    let lease = r#"{"profile": "business"}"#;
    assert_eq!(ask(&site.domains, "PUT", "/v1/leases/acme-hq", "", lease).await.status, 401);
    assert_eq!(ask(&site.domains, "PUT", "/v1/leases/acme-hq", &rival, lease).await.status, 403);
    assert_eq!(ask(&site.domains, "PUT", "/v1/leases/acme-hq", &operator, lease).await.body["network"], "10.20.0.0/24");
    assert_eq!(ask(&site.domains, "PUT", "/v1/leases/a%00b", &operator, lease).await.status, 422);
    assert_eq!(ask(&site.domains, "PUT", "/v1/leases/x", &operator, r#"{"profile": "lunar"}"#).await.status, 422);
    assert!(ask(&site.domains, "DELETE", "/v1/leases/acme-hq", &operator, "").await.body["released"].is_string());
    for open in ["tlds", "pools", "leases", "domains", "leases/acme-hq", "domains/acme.corp"] {
        let answer = ask(&site.domains, "GET", &format!("/v1/{open}"), "", "").await;
        assert_eq!(answer.status, 200, "{open}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_is_no_request_is_a_problem_document() {
    let site = site().await;
    let token = site.bearer("rival");
    let bomb = "[".repeat(200_000);
    for (method, path, body, status, kind) in [
        ("POST", "/v1/domains", "{", 400, "malformed"),
        ("POST", "/v1/domains", "", 400, "malformed"),
        ("POST", "/v1/domains", bomb.as_str(), 400, "malformed"),
        ("POST", "/v1/domains", "{\"name\": \"\u{0}\"}", 400, "malformed"),
        ("POST", "/v1/domains", r#"{"name": "shop.corp", "unknown": 1}"#, 400, "malformed"),
        ("POST", "/v1/domains", r#"{"name": "shop.corp", "years": -1}"#, 400, "malformed"),
        ("POST", "/v1/domains", r#"{"name": "shop.corp", "years": 1e99}"#, 400, "malformed"),
        ("PUT", "/v1/domains", "{}", 405, "wrong-method"),
        ("GET", "/v1/nothing", "", 404, "not-found"),
        ("GET", "/v1/domains/none.corp", "", 404, "not-found"),
        ("GET", "/v1/domains/%ff", "", 400, "malformed"),
        ("GET", "/v1/domains/..%2f..%2fetc", "", 404, "not-found"),
        ("GET", "/v1/domains?limit=0", "", 400, "malformed"),
        ("GET", "/v1/domains?limit=x", "", 400, "malformed"),
        ("GET", "/v1/domains?wrong=1", "", 400, "malformed"),
    ] {
        let answer = ask(&site.registrar, method, path, &token, body.to_owned()).await;
        assert_eq!((answer.status, word(&answer)), (status, kind), "{method} {path} {:.60}", body);
    }
    let long = format!(r#"{{"name": "{}"}}"#, "a".repeat(MAX_BODY_BYTES));
    let answer = ask(&site.registrar, "POST", "/v1/domains", &token, long).await;
    assert_eq!((answer.status, word(&answer)), (413, "too-large"));
    let request =
        Request::builder().method("POST").uri("/v1/domains").header("authorization", format!("Bearer {token}"));
    let Ok(response) = site.registrar.clone().oneshot(request.body(Body::from("{}")).expect("a request")).await;
    let answer = read(response).await;
    assert_eq!((answer.status, word(&answer)), (415, "wrong-type"));
    assert_eq!(site.world.registry.state().domain_count(), 1);
}

#[tokio::test]
async fn documents_tell_of_every_path_and_of_no_other() {
    let site = site().await;
    for (router, count) in [(&site.registrar, 9), (&site.domains, 8), (&site.registry, 4)] {
        assert_eq!(ask(router, "GET", "/health", "", "").await.body["status"], "ok");
        let document = ask(router, "GET", "/openapi.json", "", "").await;
        let paths = document.body["paths"].as_object().expect("paths");
        let mut told = 0;
        for (path, methods) in paths {
            for method in methods.as_object().expect("methods").keys() {
                told += 1;
                let path = path.replace("{name}", "none.corp").replace("{and}", "none");
                let answer = ask(router, &method.to_uppercase(), &path, "", "{}").await;
                let is_routed = answer.status != 405 && answer.body["detail"] != "nothing is at this path";
                assert!(is_routed, "{method} {path}: {}", answer.body);
            }
        }
        assert_eq!(told, count, "{:?}", paths.keys());
    }
}

#[tokio::test]
async fn rdap_answers_objects_searches_and_errors_in_its_own_form() {
    let site = site().await;
    let leased = site.world.registry.lease("acme-hq", "business").await.expect("a lease");
    let autnum = format!("/autnum/{}", leased.asn);
    for (path, class, member, value) in [
        ("/domain/acme.corp", "domain", "ldhName", json!("acme.corp")),
        ("/domain/ACME.corp.", "domain", "ldhName", json!("acme.corp")),
        ("/nameserver/ns.corp", "nameserver", "ldhName", json!("ns.corp")),
        ("/entity/acme-corp", "entity", "handle", json!("acme-corp")),
        ("/ip/10.20.0.7", "ip network", "startAddress", json!("10.20.0.0")),
        ("/ip/10.20.0.0/16", "ip network", "endAddress", json!("10.20.255.255")),
        ("/ip/10.20.9.0/24", "ip network", "endAddress", json!("10.20.255.255")),
        ("/ip/10.0.0.9", "ip network", "name", json!("core")),
        ("/ip/fd00:10::a00:9", "ip network", "startAddress", json!("fd00:10::")),
        (autnum.as_str(), "autnum", "startAutnum", json!(leased.asn)),
    ] {
        let answer = ask(&site.rdap, "GET", path, "", "").await;
        assert_eq!((answer.status, answer.kind.as_str()), (200, "application/rdap+json"), "{path}: {}", answer.body);
        assert_eq!(
            (&answer.body["objectClassName"], &answer.body[member]),
            (&json!(class), &value),
            "{path}: {}",
            answer.body
        );
        assert!(
            answer.body["rdapConformance"].as_array().is_some_and(|all| all.contains(&json!("rdap_level_0"))),
            "{path}"
        );
        assert_eq!(answer.head["access-control-allow-origin"], "*");
    }
    for (path, member, count) in [
        ("/domains?name=acme*", "domainSearchResults", 1),
        ("/domains?name=a*.corp", "domainSearchResults", 1),
        ("/domains?name=z*", "domainSearchResults", 0),
        ("/domains?nsLdhName=ns.corp", "domainSearchResults", 1),
        ("/domains?nsIp=10.0.0.5", "domainSearchResults", 1),
        ("/nameservers?name=ns.*", "nameserverSearchResults", 2),
        ("/nameservers?ip=10.0.0.5", "nameserverSearchResults", 1),
        ("/entities?fn=acme%2A", "entitySearchResults", 1),
        ("/entities?handle=rival", "entitySearchResults", 1),
    ] {
        let answer = ask(&site.rdap, "GET", path, "", "").await;
        assert_eq!(
            (answer.status, answer.body[member].as_array().map(Vec::len)),
            (200, Some(count)),
            "{path}: {}",
            answer.body
        );
    }
    for (method, path, status) in [
        ("GET", "/domain/none.corp", 404),
        ("GET", "/domain/a..b", 400),
        ("GET", "/domain/b%c3%b!", 400),
        ("GET", "/ip/%ff/8", 400),
        ("GET", "/%ff.json", 400),
        ("GET", "/ip/10.0.0", 400),
        ("GET", "/ip/10.0.0.0/33", 400),
        ("GET", "/ip/192.0.2.1", 404),
        ("GET", "/autnum/-1", 400),
        ("GET", "/autnum/4294967296", 400),
        ("GET", "/autnum/7", 404),
        ("GET", "/entity/none", 404),
        ("GET", "/nameserver/none.corp", 404),
        ("GET", "/domains", 400),
        ("GET", "/domains?name=*", 400),
        ("GET", "/domains?name=**a", 400),
        ("GET", "/domains?name=%ff", 400),
        ("GET", "/domains?name=a&name=b", 400),
        ("GET", "/nothing/at/all", 404),
        ("GET", "/nothing.json", 404),
        ("POST", "/help", 405),
    ] {
        let answer = ask(&site.rdap, method, path, "", "").await;
        assert_eq!((answer.status, answer.kind.as_str()), (status, "application/rdap+json"), "{path}: {}", answer.body);
        assert_eq!(answer.body["errorCode"], status, "{path}: {}", answer.body);
    }
    let mut files = Vec::new();
    for name in ["dns", "ipv4", "ipv6", "asn"] {
        let answer = ask(&site.rdap, "GET", &format!("/{name}.json"), "", "").await;
        assert_eq!(answer.body["services"][0][1], json!(["https://domainreg.platform.internal/rdap/"]), "{name}");
        files.push(answer.body["services"][0][0].clone());
    }
    assert_eq!(files[0], json!(["corp", "internal"]));
    assert_eq!(files[3], json!([format!("{0}-{0}", leased.asn)]));
}

#[tokio::test]
async fn a_search_with_many_hits_is_cut_and_says_so() {
    let site = site().await;
    for index in 0..101 {
        let wish = format!(r#"{{"name": "many{index}.corp"}}"#);
        crate::world::register(&site.world.registry, crate::world::of("rival"), &wish).await.expect("registered");
    }
    let answer = ask(&site.rdap, "GET", "/domains?name=many*", "", "").await;
    assert_eq!(answer.body["domainSearchResults"].as_array().map(Vec::len), Some(100));
    assert_eq!(answer.body["notices"][0]["type"], "result set truncated due to excessive load");
}
