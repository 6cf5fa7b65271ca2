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

/// How a line of commands ended.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    /// From before the first started until the last had ended.
    nanos: u64,
    commands: Vec<Ended>,
}

/// How one command ended.
#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The far end: per line of input command lines of `netengine`, which run at the same time; per line of output how they
/// ended.
///
/// # Errors
/// A command cannot be started.
pub fn serve() -> Result<()> {
    for line in std::io::stdin().lines() {
        let commands: Vec<Vec<String>> = serde_json::from_str(&line?)?;
        let start = Instant::now();
        let mut running = Vec::new();
        for arguments in commands {
            let mut command = Command::new(format!("{BIN}/netengine"));
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            running.push(command.spawn().context("cannot start netengine")?);
        }
        let ended: Vec<_> = running.into_iter().map(Child::wait_with_output).collect::<Result<_, _>>()?;
        let nanos = u64::try_from(start.elapsed().as_nanos())?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let commands = ended.into_iter().map(|output| Ended {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        });
        println!("{}", serde_json::to_string(&Done { nanos, commands: commands.collect() })?);
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
        self.together(&[arguments]).map(|(taken, _)| taken)
    }

    /// Runs `netengine ARGUMENTS`; what it wrote to standard output.
    ///
    /// # Errors
    /// It exits with anything but 0.
    pub fn ask(&mut self, arguments: &[&str]) -> Result<String> {
        let (_, mut outputs) = self.together(&[arguments])?;
        outputs.pop().context("one command, one output")
    }

    /// Starts several commands at the same moment; the time until the last has ended, and what each wrote to standard output.
    ///
    /// # Errors
    /// One exits with anything but 0.
    pub fn together(&mut self, commands: &[&[&str]]) -> Result<(Duration, Vec<String>)> {
        let orders = self.orders.as_mut().context("at work")?;
        writeln!(orders, "{}", serde_json::to_string(commands)?)?;
        let mut line = String::new();
        self.results.read_line(&mut line)?;
        let done: Done = serde_json::from_str(&line).context("the user inside has ended")?;
        for (arguments, ended) in commands.iter().zip(&done.commands) {
            let Ended { code, out, err } = ended;
            ensure!(*code == Some(0), "netengine {arguments:?} ended with {code:?}:\n{out}{err}");
        }
        Ok((Duration::from_nanos(done.nanos), done.commands.into_iter().map(|ended| ended.out).collect()))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}
