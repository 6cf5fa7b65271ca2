//! Sockets that see and send frames of one link (packet(7)), and one that hears what rules did (nft monitor's group).

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use netengine_proto::net::IfName;
use nix::{
    libc,
    sys::socket::{NetlinkAddr, bind},
};

use super::netns::{self, Netlink};

/// The code point of every packet of a proof (RFC 2474), which ordinary traffic does not
/// carry. It is no fence: whoever else sets it is traced for as long as a proof runs, and counts for nothing without a nonce.
pub const DSCP: u8 = 42;

/// What a frame of a proof that is not of IP carries behind the first [`TAG_OFFSET`] bytes of its body, before its nonce.
pub const TAG: [u8; 4] = *b"nepf";
/// Behind an ARP packet of Ethernet and IPv4 (RFC 826), where others only pad.
pub const TAG_OFFSET: usize = 28;

/// Reports of a batch fit: 1,024 probes cause about ten each, and one takes a kilobyte of the kernel.
const TRACE_BUFFER: libc::c_int = 8 << 20;
/// `NFNLGRP_NFTRACE` (linux/netfilter/nfnetlink.h).
const TRACE_GROUP: u32 = 9;

const ETHERTYPE_IPV4: u32 = 0x0800;
const ETHERTYPE_IPV6: u32 = 0x86dd;

/// Opens a socket in the calling thread's namespace that hears what traced packets met there. Needs CAP_NET_ADMIN.
pub fn traces() -> io::Result<OwnedFd> {
    let socket = netns::netlink(Netlink::Netfilter)?;
    option(&socket, libc::SO_RCVBUFFORCE, &TRACE_BUFFER)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1 << (TRACE_GROUP - 1)))?;
    Ok(socket)
}

/// Opens a socket that sends and receives frames of the link `name` in the calling thread's namespace. It receives those
/// alone whose code point is [`DSCP`]. Needs CAP_NET_RAW.
pub fn link(name: &IfName) -> io::Result<OwnedFd> {
    bound(name, attach_filter)
}

/// As [`link`], with every frame that arrives by the link, and none that leaves by it.
pub fn uplink(name: &IfName) -> io::Result<OwnedFd> {
    bound(name, |socket| set(socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1))
}

fn bound(name: &IfName, prepare: impl FnOnce(&OwnedFd) -> io::Result<()>) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointer is passed; protocol 0 receives nothing until the socket is bound.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let index = index_of(&socket, name)?;
    prepare(&socket)?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: pointer and length describe an address on our stack.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// The number of a link (netdevice(7), SIOCGIFINDEX).
fn index_of(socket: &OwnedFd, name: &IfName) -> io::Result<libc::c_int> {
    // SAFETY: an ifreq is plain bytes, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // A name of ours has at most 15 bytes, so a zero follows it.
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the call reads the name and writes the number, both inside the structure on our stack.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX, std::ptr::from_mut(&mut request)) };
    if asked < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above filled this member.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}

fn attach_filter(socket: &OwnedFd) -> io::Result<()> {
    let mut filter = filter();
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // The kernel copies it (net/core/filter.c, `__get_filter`); `filter` lives until then.
    option(socket, libc::SO_ATTACH_FILTER, &program)
}

/// IPv4 and IPv6 frames whose code point is [`DSCP`], and others with [`TAG`] (linux/filter.h).
fn filter() -> [libc::sock_filter; 13] {
    const WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    [
        step(HALF, 0, 0, 12),
        step(EQUAL, 0, 3, ETHERTYPE_IPV4),
        step(BYTE, 0, 0, 15),
        step(AND, 0, 0, 0xfc),
        step(EQUAL, 6, 7, u32::from(DSCP) << 2),
        step(EQUAL, 0, 3, ETHERTYPE_IPV6),
        step(HALF, 0, 0, 14),
        step(AND, 0, 0, 0x0fc0),
        step(EQUAL, 2, 3, u32::from(DSCP) << 6),
        step(WORD, 0, 0, 14 + TAG_OFFSET as u32),
        step(EQUAL, 0, 1, u32::from_be_bytes(TAG)),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

fn option<T>(socket: &OwnedFd, name: libc::c_int, value: &T) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, name, value)
}

fn set<T>(socket: &OwnedFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: callers pass the type that the option takes; pointer and length describe it.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
