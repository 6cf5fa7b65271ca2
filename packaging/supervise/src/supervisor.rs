//! The supervisor's loop: one thread, one poll(2), until a signal ends it.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    os::{
        fd::AsFd,
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Gid, Pid, Uid, chown, getgrouplist},
};

use crate::{
    Layout, accounts, directive,
    lifecycle::{Lifecycle, State},
    places,
    service::Service,
    session::{self, Session},
    socket::{Bound, SocketUnit},
    sys::{self, Program},
    unit::Unit,
};

/// A service's log is set aside as `NAME.log.1` when it is longer than this at a start of the service.
const LOG_BYTES: u64 = 8 << 20;
/// What a service finds its programs by (systemd.exec(5)).
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A service with its process, its notification socket and who it runs as.
struct Running {
    service: Service,
    life: Lifecycle<Pid>,
    notify: UnixDatagram,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    environment: Vec<String>,
    log: PathBuf,
}

/// Runs every service of the units until SIGTERM or SIGINT. Prints `ready` once, when all are.
///
/// # Errors
/// A unit is wrong, a user, group, place or socket cannot be had, or a service does not become ready at the first try.
pub fn run(layout: &Layout, detach: bool) -> Result<()> {
    if detach {
        nix::unistd::setsid().context("cannot leave the session")?;
    }
    let session = Session::begin()?;
    let (services, sockets) = read_units(layout)?;
    for place in places::read(&layout.units.join("tmpfiles.d"))? {
        place.make()?;
    }
    fs::create_dir_all(&layout.log_dir).context("cannot make the log directory")?;
    let sockets = sockets.iter().map(SocketUnit::bind).collect::<Result<Vec<_>>>()?;
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot block signals")?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let running = services.into_iter().map(|service| Running::prepare(service, layout)).collect::<Result<Vec<_>>>()?;
    let mut supervisor = Supervisor { sockets, signals, running, announced: false, ending: false, session };
    let outcome = supervisor.supervise();
    supervisor.clean_up();
    outcome
}

fn read_units(layout: &Layout) -> Result<(Vec<Service>, Vec<SocketUnit>)> {
    let mut files = fs::read_dir(&layout.units)
        .with_context(|| format!("cannot read units in {}", layout.units.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"netengine-")));
    files.sort();
    let (mut services, mut sockets) = (Vec::new(), Vec::new());
    for path in files {
        let kind = path.extension().and_then(|extension| extension.to_str());
        if !matches!(kind, Some("service" | "socket")) {
            continue;
        }
        let unit = Unit::read(&path)?;
        let not_applied = directive::check(&unit)?;
        if !not_applied.is_empty() {
            say(&unit.name, &format!("not applied without systemd: {}", not_applied.join(" ")));
        }
        if kind == Some("service") {
            services.push(Service::from_unit(&unit, layout.bin_dir.as_deref())?);
        } else {
            sockets.push(SocketUnit::from_unit(&unit)?);
        }
    }
    for service in &services {
        for wanted in &service.sockets {
            if !sockets.iter().any(|socket| socket.name == *wanted && socket.service == service.name) {
                bail!("{}: Sockets={wanted} does not name a socket unit of this service", service.name);
            }
        }
    }
    if services.is_empty() {
        bail!("cannot find a service unit in {}", layout.units.display());
    }
    Ok((services, sockets))
}

fn say(name: &str, text: &str) {
    let _ = writeln!(std::io::stderr(), "{name}: {text}"); // nobody may be reading any more
}

impl Running {
    fn prepare(service: Service, layout: &Layout) -> Result<Self> {
        let name = service.user.clone().unwrap_or_else(|| "root".into());
        let user = accounts::user(&name).with_context(|| format!("cannot start {}", service.name))?;
        let gid = service.group.as_deref().map_or(Ok(user.gid), accounts::group)?;
        let mut groups = getgrouplist(&CString::new(name.as_str())?, gid).context("cannot list groups")?;
        for group in &service.supplementary {
            groups.push(accounts::group(group)?);
        }
        let stem = service.name.trim_end_matches(".service");
        let notify_path = Path::new(session::DIRECTORY).join(format!("{stem}.notify"));
        let _ = fs::remove_file(&notify_path); // left by a killed supervisor; the directory is root's
        let notify = UnixDatagram::bind(&notify_path).context("cannot make the notification socket")?;
        fs::set_permissions(&notify_path, fs::Permissions::from_mode(0o600))?;
        chown(&notify_path, Some(user.uid), None)?;
        notify.set_nonblocking(true)?;
        let mut environment = vec![
            PATH.to_owned(),
            format!("HOME={}", user.dir.display()),
            format!("USER={name}"),
            format!("LOGNAME={name}"),
            format!("NOTIFY_SOCKET={}", notify_path.display()),
        ];
        for (variable, base, directories) in
            [("RUNTIME_DIRECTORY", "/run", &service.runtime), ("STATE_DIRECTORY", "/var/lib", &service.state)]
        {
            let paths = places::make_all(base, directories, user.uid, gid)?;
            if !paths.is_empty() {
                environment.push(format!("{variable}={paths}"));
            }
        }
        environment.extend(service.environment.iter().map(|(name, value)| format!("{name}={value}")));
        let log = layout.log_dir.join(format!("{stem}.log"));
        let life = Lifecycle::new(service.restart_pause, service.restarts);
        Ok(Self { service, life, notify, uid: user.uid, gid, groups, environment, log })
    }

    fn start(&mut self, sockets: &[Bound]) -> Result<Pid> {
        self.drain(); // what a former process said does not count for this one
        let passed: Vec<&Bound> = self
            .service
            .sockets
            .iter()
            .filter_map(|name| sockets.iter().find(|socket| socket.unit.name == *name))
            .collect();
        let mut environment = self.environment.clone();
        if !passed.is_empty() {
            let names: Vec<&str> = passed.iter().map(|socket| socket.unit.fd_name.as_str()).collect();
            environment.push(format!("LISTEN_FDS={}", passed.len()));
            environment.push(format!("LISTEN_FDNAMES={}", names.join(":")));
        }
        let strings = |words: &[String]| {
            words.iter().map(|word| CString::new(word.as_str())).collect::<Result<Vec<_>, _>>().context("NUL in a word")
        };
        if fs::metadata(&self.log).is_ok_and(|log| log.len() > LOG_BYTES) {
            fs::rename(&self.log, self.log.with_extension("log.1"))?;
        }
        sys::spawn(&Program {
            command: strings(&self.service.command)?,
            environment: strings(&environment)?,
            passed: passed.iter().map(|socket| socket.listener.as_fd()).collect(),
            log: OpenOptions::new().create(true).append(true).open(&self.log).context("cannot open the log")?,
            null: File::open("/dev/null")?,
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
            umask: self.service.umask,
            limits: self.service.limits.clone(),
            ambient: self.service.ambient.clone(),
            bounding: self.service.bounding.clone(),
            no_new_privileges: self.service.no_new_privileges,
        })
    }

    /// Reads every waiting notification; says whether one was `READY=1` (sd_notify(3)).
    fn drain(&self) -> bool {
        let mut ready = false;
        let mut buffer = [0; 4096];
        loop {
            match self.notify.recv(&mut buffer) {
                Ok(length) => ready |= buffer[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1"),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return ready,
            }
        }
    }
}

struct Supervisor {
    sockets: Vec<Bound>,
    signals: SignalFd,
    running: Vec<Running>,
    announced: bool,
    ending: bool,
    /// Last, so that `stop` returns when everything else is gone.
    session: Session,
}

impl Supervisor {
    fn supervise(&mut self) -> Result<()> {
        for index in 0..self.running.len() {
            self.start(index)?;
        }
        let mut failure = None;
        loop {
            self.wait()?;
            while let Some(signal) = self.signals.read_signal()? {
                if signal.ssi_signo != Signal::SIGCHLD as u32 {
                    self.end();
                }
            }
            for index in 0..self.running.len() {
                if self.running[index].drain() {
                    self.become_ready(index)?;
                }
            }
            let outcome = self.reap().and_then(|()| self.act_on_time());
            if let Err(error) = outcome {
                failure.get_or_insert(error);
                self.end();
            }
            self.publish()?;
            if self.ending && self.running.iter().all(|running| running.life.pid().is_none()) {
                return failure.map_or(Ok(()), Err);
            }
        }
    }

    /// Waits for a signal, a notification, or the time of what is due next.
    fn wait(&self) -> Result<()> {
        let due = self.running.iter().filter_map(|running| running.life.due()).min();
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.running.iter().map(|running| PollFd::new(running.notify.as_fd(), PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait"),
        }
    }

    fn start(&mut self, index: usize) -> Result<()> {
        let running = &mut self.running[index];
        let name = running.service.name.clone();
        match running.start(&self.sockets) {
            Ok(pid) => {
                say(&name, &format!("started, pid {pid}"));
                running.life.started(pid, Instant::now() + running.service.start_timeout);
                if !running.service.notifies {
                    self.become_ready(index)?;
                }
                Ok(())
            }
            Err(error) if self.announced => {
                say(&name, &format!("{error:#}"));
                running.life.ended(Instant::now());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn become_ready(&mut self, index: usize) -> Result<()> {
        let running = &mut self.running[index];
        if !running.life.ready() {
            return Ok(());
        }
        let pid = running.life.pid().context("ready without a process")?;
        say(&running.service.name, &format!("ready, pid {pid}"));
        let all = self.running.iter().all(|running| matches!(running.life.state, State::Ready { .. }));
        if all && !self.announced {
            self.announced = true;
            self.publish()?;
            let _ = writeln!(std::io::stdout(), "{}", session::READY);
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<()> {
        for running in &mut self.running {
            let Some(pid) = running.life.pid() else { continue };
            let how = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => format!("exit status {code}"),
                Ok(WaitStatus::Signaled(_, signal, _)) => format!("signal {signal}"),
                Ok(_) => continue,
                Err(error) => return Err(error).context("cannot wait for a service"),
            };
            let was_ending = self.ending;
            let again = running.life.ended(Instant::now());
            say(&running.service.name, &format!("ended, pid {pid}, {how}"));
            if !self.announced && !was_ending {
                bail!(
                    "cannot start {}: it ended with {how} before it was ready; see {}",
                    running.service.name,
                    running.log.display()
                );
            }
            if let Some(pause) = again {
                say(&running.service.name, &format!("starts again in {} ms", pause.as_millis()));
            }
        }
        Ok(())
    }

    /// Starts what has waited long enough, kills what has not ended or become ready in time.
    fn act_on_time(&mut self) -> Result<()> {
        let now = Instant::now();
        for index in 0..self.running.len() {
            let running = &mut self.running[index];
            match running.life.state {
                State::Waiting { until } if until <= now => self.start(index)?,
                State::Starting { pid, deadline } if deadline <= now => {
                    say(&running.service.name, "not ready in time, killed");
                    kill(pid, Signal::SIGKILL).context("cannot kill")?;
                    running.life.started(pid, now + running.service.stop_timeout);
                }
                State::Stopping { pid, deadline } if deadline <= now => {
                    say(&running.service.name, "did not end in time, killed");
                    kill(pid, Signal::SIGKILL).context("cannot kill")?;
                    running.life.stop(now + running.service.stop_timeout);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks every service to end: the main process only, as `KillMode=process` says.
    fn end(&mut self) {
        if std::mem::replace(&mut self.ending, true) {
            return;
        }
        for running in &mut self.running {
            if let Some(pid) = running.life.stop(Instant::now() + running.service.stop_timeout) {
                let _ = kill(pid, Signal::SIGTERM); // not yet waited for, so the pid is still its own
            }
        }
    }

    fn publish(&self) -> Result<()> {
        let mut text = String::new();
        for running in &self.running {
            let state = match running.life.state {
                State::Starting { .. } => "starting",
                State::Ready { .. } => "ready",
                State::Stopping { .. } => "stopping",
                State::Waiting { .. } => "waiting",
                State::Ended => "ended",
            };
            let pid = running.life.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            text += &format!("{} {state} pid {pid} restarts {}\n", running.service.name, running.life.restarts);
        }
        self.session.write_status(&text)
    }

    fn clean_up(&mut self) {
        for running in &self.running {
            if let Err(error) = places::remove_all("/run", &running.service.runtime) {
                say(&running.service.name, &format!("{error:#}"));
            }
            let stem = running.service.name.trim_end_matches(".service");
            let _ = fs::remove_file(Path::new(session::DIRECTORY).join(format!("{stem}.notify")));
        }
    }
}
