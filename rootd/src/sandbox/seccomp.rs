//! Seccomp filters as data, a reason for each rule (seccomp(2)).
//!
//! Broker, net, ns and holder list what they may call; anything else ends the process with SIGSYS, and the service
//! manager starts rootd anew. The spawn worker's and the lab role's filter is inherited by what it starts, so it is a list of denials that answer
//! EPERM, comparable to that of container engines.

use std::{collections::BTreeMap, io};

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Whose filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The broker.
    Broker,
    /// The net worker.
    Net,
    /// The ns worker.
    Ns,
    /// The spawn worker and all it starts.
    Spawn,
    /// The holder.
    Holder,
    /// The watch worker.
    Watch,
    /// The probe worker.
    Probe,
    /// The attendant of a sandbox of the firewall lab.
    LabAttendant,
    /// An uplink's relay.
    Uplink,
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy)]
enum When {
    /// Any arguments.
    Always,
    /// Argument `.0` equals `.1`.
    Equals(u8, u64),
    /// Argument `.0` has none of the bits `.1`.
    Without(u8, u64),
    /// Argument `.0` has all of the bits `.1`.
    With(u8, u64),
    /// The first three arguments equal these.
    Exactly([u64; 3]),
}

type Rule = (libc::c_long, When);

/// Installs the filter for `role` on the calling thread; all later threads inherit it.
///
/// # Errors
/// When the kernel refuses it; the process must end.
pub fn install(role: Role) -> io::Result<()> {
    let program = compile(role).map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// As [`install`], on every thread of the process.
///
/// # Errors
/// As [`install`]; also when a thread has another filter.
pub fn install_on_all_threads(role: Role) -> io::Result<()> {
    let program = compile(role).map_err(io::Error::other)?;
    seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)
}

fn compile(role: Role) -> Result<BpfProgram, seccompiler::BackendError> {
    let (listed, otherwise) = match role {
        Role::Spawn => (SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow),
        _ => (SeccompAction::Allow, SeccompAction::KillProcess),
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, when) in role_rules(role) {
        let entry = rules.entry(call).or_default();
        let conditions = conditions(when)?;
        if !conditions.is_empty() {
            entry.push(SeccompRule::new(conditions)?);
        }
    }
    let arch = if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };
    SeccompFilter::new(rules, otherwise, listed, arch)?.try_into()
}

fn conditions(when: When) -> Result<Vec<SeccompCondition>, seccompiler::BackendError> {
    // The kernel reads all these arguments as 32 bits; comparing 64 would let garbage above pass for another value.
    let dword = SeccompCmpArgLen::Dword;
    Ok(match when {
        When::Always => vec![],
        When::Equals(place, value) => vec![SeccompCondition::new(place, dword, SeccompCmpOp::Eq, value)?],
        When::Without(place, bits) => vec![SeccompCondition::new(place, dword, SeccompCmpOp::MaskedEq(bits), 0)?],
        When::With(place, bits) => vec![SeccompCondition::new(place, dword, SeccompCmpOp::MaskedEq(bits), bits)?],
        When::Exactly(values) => {
            let equal = |(place, value)| SeccompCondition::new(place, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
            (0..).zip(values).map(equal).collect::<Result<_, _>>()?
        }
    })
}

fn role_rules(role: Role) -> Vec<Rule> {
    let parts: &[&[Rule]] = match role {
        Role::Broker => &[RUNTIME, MESSAGES, BROKER],
        Role::Net => &[RUNTIME, MESSAGES, NET],
        Role::Holder | Role::Probe => &[RUNTIME, MESSAGES],
        Role::Ns => &[RUNTIME, MESSAGES, NS],
        Role::Watch => &[RUNTIME, MESSAGES, WATCH],
        Role::LabAttendant => &[RUNTIME, MESSAGES, BUFFERS],
        Role::Uplink => &[RUNTIME, MESSAGES, UPLINK],
        Role::Spawn => &[DENIED],
    };
    parts.concat()
}

use When::{Always, Equals, Exactly, With, Without};

const PROT_EXEC: u64 = libc::PROT_EXEC as u64;

/// What any Rust program needs: memory without code, time, locks, its own end.
const RUNTIME: &[Rule] = &[
    (libc::SYS_read, Always),                    // sockets, pipes, settings
    (libc::SYS_write, Always),                   // log on stderr
    (libc::SYS_writev, Always),                  // log on stderr
    (libc::SYS_close, Always),                   // descriptors
    (libc::SYS_fcntl, Always),                   // close-on-exec, non-blocking
    (libc::SYS_fstat, Always),                   // inode of a namespace
    (libc::SYS_brk, Always),                     // malloc
    (libc::SYS_mmap, Without(2, PROT_EXEC)),     // malloc; never code
    (libc::SYS_mprotect, Without(2, PROT_EXEC)), // malloc's arenas; never code
    (libc::SYS_munmap, Always),                  // free
    (libc::SYS_mremap, Always),                  // realloc
    (libc::SYS_madvise, Always),                 // free
    (libc::SYS_futex, Always),                   // locks
    (libc::SYS_getrandom, Always),               // ids, hash seeds
    (libc::SYS_clock_gettime, Always),           // time, where the vDSO falls back
    (libc::SYS_clock_nanosleep, Always),         // back-off
    (libc::SYS_sched_yield, Always),             // locks
    (libc::SYS_rt_sigprocmask, Always),          // panics, thread start
    (libc::SYS_rt_sigaction, Always),            // SIGTERM
    (libc::SYS_rt_sigreturn, Always),            // return from a handler
    (libc::SYS_sigaltstack, Always),             // std's stack overflow guard
    (libc::SYS_getpid, Always),                  // abort
    (libc::SYS_gettid, Always),                  // abort
    (libc::SYS_tgkill, Always),                  // abort
    (libc::SYS_restart_syscall, Always),         // after SIGSTOP and SIGCONT
    (libc::SYS_exit, Always),                    // end of a thread
    (libc::SYS_exit_group, Always),              // end
];

/// Messages between our processes, and netlink.
const MESSAGES: &[Rule] = &[
    (libc::SYS_sendmsg, Always),  // with descriptors
    (libc::SYS_recvmsg, Always),  // with descriptors
    (libc::SYS_sendto, Always),   // netlink
    (libc::SYS_recvfrom, Always), // netlink, peeking at a length
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, Always), // holder
    (libc::SYS_ppoll, Always),    // holder, glibc
    (libc::SYS_accept4, Always),  // holder and broker: their own listeners only, no other listener exists
];

/// The broker's event loop, its sockets, its journal.
const BROKER: &[Rule] = &[
    (libc::SYS_epoll_create1, Always), // event loop
    (libc::SYS_epoll_ctl, Always),     // event loop
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, Always), // event loop
    (libc::SYS_epoll_pwait, Always),   // event loop
    (libc::SYS_epoll_pwait2, Always),  // event loop
    (libc::SYS_eventfd2, Always),      // waking the event loop
    (libc::SYS_socket, Equals(0, libc::AF_UNIX as u64)), // the holder, the service manager's notify socket
    (libc::SYS_socketpair, Equals(0, libc::AF_UNIX as u64)), // leashes, signal delivery
    (libc::SYS_connect, Always),       // the holder; only AF_UNIX sockets exist
    (libc::SYS_bind, Always),          // the holder's listener
    (libc::SYS_listen, Always),        // the holder's listener
    (libc::SYS_shutdown, Always),      // closing a connection
    (libc::SYS_getsockopt, Always),    // who is the peer
    (libc::SYS_setsockopt, Always),    // buffer sizes
    (libc::SYS_getsockname, Always),   // tokio's listeners
    (libc::SYS_getpeername, Always),   // tokio's streams
    (libc::SYS_ioctl, Equals(1, libc::FIONBIO)), // std's set_nonblocking
    (libc::SYS_pidfd_open, Always),    // the caller of a command, on kernels before 6.5
    (libc::SYS_openat, Always),        // the journal; Landlock bounds where
    (libc::SYS_fsync, Always),         // the journal
    (libc::SYS_fdatasync, Always),     // the journal
    (libc::SYS_ftruncate, Always),     // the journal
    (libc::SYS_lseek, Always),         // the journal
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, Always), // the journal's compaction
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, Always), // the holder's stale socket
    (libc::SYS_renameat, Always),      // the same, where glibc has no rename
    (libc::SYS_unlinkat, Always),      // the same, where glibc has no unlink
    (libc::SYS_statx, Always),         // file sizes
    (libc::SYS_newfstatat, Always),    // file sizes
];

/// Policies as large as they come are sent at once.
const NET: &[Rule] = &[
    (libc::SYS_setsockopt, Equals(1, libc::SOL_SOCKET as u64)), // room for one in a netlink socket's buffer
];

/// Receive buffers of sockets that were handed over.
const BUFFERS: &[Rule] = &[
    (libc::SYS_getsockopt, Equals(1, libc::SOL_SOCKET as u64)), // which kind it is
    (libc::SYS_setsockopt, Equals(1, libc::SOL_SOCKET as u64)), // its buffer
];

/// Waiting on thousands of sockets.
const WATCH: &[Rule] = &[
    (libc::SYS_epoll_create1, Always), // the set
    (libc::SYS_epoll_ctl, Always),     // its sockets
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, Always), // the wait
    (libc::SYS_epoll_pwait, Always),   // the wait, where glibc has no epoll_wait
];

/// Ending passt.
const UPLINK: &[Rule] = &[
    (libc::SYS_pidfd_send_signal, Always), // passt, its only child; it holds no other such descriptor
    (libc::SYS_wait4, Always),             // its end
];

/// The arguments of socket(2) for [`crate::sys::netns::solicitations`].
const SOLICITATIONS: [u64; 3] = [
    libc::AF_INET6 as u64,
    (libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u64,
    libc::IPPROTO_ICMPV6 as u64,
];

/// The arguments of socket(2) for [`crate::sys::packet::link`].
const FRAMES: [u64; 3] =
    [libc::AF_PACKET as u64, (libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u64, 0];

/// Namespaces and their settings.
const NS: &[Rule] = &[
    (libc::SYS_unshare, Equals(0, libc::CLONE_NEWNET as u64)), // make a network namespace, nothing else
    (libc::SYS_setns, Equals(1, libc::CLONE_NEWNET as u64)),   // enter a network namespace, nothing else
    (libc::SYS_socket, Equals(0, libc::AF_NETLINK as u64)),    // sockets inside it
    (libc::SYS_socket, Exactly(SOLICITATIONS)),                // a router's raw ICMPv6 socket, no other raw one
    (libc::SYS_setsockopt, Equals(1, libc::IPPROTO_ICMPV6 as u64)), // its filter
    (libc::SYS_setsockopt, Equals(1, libc::SOL_NETLINK as u64)), // dumps of what is asked for alone
    (libc::SYS_bind, Equals(2, size_of::<libc::sockaddr_nl>() as u64)), // joining their groups
    (libc::SYS_socket, Exactly(FRAMES)),                       // frames of a proof, no other packet socket
    (libc::SYS_setsockopt, Equals(1, libc::SOL_SOCKET as u64)), // their filter, room for traces
    (libc::SYS_setsockopt, Equals(1, libc::SOL_PACKET as u64)), // an uplink's: not what leaves
    (libc::SYS_bind, Equals(2, size_of::<libc::sockaddr_ll>() as u64)), // to one link
    (libc::SYS_ioctl, Equals(1, libc::SIOCGIFINDEX)),          // its number
    (libc::SYS_ioctl, Equals(1, 0x894c)),                      // SIOCGSKNS: the descriptor of it
    (libc::SYS_openat, Always),                                // settings; Landlock bounds where
    (libc::SYS_pread64, Always),                               // settings that are kept open
];

/// What nothing started by the spawn worker may do. Programs without capabilities lose nothing by it.
const DENIED: &[Rule] = &[
    (libc::SYS_init_module, Always),       // modules
    (libc::SYS_finit_module, Always),      // modules
    (libc::SYS_delete_module, Always),     // modules
    (libc::SYS_kexec_load, Always),        // another kernel
    (libc::SYS_kexec_file_load, Always),   // another kernel
    (libc::SYS_reboot, Always),            // the host
    (libc::SYS_swapon, Always),            // the host
    (libc::SYS_swapoff, Always),           // the host
    (libc::SYS_acct, Always),              // the host
    (libc::SYS_quotactl, Always),          // the host
    (libc::SYS_settimeofday, Always),      // the clock
    (libc::SYS_clock_settime, Always),     // the clock
    (libc::SYS_clock_adjtime, Always),     // the clock
    (libc::SYS_adjtimex, Always),          // the clock
    (libc::SYS_sethostname, Always),       // names of the host
    (libc::SYS_setdomainname, Always),     // names of the host
    (libc::SYS_syslog, Always),            // the kernel's log
    (libc::SYS_bpf, Always),               // programs in the kernel
    (libc::SYS_perf_event_open, Always),   // kernel attack surface
    (libc::SYS_userfaultfd, Always),       // kernel attack surface
    (libc::SYS_io_uring_setup, Always),    // filters cannot see inside it
    (libc::SYS_open_by_handle_at, Always), // files past their directories
    (libc::SYS_add_key, Always),           // keyrings are not per namespace
    (libc::SYS_request_key, Always),       // keyrings are not per namespace
    (libc::SYS_keyctl, Always),            // keyrings are not per namespace
    (libc::SYS_setresuid, Equals(0, 0)),   // root, by any of the three ids
    (libc::SYS_setresuid, Equals(1, 0)),
    (libc::SYS_setresuid, Equals(2, 0)),
    (libc::SYS_setuid, Equals(0, 0)),   // root
    (libc::SYS_setreuid, Equals(0, 0)), // root
    (libc::SYS_setreuid, Equals(1, 0)),
    (libc::SYS_setfsuid, Equals(0, 0)),            // root
    (libc::SYS_personality, With(0, 0x0040_0000)), // READ_IMPLIES_EXEC
];

#[cfg(test)]
mod tests;
