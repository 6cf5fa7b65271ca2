//! The sandbox: namespaces, an empty root directory, seccomp, Landlock.

use std::{collections::BTreeMap, fs, io, os::unix::fs::OpenOptionsExt, path::Path};

use crate::discard::Discard;

use nix::{
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{Pid, chdir, getgid, getuid, pivot_root},
};

/// Names that rulesets may use; the sandbox has no other files. (IANA, Protocol Numbers.)
const PROTOCOLS: &str = "ip 0 IP\nicmp 1 ICMP\nigmp 2 IGMP\nipencap 4 IP-ENCAP\ntcp 6 TCP\negp 8 EGP\nudp 17 UDP\ndccp 33 DCCP\n\
    ipv6 41 IPv6\nipv6-route 43 IPv6-Route\nipv6-frag 44 IPv6-Frag\nrsvp 46 RSVP\ngre 47 GRE\nesp 50 IPSEC-ESP\nah 51 IPSEC-AH\n\
    ipv6-icmp 58 IPv6-ICMP icmpv6\nipv6-nonxt 59 IPv6-NoNxt\nipv6-opts 60 IPv6-Opts\neigrp 88 EIGRP\nospf 89 OSPFIGP\npim 103 PIM\n\
    ipcomp 108 IPCOMP\nvrrp 112 VRRP\nl2tp 115 L2TP\nsctp 132 SCTP\nudplite 136 UDPLite\n";

/// Enters user, mount, IPC, UTS, process and network namespaces of our own, as their root; a child made after this is the first process of
/// the process namespace.
///
/// # Errors
/// When the host does not let this user make them.
pub fn enter() -> io::Result<()> {
    let (uid, gid) = (getuid(), getgid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET,
    )?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// What stands between a sandbox and the host's own capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// A user namespace: nothing in the sandbox has a capability outside it.
    User,
    /// None, for the host makes no user namespaces for anybody (user.max_user_namespaces is 0). The worker keeps the capabilities that it
    /// makes nodes with, the ruleset reader none but `CAP_NET_ADMIN` in the one network namespace it reads for.
    Host,
}

/// As [`enter`], started by rootd with capabilities: they take the place of a user namespace where the host makes none.
///
/// # Errors
/// When the kernel refuses these too.
pub fn enter_from_rootd() -> io::Result<Boundary> {
    match enter() {
        Ok(()) => return Ok(Boundary::User),
        // The bound on their number, or a kernel built without them (unshare(2)).
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EINVAL | libc::EPERM)) => {}
        Err(error) => return Err(error),
    }
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET,
    )?;
    Ok(Boundary::Host)
}

/// Stays on one processor: what the kernel does for a packet is then done in one queue, in order.
///
/// # Errors
/// The kernel's refusal.
pub fn stay(number: usize) -> io::Result<()> {
    let may = sched_getaffinity(Pid::from_raw(0))?;
    let usable: Vec<usize> = (0..CpuSet::count()).filter(|cpu| may.is_set(*cpu).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    one.set(usable[number % usable.len().max(1)])?;
    Ok(sched_setaffinity(Pid::from_raw(0), &one)?)
}

/// Replaces the root directory by an empty one that holds `/net` (the network settings of whatever namespace is current) and two short lists of names.
///
/// # Errors
/// The kernel's refusal.
pub fn empty_root() -> io::Result<()> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let settings =
        fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open("/proc/sys/net")?;
    let settings_path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&settings));
    // Any directory will do as the place of the new root; every host has this one.
    let scratch = Path::new("/tmp");
    mount(Some("lab"), scratch, Some("tmpfs"), flags, Some("size=64k,mode=0755"))?;
    fs::create_dir(scratch.join("net"))?;
    fs::create_dir(scratch.join("etc"))?;
    fs::write(scratch.join("etc/protocols"), PROTOCOLS)?;
    fs::write(scratch.join("etc/services"), services())?;
    mount(
        Some(settings_path.as_str()),
        &scratch.join("net"),
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?;
    drop(settings);
    chdir(scratch)?;
    // The old root lies over the new one, and is taken off (pivot_root(2), "pivot_root(., .)").
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    mount(None::<&str>, "/", None::<&str>, flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)?;
    Ok(())
}

/// The host's own names of services, when they are short enough; a ruleset may say `ssh` for 22.
fn services() -> String {
    let text = fs::read_to_string("/etc/services").unwrap_or_default();
    if text.is_empty() || text.len() > 32 << 10 {
        "ssh 22/tcp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp\nntp 123/udp\nhttps 443/tcp\n".to_owned()
    } else {
        text
    }
}

/// Room for the sockets of 64 nodes, as far as the host allows.
///
/// # Errors
/// The kernel's refusal.
pub fn raise_descriptors() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// Limits the process for good: files below `/net` only, no TCP to anybody outside the namespaces, no signal to others, and the system calls listed.
///
/// # Errors
/// The kernel's refusal; a kernel without Landlock is none, for there are no files anyway.
pub fn limit() -> io::Result<Discard> {
    landlock().map_err(io::Error::other)?;
    // Landlock is inherited by threads made after it, seccomp is given to all that are there.
    let discard = Discard::start()?;
    seccomp().map_err(io::Error::other)?;
    Ok(discard)
}

fn landlock() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use landlock::{
        ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
        Scope,
    };
    let abi = ABI::V6;
    let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::ReadDir;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/net")?, access))?
        .restrict_self()?;
    Ok(())
}

/// The system calls of a worker at work, each with what it is for. Anything else ends it.
const CALLS: &[libc::c_long] = &[
    libc::SYS_read,            // cases, the ruleset reader's answers, settings
    libc::SYS_write,           // answers, settings, the log
    libc::SYS_writev,          // the log
    libc::SYS_close,           // descriptors
    libc::SYS_fcntl,           // close-on-exec
    libc::SYS_brk,             // malloc
    libc::SYS_munmap,          // free
    libc::SYS_mremap,          // realloc
    libc::SYS_madvise,         // free
    libc::SYS_futex,           // locks
    libc::SYS_getrandom,       // hash seeds
    libc::SYS_clock_gettime,   // deadlines, where the vDSO falls back
    libc::SYS_clock_nanosleep, // gaps between packets that a case asks for
    libc::SYS_sched_yield,     // locks
    libc::SYS_rt_sigprocmask,  // panics
    libc::SYS_rt_sigaction,    // panics
    libc::SYS_rt_sigreturn,    // panics
    libc::SYS_sigaltstack,     // end of the thread
    libc::SYS_getpid,          // abort
    libc::SYS_gettid,          // abort
    libc::SYS_tgkill,          // abort
    libc::SYS_restart_syscall, // after SIGSTOP and SIGCONT
    libc::SYS_exit,            // end
    libc::SYS_exit_group,      // end
    libc::SYS_sendmsg,         // a namespace for the ruleset reader
    libc::SYS_sendto,          // packets, netlink
    libc::SYS_recvmsg,         // packets
    libc::SYS_recvfrom,        // packets, netlink
    libc::SYS_bind,            // sockets inside
    libc::SYS_listen,          // listeners inside
    libc::SYS_setsockopt,      // buffers, trace groups
    libc::SYS_getsockopt,      // the buffer that was granted
    libc::SYS_getsockname,     // std's sockets
    libc::SYS_ppoll,           // the barrier
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll, // the barrier
    libc::SYS_openat,          // settings; Landlock bounds where
];

fn seccomp() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition as Condition,
        SeccompFilter, SeccompRule, TargetArch,
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let mut only = |call: libc::c_long, place: u8, op: Op, value: u64| -> Result<(), seccompiler::BackendError> {
        let condition = Condition::new(place, Length::Dword, op, value)?;
        rules.entry(call).or_default().push(SeccompRule::new(vec![condition])?);
        Ok(())
    };
    let exec = libc::PROT_EXEC as u64;
    only(libc::SYS_mmap, 2, Op::MaskedEq(exec), 0)?; // malloc, never code
    only(libc::SYS_mprotect, 2, Op::MaskedEq(exec), 0)?; // malloc, never code
    only(libc::SYS_unshare, 0, Op::Eq, libc::CLONE_NEWNET as u64)?; // a node
    only(libc::SYS_setns, 1, Op::Eq, libc::CLONE_NEWNET as u64)?; // into a node
    only(libc::SYS_ioctl, 1, Op::Eq, 0x894c)?; // SIOCGSKNS: a node's namespace
    only(libc::SYS_ioctl, 1, Op::Eq, libc::FIONBIO)?; // std's set_nonblocking
    for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_INET, libc::AF_INET6] {
        only(libc::SYS_socket, 0, Op::Eq, family as u64)?;
    }
    let arch = if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)?;
    Ok(())
}
