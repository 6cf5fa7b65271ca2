//! Requests: the bearer, and bodies up to their bounds.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::{BODY_TIME, MAX_BODY_BYTES, Shared};
use crate::{
    authenticate::Authenticate,
    decide::{Right, right_of},
    problem::{Kind, Problem},
};

/// What the bearer of the request's token may do.
pub struct Bearer {
    /// What the bearer may do now.
    pub right: Right,
}

/// The token of an `Authorization` header (RFC 6750, section 2.1).
fn token(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = all.next()?.to_str().ok()?.split_once(' ')?;
    (all.next().is_none() && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}

impl<A: Authenticate> FromRequestParts<Arc<Shared<A>>> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared<A>>) -> Result<Self, Problem> {
        let refused = || Problem::new(Kind::Unauthenticated, "a valid bearer token for this service is needed");
        let token = token(&parts.headers).ok_or_else(refused)?;
        let principal = shared.authenticate.verify(token).await.map_err(|_| refused())?;
        let right = right_of(&shared.registry.look(), &principal);
        if right == Right::Nobody {
            return Err(Problem::new(
                Kind::Forbidden,
                "the bearer of this token is neither operator nor organisation here",
            ));
        }
        Ok(Self { right })
    }
}

/// The one part of a path that varies.
pub struct Part(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Part {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Path::<String>::from_request_parts(parts, state).await;
        read.map(|Path(part)| Self(part)).map_err(|_| Problem::new(Kind::Malformed, "the path is not UTF-8"))
    }
}

/// A body in JSON.
pub struct Read<T>(pub T);

impl<T: DeserializeOwned, A: Authenticate> FromRequest<Arc<Shared<A>>> for Read<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Arc<Shared<A>>) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") && !kind.eq_ignore_ascii_case("application/merge-patch+json")
        {
            return Err(Problem::new(Kind::WrongType, "send the body as application/json"));
        }
        let body = collect(request.into_body()).await?;
        // serde_json reads at most 128 levels, so no body exhausts the stack.
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::new(Kind::Malformed, format!("the body: {error}")))
    }
}

async fn collect(body: Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(all)) => Ok(all.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Kind::TooLarge, format!("a body has at most {MAX_BODY_BYTES} bytes")))
        }
        Ok(Err(_)) => Err(Problem::new(Kind::Malformed, "the body broke off")),
        Err(_) => Err(Problem::new(Kind::TooSlow, "the body did not come in time")),
    }
}
