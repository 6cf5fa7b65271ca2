//! The firewall lab by the daemon's socket: single cases, and whole suites with what is seen while they run.
//!
//! One connection holds the caller's sandboxes: they end with it, however this process ends.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use netengine_lab_proto::{CaseRequest, CaseResult, limits::MESSAGE_BYTES};
use netengine_proto::api::{self, FirewallTest, FirewallTestAccepted, FirewallTestRequest, Problem, ProblemKind};
use tokio::{net::UnixStream, runtime::Runtime};

use crate::{
    client::unreachable_socket,
    failure::Failure,
    sse::{SseEvent, SseReader},
};

/// A daemon that is restarted is back within this.
const AWAY: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// Cases go in the form that workers speak (postcard), for JSON of ten thousand packets is ten times as long.
const COMPACT: &str = "application/octet-stream";

/// A connection to the lab.
pub struct Lab {
    socket: PathBuf,
    runtime: Runtime,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Lab {
    /// Connects to userd's socket.
    ///
    /// # Errors
    /// As [`unreachable_socket`] tells.
    pub fn connect(socket: &Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| broken(&error))?;
        let mut lab = Self { socket: socket.to_owned(), runtime, sender: None };
        let sender = lab.runtime.block_on(open(socket))?;
        lab.sender = Some(sender);
        Ok(lab)
    }

    /// Runs one case in a sandbox of the caller's. A connection that broke is made again once, with the same case: a case changes nothing.
    ///
    /// # Errors
    /// The daemon's problem, or class `engine` when it is gone.
    pub fn run_case(&mut self, case: &CaseRequest) -> Result<CaseResult, Failure> {
        let body = Bytes::from(postcard::to_stdvec(case).map_err(|error| broken(&error))?);
        let Self { socket, runtime, sender } = self;
        let answer = runtime.block_on(async {
            let mut again = true;
            loop {
                let mut open = match sender.take() {
                    Some(open) if !open.is_closed() => open,
                    _ => reopen(socket).await?,
                };
                let answered = async {
                    let response =
                        open.send_request(request(Method::POST, "/firewall/cases", COMPACT, body.clone())?).await;
                    let response = response.map_err(|error| broken(&error))?;
                    let status = response.status();
                    let body = collect(response).await?;
                    Ok::<_, Failure>((status, body))
                };
                match answered.await {
                    Ok((StatusCode::OK, body)) => {
                        *sender = Some(open);
                        return Ok(body);
                    }
                    Ok((status, body)) => {
                        *sender = Some(open);
                        return Err(problem(status, &body));
                    }
                    Err(_) if again => again = false,
                    Err(failure) => return Err(failure),
                }
            }
        })?;
        postcard::from_bytes(&answer).map_err(|error| broken(&error))
    }

    /// Runs suites in the daemon, tells each event (`hook`, `match`, `conntrack`, `verdict`, `error`, `case`) with its JSON, and gives the
    /// run as it ended, with its report. `told` may end the run by answering false.
    ///
    /// # Errors
    /// As [`Lab::run_case`].
    pub fn run_suite(
        &mut self,
        suites: &FirewallTestRequest,
        mut told: impl FnMut(&str, &str) -> bool,
    ) -> Result<FirewallTest, Failure> {
        let body = Bytes::from(serde_json::to_vec(suites).map_err(|error| broken(&error))?);
        let Self { socket, runtime, .. } = self;
        runtime.block_on(async {
            let accepted: FirewallTestAccepted = ask(socket, Method::POST, "/firewall/tests", body).await?;
            let path = format!("/firewall/tests/{}", accepted.id);
            let response = open(socket).await?.send_request(request(
                Method::GET,
                &format!("{path}/events"),
                "application/json",
                Bytes::new(),
            )?);
            let (mut body, mut reader) =
                (response.await.map_err(|error| broken(&error))?.into_body(), SseReader::default());
            'following: while let Some(frame) = body.frame().await {
                let Ok(chunk) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
                for SseEvent { name, data } in reader.feed(&chunk).map_err(|error| broken(&error))? {
                    if name == "end" {
                        break 'following;
                    }
                    if !told(&name, &data) {
                        return ask(socket, Method::DELETE, &path, Bytes::new()).await;
                    }
                }
            }
            ask(socket, Method::GET, &path, Bytes::new()).await
        })
    }
}

async fn open(socket: &Path) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let connecting = UnixStream::connect(socket).await;
    let stream = connecting.map_err(|error| unreachable_socket(socket, &error, "netengine"))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // Ends by itself when the sender is dropped.
    drop(tokio::spawn(connection));
    Ok(sender)
}

/// As [`open`], for a daemon that may be starting again.
async fn reopen(socket: &Path) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let deadline = Instant::now() + AWAY;
    loop {
        match open(socket).await {
            Err(failure) if Instant::now() >= deadline => return Err(failure),
            Err(_) => tokio::time::sleep(PAUSE).await,
            opened => return opened,
        }
    }
}

async fn ask<T: serde::de::DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<T, Failure> {
    let sent = open(socket).await?.send_request(request(method, path, "application/json", body)?).await;
    let response = sent.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = collect(response).await?;
    if !status.is_success() {
        return Err(problem(status, &body));
    }
    serde_json::from_slice(&body).map_err(|error| broken(&error))
}

fn request(method: Method, path: &str, kind: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
    let request = Request::builder().method(method).uri(format!("{}{path}", api::PREFIX)).header("host", "netengine");
    request.header("content-type", kind).body(Full::new(body)).map_err(|error| broken(&error))
}

async fn collect(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let collected = Limited::new(response.into_body(), MESSAGE_BYTES).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| broken(&error))
}

fn problem(status: StatusCode, body: &[u8]) -> Failure {
    serde_json::from_slice::<Problem>(body)
        .map_or_else(|_| broken(&format!("status {status} without an explanation")), Failure::from)
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    let help = "see `netengine doctor`; `netengine test --rootless` runs without the daemons";
    Failure::new(ProblemKind::Engine, "cannot use the daemon's firewall lab", error, help)
}
