//! Who is at the other end of a Unix socket, told by the kernel.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use nix::{libc, sys::socket::sockopt};

/// The credentials of the process that connected (unix(7): taken at connect time, not at send time).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its user id.
    pub uid: u32,
    /// Its group id.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

/// Reads the peer's credentials (SO_PEERCRED, SO_PEERGROUPS).
pub fn credentials(socket: impl AsFd) -> io::Result<Peer> {
    let cred = nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(Peer { uid: cred.uid(), gid: cred.gid(), groups: groups(socket.as_fd().as_raw_fd())? })
}

fn groups(socket: i32) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 64];
    loop {
        let mut bytes = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: pointer and length describe `groups`; the kernel writes at most `bytes` and updates it.
        let done = unsafe {
            libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_PEERGROUPS, groups.as_mut_ptr().cast(), &raw mut bytes)
        };
        let needed = bytes as usize / size_of::<u32>();
        match io::Error::last_os_error() {
            _ if done == 0 => {
                groups.truncate(needed);
                return Ok(groups);
            }
            error if error.raw_os_error() == Some(libc::ERANGE) && needed > groups.len() && needed <= 65_536 => {
                groups.resize(needed, 0);
            }
            error => return Err(error),
        }
    }
}

/// A descriptor of the peer process.
///
/// By SO_PEERPIDFD (Linux 6.5), which cannot name another process. Before that by pidfd_open(2) of the pid at connect
/// time: were the pid reused meanwhile, the descriptor is only ever used after the user's own uid was taken, so it
/// can reach nothing that the user could not.
pub fn process(socket: impl AsFd) -> io::Result<OwnedFd> {
    const SO_PEERPIDFD: libc::c_int = 77;
    let mut fd: libc::c_int = -1;
    let mut bytes = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option yields one int, which pointer and length describe.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut bytes,
        )
    };
    if done == 0 && fd >= 0 {
        // SAFETY: the kernel just made this descriptor for us (close-on-exec by definition of pidfds).
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let pid = nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials)?.pid();
    // SAFETY: pidfd_open takes two integers.
    match unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0u32) } {
        fd if fd >= 0 => {
            // SAFETY: as above.
            Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
        }
        _ => Err(io::Error::last_os_error()),
    }
}
