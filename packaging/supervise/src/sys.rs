//! The one place with `unsafe`: a child that becomes a service.
//!
//! The supervisor has a single thread, so the child may allocate between fork(2) and execve(2).
#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::File,
    io::Read,
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd},
};

use anyhow::{Context, Result, bail};
use caps::{CapSet, Capability, CapsHashSet};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigHandler, SigSet, SigmaskHow, Signal, sigprocmask},
        stat::{Mode, umask},
    },
    unistd::{
        ForkResult, Gid, Pid, Uid, chdir, dup2_raw, execve, fork, getpid, getppid, pipe2, setgroups, setresgid,
        setresuid,
    },
};

/// Where passed descriptors begin (sd_listen_fds(3)).
const FIRST_PASSED: RawFd = 3;
/// Descriptors are moved above this before they take their places, so none overwrites another.
const OUT_OF_THE_WAY: RawFd = 128;

/// Everything a child needs to become a service.
pub struct Program<'a> {
    /// Program and arguments.
    pub command: Vec<CString>,
    /// The whole environment, without `LISTEN_PID`.
    pub environment: Vec<CString>,
    /// Descriptors to pass, from 3 on.
    pub passed: Vec<BorrowedFd<'a>>,
    /// Standard output and error.
    pub log: File,
    /// Standard input.
    pub null: File,
    /// Who to become.
    pub uid: Uid,
    /// Its group.
    pub gid: Gid,
    /// Its further groups.
    pub groups: Vec<Gid>,
    /// File mode mask.
    pub umask: u32,
    /// Resource limits, soft and hard alike; lowered to the hard limit where that cannot be raised.
    pub limits: Vec<(Resource, u64)>,
    /// Ambient, and so also permitted, effective and inheritable capabilities.
    pub ambient: Vec<Capability>,
    /// What remains in the bounding set; everything when `None`.
    pub bounding: Option<Vec<Capability>>,
    /// prctl(2), `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
}

/// Starts a program. Returns when it has been executed.
///
/// # Errors
/// What the child could not do, in the child's words.
pub fn spawn(program: &Program<'_>) -> Result<Pid> {
    let parent = getpid();
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
    // SAFETY: single-threaded (module text); the child leaves this function only by execve or _exit.
    match unsafe { fork() }.context("cannot fork")? {
        ForkResult::Child => {
            let report = out_of_the_way(writer.as_raw_fd()).unwrap_or(writer.as_raw_fd());
            let error = become_service(program, parent).expect_err("execve returns only errors");
            let text = format!("{error:#}");
            // SAFETY: `report` is open and `text` is valid for its length; _exit does not return.
            unsafe {
                libc::write(report, text.as_ptr().cast(), text.len());
                libc::_exit(127)
            }
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut text = String::new();
            File::from(reader).read_to_string(&mut text).context("cannot hear from the child")?;
            if !text.is_empty() {
                nix::sys::wait::waitpid(child, None).context("cannot wait for the child")?;
                bail!("cannot start {}: {text}", program.command[0].to_string_lossy());
            }
            Ok(child)
        }
    }
}

/// Never returns `Ok`.
fn become_service(program: &Program<'_>, parent: Pid) -> Result<()> {
    nix::unistd::setsid().context("setsid")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("signal mask")?;
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: SIG_DFL is a valid disposition, and no handler of ours is replaced.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.context("signal disposition")?;
    }
    chdir("/").context("chdir")?;
    umask(Mode::from_bits_truncate(program.umask));
    for (resource, value) in &program.limits {
        let (_, hard) = getrlimit(*resource).context("getrlimit")?;
        let raised = setrlimit(*resource, *value, *value);
        raised.or_else(|_| setrlimit(*resource, hard.min(*value), hard.min(*value))).context("setrlimit")?;
    }
    become_user(program)?;
    end_with_parent(parent)?;
    place_descriptors(program)?;
    let mut environment = program.environment.clone();
    if !program.passed.is_empty() {
        environment.push(CString::new(format!("LISTEN_PID={}", std::process::id()))?);
    }
    execve(&program.command[0], &program.command, &environment).context("execve")?;
    Ok(())
}

/// Takes user, groups and capabilities, in the one order that works: bounding set while privileged, groups before
/// the user, ambient set last (capabilities(7)).
fn become_user(program: &Program<'_>) -> Result<()> {
    if let Some(keep) = &program.bounding {
        for capability in caps::runtime::procfs_all_supported(None)? {
            if !keep.contains(&capability) && caps::has_cap(None, CapSet::Bounding, capability)? {
                caps::drop(None, CapSet::Bounding, capability)?;
            }
        }
    }
    let is_root = program.uid.is_root();
    setgroups(&program.groups).context("setgroups")?;
    setresgid(program.gid, program.gid, program.gid).context("setresgid")?;
    if !is_root {
        caps::securebits::set_keepcaps(true)?;
        setresuid(program.uid, program.uid, program.uid).context("setresuid")?;
        let set: CapsHashSet = program.ambient.iter().copied().collect();
        caps::set(None, CapSet::Effective, &CapsHashSet::new())?;
        caps::set(None, CapSet::Permitted, &set).context("this host does not grant the capabilities of the unit")?;
        caps::set(None, CapSet::Effective, &set)?;
        caps::set(None, CapSet::Inheritable, &set)?;
        caps::set(None, CapSet::Ambient, &set)?;
        caps::securebits::set_keepcaps(false)?;
    }
    if program.no_new_privileges {
        // SAFETY: takes integers only.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            bail!("no_new_privs: {}", std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A killed supervisor must not leave services behind that nobody would restart or stop. After the change of user,
/// which clears the setting.
fn end_with_parent(parent: Pid) -> Result<()> {
    // SAFETY: takes integers only.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, Signal::SIGTERM as i32) } != 0 {
        bail!("PR_SET_PDEATHSIG: {}", std::io::Error::last_os_error());
    }
    if getppid() != parent {
        bail!("the supervisor is gone");
    }
    Ok(())
}

fn out_of_the_way(fd: RawFd) -> Result<RawFd> {
    // SAFETY: the descriptor is open in this process and is not closed while borrowed.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(OUT_OF_THE_WAY)).context("cannot move a descriptor")
}

fn place_descriptors(program: &Program<'_>) -> Result<()> {
    let sources = [program.null.as_raw_fd(), program.log.as_raw_fd(), program.log.as_raw_fd()];
    let all = sources.into_iter().chain(program.passed.iter().map(AsRawFd::as_raw_fd));
    let moved = all.map(out_of_the_way).collect::<Result<Vec<_>>>()?;
    for (place, fd) in moved.iter().enumerate() {
        // SAFETY: both ends are plain numbers in this child; whatever was at `place` is not used again.
        let borrowed = unsafe { BorrowedFd::borrow_raw(*fd) };
        // SAFETY: nobody owns the descriptor at `place` any more.
        let placed: OwnedFd = unsafe { dup2_raw(borrowed, RawFd::try_from(place)?) }.context("dup2")?;
        let _stays_open = placed.into_raw_fd();
    }
    let first_unused = u32::try_from(FIRST_PASSED)? + u32::try_from(program.passed.len())?;
    // SAFETY: takes integers only; marks, does not close, so the report pipe still works until execve.
    if unsafe { libc::close_range(first_unused, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32) } != 0 {
        bail!("close_range: {}", std::io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_moved_above_every_place() {
        let file = File::open("/dev/null").expect("opened");
        let moved = out_of_the_way(file.as_raw_fd()).expect("moved");
        assert!(moved >= OUT_OF_THE_WAY);
        nix::unistd::close(moved).expect("closed");
    }
}
