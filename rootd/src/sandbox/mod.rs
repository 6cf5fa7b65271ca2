//! What each process may still do: capabilities, then Landlock, then seccomp, in this order.

pub mod caps;
pub mod landlock;
pub mod seccomp;

use std::{io, os::fd::OwnedFd, path::Path};

use ::caps::Capability;

/// The broker: no capability; files only below its run directory.
///
/// # Errors
/// Whatever the kernel refuses; the process must end.
pub fn lock_broker(run_directory: &Path) -> io::Result<landlock::Level> {
    caps::keep(&[])?;
    let level = landlock::restrict(&[landlock::Allow::Directory(run_directory)])?;
    seccomp::install(seccomp::Role::Broker)?;
    Ok(level)
}

/// The net worker: CAP_NET_ADMIN, no file.
///
/// # Errors
/// As [`lock_broker`].
pub fn lock_net() -> io::Result<()> {
    caps::keep(&[Capability::CAP_NET_ADMIN])?;
    landlock::restrict(&[])?;
    seccomp::install(seccomp::Role::Net)
}

/// The ns worker: CAP_SYS_ADMIN to make and enter namespaces, CAP_NET_ADMIN so that its sockets carry it
/// (net/netlink/af_netlink.c, `netlink_ns_capable` asks for opener and user), CAP_NET_RAW for the one raw socket of a router's
/// program; files only below /proc/sys/net.
///
/// # Errors
/// As [`lock_broker`].
pub fn lock_ns(settings: &OwnedFd) -> io::Result<()> {
    caps::keep(&[Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW])?;
    landlock::restrict(&[landlock::Allow::Settings(settings)])?;
    seccomp::install(seccomp::Role::Ns)
}

/// The spawn worker: mounts in its children's namespaces, takes users' credentials.
///
/// No Landlock: it forbids mount(2) even to root, and what is started here would inherit it. Its seccomp filter is
/// inherited too, so it denies only what a process without capabilities could not do anyway.
///
/// # Errors
/// As [`lock_broker`].
pub fn lock_spawn() -> io::Result<()> {
    caps::keep(&[
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_SYS_CHROOT,
        Capability::CAP_SETUID,
        Capability::CAP_SETGID,
        Capability::CAP_SETPCAP,
    ])?;
    seccomp::install(seccomp::Role::Spawn)
}

/// The lab role: mounts in its children's namespaces, takes the lab's credentials, and what sandboxes and their attendants start from
/// ([`crate::worker::attendant::sandbox`]). Denials as for the spawn worker, inherited.
///
/// # Errors
/// As [`lock_broker`].
pub fn lock_lab() -> io::Result<()> {
    caps::keep(&[
        Capability::CAP_SYS_ADMIN,
        Capability::CAP_NET_ADMIN,
        Capability::CAP_NET_RAW,
        Capability::CAP_NET_BIND_SERVICE,
        Capability::CAP_SETUID,
        Capability::CAP_SETGID,
        Capability::CAP_SETPCAP,
    ])?;
    seccomp::install(seccomp::Role::Spawn)
}

/// The attendant of a sandbox: CAP_NET_ADMIN for receive buffers, no file.
///
/// # Errors
/// As [`lock_broker`].
pub fn lock_lab_attendant() -> io::Result<()> {
    caps::keep(&[Capability::CAP_NET_ADMIN])?;
    landlock::restrict(&[])?;
    seccomp::install(seccomp::Role::LabAttendant)
}

/// The watch worker: nothing at all; the sockets it reads were opened and joined by others.
///
/// # Errors
/// As [`lock_broker`].
pub fn lock_watch() -> io::Result<()> {
    caps::keep(&[])?;
    landlock::restrict(&[])?;
    seccomp::install(seccomp::Role::Watch)
}

/// The probe worker: nothing at all; the sockets it sends and hears by were opened by the ns worker. `threads` starts its threads, which
/// no system call is left for afterwards; they have what the others had taken from them before, and the filter with all.
///
/// # Errors
/// As [`lock_broker`], or when the threads do not start.
pub fn lock_probe<T>(threads: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    caps::keep(&[])?;
    landlock::restrict(&[])?;
    let started = threads()?;
    seccomp::install_on_all_threads(seccomp::Role::Probe)?;
    Ok(started)
}

/// An uplink's relay: its sockets were opened before, and passt(1) was started before; it may end that one by its descriptor.
///
/// # Errors
/// As [`lock_broker`].
pub fn lock_uplink() -> io::Result<()> {
    caps::keep(&[])?;
    landlock::restrict(&[landlock::Allow::Signals])?;
    seccomp::install(seccomp::Role::Uplink)
}

/// The holder: nothing at all.
///
/// # Errors
/// As [`lock_broker`].
pub fn lock_holder() -> io::Result<()> {
    caps::keep(&[])?;
    landlock::restrict(&[])?;
    seccomp::install(seccomp::Role::Holder)
}
