//! Attendants: each is the init of one process's own pid namespace, without privilege.
//!
//! Order of setting up a user's command, each step's name as in [`ExecStep`]:
//! 1. enter the vantage host's network namespace;
//! 2. take the user's uid, gid and groups;
//! 3. enter the caller's mount namespace by pidfd, as that user, and copy it;
//! 4. lay the world's files and fresh /proc and /sys over it;
//! 5. make the terminal or the pipes;
//! 6. drop every capability, for good;
//! 7. fork, exec, tell the caller, attend.

use std::{
    convert::Infallible,
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use netengine_proto::{
    exec::{ExecFailure, ExecReply, ExecRequest, ExecStep},
    ids::WorldId,
};
use nix::{
    sched::CloneFlags,
    sys::signal::{SigSet, Signal},
    unistd::{Gid, Pid, Uid},
};

use super::{
    message::{OurProgram, Report, User, WorldFiles},
    spawn::{Account, Site},
};
use crate::{
    sys::{
        clone::{Forked, Into, exit_now, fork_into},
        fds, netns, process, pty,
    },
    worker::channel::encode,
};

mod mounts;
pub mod sandbox;
mod watch;

/// A step that failed.
type Stopped = (ExecStep, io::Error);

fn at<T, E: std::convert::Into<io::Error>>(step: ExecStep, result: Result<T, E>) -> Result<T, Stopped> {
    result.map_err(|error| (step, error.into()))
}

/// What a program of ours starts from.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are those of SpawnRequest::Program and its descriptors")]
pub struct ProgramStart<'a> {
    pub site: &'a Site,
    pub world: WorldId,
    pub program: OurProgram,
    pub files: Option<WorldFiles>,
    pub input: Option<OwnedFd>,
    pub ns: OwnedFd,
    pub leash: OwnedFd,
}

/// What a user's command starts from.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are those of SpawnRequest::Command")]
pub struct CommandStart {
    pub user: User,
    pub request: Box<ExecRequest>,
    pub files: WorldFiles,
    pub ns: OwnedFd,
    pub leash: OwnedFd,
    pub connection: OwnedFd,
    pub caller: OwnedFd,
}

/// The attendant of a program of ours; never returns.
pub fn program(mut start: ProgramStart<'_>) -> ! {
    process::set_name(c"ne-attendant");
    // The run directory is shared with userd's group by its mode.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
    match start_program(&start) {
        Ok(child) => {
            // The program has it now, and nobody else.
            drop(start.input.take());
            let _ = report(&start.leash, &Report::Running);
            let ended = watch::until_end(child, &start.leash, None);
            let _ = report(&start.leash, &Report::Ended(ended));
        }
        Err((step, error)) => {
            let _ = report(&start.leash, &Report::Failed { step, errno: errno(&error) });
        }
    }
    exit_now(0)
}

/// The attendant of a user's command; never returns.
pub fn command(start: CommandStart) -> ! {
    process::set_name(c"ne-attendant");
    // The broker's side of this socket does not wait; here waiting is right.
    let _ = nix::fcntl::fcntl(&start.connection, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()));
    match start_command(&start) {
        Ok((child, ends)) => {
            let borrowed: Vec<BorrowedFd<'_>> = ends.iter().map(AsFd::as_fd).collect();
            let told = tell(&start.connection, &ExecReply::Started, &borrowed);
            drop(borrowed);
            drop(ends);
            let _ = report(&start.leash, &Report::Running);
            let connection = told.is_ok().then_some(&start.connection);
            let ended = watch::until_end(child, &start.leash, Some(connection));
            let _ = tell(&start.connection, &ExecReply::Ended(ended), &[]);
            let _ = report(&start.leash, &Report::Ended(ended));
        }
        Err((step, error)) => {
            let errno = errno(&error);
            let failure = match (step, errno) {
                (ExecStep::Fork, nix::libc::ENOENT) => ExecFailure::NotFound,
                (ExecStep::Fork, errno) => ExecFailure::NotExecutable(errno),
                (step, errno) => ExecFailure::Setup(step, errno),
            };
            let _ = tell(&start.connection, &ExecReply::Failed(failure), &[]);
            let _ = report(&start.leash, &Report::Failed { step, errno });
        }
    }
    exit_now(0)
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(nix::libc::EIO)
}

fn report(leash: &OwnedFd, report: &Report) -> io::Result<()> {
    fds::send(leash, &encode(report)?, &[]).map(drop)
}

/// One frame to the caller: 4-byte big-endian length, one postcard value, descriptors with the first byte.
fn tell(connection: &OwnedFd, reply: &ExecReply, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let body = encode(reply)?;
    let mut frame = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    frame.extend(body);
    let mut sent = fds::send(connection, &frame, descriptors)?;
    while sent < frame.len() {
        sent += fds::send(connection, &frame[sent..], &[])?;
    }
    Ok(())
}

fn start_program(start: &ProgramStart<'_>) -> Result<Pid, Stopped> {
    at(ExecStep::Network, netns::enter(&start.ns))?;
    at(ExecStep::ProcFiles, nix::sched::unshare(CloneFlags::CLONE_NEWNS))?;
    at(ExecStep::ProcFiles, mounts::make_private())?;
    if let Some(files) = &start.files {
        at(ExecStep::WorldFiles, mounts::world_files(files))?;
    }
    at(ExecStep::ProcFiles, mounts::proc_and_sys())?;
    at(ExecStep::Credentials, become_account(&start.site.world))?;
    let (name, site) = (start.world.to_string(), start.site);
    let run = at(ExecStep::WorldFiles, own_directory(&site.worlds_run.join(&name), 0o750))?;
    at(ExecStep::WorldFiles, nix::unistd::fchdir(&run))?;
    at(ExecStep::Credentials, drop_privileges())?;
    let text = |text: String| CString::new(text).map_err(io::Error::other);
    let mut arguments = vec![start.site.worldd.display().to_string(), "--role".into()];
    match &start.program {
        OurProgram::Worldd => {
            // Nobody but the world's own user reads what a world keeps: its keys are there.
            let data = site.worlds_state.join(&name);
            at(ExecStep::WorldFiles, own_directory(&data, 0o700))?;
            arguments.extend(["worldd".into(), "--data".into(), data.display().to_string()]);
        }
        OurProgram::Gateway => arguments.push("gateway".into()),
        OurProgram::Prober(host) => arguments.extend(["prober".into(), "--host".into(), host.to_string()]),
    }
    arguments.extend(["--world".into(), start.world.to_string()]);
    arguments.extend(["--peer-uid".into(), start.site.userd_uid.to_string()]);
    let arguments = at(ExecStep::Fork, arguments.into_iter().map(text).collect::<io::Result<Vec<_>>>())?;
    let null = at(ExecStep::Fork, std::fs::File::options().read(true).write(true).open("/dev/null"))?;
    // What it says before its log is open, for the report of its end.
    let last_words = at(ExecStep::WorldFiles, last_words())?;
    let input = start.input.as_ref().map_or(null.as_fd(), AsFd::as_fd);
    launch(&[input, null.as_fd(), last_words.as_fd()], false, 0o027, &arguments, &[])
}

/// A directory of the world's own: made if missing, never through a link, ours.
fn own_directory(path: &std::path::Path, mode: u32) -> io::Result<OwnedFd> {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    match nix::unistd::mkdir(path, nix::sys::stat::Mode::from_bits_truncate(mode)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW;
    let directory = std::fs::File::options().read(true).custom_flags(flags).open(path)?;
    if directory.metadata()?.uid() != Uid::effective().as_raw() {
        return Err(io::Error::from_raw_os_error(nix::libc::ENOTDIR));
    }
    Ok(directory.into())
}

/// `stderr.log` in the run directory, the world's: a file of its own, whatever an earlier program left at its place.
/// A pipe there would keep us waiting for its other end, and a link would lead elsewhere.
fn last_words() -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    match std::fs::remove_file("stderr.log") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::File::options().write(true).create_new(true).mode(0o640).open("stderr.log")
}

fn start_command(start: &CommandStart) -> Result<(Pid, Vec<OwnedFd>), Stopped> {
    at(ExecStep::Network, netns::enter(&start.ns))?;
    let user =
        Account { uid: start.user.uid, gid: start.user.gid, groups: start.user.groups.iter().copied().collect() };
    at(ExecStep::Credentials, become_account(&user))?;
    at(ExecStep::CallerFiles, nix::sched::setns(&start.caller, CloneFlags::CLONE_NEWNS))?;
    at(ExecStep::CallerFiles, nix::sched::unshare(CloneFlags::CLONE_NEWNS))?;
    at(ExecStep::WorldFiles, mounts::make_private())?;
    at(ExecStep::WorldFiles, mounts::world_files(&start.files))?;
    at(ExecStep::ProcFiles, mounts::proc_and_sys())?;
    let (inside, outside) = at(ExecStep::Terminal, standard_files(&start.request))?;
    at(ExecStep::Credentials, drop_privileges())?;
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| io::Error::from_raw_os_error(nix::libc::EINVAL));
    let all = |texts: &[netengine_proto::exec::Text]| texts.iter().map(|t| text(t)).collect::<io::Result<Vec<_>>>();
    let arguments = at(ExecStep::Fork, all(&start.request.arguments))?;
    let environment = at(ExecStep::Fork, all(&start.request.environment))?;
    let directory = at(ExecStep::Fork, text(&start.request.directory))?;
    if nix::unistd::chdir(directory.as_c_str()).is_err() {
        at(ExecStep::Fork, nix::unistd::chdir("/"))?;
    }
    let umask = u32::from(start.request.umask & 0o777);
    let inside = [inside[0].as_fd(), inside[1].as_fd(), inside[2].as_fd()];
    let child = launch(&inside, start.request.terminal.is_some(), umask, &arguments, &environment)?;
    Ok((child, outside))
}

/// The command's standard files, and the ends that go to the caller.
fn standard_files(request: &ExecRequest) -> io::Result<([OwnedFd; 3], Vec<OwnedFd>)> {
    if let Some(size) = request.terminal {
        let (master, slave) = pty::open(size.rows, size.columns)?;
        return Ok(([slave.try_clone()?, slave.try_clone()?, slave], vec![master]));
    }
    let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC);
    let ((stdin, write_in), (read_out, stdout), (read_err, stderr)) = (pipe()?, pipe()?, pipe()?);
    Ok(([stdin, stdout, stderr], vec![write_in, read_out, read_err]))
}

/// Takes an account's credentials; capabilities stay until [`drop_privileges`]. Never uid 0.
///
/// # Errors
/// `EPERM` for uid 0 or gid 0 as primary group of a system account, or whatever the kernel says.
pub fn become_account(account: &Account) -> io::Result<()> {
    if account.uid == 0 {
        return Err(io::Error::from_raw_os_error(nix::libc::EPERM));
    }
    let groups: Vec<_> = account.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    nix::unistd::setgroups(&groups)?;
    nix::unistd::setresgid(gid, gid, gid)?;
    Ok(nix::unistd::setresuid(uid, uid, uid)?)
}

/// Empties all five capability sets and forbids gaining any by exec.
///
/// # Errors
/// Whatever the kernel says; the caller must not go on.
pub fn drop_privileges() -> io::Result<()> {
    crate::sandbox::caps::keep(&[])?;
    process::no_new_privileges()
}

/// Forks and execs; returns when the exec has happened.
fn launch(
    files: &[BorrowedFd<'_>; 3],
    terminal: bool,
    umask: u32,
    arguments: &[CString],
    environment: &[CString],
) -> Result<Pid, Stopped> {
    at(ExecStep::Fork, process::reap_by_hand())?;
    // Blocked before the fork, so that no end is missed; the child unblocks all signals.
    at(ExecStep::Fork, SigSet::from(Signal::SIGCHLD).thread_block())?;
    let (reads, writes) = at(ExecStep::Fork, nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC))?;
    if let Forked::Parent(child) = at(ExecStep::Fork, fork_into(Into::Same))? {
        drop(writes);
        let mut code = [0u8; 4];
        return match nix::unistd::read(&reads, &mut code) {
            Ok(0) => Ok(child),
            Ok(_) => Err((ExecStep::Fork, io::Error::from_raw_os_error(i32::from_be_bytes(code)))),
            Err(error) => Err((ExecStep::Fork, error.into())),
        };
    }
    let Err(error) = become_program(files, terminal, umask, arguments, environment);
    let _ = nix::unistd::write(&writes, &errno(&error).to_be_bytes());
    exit_now(127)
}

fn become_program(
    files: &[BorrowedFd<'_>; 3],
    terminal: bool,
    umask: u32,
    arguments: &[CString],
    environment: &[CString],
) -> Result<Infallible, io::Error> {
    for (number, file) in (0..).zip(files) {
        fds::become_standard(*file, number)?;
    }
    if terminal {
        process::take_terminal()?;
    } else {
        nix::unistd::setsid()?;
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(umask));
    process::reset_signals();
    Err(process::exec(arguments, environment))
}
