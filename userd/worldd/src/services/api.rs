//! The operator's API inside the world: who this world is and how it does, for bearers of a token of the platform.

use std::sync::{Arc, PoisonError, RwLock};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use netengine_oidc::{foreign::ForeignIssuer, from_spec::API_CLIENT, provider::Provider, token::open_access};
use netengine_proto::control::ServiceHealth;
use netengine_spec::Spec;
use serde_json::{Value, json};

use super::clock::unix;

/// Longest token that is looked at, bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// What a request is judged and answered by.
pub struct Api {
    providers: Vec<Arc<Provider>>,
    /// Issuers of federated worlds, which count when the spec names one of them.
    foreign: Vec<ForeignIssuer>,
    issuer: String,
    scope: String,
    name: String,
    world: RwLock<Value>,
}

impl Api {
    /// The API of this world. Tokens are read with the keys of these providers, or of an issuer of a world that this one is
    /// federated with; one of them is the issuer wanted.
    pub fn new(spec: &Spec, providers: Vec<Arc<Provider>>, mut foreign: Vec<ForeignIssuer>) -> Arc<Self> {
        let platform = &spec.identity_platform;
        let issuer = match &spec.operator.auth.issuer {
            Some(issuer) => issuer.to_string(),
            None => format!("https://{}/realms/{}", platform.canonical_name, platform.realm_name),
        };
        // Of an issuer that is this world's own, the keys of another world say nothing.
        let own =
            [&platform.canonical_name, &spec.identity_inworld.canonical_name].map(|name| format!("https://{name}/"));
        foreign.retain(|foreign| !own.iter().any(|own| foreign.issuer().starts_with(own)));
        let scope = spec.operator.auth.required_scope.to_string();
        let name = spec.name().to_string();
        Arc::new(Self { providers, foreign, issuer, scope, name, world: RwLock::new(Value::Null) })
    }

    /// What is told from now on.
    pub fn tell(&self, services: &[ServiceHealth]) {
        let phases: Vec<_> = (0..=9)
            .filter_map(|phase| {
                let mut here = services.iter().filter(|service| service.phase == phase).peekable();
                here.peek()?;
                Some(json!({"phase": phase, "serving": here.all(|service| service.serving)}))
            })
            .collect();
        let services: Vec<_> = services
            .iter()
            .map(|service| {
                json!({
                    "name": service.name, "phase": service.phase, "address": service.address, "port": service.port,
                    "serving": service.serving, "detail": service.detail,
                })
            })
            .collect();
        let world = json!({"name": self.name, "phases": phases, "services": services});
        *self.world.write().unwrap_or_else(PoisonError::into_inner) = world;
    }

    /// What it answers.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v1/world", get(world))
            .route("/openapi.json", get(|| std::future::ready(Json(document()))))
            .route("/health", get(|| std::future::ready(Json(json!({"status": "ok"})))))
            .fallback(|| std::future::ready(problem(StatusCode::NOT_FOUND, "nothing is at this path")))
            .method_not_allowed_fallback(|| {
                std::future::ready(problem(StatusCode::METHOD_NOT_ALLOWED, "this path does not understand the method"))
            })
            .with_state(self.clone())
    }

    /// Signature, issuer, audience, lifetime, then scope (RFC 6750, section 3.1).
    fn judge(&self, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let token = token.ok_or((StatusCode::UNAUTHORIZED, "Bearer"))?;
        let invalid = (StatusCode::UNAUTHORIZED, "Bearer error=\"invalid_token\"");
        let realm = self.issuer.rsplit_once("/realms/").map(|(_, realm)| realm);
        let (Some(realm), true) = (realm, token.len() <= MAX_TOKEN) else { return Err(invalid) };
        let access = self.providers.iter().find_map(|provider| {
            provider.read(realm, |realm| {
                let access = open_access(realm, token, unix())?;
                (realm.issuer == self.issuer).then_some(access)
            })?
        });
        let foreign = || self.foreign.iter().find(|foreign| foreign.issuer() == self.issuer)?.open(token, unix());
        let access = access.or_else(foreign);
        let is_meant = |access: &netengine_oidc::token::Access| match access.claims.get("aud") {
            Some(Value::String(one)) => one == API_CLIENT,
            Some(Value::Array(all)) => all.iter().any(|one| one == API_CLIENT),
            _ => false,
        };
        let access = access.filter(is_meant).ok_or(invalid)?;
        match access.scope.contains(&self.scope) {
            true => Ok(()),
            false => Err((StatusCode::FORBIDDEN, "Bearer error=\"insufficient_scope\"")),
        }
    }
}

async fn world(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    if let Err((status, challenge)) = api.judge(&headers) {
        let mut refused = problem(status, "a token of the platform with the required scope is needed");
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        return refused;
    }
    let world = api.world.read().unwrap_or_else(PoisonError::into_inner).clone();
    ([(header::CACHE_CONTROL, "no-store")], Json(world)).into_response()
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

/// OpenAPI 3.1.
fn document() -> Value {
    let world = json!({
        "type": "object", "required": ["name", "phases", "services"],
        "properties": {
            "name": {"type": "string"},
            "phases": {"type": "array", "items": {
                "type": "object", "required": ["phase", "serving"],
                "properties": {"phase": {"type": "integer"}, "serving": {"type": "boolean"}},
            }},
            "services": {"type": "array", "items": {
                "type": "object", "required": ["name", "phase", "address", "port", "serving", "detail"],
                "properties": {
                    "name": {"type": "string"}, "phase": {"type": "integer"}, "address": {"type": "string"},
                    "port": {"type": "integer"}, "serving": {"type": "boolean"}, "detail": {"type": "string"},
                },
            }},
        },
    });
    json!({
        "openapi": "3.1.0",
        "info": {"title": "NetEngine operator API", "version": env!("CARGO_PKG_VERSION")},
        "paths": {
            "/v1/world": {"get": {
                "operationId": "getWorld",
                "security": [{"platform": []}],
                "responses": {
                    "200": {"description": "This world and its services", "content": {"application/json": {"schema": world}}},
                    "401": {"description": "No token, or one that does not hold here"},
                    "403": {"description": "A token without the required scope"},
                },
            }},
            "/health": {"get": {"operationId": "getHealth", "responses": {"200": {"description": "It answers"}}}},
        },
        "components": {"securitySchemes": {"platform": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}},
    })
}
