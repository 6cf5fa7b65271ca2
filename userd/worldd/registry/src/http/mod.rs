//! The registries over HTTP: routers for sockets that are given. TLS, accepting and the deadlines of heads are the caller's.
//!
//! Bodies are JSON both ways, problems are `application/problem+json` (RFC 9457). No answer depends on the header `Host`.

mod body;
mod domains;
mod registrar;
mod reply;
mod world;

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderValue, header},
    middleware::map_response,
    response::Response,
    routing::get,
};

pub use self::{domains::domain_registry_router, registrar::registrar_router, world::world_registry_router};
use crate::{
    authenticate::Authenticate,
    problem::{Kind, Problem},
    registry::Registry,
};

/// The audience of tokens that open the interfaces; the providers' scope `registrar` gives it.
pub const AUDIENCE: &str = "registrar";
/// Longest body that is read, bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// How long a client may take to send a body.
pub const BODY_TIME: std::time::Duration = std::time::Duration::from_secs(10);
/// Most entries of one page of a list.
pub const MAX_PAGE: usize = 1000;

/// What every interface holds.
pub(crate) struct Shared<A> {
    pub registry: Arc<Registry>,
    pub authenticate: A,
}

/// What all three interfaces have: a health path, a document, problems for what is not there, no caching.
fn complete<A: Authenticate>(
    router: Router<Arc<Shared<A>>>,
    shared: Arc<Shared<A>>,
    document: utoipa::openapi::OpenApi,
) -> Router {
    let document = serde_json::to_value(document).unwrap_or_default();
    router
        .route("/health", get(health::<A>))
        .route("/openapi.json", get(move || std::future::ready(axum::Json(document))))
        .fallback(|| std::future::ready(Problem::new(Kind::NotFound, "nothing is at this path")))
        .method_not_allowed_fallback(|| {
            std::future::ready(Problem::new(Kind::WrongMethod, "this path does not understand the method"))
        })
        .layer(map_response(|mut response: Response| async move {
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }))
        .with_state(shared)
}

/// Whether everything that is registered is served.
async fn health<A: Authenticate>(axum::extract::State(shared): axum::extract::State<Arc<Shared<A>>>) -> Response {
    let unpublished = shared.registry.unpublished().len();
    let state = shared.registry.look();
    let body = serde_json::json!({
        "status": if unpublished == 0 { "ok" } else { "degraded" },
        "domains": state.domain_count(),
        "unpublished": unpublished,
    });
    reply::json(if unpublished == 0 { 200 } else { 503 }, &body)
}
