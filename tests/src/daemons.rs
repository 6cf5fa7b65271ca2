//! The daemons of a test host: the supervisor, and what it says of them.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Every wait of the harness ends after this. Generous: the tests share two cores.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What the supervisor has said so far.
#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    /// By service: how often it became ready, and the pid (inside the host) when it last did.
    ready: HashMap<String, (u64, i32)>,
    /// Services that ended since they last became ready.
    ended: HashMap<String, bool>,
    silent: bool,
}

type Shared = Arc<(Mutex<Said>, Condvar)>;

/// A running supervisor.
#[derive(Debug)]
pub struct Daemons {
    child: Child,
    said: Shared,
    listener: Option<JoinHandle<()>>,
}

impl Daemons {
    /// Starts the supervisor and waits until every service of `services` is ready.
    ///
    /// # Panics
    /// One is not; with all that the supervisor said.
    pub fn start(mut command: Command, services: &[&str]) -> Self {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("the supervisor starts; is it built?");
        let stderr = child.stderr.take().expect("stderr is piped");
        let said = Shared::default();
        let listener = thread::spawn({
            let said = Arc::clone(&said);
            move || listen(stderr, &said)
        });
        let daemons = Self { child, said, listener: Some(listener) };
        for service in services {
            daemons.wait_until(&format!("{service} is ready"), |said| said.ready.get(*service).map(|_| ()));
        }
        daemons
    }

    /// The pid, inside the host, of a ready service.
    ///
    /// # Panics
    /// It does not become ready.
    pub fn pid(&self, service: &str) -> i32 {
        self.wait_until(&format!("{service} is ready"), |said| {
            let (_, pid) = said.ready.get(service)?;
            (said.ended.get(service) != Some(&true)).then_some(*pid)
        })
    }

    /// How often a service has become ready.
    pub fn generation(&self, service: &str) -> u64 {
        lock(&self.said).ready.get(service).map_or(0, |(generation, _)| *generation)
    }

    /// Waits until a service has become ready more often than `generation` times.
    ///
    /// # Panics
    /// It does not.
    pub fn wait_ready_after(&self, service: &str, generation: u64) {
        self.wait_until(&format!("{service} is ready again"), |said| {
            said.ready.get(service).filter(|(now, _)| *now > generation).map(|_| ())
        });
    }

    /// All that the supervisor has said.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.said).lines.clone()
    }

    fn wait_until<T>(&self, what: &str, found: impl Fn(&Said) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut said = lock(&self.said);
        loop {
            if let Some(found) = found(&said) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!said.silent && !left.is_zero(), "not so: {what}; supervisor:\n{}", said.lines.join("\n"));
            said = self.said.1.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the services and the supervisor, as `systemctl stop` would.
    ///
    /// # Panics
    /// The supervisor does not end well.
    pub fn stop(mut self) {
        crate::enter::signal(&self.child, nix::sys::signal::Signal::SIGTERM);
        let status = self.child.wait().expect("waited");
        assert!(status.success(), "the supervisor ended with {status}:\n{}", self.lines().join("\n"));
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What it wrote ends with the host; the listener with that.
        drop(self.listener.take());
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Said> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(stderr: ChildStderr, shared: &Shared) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        lock(shared).hear(line);
        shared.1.notify_all();
    }
    lock(shared).silent = true;
    shared.1.notify_all();
}

impl Said {
    /// Lines are `NAME.service: ready, pid N` and `NAME.service: ended, pid N, HOW`.
    fn hear(&mut self, line: String) {
        if let Some((service, rest)) = line.split_once(".service: ") {
            if let Some(pid) = rest.strip_prefix("ready, pid ").and_then(|pid| pid.parse().ok()) {
                let entry = self.ready.entry(service.to_owned()).or_insert((0, pid));
                *entry = (entry.0 + 1, pid);
                self.ended.insert(service.to_owned(), false);
            } else if rest.starts_with("ended, ") {
                self.ended.insert(service.to_owned(), true);
            }
        }
        self.lines.push(line);
    }
}
