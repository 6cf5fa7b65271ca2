//! What answers UDP on the nodes: the same datagram back.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
};

use nix::libc;

use crate::sys;

/// linux/in6.h; libc has no name for it.
const IPV6_AUTOFLOWLABEL: libc::c_int = 70;

/// A socket that sends datagrams back, with nothing in them that may be the nonce of a packet.
#[derive(Debug)]
pub struct Echo {
    /// The node it is on.
    pub node: usize,
    /// Its port.
    pub port: u16,
    socket: UdpSocket,
}

impl Echo {
    /// Binds one in the calling thread's network namespace; a transparent one answers for other hosts' addresses too (tproxy).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn bind(node: usize, address: SocketAddr, transparent: bool) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        if transparent {
            sys::set(socket.as_fd(), libc::SOL_IP, libc::IP_TRANSPARENT, 1)?;
        }
        let echo = Self { node, port: address.port(), socket };
        echo.fragments(false)?;
        if address.is_ipv6() {
            sys::set(echo.socket.as_fd(), libc::SOL_IPV6, IPV6_AUTOFLOWLABEL, 0)?;
        }
        Ok(echo)
    }

    /// Sends back what came from ports that are `to_answer`; says whether there was anything.
    pub fn answer(&self, buffer: &mut [u8], to_answer: impl Fn(u16) -> bool) -> bool {
        let mut answered = false;
        while let Ok((length, from)) = self.socket.recv_from(buffer) {
            if to_answer(from.port()) {
                // An echo that the node may not send (its own rules) is no failure of the lab.
                answered |= self.send(&buffer[..length], from).is_ok();
            }
        }
        answered
    }

    fn send(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        match self.socket.send_to(datagram, to) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                self.fragments(true)?;
                let sent = self.socket.send_to(datagram, to);
                self.fragments(false)?;
                sent
            }
            other => other,
        }
    }

    /// Whether a datagram that is too long for the link goes in fragments. Of one that may not, the kernel says identification 0; for others
    /// it chooses any, a packet's nonce too (`ip_select_ident_segs` in include/net/ip.h).
    fn fragments(&self, may: bool) -> io::Result<()> {
        let discover = if may { libc::IP_PMTUDISC_WANT } else { libc::IP_PMTUDISC_DO };
        sys::set(self.socket.as_fd(), libc::SOL_IP, libc::IP_MTU_DISCOVER, discover)
    }
}
