//! How the processes come to be. The order matters and is this:
//!
//! 1. take the listening sockets, read the notify socket's name, clear the environment;
//! 2. no core dumps, no ptrace;
//! 3. read the command line, resolve the accounts;
//! 4. close every descriptor that is not known;
//! 5. move into an empty network namespace: no process of rootd can even name a link of the host;
//! 6. make the socketpairs;
//! 7. fork the net, ns and spawn workers, each of which locks itself in before it reads its first request;
//! 8. become the broker: open the journal, find or start the holder, drop every capability, lock in;
//! 9. reconcile, tell the service manager "ready", serve.
//!
//! No thread exists before step 9 in any of them.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    sync::Arc,
};

use nix::mount::{MsFlags, mount};

use crate::{
    broker::{
        accept::{self, Door},
        holder,
        journal::{Journal, Opened},
        state::{Broker, random},
        workers::{Sockets, Workers},
    },
    config::Config,
    sandbox,
    sys::{
        clone::{Forked, Into, exit_now, fork_into},
        fds, listen, netns, process,
    },
    worker::{
        channel::{Channel, MESSAGE_BYTES},
        message::SpawnRequest,
        net, ns, spawn,
    },
};

/// What may go wrong before rootd serves. Everything is told to root, in the log.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The program.
pub fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: cannot start netengine-rootd\n  cause: {error}\n  help:  see netengine-rootd(8)");
            ExitCode::FAILURE
        }
    }
}

/// What the service manager gave us.
struct Given {
    root: OwnedFd,
    exec: OwnedFd,
    notify: Option<String>,
}

fn run() -> Outcome<ExitCode> {
    let given = take_environment()?;
    process::forbid_dump()?;
    let config = Config::from_arguments(std::env::args().skip(1))?;
    fds::close_others(&[given.root.as_fd(), given.exec.as_fd()]);
    netns::unshare_net().map_err(|error| format!("cannot make a network namespace: {error}"))?;
    let sockets = fork_workers(&config)?;
    become_broker(config, given, sockets)
}

fn take_environment() -> Outcome<Given> {
    let (mut root, mut exec) = (None, None);
    for (name, socket) in listen::sockets()? {
        match name.as_str() {
            "rootd" => root = Some(socket),
            "exec" => exec = Some(socket),
            other => return Err(format!("the service manager passed an unknown socket {other:?}").into()),
        }
    }
    let notify = std::env::var("NOTIFY_SOCKET").ok();
    process::clear_environment();
    let missing = |name| format!("the service manager did not pass the socket {name:?}: start the .socket unit");
    Ok(Given { root: root.ok_or_else(|| missing("rootd"))?, exec: exec.ok_or_else(|| missing("exec"))?, notify })
}

fn fork_workers(config: &Config) -> Outcome<Sockets> {
    let pair = || fds::pair(MESSAGE_BYTES);
    let ((net, net_end), (ns, ns_end), (spawn, spawn_end)) = (pair()?, pair()?, pair()?);
    fork_worker(net_end, |channel| {
        process::set_name(c"ne-rootd-net");
        sandbox::lock_net()?;
        Ok(net::run(channel))
    })?;
    fork_worker(ns_end, |channel| {
        process::set_name(c"ne-rootd-ns");
        let places = ns_places()?;
        sandbox::lock_ns(&places.settings)?;
        Ok(ns::run(channel, &places))
    })?;
    let site = config.site.clone();
    fork_worker(spawn_end, move |channel| {
        process::set_name(c"ne-rootd-spawn");
        sandbox::lock_spawn()?;
        Ok(spawn::run(channel, &site))
    })?;
    Ok(Sockets { net, ns, spawn })
}

fn fork_worker(end: OwnedFd, work: impl FnOnce(Channel) -> io::Result<ExitCode>) -> io::Result<()> {
    if let Forked::Parent(_) = fork_into(Into::Same)? {
        return Ok(());
    }
    fds::close_others(&[end.as_fd()]);
    let code = match work(Channel::new(end)) {
        Ok(code) => i32::from(code != ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("error: cannot start a worker\n  cause: {error}\n  help:  see netengine-rootd(8)");
            1
        }
    };
    exit_now(code)
}

/// The ns worker sees a /proc of its own, because the unit's may be read-only or show processes alone.
fn ns_places() -> io::Result<ns::Places> {
    const NONE: Option<&str> = None;
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), quiet, NONE)?;
    let home = std::fs::File::open("/proc/self/ns/net")?;
    let settings = std::fs::File::open("/proc/sys/net")?;
    Ok(ns::Places { home: home.into(), settings: settings.into() })
}

fn become_broker(config: Config, given: Given, sockets: Sockets) -> Outcome<ExitCode> {
    let directory = config.run_directory.clone();
    let opened = Journal::open(&directory, netengine_proto::ids::InstanceId::from_bytes(random()))
        .map_err(|error| format!("cannot open the journal in {}: {error}", directory.display()))?;
    let level = sandbox::lock_broker(&directory)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).without_time().init();
    tracing::info!(?level, "broker locked in");
    runtime.block_on(serve(config, given, sockets, opened))
}

async fn serve(config: Config, given: Given, sockets: Sockets, opened: Opened) -> Outcome<ExitCode> {
    let Opened { journal, records, damaged } = opened;
    if damaged > 0 {
        tracing::error!(damaged, "journal records were damaged and are skipped");
    }
    let workers = Workers::new(sockets)?;
    let found = holder::find(&config.run_directory)?;
    let holder = match found {
        Some(holder) => holder,
        None => start_holder(&config, &workers).await?,
    };
    let kept = holder.list().await?;
    let broker = Arc::new(Broker::new(config, workers, holder, journal));
    broker.reconcile(records, kept).await?;
    tokio::spawn(accept::serve(broker.clone(), accept::listener(given.root)?, Door::Root));
    tokio::spawn(accept::serve(broker.clone(), accept::listener(given.exec)?, Door::Exec));
    if let Some(path) = given.notify {
        notify(&path)?;
    }
    tracing::info!(instance = %broker.instance, "serving");
    attend(&broker).await
}

async fn start_holder(config: &Config, workers: &Workers) -> Outcome<holder::Holder> {
    let listener = holder::listener(&config.run_directory)?;
    workers.spawn(&SpawnRequest::Holder, &[listener.as_fd()]).await?;
    drop(listener);
    Ok(holder::find(&config.run_directory)?.ok_or("the holder does not listen")?)
}

/// Until the service manager says stop, or a worker is gone. A lost holder is replaced and given everything anew.
async fn attend(broker: &Arc<Broker>) -> Outcome<ExitCode> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            () = broker.workers.gone.notified() => {
                tracing::error!("a worker is gone; all start anew");
                return Ok(ExitCode::FAILURE);
            }
            () = broker.holder.closed() => {
                tracing::error!("the holder is gone; starting another");
                let listener = holder::listener(&broker.config.run_directory)?;
                broker.workers.spawn(&SpawnRequest::Holder, &[listener.as_fd()]).await?;
                drop(listener);
                broker.holder.reconnect().await?;
                broker.hold_everything().await?;
            }
        }
    }
}

/// Tells the service manager that we serve (sd_notify(3)).
fn notify(path: &str) -> io::Result<()> {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}
