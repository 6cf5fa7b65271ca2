//! The system calls this process may make after its start. Any other ends the process at once (seccomp(2)).
//!
//! The list is data: each entry has its reason. It holds what tokio's runtime, SQLite, the allocator, a panic and the
//! services need. It holds no exec, no fork, no ptrace, no mount, no new namespace, no executable memory and no socket but
//! Unix stream pairs, UDP and TCP. clone(2) makes threads and nothing else; clone3(2), whose flags lie in memory where no
//! filter sees them, does not exist here (ENOSYS), so the C library takes clone(2).

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// A condition on one argument's low 32 bits.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// Equal.
    Is(u8, i32),
    /// Equal after masking: `(index, mask, value)`.
    Masked(u8, i32, i32),
}

/// One permission: a system call, under which conditions (all must hold), and why.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The call's number on this architecture.
    pub call: libc::c_long,
    /// Conditions on its arguments.
    pub when: &'static [Argument],
    /// Why it is needed.
    pub reason: &'static str,
}

const fn rule(call: libc::c_long, reason: &'static str) -> Rule {
    Rule { call, when: &[], reason }
}

const fn rule_when(call: libc::c_long, when: &'static [Argument], reason: &'static str) -> Rule {
    Rule { call, when, reason }
}

use Argument::{Is, Masked};

/// The low bits of socket(2)'s type; the rest are flags.
const TYPE_MASK: i32 = 0xf;

/// The flags with which glibc makes a thread (nptl/sysdeps: `CLONE_VM` to `CLONE_CHILD_CLEARTID`), exactly: no new
/// namespace, no process.
const THREAD: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID;

/// Every permission on all architectures.
pub const RULES: &[Rule] = &[
    rule(libc::SYS_read, "signals and wake-ups of the runtime"),
    rule(libc::SYS_write, "the log, wake-ups"),
    rule(libc::SYS_writev, "standard error, control replies"),
    rule(libc::SYS_close, "every descriptor ends"),
    rule(libc::SYS_recvfrom, "control requests, every protocol"),
    rule(libc::SYS_recvmsg, "NTP requests with the kernel's time stamp"),
    rule(libc::SYS_sendto, "control replies, every protocol"),
    rule(libc::SYS_sendmsg, "several pieces in one segment"),
    rule(libc::SYS_accept4, "control connections, TCP services"),
    rule(libc::SYS_bind, "the services' addresses"),
    rule(libc::SYS_listen, "TCP services"),
    rule(libc::SYS_connect, "probes, challenges, other name servers, logout notices"),
    rule(libc::SYS_shutdown, "connections end"),
    rule(libc::SYS_getsockname, "tokio reads a socket's own address"),
    rule(libc::SYS_getpeername, "tokio reads a socket's peer"),
    rule(libc::SYS_getsockopt, "the peer's uid, pending errors"),
    rule(libc::SYS_setsockopt, "IPV6_V6ONLY, SO_TIMESTAMPNS, SO_REUSEADDR, TCP_NODELAY"),
    rule_when(
        libc::SYS_socket,
        &[Is(0, libc::AF_INET), Masked(1, TYPE_MASK, libc::SOCK_DGRAM)],
        "NTP and names over IPv4",
    ),
    rule_when(
        libc::SYS_socket,
        &[Is(0, libc::AF_INET6), Masked(1, TYPE_MASK, libc::SOCK_DGRAM)],
        "NTP and names over IPv6",
    ),
    rule_when(libc::SYS_socket, &[Is(0, libc::AF_INET), Masked(1, TYPE_MASK, libc::SOCK_STREAM)], "TCP over IPv4"),
    rule_when(libc::SYS_socket, &[Is(0, libc::AF_INET6), Masked(1, TYPE_MASK, libc::SOCK_STREAM)], "TCP over IPv6"),
    rule_when(libc::SYS_socketpair, &[Is(0, libc::AF_UNIX)], "tokio's signal handler wakes the runtime"),
    rule(libc::SYS_epoll_create1, "the runtime's poller"),
    rule(libc::SYS_epoll_ctl, "the runtime's poller"),
    rule(libc::SYS_epoll_pwait, "the runtime's poller"),
    rule(libc::SYS_eventfd2, "wake-ups of the runtime"),
    rule_when(libc::SYS_fcntl, &[Is(1, libc::F_DUPFD_CLOEXEC)], "the poller and the signal pipe are duplicated"),
    rule_when(libc::SYS_fcntl, &[Is(1, libc::F_GETFL)], "the standard library checks descriptors"),
    rule_when(libc::SYS_fcntl, &[Is(1, libc::F_GETFD)], "the standard library checks descriptors in debug builds"),
    rule_when(libc::SYS_ioctl, &[Is(1, libc::FIONBIO as i32)], "sockets are made non-blocking"),
    rule_when(libc::SYS_ioctl, &[Is(1, libc::SIOCGIFINDEX as i32)], "the index of a link by its name"),
    rule_when(libc::SYS_fcntl, &[Is(1, libc::F_SETFD)], "databases are closed on exec"),
    rule_when(libc::SYS_fcntl, &[Is(1, libc::F_GETLK)], "databases are locked"),
    rule_when(libc::SYS_fcntl, &[Is(1, libc::F_SETLK)], "databases are locked"),
    rule(libc::SYS_openat, "the next log file, databases, secrets; Landlock bounds where"),
    rule(libc::SYS_newfstatat, "files are checked"),
    rule(libc::SYS_fstat, "files are checked"),
    rule(libc::SYS_statx, "files are checked"),
    rule(libc::SYS_faccessat, "databases look for their journals"),
    rule(libc::SYS_faccessat2, "databases look for their journals"),
    rule(libc::SYS_readlinkat, "databases resolve their own path"),
    rule(libc::SYS_getcwd, "databases resolve their own path"),
    rule(libc::SYS_lseek, "databases"),
    rule(libc::SYS_pread64, "databases"),
    rule(libc::SYS_pwrite64, "databases"),
    rule(libc::SYS_fsync, "databases and secrets are kept"),
    rule(libc::SYS_fdatasync, "databases are kept"),
    rule(libc::SYS_flock, "the journal of changes has one writer"),
    rule(libc::SYS_ftruncate, "journals of databases"),
    rule(libc::SYS_fallocate, "journals of databases"),
    rule(libc::SYS_fchmod, "journals of databases get their mode"),
    rule(libc::SYS_renameat, "the log is rotated, secrets are replaced"),
    rule(libc::SYS_unlinkat, "the control socket is removed at the end; journals of databases"),
    rule(libc::SYS_geteuid, "the new log file must be ours; databases"),
    rule(libc::SYS_brk, "the allocator"),
    rule_when(libc::SYS_mmap, &[Masked(2, libc::PROT_EXEC, 0)], "the allocator; never executable"),
    rule_when(libc::SYS_mprotect, &[Masked(2, libc::PROT_EXEC, 0)], "the allocator; never executable"),
    rule(libc::SYS_munmap, "the allocator"),
    rule(libc::SYS_mremap, "the allocator"),
    rule(libc::SYS_madvise, "the allocator gives memory back"),
    rule(libc::SYS_futex, "locks of the standard library"),
    rule(libc::SYS_clone3, "answered with ENOSYS by a filter of its own"),
    rule_when(libc::SYS_clone, &[Is(0, THREAD)], "threads of databases and for hashes; never a process"),
    rule(libc::SYS_set_robust_list, "a thread begins"),
    rule(libc::SYS_rseq, "a thread begins"),
    rule_when(libc::SYS_prctl, &[Is(0, libc::PR_SET_NAME)], "a thread is named"),
    rule(libc::SYS_sched_getaffinity, "the allocator counts processors"),
    rule(libc::SYS_clock_nanosleep, "databases wait for a lock"),
    rule(libc::SYS_sched_yield, "locks of the standard library"),
    rule(libc::SYS_getrandom, "hash seeds, nonces"),
    rule(libc::SYS_clock_gettime, "time, where the vDSO does not serve it"),
    rule(libc::SYS_rt_sigaction, "SIGTERM and SIGINT are awaited; abort(3)"),
    rule(libc::SYS_rt_sigprocmask, "abort(3)"),
    rule(libc::SYS_rt_sigreturn, "the signal handler returns"),
    rule(libc::SYS_sigaltstack, "the main thread's guard stack is removed at the end"),
    rule(libc::SYS_restart_syscall, "a call goes on after SIGSTOP and SIGCONT"),
    rule(libc::SYS_getpid, "abort(3)"),
    rule(libc::SYS_gettid, "abort(3), panic messages"),
    rule_when(libc::SYS_tgkill, &[Is(2, libc::SIGABRT)], "abort(3)"),
    rule(libc::SYS_exit, "the end"),
    rule(libc::SYS_exit_group, "the end"),
];

/// Older forms of the calls above that exist on x86-64 only and that the C library still uses.
#[cfg(target_arch = "x86_64")]
pub const RULES_OF_ARCHITECTURE: &[Rule] = &[
    rule(libc::SYS_epoll_wait, "the runtime's poller"),
    rule(libc::SYS_rename, "the log is rotated"),
    rule(libc::SYS_unlink, "the control socket is removed at the end; journals of databases"),
    rule(libc::SYS_open, "databases"),
    rule(libc::SYS_stat, "databases"),
    rule(libc::SYS_lstat, "databases"),
    rule(libc::SYS_access, "databases look for their journals"),
    rule(libc::SYS_readlink, "databases resolve their own path"),
    rule(libc::SYS_poll, "the standard library checks descriptors 0 to 2"),
];
/// Nothing more on this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub const RULES_OF_ARCHITECTURE: &[Rule] = &[];

/// Why the process could not be restricted.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The rules make no filter.
    #[error("cannot build the system call filter")]
    Build(#[source] seccompiler::BackendError),
    /// The kernel refused the filter.
    #[error("cannot install the system call filter")]
    Install(#[source] seccompiler::Error),
}

/// Restricts the calling thread, for good, to [`RULES`]. Call it while the process has one thread.
///
/// # Errors
/// [`SeccompError`]; the process must not go on then.
pub fn restrict() -> Result<(), SeccompError> {
    for program in [absent(), program()] {
        seccompiler::apply_filter(&program.map_err(SeccompError::Build)?).map_err(SeccompError::Install)?;
    }
    Ok(())
}

/// What does not exist here. Of several filters' verdicts the kernel takes the strictest (seccomp(2)), and an error is
/// stricter than leave, so the list below must not forbid the same call.
fn absent() -> Result<BpfProgram, seccompiler::BackendError> {
    let calls = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let enosys = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    SeccompFilter::new(calls, SeccompAction::Allow, enosys, std::env::consts::ARCH.try_into()?)?.try_into()
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut by_call: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for rule in RULES.iter().chain(RULES_OF_ARCHITECTURE) {
        let rules = by_call.entry(rule.call).or_default();
        if !rule.when.is_empty() {
            let conditions: Result<_, _> = rule.when.iter().map(condition).collect();
            rules.push(SeccompRule::new(conditions?)?);
        }
    }
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(by_call, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}

fn condition(argument: &Argument) -> Result<SeccompCondition, seccompiler::BackendError> {
    let (index, operation, value) = match *argument {
        Is(index, value) => (index, SeccompCmpOp::Eq, value),
        Masked(index, mask, value) => (index, SeccompCmpOp::MaskedEq(mask.cast_unsigned().into()), value),
    };
    SeccompCondition::new(index, Dword, operation, value.cast_unsigned().into())
}
