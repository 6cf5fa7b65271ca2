//! Network namespaces by descriptor.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use nix::{
    libc,
    sched::CloneFlags,
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType},
};

/// Netlink protocols whose sockets are opened inside a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Netlink {
    /// Links, addresses, routes (rtnetlink(7)).
    Route,
    /// nf_tables (nfnetlink).
    Netfilter,
}

/// Moves the calling thread into a new, empty network namespace (unshare(2)). Needs CAP_SYS_ADMIN.
pub fn unshare_net() -> io::Result<()> {
    Ok(nix::sched::unshare(CloneFlags::CLONE_NEWNET)?)
}

/// Moves the calling thread into the network namespace `ns` (setns(2)). Needs CAP_SYS_ADMIN.
pub fn enter(ns: impl AsFd) -> io::Result<()> {
    Ok(nix::sched::setns(ns, CloneFlags::CLONE_NEWNET)?)
}

/// Opens a netlink socket in the calling thread's network namespace; it stays in that namespace for life.
pub fn netlink(protocol: Netlink) -> io::Result<OwnedFd> {
    let protocol = match protocol {
        Netlink::Route => SockProtocol::NetlinkRoute,
        Netlink::Netfilter => SockProtocol::NetlinkNetFilter,
    };
    Ok(nix::sys::socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?)
}

/// A descriptor of the network namespace that `socket` lives in (linux/sockios.h: `SIOCGSKNS`). Needs CAP_NET_ADMIN.
pub fn of_socket(socket: impl AsFd) -> io::Result<OwnedFd> {
    const SIOCGSKNS: libc::Ioctl = 0x894c;
    // SAFETY: SIOCGSKNS takes no argument and returns a new descriptor, which nothing else owns.
    let fd = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us.
    let ns = unsafe { OwnedFd::from_raw_fd(fd) };
    nix::fcntl::fcntl(&ns, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    Ok(ns)
}

/// The inode number that identifies a namespace (namespaces(7)).
pub fn inode(ns: impl AsFd) -> io::Result<u64> {
    Ok(nix::sys::stat::fstat(ns)?.st_ino)
}
