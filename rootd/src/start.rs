//! How the processes come to be. The order matters and is this, for `netengine-rootd.service`:
//!
//! 1. take the listening sockets, read the notify socket's name, clear the environment;
//! 2. no core dumps, no ptrace;
//! 3. read the command line, resolve the accounts;
//! 4. close every descriptor that is not known;
//! 5. move into an empty network namespace: no process of rootd can even name a link of the host;
//! 6. make the socketpairs, hand one end to the spawn worker;
//! 7. fork the net, ns, watch and probe workers, each of which locks itself in before it reads its first request;
//! 8. become the broker: open the journal, drop every capability, lock in;
//! 9. find or start the holder, reconcile, tell the service manager "ready", serve.
//!
//! `netengine-spawn.service` runs the same binary as `--role spawn`: steps 1 to 5, then it locks itself in, tells "ready"
//! and serves one broker after the other. It is a unit of its own because what it starts inherits the unit's fences.
//! `netengine-lab.service` runs it as `--role lab`, the same way, and serves userd: what it starts may make user namespaces.
//! `netengine-uplink.service` runs it as `--role uplink`, without any capability: steps 1 to 4, then it serves brokers.
//!
//! No thread exists before step 9 in any of them, but for those of the probe worker, which it starts while it locks itself in.

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
    config::{Config, Role},
    sandbox,
    sys::{
        clone::{Forked, Into, exit_now, fork_into},
        fds, listen, netns, peer, process,
    },
    uplink,
    worker::{
        channel::{Channel, MESSAGE_BYTES},
        lab,
        message::SpawnRequest,
        net, ns, probe,
        probe_close::Closers,
        spawn, watch,
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

/// What the service manager gave us: listening sockets by name, and where to tell "ready".
struct Given {
    sockets: Vec<(String, OwnedFd)>,
    notify: Option<String>,
}

impl Given {
    fn take() -> io::Result<Self> {
        let given = Self { sockets: listen::sockets()?, notify: std::env::var("NOTIFY_SOCKET").ok() };
        process::clear_environment();
        Ok(given)
    }

    fn socket(&mut self, name: &str) -> Outcome<OwnedFd> {
        let place = self.sockets.iter().position(|(found, _)| found == name);
        let missing = || format!("the service manager did not pass the socket {name:?}: start its .socket unit");
        Ok(self.sockets.swap_remove(place.ok_or_else(missing)?).1)
    }

    fn ready(&self) -> io::Result<()> {
        self.notify.as_deref().map_or(Ok(()), notify)
    }
}

fn run() -> Outcome<ExitCode> {
    let given = Given::take()?;
    process::forbid_dump()?;
    let config = Config::from_arguments(std::env::args().skip(1))?;
    let known: Vec<_> = given.sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
    fds::close_others(&known);
    if config.role == Role::Uplink {
        return serve_uplinks(&config, given);
    }
    netns::unshare_net().map_err(|error| format!("cannot make a network namespace: {error}"))?;
    match config.role {
        Role::Root => {
            let sockets = start_workers(&config)?;
            become_broker(config, given, sockets)
        }
        Role::Spawn | Role::Uplink => serve_brokers(&config, given),
        Role::Lab => serve_sandboxes(&config, given),
    }
}

/// The uplink service: steps 1 to 4, then it serves where it was started, in the host's network namespace. It never had
/// a capability.
fn serve_uplinks(config: &Config, mut given: Given) -> Outcome<ExitCode> {
    let listener = given.socket("uplink")?;
    process::set_name(c"ne-rootd-uplink");
    sandbox::caps::keep(&[])?;
    process::no_new_privileges()?;
    given.ready()?;
    Ok(uplink::serve::run(&listener, &config.uplink)?)
}

fn start_workers(config: &Config) -> Outcome<Sockets> {
    let pair = || fds::pair(MESSAGE_BYTES);
    let ((net, net_end), (ns, ns_end), (spawn, spawn_end)) = (pair()?, pair()?, pair()?);
    let ((watch, watch_end), (probe, probe_end)) = (pair()?, pair()?);
    let spawn_socket = std::os::unix::net::UnixStream::connect(&config.spawn_socket)
        .map_err(|error| format!("cannot reach the spawn worker at {}: {error}", config.spawn_socket.display()))?;
    fds::send(&spawn_socket, &[1], &[spawn_end.as_fd()])?;
    drop(spawn_end);
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
    fork_worker(watch_end, |channel| {
        process::set_name(c"ne-rootd-watch");
        sandbox::lock_watch()?;
        Ok(watch::run(channel))
    })?;
    fork_worker(probe_end, |channel| {
        process::set_name(c"ne-rootd-probe");
        process::stay_on_this_processor()?;
        let closers = sandbox::lock_probe(Closers::start)?;
        Ok(probe::run(channel, &closers))
    })?;
    Ok(Sockets { net, ns, spawn, watch, probe })
}

/// The spawn worker: serves one broker until it is gone, then the next. Only rootd's own user is listened to.
fn serve_brokers(config: &Config, mut given: Given) -> Outcome<ExitCode> {
    let listener = given.socket("spawn")?;
    process::set_name(c"ne-rootd-spawn");
    process::reap_automatically()?;
    sandbox::lock_spawn()?;
    given.ready()?;
    let own = nix::unistd::Uid::effective().as_raw();
    loop {
        let connection = match fds::accept(&listener) {
            Ok(connection) => connection,
            Err(error) if error.raw_os_error() == Some(nix::libc::ECONNABORTED) => continue,
            Err(error) => return Err(error.into()),
        };
        if peer::credentials(&connection)?.uid != own {
            eprintln!("warning: a connection of another user was refused");
            continue;
        }
        if let Ok(received) = fds::recv(&connection, &mut [0u8; 1])
            && let Some(end) = received.fds.into_iter().next()
        {
            drop(connection);
            spawn::run(Channel::new(end), &config.site);
        }
    }
}

/// The lab role: a sandbox for each connection of userd.
fn serve_sandboxes(config: &Config, mut given: Given) -> Outcome<ExitCode> {
    let listener = given.socket("lab")?;
    let site = config.lab.as_ref().ok_or("the lab role was not told what to start")?;
    process::set_name(c"ne-rootd-lab");
    process::reap_automatically()?;
    sandbox::lock_lab()?;
    given.ready()?;
    Ok(lab::run(&listener, site)?)
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

fn become_broker(config: Config, mut given: Given, sockets: Sockets) -> Outcome<ExitCode> {
    let doors = Doors { root: given.socket("rootd")?, exec: given.socket("exec")? };
    let directory = config.run_directory.clone();
    let opened = Journal::open(&directory, netengine_proto::ids::InstanceId::from_bytes(random()))
        .map_err(|error| format!("cannot open the journal in {}: {error}", directory.display()))?;
    let level = sandbox::lock_broker(&directory)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The broker's own lines are bounded by kind; a library's, of which a peer can cause any number, are left out.
    let ours = tracing_subscriber::EnvFilter::new("off,netengine_rootd=info");
    tracing_subscriber::fmt().with_env_filter(ours).with_writer(io::stderr).with_ansi(false).without_time().init();
    tracing::info!(?level, "broker locked in");
    runtime.block_on(serve(config, &given, doors, sockets, opened))
}

struct Doors {
    root: OwnedFd,
    exec: OwnedFd,
}

async fn serve(config: Config, given: &Given, doors: Doors, sockets: Sockets, opened: Opened) -> Outcome<ExitCode> {
    let Opened { journal, records, damaged } = opened;
    if damaged > 0 {
        tracing::error!(damaged, "journal records were damaged and are skipped");
    }
    let workers = Workers::new(sockets)?;
    let found = holder::find(&config.run_directory)?;
    let holder = match found {
        Some(holder) => holder,
        None => {
            start_holder(&config, &workers).await?;
            holder::find(&config.run_directory)?.ok_or("the holder does not listen")?
        }
    };
    let kept = holder.list().await?;
    let broker = Arc::new(Broker::new(config, workers, holder, journal));
    broker.reconcile(records, kept).await?;
    tokio::spawn(watch_worlds(broker.clone()));
    tokio::spawn(broker.clone().keep_to_allowance());
    tokio::spawn(accept::serve(broker.clone(), accept::listener(doors.root)?, Door::Root));
    tokio::spawn(accept::serve(broker.clone(), accept::listener(doors.exec)?, Door::Exec));
    given.ready()?;
    tracing::info!(instance = %broker.instance, "serving");
    attend(&broker).await
}

/// Looks at each world of which the watch worker hears something.
async fn watch_worlds(broker: Arc<Broker>) {
    loop {
        for id in broker.workers.watch.changed().await {
            match broker.find_world(id) {
                Some(world) => {
                    let broker = broker.clone();
                    tokio::spawn(async move { broker.look_at_changes(&world).await });
                }
                None => broker.workers.watch.begin_look(id),
            }
        }
    }
}

/// Starts a holder, the first or one in place of a dead one; who connects is up to the caller.
async fn start_holder(config: &Config, workers: &Workers) -> Outcome<()> {
    let listener = holder::listener(&config.run_directory)?;
    workers.spawn(&SpawnRequest::Holder, &[listener.as_fd()]).await?;
    Ok(())
}

/// Until the service manager says stop, or a worker is gone. A lost holder is replaced and given everything anew.
async fn attend(broker: &Arc<Broker>) -> Outcome<ExitCode> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = broker.workers.gone.notified() => {
                tracing::error!("a worker is gone; all start anew");
                // Or all are being stopped, and the spawn service was first.
                leave(broker).await;
                return Ok(ExitCode::FAILURE);
            }
            () = broker.holder.closed() => {
                tracing::error!("the holder is gone; starting another");
                start_holder(&broker.config, &broker.workers).await?;
                broker.holder.reconnect().await?;
                broker.hold_everything().await?;
            }
        }
    }
    leave(broker).await;
    Ok(ExitCode::SUCCESS)
}

/// A holder that keeps nothing goes too; one that keeps worlds stays for the next start.
async fn leave(broker: &Broker) {
    if let Err(error) = broker.holder.quit().await {
        tracing::warn!(%error, "the holder did not hear that we leave");
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
