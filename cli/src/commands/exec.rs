//! `netengine exec`: asks userd for a ticket, then runs the command over `exec.sock`.

use std::{ffi::OsString, io::IsTerminal, path::PathBuf};

use netengine_proto::{
    api::{ExecGrant, ExecGrantRequest, ProblemKind},
    ids::Ticket,
    names::HostName,
};

use super::block_on;
use crate::{
    client::Client,
    exec::{self, Run},
    failure::Failure,
};

/// What was asked for.
pub struct Options {
    /// `WORLD`, `WORLD/HOST`, or `/HOST` of the only world.
    pub target: Option<String>,
    /// A terminal in any case.
    pub tty: bool,
    /// Pipes in any case.
    pub no_tty: bool,
    /// The exec socket.
    pub exec_socket: Option<PathBuf>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Runs the command and gives its status.
///
/// # Errors
/// Before the command runs: 1 to 4 as everywhere, 126 when it cannot be executed, 127 when it is not found.
pub fn run(client: &Client, options: &Options) -> Result<u8, Failure> {
    let (world, host) = parse_target(options.target.as_deref())?;
    let socket = socket(options.exec_socket.clone());
    let wants_terminal =
        options.tty || (!options.no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal());
    let grant = block_on(async {
        let world = client.world(world).await?;
        let request = ExecGrantRequest { host: host.map(|host| host.to_string()) };
        client.post::<ExecGrant>(&format!("/worlds/{world}/exec"), &request).await
    })??;
    let ticket = Ticket::parse(&grant.ticket).map_err(|error| {
        Failure::new(
            ProblemKind::Engine,
            "cannot use the daemon's ticket",
            format!("it {error}"),
            "see `netengine doctor`",
        )
    })?;
    exec::run(&Run { socket, ticket, command: &options.command, wants_terminal })
}

/// The exec socket: the option, the environment, or where the service manager makes it.
pub fn socket(option: Option<PathBuf>) -> PathBuf {
    let from_environment = std::env::var_os("NETENGINE_EXEC_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
    option.or(from_environment).unwrap_or_else(|| "/run/netengine/exec.sock".into())
}

/// Splits `WORLD[/HOST]`; an empty world means the only one.
fn parse_target(target: Option<&str>) -> Result<(Option<&str>, Option<HostName>), Failure> {
    let Some(target) = target else { return Ok((None, None)) };
    let (world, host) = match target.split_once('/') {
        Some((world, host)) => (world, Some(host)),
        None => (target, None),
    };
    let host = host.map(HostName::parse).transpose().map_err(|error| {
        let what = format!("cannot use {target:?} as WORLD/HOST");
        Failure::new(ProblemKind::Usage, what, format!("the host {error}"), "`netengine status` shows the hosts")
    })?;
    Ok(((!world.is_empty()).then_some(world), host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_world_and_host() {
        let parse = |text| parse_target(Some(text)).map(|(world, host)| (world, host.map(|host| host.to_string())));
        assert_eq!(parse("blue"), Ok((Some("blue"), None)));
        assert_eq!(parse("blue/platform-2"), Ok((Some("blue"), Some("platform-2".into()))));
        assert_eq!(parse("/core"), Ok((None, Some("core".into()))));
        for bad in ["blue/", "blue/a/b", "blue/..", "blue/\u{1b}"] {
            assert_eq!(parse(bad).expect_err("refused").exit_code(), 2, "{bad:?}");
        }
    }
}
