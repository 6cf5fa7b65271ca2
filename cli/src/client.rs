//! The API over the daemon's Unix socket: HTTP/1.1, one connection per request.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use netengine_proto::{
    api::{self, Event, Problem, ProblemKind, WorldSummary},
    names::WorldName,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    args::Global,
    failure::Failure,
    sse::{SseEvent, SseReader},
};

/// Largest answer taken; the longest is 10,000 log lines.
const ANSWER_BYTES: usize = 64 << 20;
/// An answer must be there within this; planning looks at the live kernel first.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A way to the daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    is_admin: bool,
    is_given: bool,
    owner: Option<u32>,
}

impl Client {
    /// Decides the socket and the owner from options and environment; touches nothing yet.
    ///
    /// # Errors
    /// Class `usage` for `--owner` without `--admin` or with an unknown user.
    pub fn new(global: &Global) -> Result<Self, Failure> {
        let (variable, default) = if global.admin {
            ("NETENGINE_ADMIN_SOCKET", "/run/netengine/admin.sock")
        } else {
            ("NETENGINE_SOCKET", "/run/netengine/user.sock")
        };
        let from_environment = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        let given = global.socket.clone().or(from_environment);
        let is_given = global.admin || given.is_some();
        let socket = given.unwrap_or_else(|| default.into());
        let owner = match &global.owner {
            Some(_) if !global.admin => {
                let help = "add --admin (needs the group netengine-admin), or leave --owner out";
                return Err(Failure::new(ProblemKind::Usage, "cannot use --owner", "it needs --admin", help));
            }
            Some(owner) => Some(owner_uid(owner)?),
            None => None,
        };
        Ok(Self { socket, is_admin: global.admin, is_given, owner })
    }

    /// Whether an option or the environment says which daemon is meant.
    pub fn is_given(&self) -> bool {
        self.is_given
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// GET.
    ///
    /// # Errors
    /// The daemon's [`Problem`], or class `engine` or `refused` when it cannot be reached.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Failure> {
        self.json(Method::GET, path, query, &(), ANSWER_TIME).await
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.json(Method::POST, path, &[], body, ANSWER_TIME).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, Failure> {
        self.json(Method::DELETE, path, query, &(), ANSWER_TIME).await
    }

    /// The world that was named, or the only one there is.
    ///
    /// # Errors
    /// Class `usage` for a bad name or a choice of several, `not_found` when there is none.
    pub async fn world(&self, named: Option<&str>) -> Result<WorldName, Failure> {
        if let Some(named) = named {
            return parse_world(named);
        }
        let worlds: Vec<WorldSummary> = self.get("/worlds", &[]).await?;
        match worlds.as_slice() {
            [only] => parse_world(&only.world),
            [] => {
                let help = "bring one up with `netengine up SPEC`; `netengine init` writes a first spec";
                Err(Failure::new(ProblemKind::NotFound, "cannot choose a world", "there is no world", help))
            }
            several => {
                let names: Vec<&str> = several.iter().map(|world| world.world.as_str()).collect();
                let cause = format!("there are {}: {}", several.len(), names.join(", "));
                Err(Failure::new(ProblemKind::Usage, "cannot choose a world", cause, "name one of them"))
            }
        }
    }

    /// Opens a stream of events.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn events(&self, query: &[(&str, &str)]) -> Result<EventStream, Failure> {
        let mut query = query.to_vec();
        query.push(("follow", "true"));
        let response = self.send(Method::GET, "/events", &query, Vec::new()).await?;
        if !response.status().is_success() {
            return Err(problem(response).await);
        }
        Ok(EventStream { body: response.into_body(), reader: SseReader::default(), ready: Vec::new().into_iter() })
    }

    /// Posts with `follow`, and shows how far the daemon is until the end, which comes as an event of the name `end`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post_followed<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        end: &str,
        time: Duration,
        mut told: impl FnMut(Told<'_>) -> serde_json::Result<()>,
    ) -> Result<T, Failure> {
        let following = async {
            let query = [query, &[("follow", "true")]].concat();
            let response = self.send(Method::POST, path, &query, b"null".to_vec()).await?;
            if !response.status().is_success() {
                return Err(problem(response).await);
            }
            let (mut body, mut reader) = (response.into_body(), SseReader::default());
            while let Some(frame) = body.frame().await {
                let Ok(chunk) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
                for event in reader.feed(&chunk).map_err(|error| broken(&error))? {
                    match event.name.as_str() {
                        "progress" => {
                            let done = serde_json::from_str(&event.data).map_err(|error| broken(&error))?;
                            told(Told::Progress(done)).map_err(|error| broken(&error))?;
                        }
                        "problem" => {
                            let told: Problem = serde_json::from_str(&event.data).map_err(|error| broken(&error))?;
                            return Err(told.into());
                        }
                        name if name == end => {
                            return serde_json::from_str(&event.data).map_err(|error| broken(&error));
                        }
                        name => told(Told::Part(name, &event.data)).map_err(|error| broken(&error))?,
                    }
                }
            }
            Err(broken(&"it ended before the end was told"))
        };
        let late = || Err(broken(&format!("no answer within {} s", time.as_secs())));
        tokio::time::timeout(time, following).await.unwrap_or_else(|_| late())
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: &impl Serialize,
        time: Duration,
    ) -> Result<T, Failure> {
        let body = if method == Method::POST { serde_json::to_vec(body).map_err(|e| broken(&e))? } else { Vec::new() };
        let exchange = async {
            let response = self.send(method, path, query, body).await?;
            if !response.status().is_success() {
                return Err(problem(response).await);
            }
            let body = collect(response.into_body()).await?;
            serde_json::from_slice(&body).map_err(|error| broken(&error))
        };
        tokio::time::timeout(time, exchange)
            .await
            .unwrap_or_else(|_| Err(broken(&format!("no answer within {} s", time.as_secs()))))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // Ends by itself: with the answer's last byte, or when the answer is dropped.
        drop(tokio::spawn(connection));
        let owner = self.owner.map(|uid| uid.to_string());
        let query = query.iter().copied().chain(owner.as_deref().map(|uid| ("owner", uid)));
        let request = Request::builder()
            .method(method)
            .uri(target(path, query))
            .header("host", "netengine")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broken(&error))?;
        sender.send_request(request).await.map_err(|error| broken(&error))
    }

    /// What to tell when the socket does not take a connection.
    pub fn unreachable(&self, error: &io::Error) -> Failure {
        let group = if self.is_admin { "netengine-admin" } else { "netengine" };
        unreachable_socket(&self.socket, error, group)
    }
}

/// What to tell when a socket of the daemons does not take a connection.
pub fn unreachable_socket(socket: &Path, error: &io::Error, group: &str) -> Failure {
    let what = "cannot reach the NetEngine daemons";
    let shown = socket.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(
            ProblemKind::Refused,
            what,
            format!("you may not use {shown}: {error}"),
            format!("join the group {group} (`sudo usermod -aG {group} YOU`) and log in again"),
        ),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::new(
            ProblemKind::Engine,
            what,
            format!("nothing listens on {shown}: {error}"),
            "start them with `sudo systemctl start netengine.target`, or in a source tree with `make dev-up`",
        ),
        _ => Failure::new(ProblemKind::Engine, what, format!("{shown}: {error}"), "see `netengine doctor`"),
    }
}

/// What the daemon tells before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// How far it is.
    Progress(Done),
    /// A part of what it found: an event's name and its JSON.
    Part(&'a str, &'a str),
}

/// How far the daemon is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub struct Done {
    /// What is done.
    pub done: u64,
    /// All there is to do.
    pub all: u64,
}

/// A stream of the daemon's events.
pub struct EventStream {
    body: Incoming,
    reader: SseReader,
    ready: std::vec::IntoIter<SseEvent>,
}

impl EventStream {
    /// The next event; `None` when the daemon ended the stream, told that this reader lagged, or went away: reconnect
    /// with `after`. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Class `engine` for a stream that is not one of events.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.ready.next() {
                // A named event is the daemon's word on the stream itself, and its last one.
                return match event.name.as_str() {
                    "lagged" => Ok(None),
                    "failed" => Err(broken(&event.data)),
                    _ => serde_json::from_str(&event.data).map(Some).map_err(|error| broken(&error)),
                };
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        self.ready = self.reader.feed(&chunk).map_err(|error| broken(&error))?.into_iter();
                    }
                }
                // A daemon that is restarted cuts the stream anywhere.
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

/// Parses a world's name from the command line.
///
/// # Errors
/// Class `usage`.
pub fn parse_world(text: &str) -> Result<WorldName, Failure> {
    WorldName::parse(text).map_err(|error| {
        Failure::new(
            ProblemKind::Usage,
            format!("cannot use {text:?} as a world's name"),
            format!("it {error}"),
            "`netengine list` shows your worlds",
        )
    })
}

fn owner_uid(text: &str) -> Result<u32, Failure> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    let found = nix::unistd::User::from_name(text).map_err(|errno| errno.to_string());
    let cause = match found {
        Ok(Some(user)) => return Ok(user.uid.as_raw()),
        Ok(None) => "there is no such user".to_owned(),
        Err(error) => error,
    };
    let what = format!("cannot act for {text:?}");
    Err(Failure::new(ProblemKind::Usage, what, cause, "give a user name or a numeric uid"))
}

/// The request target: prefix, path, percent-encoded query.
fn target<'a>(path: &str, query: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut target = format!("{}{path}", api::PREFIX);
    for (index, (key, value)) in query.enumerate() {
        target.push(if index == 0 { '?' } else { '&' });
        target.push_str(key);
        target.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => target.push(byte.into()),
                _ => target.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    target
}

async fn collect(body: Incoming) -> Result<Bytes, Failure> {
    let collected = Limited::new(body, ANSWER_BYTES).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| broken(&error))
}

/// The problem of an answer that is not a success.
async fn problem(response: Response<Incoming>) -> Failure {
    let status = response.status();
    match collect(response.into_body()).await {
        Ok(body) => match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.into(),
            Err(_) => unexplained(status),
        },
        Err(failure) => failure,
    }
}

fn unexplained(status: StatusCode) -> Failure {
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => ProblemKind::Quota,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::BAD_REQUEST => ProblemKind::Usage,
        _ => ProblemKind::Engine,
    };
    let help = "check that the command and the daemons are of the same release (`netengine doctor`)";
    Failure::new(kind, "cannot use the daemon's answer", format!("status {status} without an explanation"), help)
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    let help = "see `netengine doctor`; the journal of netengine-userd tells more";
    Failure::new(ProblemKind::Engine, "cannot talk to the NetEngine daemon", error, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_cannot_be_injected_into() {
        let query = [("service", "a&owner=0#/ é"), ("lines", "5")];
        assert_eq!(target("/x", query.into_iter()), "/api/v1/x?service=a%26owner%3D0%23%2F%20%C3%A9&lines=5");
    }

    #[test]
    fn an_unreachable_socket_tells_what_to_do() {
        let path = Path::new("/run/x.sock");
        let failure = unreachable_socket(path, &io::ErrorKind::PermissionDenied.into(), "netengine-admin");
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.problem.help.contains("group netengine-admin"));
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused] {
            let failure = unreachable_socket(path, &kind.into(), "netengine");
            assert_eq!(failure.exit_code(), 4);
            assert!(failure.problem.help.contains("systemctl start"));
        }
    }
}
