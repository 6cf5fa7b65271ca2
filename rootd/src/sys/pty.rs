//! Pseudo-terminals (pty(7)).

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{fcntl::OFlag, libc, pty, sys::stat::Mode};

/// Opens a pty in the calling process's /dev/pts, of this size: (master, slave), both close-on-exec.
pub fn open(rows: u16, columns: u16) -> io::Result<(OwnedFd, OwnedFd)> {
    let master = pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    pty::grantpt(&master)?;
    pty::unlockpt(&master)?;
    let slave = nix::fcntl::open(
        pty::ptsname_r(&master)?.as_str(),
        OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which is on our stack.
    if unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let master = nix::unistd::dup(&master)?;
    nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    Ok((master, slave))
}
