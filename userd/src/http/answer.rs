//! Requests in, responses out: JSON bodies with bounds, and [`Problem`] as the only shape of an error.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use netengine_proto::{
    api::{Problem, ProblemKind},
    limits,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::problem::problem;

/// The body of a request must be complete within this.
const BODY_TIME: Duration = Duration::from_secs(10);

/// A response, or the problem that is sent instead.
pub(super) type Answer<T> = Result<Reply<T>, Failure>;

/// A JSON response.
#[derive(Debug)]
pub(super) struct Reply<T>(pub StatusCode, pub T);

/// A problem as a response.
#[derive(Debug)]
pub(super) struct Failure(pub Problem);

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Failure(problem)
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

pub(super) fn ok<T>(body: T) -> Answer<T> {
    Ok(Reply(StatusCode::OK, body))
}

pub(super) fn accepted<T>(body: T) -> Answer<T> {
    Ok(Reply(StatusCode::ACCEPTED, body))
}

/// Reads a JSON body of at most [`limits::API_BODY_BYTES`].
pub(super) async fn body<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let wrong = |cause: String| problem(ProblemKind::Usage, "cannot read the request", cause, "send one JSON object");
    let reading = Limited::new(body, limits::API_BODY_BYTES).collect();
    let read = tokio::time::timeout(BODY_TIME, reading).await;
    let read = read.map_err(|_| wrong("its body did not come in time".to_owned()))?;
    let read = read.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => wrong(format!("its body is larger than {} bytes", limits::API_BODY_BYTES)),
        None => wrong("its body broke off".to_owned()),
    })?;
    serde_json::from_slice(&read.to_bytes()).map_err(|error| wrong(format!("its body is not what it must be: {error}")))
}

/// Reads the query.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let parsed = axum::extract::Query::<T>::try_from_uri(uri);
    let wrong =
        |cause: String| problem(ProblemKind::Usage, "cannot read the request", cause, "see /api/v1/openapi.json");
    parsed.map(|query| query.0).map_err(|error| wrong(format!("its query is not what it must be: {error}")))
}
