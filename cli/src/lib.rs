//! The `netengine` command: a thin, unprivileged client.
//!
//! | module | what it does |
//! |---|---|
//! | `args` | the command line |
//! | `commands` | one file per command |
//! | `client`, `sse` | HTTP/1.1 and server-sent events over the daemon's Unix socket |
//! | `operation`, `progress` | follow an `up` or `down`, cancel it on Ctrl-C |
//! | `spec_file` | read a spec and its overlay, load them |
//! | `exec` | the exec socket: terminal or pipes, signals, exit status |
//! | `failure`, `ui`, `escape`, `table` | what people and programs get to see |
//!
//! Commands that need no daemon start no runtime.

#![deny(unsafe_code)] // allowed in `exec::sys` only, each block with its reason

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

/// Help and version go out as they are; a usage error keeps clap's text and gets our three lines below it.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed pipe (`netengine --help | head -1`) is no error worth a message.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let (what, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let what = what.strip_prefix("error: ").unwrap_or(what).to_owned();
    let wants_json = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    let cause = rest.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let cause = if cause.is_empty() { what.clone() } else { cause };
    let failure = Failure::new(ProblemKind::Usage, what, cause, "see `netengine --help`");
    ui::print_failure(&failure, wants_json);
    ExitCode::from(failure.exit_code())
}
