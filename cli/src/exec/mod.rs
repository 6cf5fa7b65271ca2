//! A command in a vantage host, over rootd's `exec.sock`.
//!
//! The kernel tells rootd who connects; the command runs as that user. Its terminal or pipes come back as descriptors,
//! so its bytes pass through no daemon. Ending this process ends the command.

mod connection;
mod relay;
mod signals;
mod sys;
mod terminal;

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::PathBuf,
    time::Duration,
};

use netengine_proto::{
    api::ProblemKind,
    bounded::Bounded,
    ended::Ended,
    exec::{ExecFailure, ExecReply, ExecRequest, TerminalSize, Text},
    ids::Ticket,
    limits,
};

use self::{connection::Connection, relay::Relay, terminal::RawMode};
use crate::{client::unreachable_socket, failure::Failure};

/// A command must be started, or refused, within this.
const START_TIME: Duration = Duration::from_secs(30);

/// Where a command finds the world's certificate authorities: rootd lays the directory over the host's, if it has one.
const TRUST_STORE: (&str, &str) = ("/etc/ssl/certs", "/etc/ssl/certs/ca-certificates.crt");
/// What tells of that file those who have authorities built in: Node.js, and requests with certifi.
const TRUST_VARIABLES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"];

/// What to run.
pub struct Run<'a> {
    /// The exec socket.
    pub socket: PathBuf,
    /// The right to do so.
    pub ticket: Ticket,
    /// The command and its arguments, at least one.
    pub command: &'a [OsString],
    /// A terminal, or pipes.
    pub wants_terminal: bool,
}

/// Runs a command with this process's input, output and signals, and gives its status: the exit status, or 128 and the
/// number of the signal that ended it.
///
/// # Errors
/// A [`Failure`] when it did not start, or its end is not known.
pub fn run(run: &Run) -> Result<u8, Failure> {
    // From here on signals wait until the command can get them; also a size change between the two is not lost.
    let signals = signals::block().map_err(|error| engine(&error))?;
    let size = run.wants_terminal.then(|| terminal::size().unwrap_or(TerminalSize { rows: 24, columns: 80 }));
    let request = request(run, size)?;
    let unreachable = |error: &io::Error| unreachable_socket(&run.socket, error, "netengine");
    let stream = UnixStream::connect(&run.socket).map_err(|error| unreachable(&error))?;
    let mut connection = Connection::new(&stream);
    stream.set_read_timeout(Some(START_TIME)).map_err(|error| engine(&error))?;
    // rootd may refuse before it has read all; its answer then tells why the write failed.
    let written = connection.send(&request);
    let descriptors = match connection.receive() {
        Ok(Some((ExecReply::Started, descriptors))) => descriptors,
        Ok(Some((ExecReply::Failed(failure), _))) => return Err(not_started(failure, run)),
        Ok(Some((ExecReply::Ended(_), _))) => return Err(engine(&"the command ended before it began")),
        Ok(None) => return Err(engine(&written.err().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()))),
        Err(error) => return Err(engine(&error)),
    };
    stream.set_read_timeout(None).map_err(|error| engine(&error))?;

    // Before the first output is shown, so nobody can answer it on a terminal that still echoes. Dropped, and so
    // restored, on every way out of this function, a panic included.
    let raw_mode = if size.is_some() { RawMode::enter() } else { None };
    let mut relay = Relay::start(descriptors, size.is_some(), &stream).map_err(|error| engine(&error))?;
    signals.forward(&stream, relay.master(), raw_mode.as_ref()).map_err(|error| engine(&error))?;
    relay.start_input().map_err(|error| engine(&error))?;

    let end = wait_for_end(&mut connection);
    if end.is_ok() {
        relay.finish_output();
    }
    drop(raw_mode);
    match end? {
        Ended::Exited(status) => Ok(u8::try_from(status & 0xff).unwrap_or(1)),
        Ended::Signaled(signal) => Ok(u8::try_from(128 + signal).unwrap_or(255)),
        Ended::Vanished => Err(lost("the command's attendant was killed")),
    }
}

fn wait_for_end(connection: &mut Connection) -> Result<Ended, Failure> {
    match connection.receive() {
        Ok(Some((ExecReply::Ended(ended), _))) => Ok(ended),
        Ok(Some((reply, _))) => Err(lost(&format!("rootd answered {reply:?} out of turn"))),
        Ok(None) => Err(lost("rootd closed the connection")),
        Err(error) => Err(lost(&error.to_string())),
    }
}

fn request(run: &Run, terminal: Option<TerminalSize>) -> Result<ExecRequest, Failure> {
    let mut environment: Vec<_> = std::env::vars_os().collect();
    if std::path::Path::new(TRUST_STORE.0).is_dir() {
        let added = trust_variables(|name| environment.iter().any(|(set, _)| set == name));
        environment.extend(added.into_iter().map(|name| (name.into(), TRUST_STORE.1.into())));
    }
    let environment = environment.iter().map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    Ok(ExecRequest {
        ticket: run.ticket,
        arguments: list(run.command.iter().map(|argument| text(OsStr::as_bytes(argument))))?,
        environment: list(environment)?,
        directory: text(directory.as_os_str().as_bytes())?,
        umask: umask(),
        terminal,
    })
}

/// The variables to add: those the caller has not set.
fn trust_variables(is_set: impl Fn(&str) -> bool) -> Vec<&'static str> {
    TRUST_VARIABLES.into_iter().filter(|name| !is_set(name)).collect()
}

/// This process's file mode creation mask: umask(2) tells it only by setting another, which is taken back at once.
fn umask() -> u16 {
    use nix::sys::stat::{Mode, umask};
    let mask = umask(Mode::S_IRWXG | Mode::S_IRWXO);
    umask(mask);
    u16::try_from(mask.bits()).unwrap_or(0o77)
}

fn text(bytes: &[u8]) -> Result<Text, Failure> {
    Bounded::new(bytes.to_vec()).map_err(|_| {
        too_long(&format!("an argument or environment entry is longer than {} bytes", limits::EXEC_STRING_BYTES))
    })
}

fn list<const MAX: usize>(entries: impl Iterator<Item = Result<Text, Failure>>) -> Result<Bounded<Text, MAX>, Failure> {
    Bounded::new(entries.collect::<Result<_, _>>()?)
        .map_err(|_| too_long(&format!("there are more than {MAX} arguments or environment entries")))
}

fn too_long(cause: &str) -> Failure {
    Failure::new(ProblemKind::Usage, "cannot run the command", cause, "pass long data through a file or standard input")
}

fn not_started(failure: ExecFailure, run: &Run) -> Failure {
    let name = run.command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let what = format!("cannot run {name:?}");
    let errno = io::Error::from_raw_os_error;
    let fail = |kind, cause: String, help: &str| Failure::new(kind, &what, cause, help);
    match failure {
        ExecFailure::NotFound => fail(
            ProblemKind::Failed,
            "there is no such command in your PATH".into(),
            "check its name; your own files are used",
        )
        .with_exit(127),
        ExecFailure::NotExecutable(code) => {
            fail(ProblemKind::Failed, errno(code).to_string(), "check the file's permissions and format").with_exit(126)
        }
        ExecFailure::Ticket => {
            fail(ProblemKind::Refused, "the ticket is not valid any more, or is another user's".into(), "try again")
        }
        ExecFailure::Root => fail(
            ProblemKind::Refused,
            "commands are not run as root".into(),
            "run it as an ordinary user, e.g. with `runuser`",
        ),
        ExecFailure::Limit => {
            fail(ProblemKind::Quota, "too many commands run at the same time".into(), "end some of them and try again")
        }
        ExecFailure::Setup(step, code) => {
            fail(ProblemKind::Engine, format!("set-up step {step:?}: {}", errno(code)), "see `netengine doctor`")
        }
        ExecFailure::Malformed => fail(
            ProblemKind::Usage,
            "rootd did not understand the request".into(),
            "install command and daemons of one release",
        ),
    }
}

fn engine(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(ProblemKind::Engine, "cannot run a command in the world", error, "see `netengine doctor`")
}

fn lost(cause: &str) -> Failure {
    let help = "its status is unknown; it was ended; see the journal of netengine-rootd";
    Failure::new(ProblemKind::Engine, "cannot learn how the command ended", cause, help)
}

/// Writes all bytes to a descriptor that may be non-blocking (its other users decide that).
fn write_all(to: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    use nix::errno::Errno;
    while !bytes.is_empty() {
        match nix::unistd::write(to.as_fd(), bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(&to, nix::poll::PollFlags::POLLOUT)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Reads what is there, waiting for at least one byte; 0 at the end. A terminal whose other side is gone has ended.
fn read_some(from: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    use nix::errno::Errno;
    loop {
        match nix::unistd::read(from.as_fd(), buffer) {
            Ok(read) => return Ok(read),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(&from, nix::poll::PollFlags::POLLIN)?,
            // pty(7): EIO from the master when the last slave is closed.
            Err(Errno::EIO) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn wait(on: &impl AsFd, events: nix::poll::PollFlags) -> io::Result<()> {
    let mut set = [nix::poll::PollFd::new(on.as_fd(), events)];
    match nix::poll::poll(&mut set, nix::poll::PollTimeout::NONE) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
