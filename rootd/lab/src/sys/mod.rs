//! System calls that need unsafe code, each behind a function that is safe to call.

use std::{
    io, mem,
    net::{IpAddr, Ipv6Addr, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::{
    libc::{self, c_int, c_void},
    sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket},
    unistd::ForkResult,
};

/// `SIOCGSKNS`: the network namespace of a socket (linux/sockios.h).
const SIOCGSKNS: libc::c_ulong = 0x894c;
/// `PACKET_IGNORE_OUTGOING` (linux/if_packet.h).
const PACKET_IGNORE_OUTGOING: c_int = 23;
/// `IPV6_FLOWINFO` (linux/in6.h).
const IPV6_FLOWINFO: c_int = 11;

/// Forks a process of one thread.
///
/// # Errors
/// The kernel's refusal; or more than one thread, whose locks a child could never take.
pub fn fork_single() -> io::Result<ForkResult> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("cannot fork a process of several threads"));
    }
    // SAFETY: one thread, so no lock is held by another.
    Ok(unsafe { nix::unistd::fork() }?)
}

/// Has the kernel kill this process when its parent ends.
///
/// # Errors
/// The kernel's refusal.
pub fn end_with_parent() -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number.
    done(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })
}

/// The running kernel's release: its first two numbers (uname(2)).
pub fn kernel_release() -> (u32, u32) {
    // SAFETY: an all-zero utsname is a valid value, and the pointer describes it.
    let name = unsafe {
        let mut name: libc::utsname = mem::zeroed();
        libc::uname(&raw mut name);
        name
    };
    let text: String = name.release.iter().map(|byte| char::from(*byte as u8)).take_while(|c| *c != '\0').collect();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// `CAP_NET_BIND_SERVICE` (capabilities(7)).
pub const CAP_NET_BIND_SERVICE: u32 = 10;
/// `CAP_NET_ADMIN`.
pub const CAP_NET_ADMIN: u32 = 12;
/// `CAP_NET_RAW`.
pub const CAP_NET_RAW: u32 = 13;
/// `CAP_SYS_ADMIN`.
pub const CAP_SYS_ADMIN: u32 = 21;

/// Gives up every capability but these, each below 32; programs that are run inherit none.
///
/// # Errors
/// The kernel's refusal.
pub fn keep_capabilities(kept: &[u32]) -> io::Result<()> {
    // struct __user_cap_header_struct, version 3, this thread; struct __user_cap_data_struct, effective, permitted, inheritable, twice.
    let header: [u32; 2] = [0x2008_0522, 0];
    let bits = kept.iter().fold(0_u32, |bits, number| bits | 1 << number);
    let data: [[u32; 3]; 2] = [[bits, bits, 0], [0, 0, 0]];
    // SAFETY: both pointers describe values of the kernel's layout, which live until the call returns.
    done(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } as c_int)
}

/// The network namespace that a socket belongs to.
///
/// # Errors
/// The kernel's refusal; `CAP_NET_ADMIN` over that namespace is needed.
pub fn namespace_of(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: SIOCGSKNS takes no argument and returns a descriptor or -1.
    let descriptor = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) };
    done(descriptor)?;
    // SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Sets an integer option.
///
/// # Errors
/// The kernel's refusal.
pub fn set(socket: BorrowedFd<'_>, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    let pointer = (&raw const value).cast::<c_void>();
    let length = mem::size_of::<c_int>() as libc::socklen_t;
    // SAFETY: pointer and length describe `value`, which lives until the call returns.
    done(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, pointer, length) })
}

/// A socket that sends and receives whole frames of one interface of the current namespace, not those that leave by it.
///
/// # Errors
/// The kernel's refusal.
pub fn frames(index: u32, buffer: c_int) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    // Protocol 0: nothing is received before the socket is bound to its interface.
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None::<SockProtocol>)?;
    let fd = std::os::fd::AsFd::as_fd(&socket);
    set(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, buffer)?;
    // SAFETY: an all-zero sockaddr_ll is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = index as i32;
    let length = mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: pointer and length describe `address`.
    done(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    Ok(socket)
}

/// A raw IP socket of the current namespace that receives every packet of `protocol` this node's own stack is given.
///
/// # Errors
/// The kernel's refusal.
pub fn arrivals(v4: bool, protocol: u8, buffer: c_int) -> io::Result<OwnedFd> {
    let socket = raw(v4, protocol)?;
    let fd = std::os::fd::AsFd::as_fd(&socket);
    set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, buffer)?;
    if !v4 {
        set(fd, libc::IPPROTO_IPV6, IPV6_FLOWINFO, 1)?;
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
    }
    Ok(socket)
}

/// A raw IP socket of the current namespace that sends packets whose header is given.
///
/// # Errors
/// The kernel's refusal.
pub fn departures(v4: bool) -> io::Result<OwnedFd> {
    let socket = raw(v4, libc::IPPROTO_RAW as u8)?;
    let fd = std::os::fd::AsFd::as_fd(&socket);
    if v4 {
        set(fd, libc::IPPROTO_IP, libc::IP_HDRINCL, 1)?;
    } else {
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_HDRINCL, 1)?;
    }
    Ok(socket)
}

fn raw(v4: bool, protocol: u8) -> io::Result<OwnedFd> {
    let family = if v4 { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let descriptor = unsafe { libc::socket(family, kind, c_int::from(protocol)) };
    done(descriptor)?;
    // SAFETY: the kernel just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// What a raw IPv6 socket received: what the header had, and the bytes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrivalV6 {
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// Flow label.
    pub flow_label: u32,
    /// Bytes received.
    pub length: usize,
}

/// Receives from a socket of [`arrivals`] for IPv6; none when nothing is there.
///
/// # Errors
/// The kernel's refusal.
pub fn receive_v6(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<ArrivalV6>> {
    // SAFETY: all-zero values of these three are valid.
    let (mut from, mut message): (libc::sockaddr_in6, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = [0_u64; 32];
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control) as _;
    // SAFETY: every pointer in `message` describes a live buffer of the length given.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    if length < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    let mut arrival = ArrivalV6 {
        src: Ipv6Addr::from(from.sin6_addr.s6_addr),
        dst: Ipv6Addr::UNSPECIFIED,
        flow_label: 0,
        length: length as usize,
    };
    // SAFETY: the kernel filled `control` and set its length; the CMSG macros stay within it, and the contents are read unaligned.
    unsafe {
        let mut head = libc::CMSG_FIRSTHDR(&raw const message);
        while !head.is_null() {
            let data = libc::CMSG_DATA(head);
            match ((*head).cmsg_level, (*head).cmsg_type) {
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = std::ptr::read_unaligned(data.cast());
                    arrival.dst = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                }
                (libc::IPPROTO_IPV6, IPV6_FLOWINFO) => {
                    let word: u32 = std::ptr::read_unaligned(data.cast());
                    arrival.flow_label = u32::from_be(word) & 0xf_ffff;
                }
                _ => {}
            }
            head = libc::CMSG_NXTHDR(&raw const message, head);
        }
    }
    Ok(Some(arrival))
}

/// Sends a packet whose header is given towards `to`.
///
/// # Errors
/// The error that a local program would see.
pub fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], to: IpAddr) -> io::Result<()> {
    use nix::sys::socket::{MsgFlags, SockaddrIn, SockaddrIn6, sendto};
    let fd = socket.as_raw_fd();
    match to {
        IpAddr::V4(v4) => sendto(fd, bytes, &SockaddrIn::from(std::net::SocketAddrV4::new(v4, 0)), MsgFlags::empty())?,
        IpAddr::V6(v6) => sendto(fd, bytes, &SockaddrIn6::from(SocketAddrV6::new(v6, 0, 0, 0)), MsgFlags::empty())?,
    };
    Ok(())
}

fn done(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
