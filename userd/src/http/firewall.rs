//! The firewall lab: suites in the background, and single cases in a sandbox of the caller.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use netengine_lab_proto::{CaseRequest, CaseResult};
use netengine_proto::{
    api::{
        FirewallSuites, FirewallTest, FirewallTestAccepted, FirewallTestRequest, FirewallValidation, Problem,
        ProblemKind,
    },
    ids::FirewallTestId,
    limits,
};
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::{
    answer::{Answer, Failure, accepted, ok},
    routes::Shared,
    websocket::{self, Upgrades},
};
use crate::{
    decide::{Act, AllOf, FirewallTestRef, Principal, Verdict, act, decide},
    ids,
    lab::{
        self, Lab,
        owners::Lease,
        runs::{How, Run},
        suites,
    },
    problem::problem,
};

/// A body of the lab must be complete within this.
const BODY_TIME: Duration = Duration::from_secs(30);
/// A comment this often lets a dead connection be noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A case as the sandbox has it, in place of JSON.
const COMPACT: &str = "application/octet-stream";

/// The sandboxes that cases of one connection use: they end with it.
#[derive(Clone, Default)]
pub(super) struct OfConnection(Arc<OnceCell<Lease>>);

fn denied() -> Problem {
    no_such_test("of this user")
}

/// The one answer for a run that does not exist and for one that is not the caller's.
fn no_such_test(id: &str) -> Problem {
    problem(
        ProblemKind::NotFound,
        format!("cannot find the run {id}"),
        format!("no run {id}"),
        "runs are forgotten when userd ends, and the oldest when there are many",
    )
}

/// Reads a body; a large one holds one of few permits until it is dropped.
async fn large_body(lab: &Lab, body: Body) -> Result<(Vec<u8>, Option<impl Drop>), Problem> {
    let what = "cannot read the request";
    let wrong = |cause: String| problem(ProblemKind::Usage, what, cause, "see /api/v1/openapi.json");
    // Without a content-length it must be small.
    let length =
        body.size_hint().exact().map_or(limits::API_BODY_BYTES, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if length > limits::LAB_BODY_BYTES {
        return Err(wrong(format!("its body is larger than {} bytes", limits::LAB_BODY_BYTES)));
    }
    let is_large = length > limits::API_BODY_BYTES;
    let reading = async {
        let permit = if is_large { lab.large_bodies().clone().acquire_owned().await.ok() } else { None };
        let read = Limited::new(body, length).collect().await.map_err(|error| {
            match error.downcast_ref::<LengthLimitError>() {
                Some(_) => wrong("its body is longer than it said".to_owned()),
                None => wrong("its body broke off".to_owned()),
            }
        })?;
        Ok((read.to_bytes().to_vec(), permit))
    };
    tokio::time::timeout(BODY_TIME, reading).await.map_err(|_| wrong("its body did not come in time".to_owned()))?
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let cause = format!("its body is not what it must be: {error}");
        problem(ProblemKind::Usage, "cannot read the request", cause, "see /api/v1/openapi.json")
    })
}

/// Reads suites apart from the runtime's threads: a text of 24 MiB takes a while.
async fn read_suites(what: &'static str, request: FirewallSuites) -> Result<Vec<netengine_suite::Suite>, Problem> {
    let reading = tokio::task::spawn_blocking(move || suites::read(what, &request));
    reading.await.unwrap_or_else(|_| {
        Err(problem(ProblemKind::Failed, what, "reading them failed", "please report this with the suite"))
    })
}

/// Says what is wrong with suites, and with their rulesets as a kernel reads them, without sending any packet.
#[utoipa::path(post, path = "/firewall/validate", request_body = FirewallSuites,
    responses((status = 200, body = FirewallValidation), (status = 422, body = Problem)))]
pub(super) async fn validate(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    request: Body,
) -> Answer<FirewallValidation> {
    let owned = AllOf(Some(principal.uid()));
    let verdict = decide(principal, act::ValidateFirewallSuites, owned).map_err(|_| denied())?;
    let (bytes, _permit) = large_body(&shared.app.lab, request).await?;
    let what = "cannot use the suites";
    let suites = read_suites(what, json(&bytes)?).await?;
    let lease = shared.sandboxes.0.get_or_init(async || shared.app.lab.lease(&verdict)).await;
    lab::validate::rulesets(what, lease, &suites).await?;
    let cases = || suites.iter().flat_map(|suite| &suite.cases);
    ok(FirewallValidation {
        cases: cases().count() as u64,
        packets: cases().map(|case| case.request.packets.len() as u64).sum(),
    })
}

/// Runs suites; the answer comes at once, the results by the run's id.
#[utoipa::path(post, path = "/firewall/tests", request_body = FirewallTestRequest,
    responses((status = 202, body = FirewallTestAccepted), (status = 422, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn begin(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    request: Body,
) -> Answer<FirewallTestAccepted> {
    let verdict = decide(principal, act::RunFirewallTests, AllOf(Some(principal.uid()))).map_err(|_| denied())?;
    let (bytes, _permit) = large_body(&shared.app.lab, request).await?;
    let request: FirewallTestRequest = json(&bytes)?;
    drop(bytes);
    let how = How { jobs: usize::from(request.jobs.unwrap_or(2)), fail_fast: request.fail_fast };
    let suites = read_suites("cannot use the suites", request.suites).await?;
    let cases = suites.iter().map(|suite| suite.cases.len() as u64).sum();
    let lab = &shared.app.lab;
    let run = lab.runs().begin(ids::firewall_test(), lab.lease(&verdict), principal.uid(), suites, how)?;
    accepted(FirewallTestAccepted { id: run.id.to_string(), cases })
}

/// The run of a request, and the right to do something with it.
fn judge<A: Act>(
    shared: &Shared,
    principal: Principal,
    action: A,
    text: &str,
) -> Result<(Arc<Run>, Verdict<A, FirewallTestRef>), Problem> {
    let absent = || no_such_test(&text.escape_debug().to_string());
    let id = FirewallTestId::parse(text).map_err(|_| absent())?;
    let run = shared.app.lab.runs().find(id).ok_or_else(absent)?;
    let verdict = decide(principal, action, FirewallTestRef { id, owner: run.owner }).map_err(|_| absent())?;
    Ok((run, verdict))
}

/// How far a run is, with its report when it is over.
#[utoipa::path(get, path = "/firewall/tests/{id}", params(("id" = String, Path)),
    responses((status = 200, body = FirewallTest), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Answer<FirewallTest> {
    let (run, _verdict) = judge(&shared, principal, act::ViewFirewallTest, &id)?;
    ok(run.status())
}

/// Ends a run that is at work; forgets one that is over.
#[utoipa::path(delete, path = "/firewall/tests/{id}", params(("id" = String, Path)),
    responses((status = 200, body = FirewallTest), (status = 404, body = Problem)))]
pub(super) async fn cancel(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Answer<FirewallTest> {
    let (run, _verdict) = judge(&shared, principal, act::CancelFirewallTest, &id)?;
    let mut changed = run.subscribe();
    shared.app.lab.runs().cancel(&run);
    // Its sandboxes are gone when this is answered.
    let _ = changed.wait_for(|_| run.has_ended()).await;
    ok(run.status())
}

/// What is seen, case by case: `hook`, `match`, `conntrack`, `verdict`, `error`, `case`; at last `end`. Asked for with `Upgrade: websocket`, the same
/// comes as text messages `{"event", "data"}`, and the WebSocket closes with 1000 after the last.
#[utoipa::path(get, path = "/firewall/tests/{id}/events", params(("id" = String, Path)),
    responses((status = 200, content((FirewallTest = "text/event-stream"))), (status = 404, body = Problem)))]
pub(super) async fn events(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    upgrades: Option<Extension<Upgrades>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let (run, _verdict) = judge(&shared, principal, act::ViewFirewallTest, &id)?;
    let events = follow(run, shared.stop.clone());
    if let Some(Extension(upgrades)) = upgrades.filter(|_| websocket::is_asked(request.headers())) {
        return Ok(websocket::answer(request, upgrades, shared.stop, events).await?);
    }
    let events =
        events.map(|(name, value)| Ok::<_, Infallible>(SseEvent::default().event(name).data(value.to_string())));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// The events of a run, from its first; ends with the run, or when `stop` is cancelled.
fn follow(
    run: Arc<Run>,
    stop: tokio_util::sync::CancellationToken,
) -> impl Stream<Item = (&'static str, serde_json::Value)> + Send + 'static {
    struct Reader {
        run: Arc<Run>,
        changed: tokio::sync::watch::Receiver<usize>,
        ready: std::vec::IntoIter<(&'static str, serde_json::Value)>,
        place: usize,
        over: bool,
    }
    let changed = run.subscribe();
    let reader = Reader { run, changed, ready: Vec::new().into_iter(), place: 0, over: false };
    stream::unfold((reader, stop), |(mut reader, stop)| async move {
        loop {
            if let Some(event) = reader.ready.next() {
                return Some((event, (reader, stop)));
            }
            if reader.over {
                return None;
            }
            // Read before what is told: what ends in between is told first.
            let ended = reader.run.has_ended();
            if let Some(told) = reader.run.told(reader.place) {
                reader.place += 1;
                reader.ready = told.into_iter();
            } else if ended {
                reader.over = true;
                let mut status = reader.run.status();
                status.report = None;
                reader.ready = vec![("end", serde_json::to_value(status).unwrap_or_default())].into_iter();
            } else {
                tokio::select! {
                    () = stop.cancelled() => return None,
                    changed = reader.changed.changed() => changed.ok()?,
                }
            }
        }
    })
}

/// Runs one case in a sandbox of the caller's; its sandboxes end with the connection.
#[utoipa::path(post, path = "/firewall/cases",
    request_body(content((serde_json::Value = "application/json"), (Vec<u8> = "application/octet-stream"))),
    responses((status = 200, content((serde_json::Value = "application/json"), (Vec<u8> = "application/octet-stream"))),
        (status = 429, body = Problem)))]
pub(super) async fn case(
    State(shared): State<Shared>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Failure> {
    let verdict = decide(principal, act::RunFirewallCase, AllOf(Some(principal.uid()))).map_err(|_| denied())?;
    let is_compact = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == COMPACT);
    let (bytes, _permit) = large_body(&shared.app.lab, request).await?;
    // The sandbox reads what it is sent with the same bounds, and is where a mistake in reading does no harm.
    let bytes = if is_compact {
        bytes
    } else {
        postcard::to_stdvec(&json::<CaseRequest>(&bytes)?).map_err(|error| {
            problem(ProblemKind::Usage, "cannot run the case", error.to_string(), "see /api/v1/openapi.json")
        })?
    };
    let lease = shared.sandboxes.0.get_or_init(async || shared.app.lab.lease(&verdict)).await;
    let answer = lease.run(&bytes).await.map_err(|error| error.problem())?;
    if is_compact {
        return Ok(([(header::CONTENT_TYPE, COMPACT)], answer).into_response());
    }
    let result = postcard::from_bytes::<CaseResult>(&answer).map_err(|error| {
        let help = "see the log of netengine-lab";
        problem(ProblemKind::Engine, "cannot run the case", format!("the sandbox spoke nonsense: {error}"), help)
    })?;
    Ok(ok(result).into_response())
}
