//! The registries in memory with all that they serve over HTTP, and requests to them as texts.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use netengine_dns::{
    plan::Plan,
    zone::{NoJournal, Store},
};
use netengine_registry::{
    authenticate::{Authenticate, Principal, RealmKind, Refusal},
    decide::Limits,
    http::{domain_registry_router, registrar_router, world_registry_router},
    names::DnsNames,
    rdap,
    registry::Registry,
    store::SqliteStore,
};
use netengine_spec::{Source, Sources, Spec, load};
use tower::ServiceExt;

use crate::oidc::block_on;

static SPEC: LazyLock<Spec> = LazyLock::new(|| {
    let text = include_str!("../../../examples/dev-sandbox.yaml").to_owned();
    let base = Source { name: "w.yaml".to_owned(), text };
    load(&Sources { base, overlay: None, sets: Vec::new() }, &|_| None).expect("an example is a spec").spec
});

/// The token is who bears it: `admin` of the platform, or an organisation; `nobody` has none that holds.
struct ByName;

impl Authenticate for ByName {
    async fn verify(&self, token: &str) -> Result<Principal, Refusal> {
        let realm = match token {
            "nobody" | "" => return Err(Refusal),
            "admin" => RealmKind::Platform,
            organisation => RealmKind::Organisation(organisation.to_owned()),
        };
        Ok(Principal {
            subject: token.to_owned(),
            username: Some(token.to_owned()),
            realm,
            roles: BTreeSet::from(["registry-superadmin".to_owned(), "user".to_owned()]),
        })
    }
}

/// An answer, read whole.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The registries of a world.
pub struct Site {
    /// What is registered.
    pub registry: Arc<Registry>,
    /// The world's zones.
    pub zones: Arc<Store>,
    router: Router,
}

impl Site {
    /// As the spec has it.
    pub fn new() -> Self {
        let plan = Plan::of(&SPEC, &[]);
        let zones = Arc::new(Store::new(plan.catalog(1).expect("zones"), plan.policy(), NoJournal));
        let registry = block_on(async {
            let store = SqliteStore::open(Path::new(":memory:")).await.expect("a database");
            let names = Arc::new(DnsNames::new(zones.clone(), &SPEC));
            Registry::open(store, names, &SPEC, Limits::default()).await.expect("a registry")
        });
        let base = rdap::Base { url: "https://domainreg.platform.internal/rdap".to_owned(), whois: None };
        let router = Router::new()
            .nest("/rdap", rdap::router(registry.clone(), base))
            .nest("/registrar", registrar_router(registry.clone(), ByName))
            .nest("/domainreg", domain_registry_router(registry.clone(), ByName))
            .nest("/registry", world_registry_router(registry.clone(), ByName));
        Self { registry, zones, router }
    }

    /// Sends a request: a line of method and target, headers, an empty line, a body. Without a header of its own it is
    /// acme-corp's and its body JSON. `None` for what no HTTP server would hand over.
    pub fn send(&self, text: &str) -> Option<Answer> {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let (method, target) = lines.next()?.split_once(' ')?;
        let mut request = Request::builder().method(method).uri(target);
        let (mut is_typed, mut is_somebodys) = (false, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            is_typed |= name.eq_ignore_ascii_case("content-type");
            is_somebodys |= name.eq_ignore_ascii_case("authorization");
            request = request.header(name, value.trim_start());
        }
        if !is_typed {
            request = request.header("content-type", "application/json");
        }
        if !is_somebodys {
            request = request.header("authorization", "Bearer acme-corp");
        }
        let request = request.body(Body::from(body.to_owned())).ok()?;
        Some(block_on(async {
            let Ok(answer) = self.router.clone().oneshot(request).await;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.expect("a body in memory").to_bytes();
            Answer { status: head.status, headers: head.headers, body }
        }))
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}
