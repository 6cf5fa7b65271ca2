//! Making processes from a single-threaded process.

use std::io;

use nix::{libc, unistd::Pid};

/// What [`fork_into`] returns, once in each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// In the caller: the child's pid.
    Parent(Pid),
    /// In the child.
    Child,
}

/// Namespaces the child is put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    /// The parent's.
    Same,
    /// A new pid namespace, whose init the child is. Needs CAP_SYS_ADMIN.
    NewPid,
}

/// Forks, the child optionally as init of a new pid namespace (clone(2) without CLONE_VM).
///
/// # Panics
/// When the calling process has more than one thread: another thread's locks would stay held in the child.
pub fn fork_into(into: Into) -> io::Result<Forked> {
    assert_single_threaded();
    let flags = libc::SIGCHLD | if into == Into::NewPid { libc::CLONE_NEWPID } else { 0 };
    // SAFETY: without CLONE_VM and with a null stack the child continues on a copy of this stack, as after fork(2);
    // there is no other thread whose state could be torn (asserted above).
    match unsafe { libc::syscall(libc::SYS_clone, flags as libc::c_ulong, 0usize, 0usize, 0usize, 0usize) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(Pid::from_raw(pid as libc::pid_t))),
    }
}

fn assert_single_threaded() {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(1);
    assert_eq!(threads, 1, "fork in a process with {threads} threads");
}

/// Ends the process at once, without destructors or buffers (_exit(2)): for the child of a fork.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}
