//! The `netengine` command: a thin, unprivileged client.
//!
//! | module | what it does |
//! |---|---|
//! | `args` | the command line |
//! | `commands` | one file per command |
//! | `client`, `sse` | HTTP/1.1 and server-sent events over the daemon's Unix socket |
//! | `operation`, `progress` | follow an `up` or `down`, cancel it on Ctrl-C |
//! | `spec_file` | read a spec and its overlay, load them |
//! | `suite` | firewall suites: files, filter, the worker that judges |
//! | `exec` | the exec socket: terminal or pipes, signals, exit status |
//! | `failure`, `ui`, `escape`, `table` | what people and programs get to see |
//!
//! Commands that need no daemon start no runtime.

#![deny(unsafe_code)] // allowed in `exec::sys` only, each block with its reason

/// The firewall lab as a library: `Lab::connect` to the daemon, then `run_case` or `run_suite`, which tells of each event while the run is on.
pub mod lab {
    pub use crate::{failure::Failure, suite::daemon::Lab};
}

mod args;
mod client;
mod commands;
mod escape;
mod exec;
mod failure;
mod operation;
mod progress;
mod spec_file;
mod sse;
mod suite;
mod table;
mod ui;

use std::process::ExitCode;

use clap::{Parser, error::ErrorKind};
use netengine_proto::api::ProblemKind;

use crate::{args::Cli, failure::Failure, ui::Ui};

/// Runs the command line of this process and gives its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let ui = Ui::new(&cli.global, &cli.command);
    match commands::run(cli, &ui) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            ui.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Help and version go out as they are; a usage error becomes our three lines.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed pipe (`netengine --help | head -1`) is no error worth a message.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let (cause, help) = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        ("no command was given".to_owned(), "`netengine --help` lists the commands".to_owned())
    } else {
        explain(&error.render().to_string())
    };
    let failure = Failure::new(ProblemKind::Usage, "cannot understand the command line", cause, help);
    let wants_json = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    ui::print_failure(&failure, wants_json);
    ExitCode::from(failure.exit_code())
}

/// Cause and help from clap's text: `error: MESSAGE`, indented details, `  tip: ...`, and `Usage: ...`.
fn explain(text: &str) -> (String, String) {
    let (mut cause, mut help) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            help.push(tip.to_owned());
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            help.push(format!("usage: {usage}"));
        } else if !line.starts_with("For more information") {
            cause.push(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    if help.is_empty() {
        help.push("see `netengine --help`".to_owned());
    }
    (cause.join(" "), help.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_errors_tell_what_is_missing_and_the_usage() {
        let error = Cli::try_parse_from(["netengine", "up"]).expect_err("needs a spec");
        let (cause, help) = explain(&error.render().to_string());
        assert_eq!(cause, "the following required arguments were not provided: <SPEC>");
        assert_eq!(help, "usage: netengine up <SPEC>");
        let error = Cli::try_parse_from(["netengine", "statsu"]).expect_err("no such command");
        let (cause, help) = explain(&error.render().to_string());
        assert_eq!(cause, "unrecognized subcommand 'statsu'");
        assert!(help.starts_with("a similar subcommand exists: 'status'; usage: netengine"), "{help}");
    }
}
