//! Issuers' certificates and revocation lists: fetched by clients that verify, so over plain HTTP too.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{service::Service, store::Store};

/// `GET /pki/NAME`: see [`Service::published`].
pub fn router<S: Store>(service: Arc<Service<S>>) -> Router {
    Router::new().route("/pki/{name}", get(fetch::<S>)).with_state(service)
}

async fn fetch<S: Store>(State(service): State<Arc<Service<S>>>, Path(name): Path<String>) -> Response {
    match service.published(&name) {
        Ok(Some(published)) => ([(CONTENT_TYPE, published.content_type)], published.bytes).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(service = "pki", "{error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
