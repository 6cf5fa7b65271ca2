//! Routes about certificates, trust, secrets and diagnosis.

use axum::{
    Extension,
    extract::{Path, State},
    http::Uri,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt, stream};
use netengine_proto::api::{Certificate, CertificateChain, Diagnosis, Problem, WorldCredential, WorldTrust};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::{
    answer::{Answer, Failure, ok, query},
    routes::{OwnerQuery, Shared, judge},
};
use crate::{
    decide::{Principal, act},
    orchestrator::Progress,
};

#[derive(Deserialize)]
struct CertificatesQuery {
    owner: Option<u32>,
    before: Option<String>,
}

/// Certificates of a world's authority, newest first, at most 500; `before` goes on from a serial number.
#[utoipa::path(get, path = "/worlds/{world}/certificates",
    params(("world" = String, Path), ("before" = Option<String>, Query), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = [Certificate]), (status = 404, body = Problem)))]
pub(super) async fn certificates(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<Vec<Certificate>> {
    let asked: CertificatesQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::ViewCertificates, &world, asked.owner).await?;
    ok(shared.app.orchestrator.certificates(verdict, asked.before.as_deref()).await?)
}

/// One certificate with its chain.
#[utoipa::path(get, path = "/worlds/{world}/certificates/{serial}",
    params(("world" = String, Path), ("serial" = String, Path), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = CertificateChain), (status = 404, body = Problem)))]
pub(super) async fn certificate(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path((world, serial)): Path<(String, String)>,
    uri: Uri,
) -> Answer<CertificateChain> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::ViewCertificates, &world, owner.owner).await?;
    ok(shared.app.orchestrator.certificate(verdict, &serial).await?)
}

/// What clients of a world trust.
#[utoipa::path(get, path = "/worlds/{world}/trust", params(("world" = String, Path), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = WorldTrust), (status = 404, body = Problem)))]
pub(super) async fn trust(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<WorldTrust> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::ViewTrust, &world, owner.owner).await?;
    ok(shared.app.orchestrator.world_trust(verdict).await?)
}

/// The secrets of a world.
#[utoipa::path(get, path = "/worlds/{world}/credentials",
    params(("world" = String, Path), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = [WorldCredential]), (status = 404, body = Problem)))]
pub(super) async fn credentials(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<Vec<WorldCredential>> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::ViewCredentials, &world, owner.owner).await?;
    ok(shared.app.orchestrator.credentials(verdict).await?)
}

#[derive(Deserialize)]
struct DiagnoseQuery {
    owner: Option<u32>,
    #[serde(default)]
    follow: bool,
}

/// Runs all live checks of a world; changes nothing. With `follow` as a stream: events `progress` (`done` of `all` checks by
/// clients), then one `diagnosis` or `problem`.
#[utoipa::path(post, path = "/worlds/{world}/diagnose",
    params(("world" = String, Path), ("follow" = Option<bool>, Query), ("owner" = Option<u32>, Query)),
    responses((status = 200, content((Diagnosis = "application/json"), (Diagnosis = "text/event-stream"))),
        (status = 404, body = Problem)))]
pub(super) async fn diagnose(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    let asked: DiagnoseQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::Diagnose, &world, asked.owner).await?;
    let orchestrator = shared.app.orchestrator.clone();
    let (progress, seen) = watch::channel(Progress::default());
    let looking = async move { orchestrator.diagnose(verdict, &progress).await };
    if asked.follow {
        let end = |diagnosis| vec![Event::default().event("diagnosis").json_data(diagnosis)];
        Ok(followed(looking, seen, end).into_response())
    } else {
        Ok(ok(looking.await?).into_response())
    }
}

/// The progress of what is looked at, as far as it has changed when it can be sent, and its end in the events that `end`
/// makes of it. Dropping it drops the looking.
pub(super) fn followed<T: 'static>(
    looking: impl Future<Output = Result<T, Problem>> + Send + 'static,
    seen: watch::Receiver<Progress>,
    end: fn(T) -> Vec<Result<Event, axum::Error>>,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let state = Some((Box::pin(looking), seen));
    let events = stream::unfold(state, move |state| async move {
        let (mut looking, mut seen) = state?;
        tokio::select! {
            biased;
            ended = &mut looking => Some((match ended {
                Ok(found) => end(found),
                Err(problem) => vec![Event::default().event("problem").json_data(problem)],
            }, None)),
            Ok(()) = seen.changed() => {
                let Progress { done, all } = *seen.borrow_and_update();
                let event = Event::default().event("progress").json_data(json!({ "done": done, "all": all }));
                Some((vec![event], Some((looking, seen))))
            }
        }
    });
    Sse::new(events.flat_map(stream::iter)).keep_alive(KeepAlive::new())
}
