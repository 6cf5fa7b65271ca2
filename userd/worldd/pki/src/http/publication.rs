//! Issuers' certificates, revocation lists, OCSP: fetched by clients that verify, so over plain HTTP too.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{ca::ocsp, service::Service, store::Store};

/// How long a client may take to send a request's body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// `GET /pki/NAME`: see [`Service::published`]. `POST /pki/ocsp` and `GET /pki/ocsp/BASE64` (RFC 6960, appendix A).
pub fn router<S: Store>(service: Arc<Service<S>>) -> Router {
    Router::new()
        .route("/pki/ocsp", post(ocsp_post::<S>))
        .route("/pki/ocsp/{*request}", get(ocsp_get::<S>))
        .route("/pki/{name}", get(fetch::<S>))
        .with_state(service)
}

async fn ocsp_post<S: Store>(State(service): State<Arc<Service<S>>>, body: Body) -> Response {
    match tokio::time::timeout(BODY_TIME, to_bytes(body, ocsp::MAX_LEN)).await {
        Ok(Ok(request)) => ocsp_answer(&service, &request),
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

async fn ocsp_get<S: Store>(State(service): State<Arc<Service<S>>>, Path(request): Path<String>) -> Response {
    match STANDARD.decode(request) {
        Ok(request) => ocsp_answer(&service, &request),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn ocsp_answer<S: Store>(service: &Service<S>, request: &[u8]) -> Response {
    match service.ocsp(request) {
        Some(answer) => ([(CONTENT_TYPE, "application/ocsp-response")], answer).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
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
