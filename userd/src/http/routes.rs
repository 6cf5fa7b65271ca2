//! Routes and handlers. A handler parses, asks [`decide`], and passes the verdict on; it has no other way to an effect.

use std::time::Duration;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, State},
    http::Uri,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use netengine_proto::{
    api::{
        Accepted, Doctor, Event, ExecGrant, ExecGrantRequest, Logs, OperationStatus, PREFIX, PlanReport, Problem,
        ProblemKind, Removal, UpRequest, Version, WorldStatus, WorldSummary,
    },
    ids::{OperationId, Uid},
    limits,
    names::WorldName,
};
use netengine_spec::Spec;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{
    App,
    answer::{Answer, Failure, accepted, body, ok, query},
    drift, firewall, openapi, stream, trusted,
};
use crate::{
    decide::{Act, Action, AllOf, Host, OperationRef, Principal, Verdict, WorldRef, WorldSlot, act, decide},
    doctor,
    events::Filter,
    logs,
    orchestrator::UpOrder,
    plan::phases,
    problem::{no_such_operation, no_such_world, problem},
};

/// A route and the action that a verdict is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The method, in lower case.
    pub method: &'static str,
    /// The path, below the prefix.
    pub path: &'static str,
    /// The action.
    pub action: Action,
}

const fn route(method: &'static str, path: &'static str, action: Action) -> Route {
    Route { method, path, action }
}

/// The authorization table: every route with its action. The OpenAPI document has exactly these.
pub const ROUTES: &[Route] = &[
    route("get", "/version", Action::ViewVersion),
    route("get", "/openapi.json", Action::ViewVersion),
    route("get", "/doctor", Action::ViewHost),
    route("post", "/plan", Action::Plan),
    route("post", "/worlds", Action::Up),
    route("get", "/worlds", Action::ListWorlds),
    route("get", "/worlds/{world}", Action::ViewWorld),
    route("delete", "/worlds/{world}", Action::Down),
    route("get", "/worlds/{world}/removal", Action::ViewWorld),
    route("post", "/worlds/{world}/exec", Action::Exec),
    route("get", "/worlds/{world}/logs", Action::ViewLogs),
    route("get", "/worlds/{world}/certificates", Action::ViewCertificates),
    route("get", "/worlds/{world}/certificates/{serial}", Action::ViewCertificates),
    route("get", "/worlds/{world}/trust", Action::ViewTrust),
    route("get", "/worlds/{world}/credentials", Action::ViewCredentials),
    route("post", "/worlds/{world}/diagnose", Action::Diagnose),
    route("get", "/worlds/{world}/drift", Action::ViewDrift),
    route("post", "/worlds/{world}/prove", Action::Prove),
    route("post", "/firewall/validate", Action::ValidateFirewallSuites),
    route("post", "/firewall/tests", Action::RunFirewallTests),
    route("get", "/firewall/tests/{id}", Action::ViewFirewallTest),
    route("delete", "/firewall/tests/{id}", Action::CancelFirewallTest),
    route("get", "/firewall/tests/{id}/events", Action::ViewFirewallTest),
    route("post", "/firewall/cases", Action::RunFirewallCase),
    route("get", "/operations/{operation}", Action::ViewOperation),
    route("delete", "/operations/{operation}", Action::CancelOperation),
    route("get", "/events", Action::ViewEvents),
];

#[derive(Clone)]
pub(super) struct Shared {
    pub(super) app: App,
    pub(super) stop: CancellationToken,
    /// Of this connection, for the router is made for each.
    pub(super) sandboxes: firewall::OfConnection,
}

/// The routes. The principal is added by the accept loop, per connection.
pub fn router(app: App, stop: CancellationToken) -> Router {
    let api = Router::new()
        .route("/version", get(version))
        .route("/openapi.json", get(openapi_json))
        .route("/doctor", get(doctor))
        .route("/plan", post(plan))
        .route("/worlds", post(up).get(list))
        .route("/worlds/{world}", get(status).delete(down))
        .route("/worlds/{world}/removal", get(removal))
        .route("/worlds/{world}/exec", post(exec))
        .route("/worlds/{world}/logs", get(log))
        .route("/worlds/{world}/certificates", get(trusted::certificates))
        .route("/worlds/{world}/certificates/{serial}", get(trusted::certificate))
        .route("/worlds/{world}/trust", get(trusted::trust))
        .route("/worlds/{world}/credentials", get(trusted::credentials))
        .route("/worlds/{world}/diagnose", post(trusted::diagnose))
        .route("/worlds/{world}/drift", get(drift::drift))
        .route("/worlds/{world}/prove", post(drift::prove))
        .route("/firewall/validate", post(firewall::validate))
        .route("/firewall/tests", post(firewall::begin))
        .route("/firewall/tests/{id}", get(firewall::show).delete(firewall::cancel))
        .route("/firewall/tests/{id}/events", get(firewall::events))
        .route("/firewall/cases", post(firewall::case))
        .route("/operations/{operation}", get(operation).merge(delete(cancel)))
        .route("/events", get(events));
    Router::new().nest(PREFIX, api).fallback(no_route).method_not_allowed_fallback(no_route).with_state(Shared {
        app,
        stop,
        sandboxes: firewall::OfConnection::default(),
    })
}

async fn no_route() -> Failure {
    let help = "see /api/v1/openapi.json; client and daemon may be of different releases";
    Failure(problem(ProblemKind::NotFound, "cannot serve the request", "no such route", help))
}

#[derive(Deserialize)]
pub(super) struct OwnerQuery {
    pub(super) owner: Option<u32>,
}

/// What nobody may do answers as what does not exist.
fn denied() -> Problem {
    problem(
        ProblemKind::NotFound,
        "cannot serve the request",
        "no such object",
        "another user's objects are reached on admin.sock",
    )
}

/// The verdict on a world by name. The world of another owner and one that does not exist give the same answer.
pub(super) async fn judge<A: Act>(
    shared: &Shared,
    principal: Principal,
    action: A,
    name: &str,
    owner: Option<u32>,
) -> Result<Verdict<A, WorldRef>, Problem> {
    let absent = || no_such_world(&name.escape_debug().to_string());
    let slot =
        WorldSlot { owner: owner.map_or(principal.uid(), Uid), name: WorldName::parse(name).map_err(|_| absent())? };
    let store = shared.app.orchestrator.store();
    let found = store.find(&slot).await.map_err(|error| error.problem(format!("cannot find world \"{name}\"")))?;
    decide(principal, action, found.ok_or_else(absent)?).map_err(|_| absent())
}

async fn judge_operation<A: Act>(
    shared: &Shared,
    principal: Principal,
    action: A,
    text: &str,
) -> Result<Verdict<A, OperationRef>, Problem> {
    let absent = || no_such_operation(&text.escape_debug().to_string());
    let id = OperationId::parse(text).map_err(|_| absent())?;
    let found = shared.app.orchestrator.store().find_operation(id).await;
    let found = found.map_err(|error| error.problem(format!("cannot find operation {id}")))?;
    decide(principal, action, found.ok_or_else(absent)?).map_err(|_| absent())
}

/// Whose objects a request without a name is about: the caller's, or on `admin.sock` everyone's.
fn all_of(principal: Principal, owner: Option<u32>) -> AllOf {
    match owner {
        Some(owner) => AllOf(Some(Uid(owner))),
        None if principal.is_admin() => AllOf(None),
        None => AllOf(Some(principal.uid())),
    }
}

/// Loads the spec of a request and finds the place it is for.
fn spec_of(
    principal: Principal,
    owner: Option<u32>,
    what: &str,
    request: &UpRequest,
) -> Result<(WorldSlot, Spec), Problem> {
    let loaded = netengine_spec::load_json(&request.spec).map_err(|diagnostics| {
        let count = diagnostics.len();
        let cause = match diagnostics.first() {
            Some(first) if count == 1 => format!("{}: {}", first.path, first.message),
            _ => format!("the spec has {count} errors"),
        };
        let mut wrong = problem(ProblemKind::Spec, what, cause, "check it with `netengine validate SPEC`");
        wrong.diagnostics = diagnostics.iter().filter_map(|d| serde_json::to_value(d).ok()).collect();
        wrong
    })?;
    let owner = owner.map_or(principal.uid(), Uid);
    Ok((WorldSlot { owner, name: loaded.spec.name().clone() }, loaded.spec))
}

/// The last phase that a request asks for.
fn up_to_of(what: &str, request: &UpRequest) -> Result<u8, Problem> {
    match request.up_to.unwrap_or(phases::LAST) {
        up_to if up_to <= phases::LAST => Ok(up_to),
        other => Err(problem(ProblemKind::Usage, what, format!("there is no phase {other}"), "phases are 0 to 9")),
    }
}

/// Versions of the parts.
#[utoipa::path(get, path = "/version", responses((status = 200, body = Version)))]
async fn version(State(shared): State<Shared>, Extension(principal): Extension<Principal>) -> Answer<Version> {
    decide(principal, act::ViewVersion, Host).map_err(|_| denied()).map(drop)?;
    // A version is asked for when something is wrong: rootd gets a moment to answer, not its full time.
    let hello = tokio::time::timeout(Duration::from_millis(500), shared.app.orchestrator.root().hello()).await;
    let rootd = hello.ok().and_then(Result::ok).map(|(hello, _)| hello.release);
    ok(Version { release: env!("CARGO_PKG_VERSION").to_owned(), rootd })
}

/// This API, OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, body = serde_json::Value)))]
async fn openapi_json(Extension(principal): Extension<Principal>) -> Answer<serde_json::Value> {
    decide(principal, act::ViewVersion, Host).map_err(|_| denied()).map(drop)?;
    ok(openapi::document())
}

/// Checks of the host.
#[utoipa::path(get, path = "/doctor", responses((status = 200, body = Doctor)))]
async fn doctor(State(shared): State<Shared>, Extension(principal): Extension<Principal>) -> Answer<Doctor> {
    let verdict = decide(principal, act::ViewHost, Host).map_err(|_| denied())?;
    ok(doctor::examine(verdict, &shared.app.orchestrator, &shared.app.sockets).await)
}

/// What `up` would do.
#[utoipa::path(post, path = "/plan", request_body = UpRequest, params(("owner" = Option<u32>, Query)),
    responses((status = 200, body = PlanReport), (status = 422, body = Problem)))]
async fn plan(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    uri: Uri,
    request: Body,
) -> Answer<PlanReport> {
    let (owner, request): (OwnerQuery, UpRequest) = (query(&uri)?, body(request).await?);
    let up_to = up_to_of("cannot plan the world", &request)?;
    let (slot, spec) = spec_of(principal, owner.owner, "cannot plan the world", &request)?;
    let name = slot.name.clone();
    let verdict = decide(principal, act::Plan, slot).map_err(|_| no_such_world(name.as_str()))?;
    ok(shared.app.orchestrator.plan(verdict, spec, up_to).await?)
}

/// Makes a world equal to a spec.
#[utoipa::path(post, path = "/worlds", request_body = UpRequest, params(("owner" = Option<u32>, Query)),
    responses((status = 202, body = Accepted), (status = 409, body = Problem), (status = 422, body = Problem),
        (status = 429, body = Problem)))]
async fn up(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    uri: Uri,
    request: Body,
) -> Answer<Accepted> {
    let (owner, request): (OwnerQuery, UpRequest) = (query(&uri)?, body(request).await?);
    let up_to = up_to_of("cannot start the world", &request)?;
    let (slot, spec) = spec_of(principal, owner.owner, "cannot start the world", &request)?;
    let name = slot.name.clone();
    let verdict = decide(principal, act::Up, slot).map_err(|_| no_such_world(name.as_str()))?;
    let order = UpOrder {
        spec,
        up_to,
        timeout: request.timeout_ms.map(Duration::from_millis),
        heal: request.no_heal != Some(true),
    };
    accepted(shared.app.orchestrator.up(verdict, order).await?)
}

/// Worlds of the caller; on `admin.sock` of everyone, or of `owner`.
#[utoipa::path(get, path = "/worlds", params(("owner" = Option<u32>, Query)), responses((status = 200, body = [WorldSummary])))]
async fn list(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    uri: Uri,
) -> Answer<Vec<WorldSummary>> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = decide(principal, act::ListWorlds, all_of(principal, owner.owner)).map_err(|_| denied())?;
    ok(shared.app.orchestrator.list(verdict).await?)
}

/// All about one world.
#[utoipa::path(get, path = "/worlds/{world}", params(("world" = String, Path), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = WorldStatus), (status = 404, body = Problem)))]
async fn status(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<WorldStatus> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::ViewWorld, &world, owner.owner).await?;
    ok(shared.app.orchestrator.status(verdict).await?)
}

#[derive(Deserialize)]
struct DownQuery {
    owner: Option<u32>,
    confirm: Option<String>,
}

/// Removes a world.
#[utoipa::path(delete, path = "/worlds/{world}",
    params(("world" = String, Path), ("confirm" = Option<String>, Query), ("owner" = Option<u32>, Query)),
    responses((status = 202, body = Accepted), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 412, body = Problem)))]
async fn down(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<Accepted> {
    let asked: DownQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::Down, &world, asked.owner).await?;
    accepted(shared.app.orchestrator.down(verdict, asked.confirm.as_deref()).await?)
}

/// What removing a world would remove.
#[utoipa::path(get, path = "/worlds/{world}/removal", params(("world" = String, Path), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = Removal), (status = 404, body = Problem)))]
async fn removal(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<Removal> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::ViewWorld, &world, owner.owner).await?;
    ok(shared.app.orchestrator.removal(verdict).await?)
}

/// Grants the right to run one command in a vantage host.
#[utoipa::path(post, path = "/worlds/{world}/exec", request_body = ExecGrantRequest,
    params(("world" = String, Path), ("owner" = Option<u32>, Query)),
    responses((status = 200, body = ExecGrant), (status = 404, body = Problem)))]
async fn exec(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
    request: Body,
) -> Answer<ExecGrant> {
    let owner: OwnerQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::Exec, &world, owner.owner).await?;
    let request: ExecGrantRequest = body(request).await?;
    ok(shared.app.orchestrator.grant_exec(verdict, request.host.as_deref()).await?)
}

#[derive(Deserialize)]
struct LogQuery {
    owner: Option<u32>,
    service: Option<String>,
    lines: Option<usize>,
}

/// The end of a world's log.
#[utoipa::path(get, path = "/worlds/{world}/logs",
    params(("world" = String, Path), ("service" = Option<String>, Query), ("lines" = Option<u32>, Query),
        ("owner" = Option<u32>, Query)),
    responses((status = 200, body = Logs), (status = 404, body = Problem)))]
async fn log(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(world): Path<String>,
    uri: Uri,
) -> Answer<Logs> {
    let asked: LogQuery = query(&uri)?;
    let verdict = judge(&shared, principal, act::ViewLogs, &world, asked.owner).await?;
    let (id, service) = (verdict.object().id, asked.service.clone());
    let worlds = shared.app.orchestrator.worlds_dir().to_owned();
    let lines = asked.lines.unwrap_or(limits::LOG_LINES);
    let read = tokio::task::spawn_blocking(move || logs::tail(&worlds, id, service.as_deref(), lines)).await;
    let lines = read.map_err(|_| std::io::Error::other("the reader ended")).flatten().map_err(|error| {
        tracing::error!(%error, world = %id, "cannot read a log");
        problem(
            ProblemKind::Failed,
            format!("cannot read the log of world \"{world}\""),
            "it is not a readable plain file",
            "see the log of netengine-userd",
        )
    })?;
    ok(Logs { service: asked.service.unwrap_or_else(|| "worldd".to_owned()), lines })
}

/// An operation.
#[utoipa::path(get, path = "/operations/{operation}", params(("operation" = String, Path)),
    responses((status = 200, body = OperationStatus), (status = 404, body = Problem)))]
async fn operation(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(operation): Path<String>,
) -> Answer<OperationStatus> {
    let verdict = judge_operation(&shared, principal, act::ViewOperation, &operation).await?;
    let status = shared.app.orchestrator.store().operation(&verdict).await;
    ok(status.map_err(|error| error.problem(format!("cannot show operation {operation}")))?)
}

/// Cancels an operation; what it made is undone.
#[utoipa::path(delete, path = "/operations/{operation}", params(("operation" = String, Path)),
    responses((status = 202, body = OperationStatus), (status = 404, body = Problem)))]
async fn cancel(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(operation): Path<String>,
) -> Answer<OperationStatus> {
    let verdict = judge_operation(&shared, principal, act::CancelOperation, &operation).await?;
    accepted(shared.app.orchestrator.cancel(verdict).await?)
}

#[derive(Deserialize)]
struct EventQuery {
    owner: Option<u32>,
    world: Option<String>,
    operation: Option<String>,
    after: Option<i64>,
    #[serde(default)]
    follow: bool,
}

/// Events, oldest first; with `follow` as a stream that goes on.
#[utoipa::path(get, path = "/events",
    params(("world" = Option<String>, Query), ("operation" = Option<String>, Query), ("after" = Option<i64>, Query),
        ("follow" = Option<bool>, Query), ("owner" = Option<u32>, Query)),
    responses((status = 200, content((Vec<Event> = "application/json"), (Event = "text/event-stream"))),
        (status = 404, body = Problem)))]
async fn events(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    uri: Uri,
) -> Result<Response, Failure> {
    let asked: EventQuery = query(&uri)?;
    let owner = all_of(principal, asked.owner);
    let verdict = decide(principal, act::ViewEvents, owner).map_err(|_| denied())?;
    if let Some(world) = &asked.world {
        let known = shared.app.orchestrator.store().knows_world(&verdict, world).await;
        if !known.map_err(|error| error.problem("cannot read events"))? {
            return Err(no_such_world(&world.escape_debug().to_string()).into());
        }
    }
    let filter = Filter { owner: owner.0, world: asked.world, operation: asked.operation };
    let (orchestrator, after) = (shared.app.orchestrator.clone(), asked.after.unwrap_or(0));
    if asked.follow {
        return Ok(stream::follow(orchestrator, verdict, filter, after, shared.stop.clone()).await?.into_response());
    }
    let page = orchestrator.store().events(&verdict, &filter, after).await;
    let page = page.map_err(|error| error.problem("cannot read events"))?;
    Ok(ok(page).into_response())
}

/// The document's routes, for [`openapi`].
#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "NetEngine", description = "Served on /run/netengine/user.sock and admin.sock."),
    paths(
        version,
        openapi_json,
        doctor,
        plan,
        up,
        list,
        status,
        down,
        removal,
        exec,
        log,
        operation,
        cancel,
        events,
        trusted::certificates,
        trusted::certificate,
        trusted::trust,
        trusted::credentials,
        trusted::diagnose,
        drift::drift,
        drift::prove,
        firewall::validate,
        firewall::begin,
        firewall::show,
        firewall::cancel,
        firewall::events,
        firewall::case
    )
)]
pub(super) struct Document;
