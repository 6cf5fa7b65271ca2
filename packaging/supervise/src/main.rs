//! `netengine-supervise` plays the service manager where systemd does not run, from the same unit files.
//!
//! It makes the places of `tmpfiles.d`, binds the `.socket` units, starts the `.service` units under their users with
//! the listening sockets passed on, restarts what ends, and keeps the sockets open meanwhile. Of a unit's sandbox it
//! applies users, capabilities, `NoNewPrivileges`, limits and umask; what else a unit asks for is named in the log.
//! A directive it has never heard of is an error: a typing mistake must not weaken a fence in silence.
#![deny(unsafe_code)]

mod accounts;
mod directive;
mod lifecycle;
mod places;
mod service;
mod session;
mod socket;
mod supervisor;
mod sys;
mod unit;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: netengine-supervise [--units DIR] [--bin-dir DIR] [--log-dir DIR] run|start|stop|status
  run     in the foreground; prints `ready` when every service is
  start   in the background; returns when every service is ready, or says why not; nothing to do when it runs
  stop    ends the services and the supervisor; what rootd holds (worlds) stays, as after `systemctl stop`
  status  one line per service; exit status 3 when not running
options
  --units DIR    unit files, with tmpfiles.d/ beside them (default: /usr/lib/systemd/system)
  --bin-dir DIR  where programs of /usr/lib/netengine and /usr/bin are looked up instead
  --log-dir DIR  one file per service (default: /var/log/netengine)";

/// Where things are.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Unit files, and `tmpfiles.d/`.
    pub units: PathBuf,
    /// Where ExecStart's programs are looked up; as written in the unit when absent.
    pub bin_dir: Option<PathBuf>,
    /// One file per service.
    pub log_dir: PathBuf,
}

fn main() -> ExitCode {
    match dispatch(std::env::args_os().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: Vec<OsString>) -> Result<ExitCode> {
    let (layout, verb, detach) = arguments(args)?;
    if verb != "status" && !nix::unistd::geteuid().is_root() {
        bail!("cannot {verb} services: only root may start programs as other users");
    }
    match verb.as_str() {
        "run" => supervisor::run(&layout, detach).map(|()| ExitCode::SUCCESS),
        "start" => session::start(&layout).map(|()| ExitCode::SUCCESS),
        "stop" => session::stop().map(|()| ExitCode::SUCCESS),
        "status" => Ok(if session::print_status()? { ExitCode::SUCCESS } else { ExitCode::from(3) }),
        other => bail!("unknown verb {other:?}\n{USAGE}"),
    }
}

fn arguments(args: Vec<OsString>) -> Result<(Layout, String, bool)> {
    let mut layout = Layout {
        units: PathBuf::from("/usr/lib/systemd/system"),
        bin_dir: None,
        log_dir: PathBuf::from("/var/log/netengine"),
    };
    let (mut verb, mut detach) = (None, false);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut directory = || -> Result<PathBuf> {
            let text = args.next().with_context(|| format!("{} needs a directory\n{USAGE}", arg.display()))?;
            std::path::absolute(&text).with_context(|| format!("cannot use directory {}", text.display()))
        };
        match arg.to_str() {
            Some("--units") => layout.units = directory()?,
            Some("--bin-dir") => layout.bin_dir = Some(directory()?),
            Some("--log-dir") => layout.log_dir = directory()?,
            Some("--detach") => detach = true,
            Some("--help" | "-h") => bail!("{USAGE}"),
            Some(word) if !word.starts_with('-') && verb.is_none() => verb = Some(word.to_owned()),
            _ => bail!("unknown argument {}\n{USAGE}", arg.display()),
        }
    }
    Ok((layout, verb.with_context(|| format!("no verb\n{USAGE}"))?, detach))
}
