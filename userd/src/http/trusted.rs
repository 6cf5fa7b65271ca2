//! Routes about certificates, trust, secrets and diagnosis.

use axum::{
    Extension,
    extract::{Path, State},
    http::Uri,
};
use netengine_proto::api::{Certificate, CertificateChain, Diagnosis, Problem, WorldCredential, WorldTrust};
use serde::Deserialize;

use super::{
    answer::{Answer, ok, query},
    routes::{OwnerQuery, Shared, judge},
};
use crate::decide::{Principal, act};

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

/// Runs all live checks of a world; changes nothing.
#[utoipa::path(post, path = "/worlds/{world}/diagnose",
    params(("world" = String, Path), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = Diagnosis), (status = 404, body = Problem)))]
pub(super) async fn diagnose(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<Diagnosis> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::Diagnose, &world, owner.owner).await?;
    ok(shared.app.orchestrator.diagnose(verdict).await?)
}
