//! One supervisor at a time: its lock, its status file, and the verbs that talk to it.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, ErrorKind, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Layout;

/// Where the supervisor keeps its own files; root's.
pub const DIRECTORY: &str = "/run/netengine-supervise";
const PID_FILE: &str = "/run/netengine-supervise/pid";
const STATUS_FILE: &str = "/run/netengine-supervise/status";
/// What `run` prints when every service is ready.
pub const READY: &str = "ready";

/// Held while a supervisor runs. The file's lock says that it runs, its text which process it is.
pub struct Session {
    _lock: Flock<File>,
}

impl Session {
    /// Becomes the supervisor.
    ///
    /// # Errors
    /// Another one runs.
    pub fn begin() -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(DIRECTORY).context("cannot make the run directory")?;
        loop {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(PID_FILE)?;
            let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((_, Errno::EWOULDBLOCK)) => bail!("cannot run: another netengine-supervise is running"),
                Err((_, error)) => return Err(error).context("cannot lock the pid file"),
            };
            // A supervisor that ended between our open and our lock took the file away.
            if fs::metadata(PID_FILE).is_ok_and(|now| Some(now.ino()) == lock.metadata().map(|held| held.ino()).ok()) {
                lock.set_len(0)?;
                writeln!(lock, "{}", std::process::id())?;
                return Ok(Self { _lock: lock });
            }
        }
    }

    /// Writes what `status` prints.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_status(&self, text: &str) -> Result<()> {
        let fresh = format!("{STATUS_FILE}.new");
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, STATUS_FILE)).context("cannot write the status file")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The pid file goes last: until then no other supervisor begins here.
        let files = fs::read_dir(DIRECTORY).into_iter().flatten().flatten().map(|entry| entry.path());
        let others = files.filter(|path| path != Path::new(PID_FILE));
        for path in others.collect::<Vec<_>>().into_iter().chain([PID_FILE.into()]) {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_dir(DIRECTORY);
    }
}

/// The running supervisor's pid file and pid.
fn running() -> Result<Option<(File, Pid)>> {
    let file = match OpenOptions::new().read(true).open(PID_FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("cannot open the pid file"),
    };
    let mut file = match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_not_held) => return Ok(None),
        Err((file, Errno::EWOULDBLOCK)) => file,
        Err((_, error)) => return Err(error).context("cannot look at the pid file's lock"),
    };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let pid = text.trim().parse().context("cannot read the pid file: no number in it yet; try again")?;
    Ok(Some((file, Pid::from_raw(pid))))
}

/// Starts a supervisor in the background and waits until every service is ready. Nothing to do when one runs.
///
/// # Errors
/// What the supervisor reported before it gave up.
pub fn start(layout: &Layout) -> Result<()> {
    if running()?.is_some() {
        println!("already running");
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(&layout.log_dir)
        .context("cannot make the log directory")?;
    let log_path = layout.log_dir.join("supervise.log");
    let log = OpenOptions::new().create(true).append(true).open(&log_path).context("cannot open the log")?;
    let length_before = log.metadata()?.len();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--units").arg(&layout.units).arg("--log-dir").arg(&layout.log_dir);
    if let Some(bin_dir) = &layout.bin_dir {
        command.arg("--bin-dir").arg(bin_dir);
    }
    command.args(["--detach", "run"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().context("cannot start the supervisor")?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no standard output")?).read_line(&mut line)?;
    if line.trim() == READY {
        return Ok(());
    }
    let status = child.wait()?;
    bail!("cannot start the daemons: the supervisor ended with {status}\n{}", tail(&log_path, length_before))
}

fn tail(path: &Path, from: u64) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(std::io::SeekFrom::Start(from))?;
        file.read_to_string(&mut text)
    });
    read.map_or_else(|error| format!("cannot read {}: {error}", path.display()), |_| text)
}

/// Ends the running supervisor and waits until it is gone. Nothing to do when none runs.
///
/// # Errors
/// It cannot be signalled.
pub fn stop() -> Result<()> {
    let Some((file, pid)) = running()? else {
        println!("not running");
        return Ok(());
    };
    match kill(pid, Signal::SIGTERM) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => return Err(error).with_context(|| format!("cannot signal the supervisor, pid {pid}")),
    }
    // The lock is free when it has ended; TimeoutStopSec= of its services bounds the wait.
    match Flock::lock(file, FlockArg::LockShared) {
        Ok(_free) => Ok(()),
        Err((_, error)) => Err(error).context("cannot wait for the supervisor"),
    }
}

/// Prints one line per service. Says whether a supervisor runs.
///
/// # Errors
/// The status cannot be read.
pub fn print_status() -> Result<bool> {
    if running()?.is_none() {
        println!("not running");
        return Ok(false);
    }
    print!("{}", fs::read_to_string(STATUS_FILE).context("cannot read the status file")?);
    Ok(true)
}
