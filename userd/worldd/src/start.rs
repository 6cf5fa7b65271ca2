//! From exec to serving, and the end. The order is the security argument; the code below follows it.
//!
//! 1. The environment is empty: with any variable set the program executes itself once more with none, so no library
//!    is steered and `/proc/self/environ` shows nothing.
//! 2. No core file and not dumpable: no other process of our uid can read our memory (prctl(2), PR_SET_DUMPABLE). And
//!    as many descriptors as the hard limit allows: every address of a service is a socket.
//! 3. Enter the world's directory; from here on every path is a plain name in it.
//! 4. Bind the control socket. Connections wait in its queue until step 8. A router's services find out whether standard
//!    input is the raw ICMPv6 socket that rootd opened for them; nothing else is inherited.
//! 5. Open the log. Failures so far go to standard error, later ones to the log.
//! 6. Landlock: only that directory, and the data directory where there is one.
//! 7. seccomp: only the system calls on the list.
//! 8. One runtime on one thread, with a thread for each database and two for hashes: serve until `Stop`, SIGTERM or SIGINT; then close all sockets, remove the control
//!    socket and exit with status 0.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::ExitCode,
};

use anyhow::Context;
use nix::sys::{
    prctl,
    resource::{Resource, getrlimit, setrlimit},
};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::LocalSet,
};
use tracing::{error, info};

use crate::{
    arguments::{Arguments, Role},
    control::{self, Connections, Desk},
    landlock, log, prober, seccomp,
    services::{self, Services, advert},
    socket,
};

/// Threads for what would keep others waiting: password hashes, one at a time for each provider, and keys.
const BLOCKING_THREADS: usize = 2;

/// Runs the program; the exit status is 0 after a graceful end, 1 after a failure, 2 for a bad command line.
pub fn main() -> ExitCode {
    if let Err(error) = without_environment() {
        return fail(1, &error);
    }
    let arguments = match Arguments::parse(std::env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => return fail(2, &error.into()),
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            fail(1, &error)
        }
    }
}

fn fail(status: u8, error: &anyhow::Error) -> ExitCode {
    eprintln!("netengine-worldd: {error:#}");
    ExitCode::from(status)
}

/// Step 1. Removing variables in place would leave them readable on the stack, and is unsafe; a second exec is neither.
fn without_environment() -> anyhow::Result<()> {
    if std::env::vars_os().next().is_none() {
        return Ok(());
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let (name, rest) = arguments.split_first().context("cannot start: no program name was given")?;
    let error = std::process::Command::new("/proc/self/exe").arg0(name).args(rest).env_clear().exec();
    Err(error).context("cannot empty the environment")
}

/// Steps 2 to 8.
fn run(arguments: Arguments) -> anyhow::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("cannot forbid core files")?;
    prctl::set_dumpable(false).context("cannot forbid dumps")?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the descriptor limit")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the descriptor limit")?;

    std::env::set_current_dir(&arguments.dir).with_context(|| format!("cannot enter {}", arguments.dir.display()))?;
    let listener = socket::create(&arguments.control)?;
    let is_gateway = arguments.role == Role::Gateway;
    let solicitations =
        if is_gateway { advert::inherited().context("cannot prepare the raw ICMPv6 socket")? } else { None };
    if let Some(data) = &arguments.data {
        std::fs::read_dir(data).with_context(|| format!("cannot use the data directory {}", data.display()))?;
    }
    let rotates = arguments.role == Role::Worldd;
    log::init(log::BoundedFile::open(rotates)?, arguments.role.name());
    let landlock = landlock::restrict_to(arguments.data.as_deref())?;
    seccomp::restrict()?;
    info!("release {}, world {}; {landlock}; seccomp on", env!("CARGO_PKG_VERSION"), arguments.world);

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot start the runtime")?;
    let name = arguments.control.clone();
    let served = LocalSet::new().block_on(&runtime, serve(arguments, listener, solicitations));
    socket::delete(&name).context("cannot remove the control socket")?;
    served
}

/// Step 8.
async fn serve(
    arguments: Arguments,
    listener: std::os::unix::net::UnixListener,
    solicitations: Option<OwnedFd>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let listener = UnixListener::from_std(listener).context("cannot use the control socket")?;

    let (jobs, queue) = mpsc::channel(services::QUEUE);
    let (stop, mut stopped) = watch::channel(false);
    let (connections, counts) = Connections::new();
    let is_prober = matches!(arguments.role, Role::Prober(_));
    let services = match &arguments.role {
        Role::Gateway => Services::gateway(solicitations).context("cannot use the raw ICMPv6 socket")?,
        _ => Services::world(arguments.data),
    };
    let desk = Desk { role: arguments.role, services: jobs, stop };
    let converse = move |stream| control::converse(stream, desk.clone());
    let owner = tokio::task::spawn_local(services.own(queue));

    let ended: io::Result<&str> = tokio::select! {
        failed = control::accept_all(listener, arguments.peer, connections, converse) => failed.map(|()| "the control socket was closed"),
        _ = stopped.wait_for(|stop| *stop) => Ok("stopped by userd"),
        _ = terminate.recv() => Ok("stopped by SIGTERM"),
        _ = interrupt.recv() => Ok("stopped by SIGINT"),
        () = prober::until_useless(counts), if is_prober => Ok("no longer used"),
    };
    // The connections, and with them every sender to the owner, are gone: it closes its sockets and ends.
    owner.await.context("cannot end the services in order")?;
    info!("{}", ended.as_ref().unwrap_or(&"the control socket has failed"));
    ended.map(drop).context("cannot accept control connections")
}
