//! The receive buffer of a socket that nftables' trace messages come by.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::libc;

/// Bytes: a burst of 20,000 traced packets, some of whose messages are read meanwhile.
pub const BYTES: libc::c_int = 32 << 20;

/// Enlarges the buffer past net.core.rmem_max (socket(7), SO_RCVBUFFORCE).
///
/// # Errors
/// `EINVAL` for a socket that is not of NETLINK_NETFILTER, else the kernel's refusal.
pub fn force(socket: BorrowedFd<'_>) -> io::Result<()> {
    let (family, protocol) = (option(socket, libc::SO_DOMAIN)?, option(socket, libc::SO_PROTOCOL)?);
    if (family, protocol) != (libc::AF_NETLINK, libc::NETLINK_NETFILTER) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let bytes = BYTES;
    // SAFETY: the option takes an int; pointer and length describe one on our stack.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn option(socket: BorrowedFd<'_>, name: libc::c_int) -> io::Result<libc::c_int> {
    let (mut value, mut length) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the option yields an int; pointer and length describe one on our stack.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length)
    };
    if done == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

    use super::*;

    #[test]
    fn no_other_kind_of_socket_is_touched() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let route = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).expect("a socket");
        let unix = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a socket");
        let file = std::fs::File::open("/dev/null").expect("a file");
        for other in [route.as_fd(), unix.as_fd(), file.as_fd()] {
            let error = force(other).expect_err("refused").raw_os_error();
            assert!(matches!(error, Some(libc::EINVAL | libc::ENOTSOCK)), "{error:?}");
        }
    }
}
