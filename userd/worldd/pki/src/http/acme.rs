//! ACME (RFC 8555, section 6): methods, headers, status codes.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body as HttpBody, to_bytes},
    extract::{Request, State},
    http::{
        HeaderValue, Method, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LINK, LOCATION, RETRY_AFTER},
    },
    response::Response,
};

use super::{
    Peer,
    route::{Route, route},
};
use crate::{
    acme::{Problem, Rendered, Urls, directory},
    service::{Body, Service},
    store::Store,
};

/// The longest request, in bytes.
const REQUEST: usize = 64 * 1024;

/// How long a client may take to send a request's body.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The ACME server. Requests must carry a [`Peer`].
pub fn router<S: Store>(service: Arc<Service<S>>) -> Router {
    Router::new().fallback(handle::<S>).with_state(service)
}

async fn handle<S: Store>(State(service): State<Arc<Service<S>>>, request: Request) -> Response {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().map(str::to_owned));
    let mut response = match route(&path, query.as_deref()) {
        None => problem(&Problem::absent("resource"), service.urls()),
        Some(Route::Directory) => match *request.method() {
            Method::GET | Method::HEAD => json(200, "application/json", &directory(service.urls(), service.policy())),
            _ => wrong_method("GET, HEAD", service.urls()),
        },
        Some(Route::NewNonce) => match *request.method() {
            Method::HEAD => with_nonce(empty(200), &service.nonce()),
            Method::GET => with_nonce(empty(204), &service.nonce()),
            _ => wrong_method("GET, HEAD", service.urls()),
        },
        Some(Route::RenewalInfo(id)) => match *request.method() {
            Method::GET | Method::HEAD => match service.renewal_info(&id) {
                Ok(info) => object(info),
                Err(error) => problem(&error, service.urls()),
            },
            _ => wrong_method("GET, HEAD", service.urls()),
        },
        Some(Route::Command(command)) => match *request.method() {
            Method::POST => {
                let url = match &query {
                    Some(query) => service.urls().at(&format!("{}?{query}", below(&path))),
                    None => service.urls().at(below(&path)),
                };
                let source = request.extensions().get::<Peer>().map_or([0; 4].into(), |peer| peer.0);
                match read(request).await {
                    Err(refused) => with_nonce(problem(&refused, service.urls()), &service.nonce()),
                    Ok(body) => {
                        let answer = service.answer(&command, &url, &body, source).await;
                        let response = match answer.result {
                            Ok(Body::Object(rendered)) => object(rendered),
                            Ok(Body::Chain(pem)) => typed(200, "application/pem-certificate-chain", pem),
                            Err(error) => problem(&error, service.urls()),
                        };
                        with_nonce(response, &answer.nonce)
                    }
                }
            }
            _ => wrong_method("POST", service.urls()),
        },
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Links may be several: the one to the directory stands in every answer but its own (RFC 8555, section 7.1).
    if path != format!("{}/directory", Urls::PREFIX) {
        append(headers, LINK, &format!("<{}>;rel=\"index\"", service.urls().directory()));
    }
    response
}

/// The path without the prefix that the URLs have.
fn below(path: &str) -> &str {
    path.strip_prefix(Urls::PREFIX).unwrap_or(path)
}

/// The body, when it is of the right type and length.
async fn read(request: Request) -> Result<axum::body::Bytes, Problem> {
    let is_jose = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/jose+json");
    if !is_jose {
        return Err(Problem::malformed("requests are of the type application/jose+json").with_status(415));
    }
    match tokio::time::timeout(BODY_TIME, to_bytes(request.into_body(), REQUEST)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            Err(Problem::malformed(format!("the body is longer than {REQUEST} bytes, or broke off")).with_status(413))
        }
        Err(_) => Err(Problem::malformed("the body did not come in time").with_status(408)),
    }
}

fn empty(status: u16) -> Response {
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn typed(status: u16, kind: &'static str, body: String) -> Response {
    let mut response = empty(status);
    *response.body_mut() = HttpBody::from(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json(status: u16, kind: &'static str, body: &serde_json::Value) -> Response {
    typed(status, kind, body.to_string())
}

fn append(headers: &mut axum::http::HeaderMap, name: axum::http::HeaderName, value: &str) {
    // Everything that gets here was made by us of URLs and base64url.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}

fn with_nonce(mut response: Response, nonce: &str) -> Response {
    append(response.headers_mut(), axum::http::HeaderName::from_static("replay-nonce"), nonce);
    response
}

fn object(rendered: Rendered) -> Response {
    let mut response = match &rendered.body {
        Some(body) => json(rendered.status, "application/json", body),
        None => empty(rendered.status),
    };
    let headers = response.headers_mut();
    if let Some(location) = &rendered.location {
        append(headers, LOCATION, location);
    }
    for (relation, url) in &rendered.links {
        append(headers, LINK, &format!("<{url}>;rel=\"{relation}\""));
    }
    if let Some(seconds) = rendered.retry_after_secs {
        append(headers, RETRY_AFTER, &seconds.to_string());
    }
    response
}

fn problem(problem: &Problem, urls: &Urls) -> Response {
    let mut response = json(problem.http_status(), "application/problem+json", &problem.to_json());
    let headers = response.headers_mut();
    if let Some(seconds) = problem.retry_after_secs {
        append(headers, RETRY_AFTER, &seconds.to_string());
    }
    if let Some(account) = &problem.account {
        append(headers, LOCATION, &urls.account(account));
    }
    response
}

fn wrong_method(allowed: &'static str, urls: &Urls) -> Response {
    let refused = Problem::malformed(format!("here only {allowed} is understood")).with_status(405);
    let mut response = problem(&refused, urls);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
