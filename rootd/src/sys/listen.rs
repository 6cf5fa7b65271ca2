//! Listening sockets that the service manager made (sd_listen_fds(3)).

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
};

/// The sockets passed to this process, with their names. Empty when there are none or they are not for this pid.
///
/// Call once, first in main: it reads `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES` and takes ownership.
pub fn sockets() -> io::Result<Vec<(String, OwnedFd)>> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let count = number("LISTEN_FDS").unwrap_or(0).min(16);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut sockets = Vec::new();
    for fd in 3..3 + count {
        let fd = i32::try_from(fd).expect("at most 19");
        nix::fcntl::fcntl(
            // SAFETY: the service manager passed this number; it is only borrowed for the call.
            unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) },
            nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
        )?;
        // SAFETY: descriptors from 3 on were passed for us to own, and nothing has taken them yet.
        sockets.push((names.next().unwrap_or("").to_owned(), unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    Ok(sockets)
}
