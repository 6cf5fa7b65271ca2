//! One file per command. Each gives the exit code of a run that did what was asked.

mod completions;
mod credentials;
mod diagnose;
mod doctor;
mod down;
mod drift;
mod events;
mod exec;
mod init;
mod list;
mod logs;
mod man;
mod pki;
mod plan;
mod prove;
mod schema;
mod status;
mod test;
mod up;
mod validate;

use std::future::Future;

use netengine_proto::api::{ProblemKind, UpRequest};

use crate::{
    args::{Cli, Command, Global},
    client::Client,
    failure::Failure,
    suite::engine,
    ui::Ui,
};

/// Has the daemon judge rulesets where it can be reached.
fn choose_engine(ui: &Ui, global: &Global) -> Result<(), Failure> {
    let client = Client::new(global)?;
    let is_given = client.is_given();
    engine::choose(ui, &engine::Place { socket: client.socket(), is_given })
}

/// Runs one command.
///
/// # Errors
/// A [`Failure`] with its exit code.
pub fn run(cli: Cli, ui: &Ui) -> Result<u8, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::Validate { spec, .. } if validate::is_ruleset(&spec) => {
            choose_engine(ui, global)?;
            validate::ruleset::run(ui, &spec)
        }
        Command::Validate { spec, explain, .. } => validate::run(ui, &spec, explain),
        Command::Test(options) => {
            if !options.rootless {
                choose_engine(ui, global)?;
            }
            test::run(ui, &options)
        }
        Command::Init { file } => init::run(ui, &file),
        Command::Schema => schema::run(ui),
        Command::Completions { shell } => completions::run(ui, shell),
        Command::Man { dir } => man::run(ui, dir.as_deref()),
        Command::Up { spec, up_to, dry_run, timeout, no_heal, prove } => {
            let request = UpRequest { no_heal: Some(no_heal), ..up::request(ui, &spec, up_to, timeout)? };
            let client = Client::new(global)?;
            if dry_run {
                block_on(plan::run(ui, &client, &request))?.map(|_| 0)
            } else {
                block_on(up::run(ui, &client, &request, prove))?
            }
        }
        Command::Plan { spec } => {
            let request = up::request(ui, &spec, None, None)?;
            block_on(plan::run(ui, &Client::new(global)?, &request))?
        }
        Command::Down { world, dry_run, yes, confirm } => {
            let options = down::Options { world, dry_run, yes, confirm };
            block_on(down::run(ui, &Client::new(global)?, &options))?
        }
        Command::Status { world } => block_on(status::run(ui, &Client::new(global)?, world.as_deref()))?,
        Command::List => block_on(list::run(ui, &Client::new(global)?))?,
        Command::Doctor => block_on(doctor::run(ui, &Client::new(global)?))?,
        Command::Events { world, follow, after } => {
            block_on(events::run(ui, &Client::new(global)?, world.as_deref(), follow, after))?
        }
        Command::Logs { world, service, lines, follow } => {
            let query = logs::Query { world, service, lines };
            block_on(logs::run(ui, &Client::new(global)?, &query, follow))?
        }
        Command::Pki { command } => block_on(pki::run(ui, &Client::new(global)?, command))?,
        Command::Credentials { world, kind, name } => {
            let query = credentials::Query { world, kind, name };
            block_on(credentials::run(ui, &Client::new(global)?, &query))?
        }
        Command::Prove { world, junit, pcap } => {
            let options = prove::Options { world, junit, pcap };
            block_on(prove::run(ui, &Client::new(global)?, &options))?
        }
        Command::Diagnose { world } => block_on(diagnose::run(ui, &Client::new(global)?, world.as_deref()))?,
        Command::Drift { world, follow } => block_on(drift::run(ui, &Client::new(global)?, world.as_deref(), follow))?,
        Command::Exec { target, tty, no_tty, exec_socket, command } => {
            let options = exec::Options { target, tty, no_tty, exec_socket, command };
            exec::run(&Client::new(global)?, &options)
        }
    }
}

/// Runs a future on a runtime of this thread; only commands that talk to the daemon pay for one.
fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(ProblemKind::Failed, "cannot start", error, "raise the limit of open files of this session")
    })?;
    Ok(runtime.block_on(future))
}

/// Milliseconds for people: `41 ms`, `2.5 s`.
fn duration(millis: u64) -> String {
    if millis < 10_000 { format!("{millis} ms") } else { format!("{}.{} s", millis / 1000, millis % 1000 / 100) }
}

/// `1 change`, `2 changes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
