//! The system calls that need `unsafe`: taking descriptors that came with a message, and the size of a terminal.
#![allow(unsafe_code)]

use std::{
    io::{self, IoSliceMut},
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
};

use netengine_proto::exec::TerminalSize;
use nix::{
    libc,
    sys::socket::{ControlMessageOwned, MsgFlags, recvmsg},
};

/// Descriptors of one message at most (unix(7), `SCM_MAX_FD`). With room for all of them nothing is truncated: nix gives
/// no access to what came with a truncated message, so it would stay open.
const MESSAGE_DESCRIPTORS: usize = 253;
/// Descriptors that are expected at most: three pipes.
const DESCRIPTORS: usize = 3;

/// Reads bytes and the descriptors that came with them (unix(7), `SCM_RIGHTS`), close-on-exec.
///
/// # Errors
/// recvmsg(2); `InvalidData` when more descriptors came than are expected.
pub fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = nix::cmsg_space!([RawFd; MESSAGE_DESCRIPTORS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel has just made these descriptors for this process, and nothing else knows them.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if descriptors.len() > DESCRIPTORS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors came than expected"));
    }
    Ok((message.bytes, descriptors))
}

/// The size of a terminal (ioctl_tty(2), `TIOCGWINSZ`); `None` when it is not one or does not know.
pub fn window_size(terminal: BorrowedFd) -> Option<TerminalSize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, and `size` is one that lives through the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_row > 0 && size.ws_col > 0)
        .then_some(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of a terminal (ioctl_tty(2), `TIOCSWINSZ`); the kernel tells its foreground processes.
///
/// # Errors
/// ioctl(2), for example on what is not a terminal.
pub fn set_window_size(terminal: BorrowedFd, size: TerminalSize) -> io::Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, and `size` is one that lives through the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{IoSlice, Read, Write},
        os::fd::AsFd,
    };

    use nix::sys::socket::{ControlMessage, sendmsg};

    use super::*;

    #[test]
    fn descriptors_arrive_open_and_close_on_exec() {
        let (ours, theirs) = UnixStream::pair().expect("makes a pair");
        let (mut read, write) = std::io::pipe().expect("makes a pipe");
        let fds = [write.as_raw_fd()];
        sendmsg::<()>(
            theirs.as_raw_fd(),
            &[IoSlice::new(b"x")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .expect("sends");
        drop(write);
        let (bytes, mut descriptors) = receive(&ours, &mut [0; 8]).expect("receives");
        assert_eq!((bytes, descriptors.len()), (1, 1));
        let flags = nix::fcntl::fcntl(&descriptors[0], nix::fcntl::FcntlArg::F_GETFD).expect("has flags");
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        std::fs::File::from(descriptors.remove(0)).write_all(b"hi").expect("writes");
        let mut text = String::new();
        read.read_to_string(&mut text).expect("ends, as no other writer is left");
        assert_eq!(text, "hi");
    }

    #[test]
    fn too_many_descriptors_are_an_error_not_a_leak() {
        let (ours, theirs) = UnixStream::pair().expect("makes a pair");
        let (mut read, write) = std::io::pipe().expect("makes a pipe");
        let fds = [write.as_raw_fd(); DESCRIPTORS + 4];
        sendmsg::<()>(
            theirs.as_raw_fd(),
            &[IoSlice::new(b"x")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .expect("sends");
        drop(write);
        assert!(receive(&ours, &mut [0; 8]).is_err());
        assert_eq!(read.read(&mut [0; 1]).expect("reads"), 0, "a copy of the writing end is still open");
    }

    #[test]
    fn a_terminals_size_can_be_set_and_read() {
        let pty = nix::pty::openpty(None, None).expect("makes a pty");
        let size = TerminalSize { rows: 7, columns: 99 };
        set_window_size(pty.master.as_fd(), size).expect("sets");
        assert_eq!(window_size(pty.slave.as_fd()), Some(size));
        let (pipe, _other) = std::io::pipe().expect("makes a pipe");
        assert_eq!(window_size(pipe.as_fd()), None);
    }
}
