//! Answers.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::problem::{Kind, Problem};

fn typed(status: u16, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer in JSON.
pub fn json(status: u16, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => typed(status, "application/json", text),
        Err(error) => {
            tracing::error!(service = "registry", "cannot write an answer: {error}");
            typed(500, "application/json", "{}".to_owned())
        }
    }
}

/// An answer without a body.
pub fn empty() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = self.document();
        let body = serde_json::to_string(&document).unwrap_or_default();
        let mut response = typed(document.status, "application/problem+json", body);
        if self.kind == Kind::Unauthenticated {
            // RFC 6750, section 3.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.kind == Kind::Unavailable {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
