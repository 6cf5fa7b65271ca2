//! A user at work inside a test host: starts commands there and times them, so that entering the host is not counted.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use netengine_tests::{BIN, Host, Person};
use serde::{Deserialize, Serialize};

/// The argument that makes this program the far end.
pub const INSIDE: &str = "--inside";

#[derive(Debug, Serialize, Deserialize)]
struct Done {
    nanos: u64,
    code: Option<i32>,
    output: String,
}

/// The far end: one command line of `netengine` per line of input, one result per line of output.
///
/// # Errors
/// A command cannot be started.
pub fn serve() -> Result<()> {
    for line in std::io::stdin().lines() {
        let arguments: Vec<String> = serde_json::from_str(&line?)?;
        let mut command = Command::new(format!("{BIN}/netengine"));
        command.args(arguments).stdin(Stdio::null());
        let start = Instant::now();
        let output = command.output().context("cannot start netengine")?;
        let nanos = u64::try_from(start.elapsed().as_nanos())?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let done = Done { nanos, code: output.status.code(), output: text.into_owned() };
        println!("{}", serde_json::to_string(&done)?);
    }
    Ok(())
}

/// A user inside a host.
pub struct User {
    child: Child,
    orders: Option<ChildStdin>,
    results: BufReader<ChildStdout>,
}

impl User {
    /// Puts a user into a host.
    ///
    /// # Errors
    /// This program is not beside the others.
    pub fn new(host: &Host, person: Person) -> Result<Self> {
        let mut command = host.command(person, &format!("{BIN}/netengine-bench"));
        let mut child = command.arg(INSIDE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take();
        let results = BufReader::new(child.stdout.take().context("piped")?);
        Ok(Self { child, orders, results })
    }

    /// Runs `netengine ARGUMENTS` from start to exit; the time it took.
    ///
    /// # Errors
    /// It exits with anything but 0.
    pub fn run(&mut self, arguments: &[&str]) -> Result<Duration> {
        let orders = self.orders.as_mut().context("at work")?;
        writeln!(orders, "{}", serde_json::to_string(arguments)?)?;
        let mut line = String::new();
        self.results.read_line(&mut line)?;
        let done: Done = serde_json::from_str(&line).context("the user inside has ended")?;
        ensure!(done.code == Some(0), "netengine {arguments:?} ended with {:?}:\n{}", done.code, done.output);
        Ok(Duration::from_nanos(done.nanos))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
