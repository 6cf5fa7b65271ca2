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

/// Has dumps of a route socket tell only what the request's header asks for (linux/netlink.h, `NETLINK_GET_STRICT_CHK`, Linux
/// 4.20). Without, they tell all, and whoever reads them chooses: so a kernel that has no such option is no failure.
pub fn choose_in_dumps(socket: impl AsFd) {
    const NETLINK_GET_STRICT_CHK: libc::c_int = 12;
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int; pointer and length describe one on our stack.
    unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            NETLINK_GET_STRICT_CHK,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// Opens a raw ICMPv6 socket in the calling thread's network namespace that receives router solicitations and nothing else
/// (RFC 3542, section 3.2). Needs CAP_NET_RAW. Whoever holds it can send any ICMPv6 message in that namespace, and undo
/// the filter, which spares it the others' messages and is no fence.
pub fn solicitations() -> io::Result<OwnedFd> {
    const ICMPV6_FILTER: libc::c_int = 1; // linux/icmpv6.h
    const SOLICITATION: usize = 133;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6)?;
    // A bit that is set blocks its type (net/ipv6/raw.c, `icmpv6_filter`).
    let mut filter = [u32::MAX; 8];
    filter[SOLICITATION / 32] &= !(1 << (SOLICITATION % 32));
    // SAFETY: the option takes eight words; pointer and length describe those on our stack.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMPV6_FILTER,
            filter.as_ptr().cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
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
