//! Answers, each with the headers that keep browsers from guessing, framing and storing.

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::Bytes,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use crate::refusal::{ErrorCode, Refusal};

/// An answer with its whole body.
pub type Reply = Response<Full<Bytes>>;

fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::PRAGMA, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    reply
}

/// A JSON answer.
pub fn json_reply(status: StatusCode, body: &Value) -> Reply {
    with_body(status, "application/json", body.to_string())
}

/// An HTML answer.
pub fn html(status: StatusCode, body: String) -> Reply {
    with_body(status, "text/html; charset=utf-8", body)
}

/// A style sheet; may be stored.
pub fn style(body: &'static str) -> Reply {
    let mut reply = with_body(StatusCode::OK, "text/css; charset=utf-8", body);
    set(&mut reply, header::CACHE_CONTROL, "public, max-age=3600");
    reply
}

/// An answer of plain text.
pub fn text(status: StatusCode, body: &'static str) -> Reply {
    with_body(status, "text/plain; charset=utf-8", body)
}

/// An answer without body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = with_body(status, "text/plain; charset=utf-8", "");
    reply.headers_mut().remove(header::CONTENT_TYPE);
    reply
}

/// Sends the browser on, by GET whatever it came with.
pub fn redirect(to: &str) -> Reply {
    let mut reply = empty(StatusCode::SEE_OTHER);
    set(&mut reply, header::LOCATION, to);
    reply
}

/// Sets a header; a value that cannot be one is left out.
pub fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// Adds a cookie.
pub fn add_cookie(reply: &mut Reply, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Lets scripts of every origin read the answer. Only where no cookie counts.
pub fn open_to_scripts(mut reply: Reply) -> Reply {
    set(&mut reply, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    reply
}

/// A refusal as JSON; of a bearer token with the challenge that its status demands (RFC 6750, 3).
pub fn refused(refusal: &Refusal) -> Reply {
    let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let body = json!({"error": refusal.code.as_str(), "error_description": refusal.text});
    let mut reply = json_reply(status, &body);
    if matches!(refusal.code, ErrorCode::InvalidToken | ErrorCode::InsufficientScope) {
        let challenge = format!("Bearer error=\"{}\"", refusal.code.as_str());
        set(&mut reply, header::WWW_AUTHENTICATE, &challenge);
    }
    reply
}
