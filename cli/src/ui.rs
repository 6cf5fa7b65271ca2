//! Where output goes: results on standard output, progress, remarks and errors on standard error.

use std::io::{self, IsTerminal, Write};

use netengine_proto::api::ProblemKind;
use serde::Serialize;

use crate::{
    args::{Color, Command, Format, Global},
    failure::Failure,
};

/// Exit code of a process whose reader went away (128 + SIGPIPE), as `head` and shells expect.
const READER_GONE: i32 = 141;

/// How this run talks to its user.
pub struct Ui {
    /// Results and errors are JSON.
    pub json: bool,
    /// No progress, no remarks.
    pub quiet: bool,
    /// Colour on standard output.
    pub color: bool,
    /// Standard error is a terminal that can show live progress.
    pub live: bool,
}

impl Ui {
    /// Decides from the options, the terminal and the environment.
    pub fn new(global: &Global, command: &Command) -> Self {
        let json = global.json || matches!(command, Command::Validate { format: Format::Json, .. });
        let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => !is_plain && io::stdout().is_terminal(),
        };
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let live = !json && !global.quiet && !is_dumb && io::stderr().is_terminal();
        Self { json, quiet: global.quiet, color: color && !json, live }
    }

    /// Writes a result for people; the caller has made foreign text safe.
    ///
    /// # Errors
    /// Class `failed` when standard output cannot be written. A reader that went away ends the process with 141.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        write_out(text.as_bytes())
    }

    /// Writes one JSON document, indented, exact.
    ///
    /// # Errors
    /// As [`Ui::print`].
    pub fn print_json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let mut text = serde_json::to_vec_pretty(value).map_err(|error| cannot_write(&error))?;
        text.push(b'\n');
        write_out(&text)
    }

    /// Writes one JSON value on one line.
    ///
    /// # Errors
    /// As [`Ui::print`].
    pub fn print_json_line<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let mut text = serde_json::to_vec(value).map_err(|error| cannot_write(&error))?;
        text.push(b'\n');
        write_out(&text)
    }

    /// A remark on standard error, unless quiet or JSON.
    pub fn remark(&self, text: &str) {
        if !self.quiet && !self.json {
            // Nothing is left to tell it to when standard error is closed.
            let _ = writeln!(io::stderr().lock(), "{}", crate::escape::block(text));
        }
    }

    /// Shows a failure on standard error.
    pub fn failure(&self, failure: &Failure) {
        print_failure(failure, self.json);
    }
}

/// Shows a failure on standard error: three lines, or one line of JSON.
pub fn print_failure(failure: &Failure, json: bool) {
    let text = if json { format!("{}\n", failure.json()) } else { failure.text() };
    // Nothing is left to tell it to when standard error is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(READER_GONE),
        Err(error) => Err(cannot_write(&error)),
    }
}

fn cannot_write(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(ProblemKind::Failed, "cannot write to standard output", error, "check where the output goes")
}
