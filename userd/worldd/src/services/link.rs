//! A link by its name: its index, and a socket that hears that link alone.

use std::{ffi::OsString, io, net::Ipv4Addr, os::fd::AsRawFd};

use netengine_proto::net::IfName;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, bind, setsockopt, socket,
    sockopt::{BindToDevice, Broadcast, ReuseAddr},
};
use tokio::net::UdpSocket;

const FLAGS: SockFlag = SockFlag::SOCK_NONBLOCK.union(SockFlag::SOCK_CLOEXEC);

/// The index of the link that has this name now. A link that was made anew has another, and a socket bound to the old
/// one hears nothing more, without an error (net/core/sock.c, `sock_bindtoindex`).
///
/// # Errors
/// `ENODEV` when there is none.
pub fn index(name: &IfName) -> io::Result<u32> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, FLAGS, SockProtocol::Udp)?;
    Ok(rustix::net::netdevice::name_to_index(any, name.as_str())?)
}

/// A UDP socket on every address of one link; needs no privilege while it is bound to none (net/core/sock.c,
/// `sock_setbindtodevice`).
///
/// # Errors
/// As socket(2), setsockopt(2) and bind(2).
pub fn udp(name: &IfName, port: u16) -> io::Result<UdpSocket> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, FLAGS, SockProtocol::Udp)?;
    setsockopt(&socket, BindToDevice, &OsString::from(name.as_str()))?;
    setsockopt(&socket, Broadcast, &true)?;
    // The predecessor's socket on the same link may still be there for a moment, bound to the link that has gone.
    setsockopt(&socket, ReuseAddr, &true)?;
    let [a, b, c, d] = Ipv4Addr::UNSPECIFIED.octets();
    bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, port))?;
    UdpSocket::from_std(socket.into())
}
