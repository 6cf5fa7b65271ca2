//! What others changed in worlds, and what their networks let through.

use axum::{
    Extension,
    extract::{Path, State},
    http::Uri,
    response::{IntoResponse, Response, sse::Event},
};
use netengine_proto::api::{DriftReport, Problem, Proof};
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    answer::{Answer, Failure, ok, query},
    routes::{OwnerQuery, Shared, judge},
    trusted::followed,
};
use crate::{
    decide::{Principal, act},
    orchestrator::Progress,
};

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

#[derive(Deserialize)]
struct ProveQuery {
    owner: Option<u32>,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    frames: bool,
}

/// Flows of one event: with their frames less than the megabyte that readers take.
const FLOWS: usize = 500;

/// A proof in events that each are of bounded size: `flows`, as many as there are, and `proof` with none.
fn told(mut proof: Proof) -> Vec<Result<Event, axum::Error>> {
    let flows = std::mem::take(&mut proof.flows);
    let mut events: Vec<_> = flows.chunks(FLOWS).map(|part| Event::default().event("flows").json_data(part)).collect();
    events.push(Event::default().event("proof").json_data(proof));
    events
}

/// Sends a packet of every kind from every network to every other, and holds what the kernel did against the spec. With
/// `follow` as a stream: events `progress` (`done` of `all` flows), then `flows` (lists of them), then one `proof` without
/// flows; or a `problem`.
#[utoipa::path(post, path = "/worlds/{world}/prove",
    params(("world" = String, Path), ("follow" = Option<bool>, Query), ("frames" = Option<bool>, Query),
        ("owner" = Option<u32>, Query)),
    responses((status = 200, content((Proof = "application/json"), (Proof = "text/event-stream"))),
        (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn prove(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    let asked: ProveQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::Prove, &world, asked.owner).await?;
    let orchestrator = shared.app.orchestrator.clone();
    let (progress, seen) = watch::channel(Progress::default());
    let proving = async move { orchestrator.prove(verdict, asked.frames, &progress).await };
    Ok(if asked.follow {
        followed(proving, seen, told).into_response()
    } else {
        ok::<Proof>(proving.await?).into_response()
    })
}
