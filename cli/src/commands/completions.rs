//! `netengine completions`.

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use serde_json::json;

use crate::{args::Cli, failure::Failure, ui::Ui};

/// Prints the completions of a shell; with `--json` as `{"shell", "script"}`.
///
/// # Errors
/// Only when standard output cannot be written.
pub fn run(ui: &Ui, shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "netengine", &mut script);
    let script = String::from_utf8_lossy(&script);
    if ui.json {
        ui.print_json(&json!({ "shell": shell.to_string(), "script": script }))?;
    } else {
        ui.print(&script)?;
    }
    Ok(0)
}
