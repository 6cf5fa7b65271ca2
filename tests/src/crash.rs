//! Crashes at chosen places: strace(1) ends, or refuses a call of, one process of the product; and what must be true
//! when everything has come to rest again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, sys::signal::kill, unistd::Pid};
use serde_json::Value;

use crate::{DANA, DEADLINE, EXAMPLES, Host, Person, Snapshot, host::BIN};

/// The program behind a process, as the kernel names it (15 bytes of it).
pub const WORLDD: &str = "netengine-world";
/// Sections of a [`Snapshot`] whose lines carry numbers that change when a daemon is started anew.
const NUMBERED: [&str; 2] = ["namespaces", "held namespaces"];

impl Host {
    /// The processes of the host with this name, as this process can signal them; lowest pid first.
    pub fn named(&self, comm: &str) -> Vec<Pid> {
        let name = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let zombie = |pid: Pid| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(&format!("({comm}) Z")))
        };
        let all = self.processes().into_iter().map(|(pid, _)| pid);
        let mut found: Vec<Pid> = all.filter(|pid| name(*pid).trim_end() == comm && !zombie(*pid)).collect();
        found.sort_unstable();
        found
    }

    /// In how many namespaces of a kind its processes are. The holder is left out: it stays in the empty one of the spawn
    /// worker that started it, also when that worker was started anew since.
    fn namespaces(&self, kind: &str) -> usize {
        let holders = self.named("ne-holder");
        let others = self.processes().into_iter().map(|(pid, _)| pid).filter(|pid| !holders.contains(pid));
        let links: BTreeSet<_> =
            others.filter_map(|pid| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()).collect();
        links.len()
    }
}

/// A state that must come back, without what a restart of a daemon rightly changes: of namespaces only how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    all: Snapshot,
    counts: BTreeMap<&'static str, usize>,
}

impl Rest {
    /// The state now.
    pub fn of(host: &Host) -> Self {
        let all = host.snapshot();
        let mut counts: BTreeMap<_, _> = [("held namespaces", all.section("held namespaces").len())].into();
        for kind in ["net", "pid"] {
            counts.insert(kind, host.namespaces(kind));
        }
        Self { all: all.without(&NUMBERED), counts }
    }

    /// What differs.
    pub fn difference(&self, later: &Self) -> Vec<String> {
        let mut found = self.all.difference(&later.all);
        for (name, before) in &self.counts {
            let after = later.counts[name];
            if after != *before {
                found.push(format!("{name}: {before} before, {after} after"));
            }
        }
        found
    }

    /// Waits until the host is as it was; what still differs at the end of the time.
    ///
    /// # Errors
    /// The differences, a line each.
    pub fn wait(&self, host: &Host, time: Duration) -> Result<(), String> {
        let deadline = Instant::now() + time;
        loop {
            let difference = self.difference(&Self::of(host));
            if difference.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("left behind or changed:\n  {}", difference.join("\n  ")));
            }
        }
    }
}

/// What strace shall do, and where.
#[derive(Debug, Clone, Copy)]
pub struct Fault<'a> {
    /// System calls, as `-e trace=` takes them.
    pub calls: &'a str,
    /// `signal=SIGKILL` or `error=ENOSPC`.
    pub what: &'a str,
    /// The how manieth call of a thread it hits, from 1.
    pub when: u32,
    /// All later calls too.
    pub onward: bool,
    /// Children are followed and counted for themselves.
    pub follow: bool,
}

/// A running strace.
#[derive(Debug)]
pub struct Injection {
    strace: Child,
    reader: Option<JoinHandle<String>>,
    hit: mpsc::Receiver<()>,
}

impl Injection {
    /// Attaches to processes; returns when every thread of them is traced.
    ///
    /// # Panics
    /// strace(1) is missing or may not trace.
    pub fn attach(pids: &[Pid], fault: Fault<'_>) -> Self {
        let mut command = Command::new("strace");
        // Strings are of no use and cost time.
        command.args(["--string-limit=0", "-o", "/dev/fd/1"]);
        command.args(["-e", &format!("trace={}", fault.calls)]);
        let onward = if fault.onward { "+" } else { "" };
        command.args(["-e", &format!("inject={}:{}:when={}{onward}", fault.calls, fault.what, fault.when)]);
        if fault.follow {
            command.arg("-f");
        }
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let mut strace =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("strace starts");
        let stderr = BufReader::new(strace.stderr.take().expect("piped"));
        let (say, said) = mpsc::channel();
        // It goes on to tell of children; nobody needs to read that, but somebody must.
        thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(say.send(line))));
        let (mut settled, mut heard) = (0, String::new());
        // A process that ended before its turn came is settled as well: strace says so and goes on with the others.
        while settled < pids.len() {
            let Ok(line) = said.recv_timeout(DEADLINE) else {
                let _ = strace.kill();
                panic!("strace ended, or was not attached in {DEADLINE:?}; it said:\n{heard}");
            };
            let is_gone = line.contains("attach: ptrace") && line.contains("No such process");
            assert!(is_gone || !line.contains("attach: ptrace"), "{line}");
            settled += usize::from(is_gone || line.contains(" attached"));
            heard.push_str(&line);
            heard.push('\n');
        }
        let stdout = BufReader::new(strace.stdout.take().expect("piped"));
        let (tell, hit) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut hits = String::new();
            for line in stdout.lines().map_while(Result::ok) {
                if line.contains("+++ killed by SIGKILL") || line.contains("(INJECTED)") {
                    hits.push_str(&line);
                    hits.push('\n');
                    let _ = tell.send(());
                }
            }
            hits
        });
        Self { strace, reader: Some(reader), hit }
    }

    /// Waits until it hit something; `false` when the time ended first.
    pub fn wait_hit(&self, time: Duration) -> bool {
        self.hit.recv_timeout(time).is_ok()
    }

    /// Detaches; what was hit, empty when nothing was.
    pub fn detach(mut self) -> String {
        self.end()
    }

    fn end(&mut self) -> String {
        let pid = Pid::from_raw(i32::try_from(self.strace.id()).expect("a pid"));
        let ends = Instant::now() + Duration::from_millis(300);
        let mut asked = false;
        while self.strace.try_wait().is_ok_and(|ended| ended.is_none()) {
            if Instant::now() > ends {
                // strace 6.1 waits for ever when a process with threads ends while it detaches. The kernel detaches
                // for one that is killed.
                let _ = self.strace.kill();
            } else if !asked {
                let _ = kill(pid, Signal::SIGTERM);
                asked = true;
            }
            thread::yield_now();
        }
        self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        self.end();
    }
}

/// How a run of the CLI ended, or that it did not.
#[derive(Debug)]
pub struct Run {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Starts `netengine ARGS` with pipes.
///
/// # Panics
/// It cannot be started.
pub fn start_cli(host: &Host, person: Person, args: &[&str]) -> Child {
    let mut command = host.command(person, &format!("{BIN}/netengine"));
    // She is in the administrators' group alone, so that is her door.
    if person == DANA {
        command.arg("--admin");
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the CLI starts; is it built?")
}

/// Waits for a child of [`start_cli`], but not for ever.
///
/// # Errors
/// It still ran after [`DEADLINE`]; it is ended then.
pub fn finish_cli(mut child: Child) -> Result<Run, String> {
    let (mut out, mut err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let (done, finished) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut both = (String::new(), String::new());
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = err.read_to_string(&mut text);
            text
        });
        let _ = out.read_to_string(&mut both.0);
        both.1 = errors.join().unwrap_or_default();
        let _ = done.send(());
        both
    });
    let in_time = finished.recv_timeout(DEADLINE).is_ok();
    if !in_time {
        crate::signal(&child, Signal::SIGKILL);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let (stdout, stderr) = reader.join().unwrap_or_default();
    if in_time {
        Ok(Run { code: status.code(), stdout, stderr })
    } else {
        Err(format!("the CLI still ran after {DEADLINE:?}: {stdout}{stderr}"))
    }
}

/// Runs `netengine ARGS` to the end, but not for ever.
///
/// # Errors
/// As [`finish_cli`].
pub fn cli(host: &Host, person: Person, args: &[&str]) -> Result<Run, String> {
    finish_cli(start_cli(host, person, args))
}

/// As [`cli`], again while another operation (userd repairs by itself) is at work on the world.
fn undisturbed(host: &Host, person: Person, args: &[&str]) -> Result<Run, String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let run = cli(host, person, args)?;
        if !run.stderr.contains("\"conflict\"") || Instant::now() > deadline {
            return Ok(run);
        }
    }
}

/// The minimal world's spec, inside a host.
pub fn minimal() -> String {
    format!("{EXAMPLES}/minimal.yaml")
}

/// The states of the worlds that a person sees, when all have come to rest.
///
/// # Errors
/// They do not, or userd does not answer.
pub fn settled(host: &Host, person: Person) -> Result<BTreeMap<String, String>, String> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let run = cli(host, person, &["list", "--json"])?;
        let worlds = serde_json::from_str::<Value>(&run.stdout).ok().and_then(|list| {
            let text = |world: &Value, name: &str| world[name].as_str().map(str::to_owned);
            list.as_array()?.iter().map(|world| Some((text(world, "world")?, text(world, "state")?))).collect()
        });
        let worlds: Option<BTreeMap<String, String>> = worlds.filter(|_| run.code == Some(0));
        if let Some(worlds) = &worlds
            && worlds.values().all(|state| !["booting", "stopping"].contains(&state.as_str()))
        {
            return Ok(worlds.clone());
        }
        if Instant::now() > deadline {
            return Err(format!("no rest: {worlds:?}; list said {run:?}"));
        }
    }
}

/// After a crash: the world is complete or gone; `up` completes it; `down` leaves nothing.
///
/// # Errors
/// What is not so.
pub fn recovers(host: &Host, person: Person, rest: &Rest) -> Result<(), String> {
    let worlds = settled(host, person)?;
    match worlds.get("minimal").map(String::as_str) {
        None => {
            rest.wait(host, Duration::from_secs(5)).map_err(|error| format!("the world is gone, but: {error}"))?;
        }
        Some("ready") => is_complete(host, person)?,
        // A failed one says so, and is either completed by the next `up` or removed by `down`.
        Some("failed" | "degraded") => {
            let run = undisturbed(host, person, &["up", &minimal(), "--json"])?;
            if run.code != Some(0) {
                return Err(format!("a {:?} world, and up says {run:?}", worlds.get("minimal")));
            }
            is_complete(host, person)?;
        }
        Some(other) => return Err(format!("state {other}")),
    }
    takes_down(host, person)?;
    rest.wait(host, Duration::from_secs(5)).map_err(|error| format!("after down: {error}"))
}

/// `up` finds nothing to change, and a host of the world reaches its router.
///
/// # Errors
/// What is not so.
pub fn is_complete(host: &Host, person: Person) -> Result<(), String> {
    let plan = cli(host, person, &["plan", &minimal()])?;
    if plan.code != Some(0) {
        return Err(format!("a ready world differs from its spec: {plan:?}"));
    }
    let ping = cli(host, person, &["exec", "minimal", "--", "ip", "-oneline", "route", "get", "172.28.0.1"])?;
    if ping.code != Some(0) || !ping.stdout.contains("via 10.0.0.1") {
        return Err(format!("a ready world does not route: {ping:?}"));
    }
    Ok(())
}

/// `down`; a world that is not there is fine.
///
/// # Errors
/// Anything else.
pub fn takes_down(host: &Host, person: Person) -> Result<(), String> {
    let down = undisturbed(host, person, &["down", "minimal", "--yes", "--json"])?;
    match down.code {
        Some(0) => Ok(()),
        Some(1) if down.stderr.contains("\"not_found\"") => Ok(()),
        _ => Err(format!("down says {down:?}")),
    }
}

/// Waits until something is so, at most [`DEADLINE`].
///
/// # Panics
/// It is not.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !so() {
        assert!(Instant::now() < deadline, "not so: {what}");
        thread::yield_now();
    }
}
