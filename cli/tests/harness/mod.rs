//! What the tests of the binary share: a scratch directory, the command, and a daemon whose answers the test chooses.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use serde_json::{Value, json};

/// A spec that is valid as it stands.
pub const SPEC: &str = include_str!("../../src/commands/starter.yaml");
/// Longest time anything here may take.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The binary, with nothing of this environment that would change what it does.
pub fn netengine(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netengine"));
    for name in ["NETENGINE_SOCKET", "NETENGINE_ADMIN_SOCKET", "NETENGINE_EXEC_SOCKET", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("NETENGINE_SOCKET", socket).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code().expect("exits by itself"), text(stdout), text(stderr))
}

/// One request as the daemon sees it.
pub struct Request {
    /// `METHOD target`.
    pub line: String,
    /// The JSON body, or null.
    pub body: Value,
}

/// An answer the test chooses.
pub enum Answer {
    /// A status and a JSON body.
    Json(u16, Value),
    /// Server-sent events; the stream stays open until the receiver's sender is dropped.
    Events(mpsc::Receiver<Value>),
    /// The connection closes without an answer.
    Close,
}

/// A daemon on a socket in a scratch directory. HTTP/1.1 as far as one request per connection needs it.
pub struct Daemon {
    /// Where it listens.
    pub socket: PathBuf,
    /// Request lines in the order they came.
    pub seen: Arc<Mutex<Vec<String>>>,
    /// The scratch directory.
    pub dir: tempfile::TempDir,
}

impl Daemon {
    /// Starts a daemon that answers with `answer`; its threads end with the test program.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().expect("makes a directory");
        let socket = dir.path().join("user.sock");
        let listener = UnixListener::bind(&socket).expect("binds");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream.expect("accepts"), &log, &*answer));
            }
        });
        Self { socket, seen, dir }
    }

    /// The binary pointed at this daemon.
    pub fn netengine(&self) -> Command {
        netengine(&self.socket)
    }

    /// A file in the scratch directory.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    }

    /// The request lines so far.
    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

fn serve(mut stream: UnixStream, log: &Mutex<Vec<String>>, answer: &dyn Fn(&Request) -> Answer) {
    let mut reader = BufReader::new(stream.try_clone().expect("duplicates"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("reads");
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("reads");
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("is a number");
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("reads");
    let line = line.trim().trim_end_matches(" HTTP/1.1").to_owned();
    log.lock().expect("not poisoned").push(line.clone());
    let request = Request { line, body: serde_json::from_slice(&body).unwrap_or(Value::Null) };
    // The command may have been ended by the test, so a failed write is not an error here.
    match answer(&request) {
        Answer::Json(status, body) => {
            let body = body.to_string();
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
        }
        Answer::Events(events) => {
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n:\n\n");
            for event in events {
                // A text is a named event about the stream itself, as the daemon sends it at the end; so is a map of name and
                // data.
                let _ = match (event.as_str(), event["name"].as_str()) {
                    (Some(name), _) => write!(stream, "event: {name}\ndata: why\n\n"),
                    (None, Some(name)) => write!(stream, "event: {name}\ndata: {}\n\n", event["data"]),
                    (None, None) => write!(stream, "id: {}\ndata: {event}\n\n", event["seq"]),
                };
            }
        }
        Answer::Close => {}
    }
}

/// An [`Answer::Events`] of these events, then the end of the stream.
pub fn events(list: &[Value]) -> Answer {
    let (sender, receiver) = mpsc::channel();
    list.iter().for_each(|event| sender.send(event.clone()).expect("is received"));
    Answer::Events(receiver)
}

/// An event.
pub fn event(seq: i64, kind: &str, message: &str) -> Value {
    json!({"event": format!("e{seq}"), "seq": seq, "time": "2026-01-02T03:04:05.678Z", "world": "my-world",
        "operation": "op1", "parent": null, "kind": kind, "phase": null, "message": message, "data": {}})
}

/// An operation in this state.
pub fn operation(kind: &str, state: &str) -> Value {
    json!({"operation": "op1", "kind": kind, "world": "my-world", "state": state, "problem": null, "millis": 12, "changes": 3})
}

/// A problem of this class.
pub fn problem(kind: &str) -> Value {
    json!({"kind": kind, "what": "cannot start world \"my-world\"", "cause": format!("a {kind} cause"), "help": "do this"})
}

/// A world's status.
pub fn status() -> Value {
    json!({"world": "my-world", "owner": "alice", "state": "ready", "phases": [], "services": [], "networks": [],
        "started_at": null, "notes": []})
}
