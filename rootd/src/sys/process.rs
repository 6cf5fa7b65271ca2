//! Settings of the calling process.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use nix::{
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction},
};

/// Clears the environment. Call before any thread exists.
pub fn clear_environment() {
    // SAFETY: single-threaded at this point (first statement of main), so nobody reads environ meanwhile.
    unsafe { libc::clearenv() };
}

/// No core dump, no ptrace by the same uid, /proc entries owned by root (prctl(2), PR_SET_DUMPABLE).
pub fn forbid_dump() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}

/// No exec may ever gain privilege from here on (prctl(2), PR_SET_NO_NEW_PRIVS).
pub fn no_new_privileges() -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// Back to the default disposition of every signal and an empty mask, for a process about to exec.
pub fn reset_signals() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default disposition runs no code of ours.
        let _ = unsafe { sigaction(signal, &default) };
    }
    let _ = SigSet::empty().thread_set_mask();
}

/// Ended children vanish by themselves (sigaction(2): SIGCHLD ignored).
pub fn reap_automatically() -> io::Result<()> {
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::SA_NOCLDWAIT, SigSet::empty());
    // SAFETY: ignoring runs no code of ours.
    unsafe { sigaction(Signal::SIGCHLD, &ignore) }?;
    Ok(())
}

/// Ended children wait to be asked for, whatever the parent chose: for an attendant.
pub fn reap_by_hand() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition runs no code of ours.
    unsafe { sigaction(Signal::SIGCHLD, &default) }?;
    Ok(())
}

/// A descriptor of a child that is not yet waited for, and so is still the one of this pid (pidfd_open(2)).
pub fn descriptor(child: nix::unistd::Pid) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers.
    match unsafe { libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0u32) } {
        fd if fd >= 0 => {
            // SAFETY: the kernel just made this descriptor for us (close-on-exec by definition of pidfds).
            Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// Kills the process behind a descriptor (pidfd_send_signal(2)). One that has ended is done.
pub fn kill_by_descriptor(process: &OwnedFd) {
    let (process, none) = (process.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: the one pointer may be null.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, libc::SIGKILL, none, 0u32) };
}

/// A name for ps(1): which of rootd's processes this is (prctl(2), PR_SET_NAME; at most 15 bytes).
pub fn set_name(name: &std::ffi::CStr) {
    let _ = nix::sys::prctl::set_name(name);
}

/// Keeps this process on the processor it runs on (sched_setaffinity(2)).
pub fn stay_on_this_processor() -> io::Result<()> {
    use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
    let mut this = CpuSet::new();
    this.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(nix::unistd::Pid::from_raw(0), &this)?)
}

/// Makes the terminal on descriptor 0 the controlling terminal of this new session (ioctl_tty(2), TIOCSCTTY).
pub fn take_terminal() -> io::Result<()> {
    nix::unistd::setsid()?;
    // SAFETY: TIOCSCTTY takes an int by value.
    let done = unsafe { libc::ioctl(std::io::stdin().as_raw_fd(), libc::TIOCSCTTY, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Replaces the program (execve(2)); tries each directory of `PATH` in `environment` for a bare name, as execvpe(3) does.
///
/// Returns only on failure: `ENOENT` when no directory has it, otherwise the first other error met.
pub fn exec(arguments: &[CString], environment: &[CString]) -> io::Error {
    let Some(program) = arguments.first() else { return io::Error::from_raw_os_error(libc::ENOENT) };
    let run = |path: &CString| match nix::unistd::execve(path, arguments, environment) {
        Ok(never) => match never {},
        Err(errno) => errno,
    };
    // No directory's own name is a command.
    if program.is_empty() {
        return nix::errno::Errno::ENOENT.into();
    }
    if program.as_bytes().contains(&b'/') {
        return run(program).into();
    }
    let search = environment.iter().find_map(|e| e.as_bytes().strip_prefix(b"PATH="));
    let mut kept = nix::errno::Errno::ENOENT;
    for directory in search.unwrap_or(b"/usr/local/bin:/usr/bin:/bin").split(|b| *b == b':') {
        let mut path = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
        path.push(b'/');
        path.extend_from_slice(program.as_bytes());
        let Ok(path) = CString::new(path) else { continue };
        match run(&path) {
            nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR => {}
            nix::errno::Errno::EACCES => kept = nix::errno::Errno::EACCES,
            other => return other.into(),
        }
    }
    kept.into()
}
