//! What the judge's tests share: running commands as people do, and looking into a world without the product.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Instant,
};

use netengine_tests::{ALICE, BIN, DEADLINE, EXAMPLES, Host, Person, ROOT};
use serde_json::Value;

/// The CLI inside a host.
pub fn netengine() -> String {
    format!("{BIN}/netengine")
}

/// The smallest shipped spec inside a host.
pub fn minimal() -> String {
    format!("{EXAMPLES}/minimal.yaml")
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Ran {
    pub what: String,
    /// The exit status; -N when signal N ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(what: String, output: &Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or(0));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { what, code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Fails unless it exited with `code`. Whatever the code, nothing may look like a crash.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        for crash in ["panicked at", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!self.err.contains(crash) && !self.out.contains(crash), "{self:#?}");
        }
        self
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// The one JSON document of standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The error object on standard error; nothing is on standard output.
    #[track_caller]
    pub fn error(&self) -> Value {
        assert_eq!(self.out, "", "{self:#?}");
        let line = self.err.lines().last().unwrap_or_default();
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        parsed["error"].clone()
    }

    /// The three lines of a failure, in order: what, cause, help.
    #[track_caller]
    pub fn three_lines(&self) -> [String; 3] {
        let found = ["error: ", "  cause: ", "  help:  "].map(|start| {
            let lines: Vec<&str> = self.err.lines().filter_map(|line| line.strip_prefix(start)).collect();
            assert_eq!(lines.len(), 1, "one line {start:?}: {self:#?}");
            assert!(!lines[0].trim().is_empty(), "{self:#?}");
            lines[0].to_owned()
        });
        assert_eq!(self.out, "", "a failure says nothing on standard output: {self:#?}");
        found
    }
}

/// Runs `netengine ARGS` as a person.
#[track_caller]
pub fn run(host: &Host, person: Person, args: &[&str]) -> Ran {
    Ran::of(format!("{}$ netengine {args:?}", person.name), &host.cli(person, args))
}

/// Runs a command to its end as a person, with some standard input.
#[track_caller]
pub fn feed(host: &Host, person: Person, program: &str, args: &[&str], input: &[u8]) -> Output {
    let mut command = host.command(person, program);
    let child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("waited");
    writer.join().expect("joined");
    output
}

/// Runs a shell script as a person, whatever its end.
#[track_caller]
pub fn sh(host: &Host, person: Person, script: &str) -> Ran {
    let output = host.command(person, "/bin/sh").args(["-c", script]).stdin(Stdio::null()).output().expect("sh starts");
    Ran::of(format!("{}$ {script}", person.name), &output)
}

/// Runs a shell script in a vantage host of a world, through the product.
#[track_caller]
pub fn inside(host: &Host, person: Person, target: &str, script: &str) -> Ran {
    run(host, person, &["exec", target, "--", "/bin/sh", "-c", script])
}

/// Runs a script as root in the network namespace of this host that holds an address, found among all namespaces that
/// any process holds, without asking the product.
#[track_caller]
pub fn in_namespace_of(host: &Host, address: &str, script: &str) -> String {
    let finder = format!(
        "seen=; for door in $(find /proc/[0-9]*/fd /proc/[0-9]*/ns/net -lname 'net:*' 2>/dev/null); do
           id=$(readlink $door) || continue
           case \"$seen\" in *\"$id\"*) continue;; esac; seen=\"$seen $id\"
           if nsenter --net=$door ip -oneline address 2>/dev/null | grep -qF ' {address}/'; then
             exec nsenter --net=$door /bin/sh -c \"$SCRIPT\"
           fi
         done; echo 'no namespace holds {address}' >&2; exit 9"
    );
    let output =
        host.command(ROOT, "/bin/sh").env("SCRIPT", script).args(["-c", &finder]).stdin(Stdio::null()).output();
    let ran = Ran::of(format!("in the namespace of {address}: {script}"), &output.expect("sh starts"));
    ran.ok().out
}

/// Pids (inside the host) of the processes with this comm name, as root sees them.
pub fn pids(host: &Host, comm: &str) -> Vec<i32> {
    let script = format!(
        "for p in /proc/[0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = '{comm}' ] && echo ${{p#/proc/}}; done; true"
    );
    host.shell(ROOT, &script).lines().map(|pid| pid.parse().expect("a pid")).collect()
}

/// The pids of the processes of worlds' services; the routers' have the same name and are left out.
pub fn worldds(host: &Host) -> Vec<i32> {
    let found = host.shell(ROOT, "pgrep --full -- '--role [w]orldd' || true");
    found.lines().map(|pid| pid.parse().expect("a pid")).collect()
}

/// A spec: the minimal one with another name and further text instead of its gateway section.
pub fn spec(host: &Host, name: &str, substrate: &str) -> String {
    let text = format!(
        "metadata:\n  name: {name}\nsubstrate:\n{substrate}\ndns: {{}}\npki: {{}}\nidentity_platform: {{}}\nworld_registry: {{}}\n\
         domain_registry: {{}}\nidentity_inworld: {{}}\nands: {{}}\nworld_services: {{}}\norg_apps: {{}}\ngateway_portal: {{}}\n\
         operator: {{}}\n"
    );
    host.file(&format!("{name}.yaml"), &text)
}

/// The gateway of the default networks.
pub const GATEWAY: &str = "  gateway: {platform_ip: 172.28.0.1, core_ip: 10.0.0.1}";

/// A running command whose output is read line by line, each wait with a deadline.
pub struct Stream {
    pub child: Child,
    lines: Receiver<String>,
}

impl Stream {
    pub fn start(host: &Host, person: Person, args: &[&str]) -> Self {
        let mut command = host.command(person, &netengine());
        let child = command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the CLI starts");
        let out = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::<ChildStdout>::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The first line that satisfies.
    #[track_caller]
    pub fn find(&self, what: &str, mut is_it: impl FnMut(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if is_it(&line) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {what} in:\n{}", seen.join("\n"))
                }
            }
        }
    }
}

/// Asks again until the answer satisfies; fails with the last one after the deadline.
#[track_caller]
pub fn until<T: std::fmt::Debug>(what: &str, mut ask: impl FnMut() -> T, is_it: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = ask();
        if is_it(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "not so: {what}; the last answer: {answer:#?}");
    }
}

/// A shell command that asks a time server once and exits with 0 when it answers, with 1 soon when it does not.
pub fn ask_time(server: &str) -> String {
    format!(
        "python3 -c \"import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5)\ntry:\n  \
         s.connect(('{server}', 123)); s.send(bytes([0x23]) + bytes(47)); sys.exit(len(s.recv(99)) != 48)\nexcept OSError: sys.exit(1)\""
    )
}

/// Brings a spec up as alice.
#[track_caller]
pub fn up(host: &Host, spec: &str) -> Value {
    run(host, ALICE, &["up", spec, "--json"]).ok().json()
}

/// The keys of an object, sorted.
#[track_caller]
pub fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> =
        value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
