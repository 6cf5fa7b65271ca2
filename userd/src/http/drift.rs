//! What others changed in worlds, and what their networks let through.

use axum::{
    Extension,
    extract::{Path, State},
    http::Uri,
};
use netengine_proto::api::{DriftReport, Problem, Proof};

use super::{
    answer::{Answer, ok, query},
    routes::{OwnerQuery, Shared, judge},
};
use crate::decide::{Principal, act};

/// What others changed in a world, and what differs now.
#[utoipa::path(get, path = "/worlds/{world}/drift", params(("world" = String, Path), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = DriftReport), (status = 404, body = Problem)))]
pub(super) async fn drift(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<DriftReport> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::ViewDrift, &world, owner.owner).await?;
    ok(shared.app.orchestrator.drift(verdict).await?)
}

/// Sends a packet of every kind from every network to every other, and holds what the kernel did against the spec.
#[utoipa::path(post, path = "/worlds/{world}/prove", params(("world" = String, Path), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = Proof), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn prove(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<Proof> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::Prove, &world, owner.owner).await?;
    ok(shared.app.orchestrator.prove(verdict).await?)
}
