//! Messages with descriptors between our own processes (unix(7), SCM_RIGHTS).

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use nix::{
    libc,
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
    },
};

/// Most descriptors in one message (net/core/scm.h: `SCM_MAX_FD` is 253); ours carry at most four.
pub const MAX_FDS: usize = 4;

/// A connected pair of SEQPACKET sockets with room for one message of the largest plan.
///
/// The send buffer is forced past net.core.wmem_max where the caller has CAP_NET_ADMIN, else left at what is allowed.
pub fn pair(buffer: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    for end in [&a, &b] {
        set_send_buffer(end.as_fd(), buffer);
    }
    Ok((a, b))
}

/// Makes room for `bytes` in one send; past net.core.wmem_max with CAP_NET_ADMIN, else what is allowed.
pub fn set_send_buffer(socket: BorrowedFd<'_>, bytes: usize) {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let set = |option| {
        // SAFETY: the option takes an int; pointer and length describe one on our stack.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                std::ptr::from_ref(&bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        }
    };
    if set(libc::SO_SNDBUFFORCE) != 0 {
        set(libc::SO_SNDBUF);
    }
}

/// Sends one message with up to [`MAX_FDS`] descriptors; never raises SIGPIPE.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let sent =
        sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(sent)
}

/// What one [`recv`] took.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes written to the buffer; 0 at the end of the stream.
    pub bytes: usize,
    /// Descriptors that came along, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Receives one message. A message that does not fit the buffer is an error, its descriptors are closed.
pub fn recv(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; MAX_FDS]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for item in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = item {
            // SAFETY: the kernel installed these descriptors for this message; nothing else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message larger than its bound"));
    }
    Ok(Received { bytes: message.bytes, fds })
}

/// Closes every descriptor from 3 on except `keep` (close_range(2)).
pub fn close_others(keep: &[BorrowedFd<'_>]) {
    let mut kept: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).filter(|fd| *fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3u32;
    for fd in kept.into_iter().chain([u32::MAX]) {
        if fd > first {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: callers give up all other descriptors; no owned value of theirs is used afterwards.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) };
        }
        first = fd.saturating_add(1);
    }
}

/// Makes `fd` the standard descriptor `number` (0, 1 or 2), not close-on-exec.
pub fn become_standard(fd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    assert!((0..=2).contains(&number), "a standard descriptor");
    if fd.as_raw_fd() == number {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
        return Ok(());
    }
    // SAFETY: dup2 onto a standard number closes what was there; std never owns 0 to 2 by an OwnedFd.
    if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Accepts one connection, close-on-exec (accept4(2)).
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    let fd = nix::sys::socket::accept4(listener.as_fd().as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Registers a descriptor with the event loop of the calling task's runtime.
pub fn watched(fd: OwnedFd) -> io::Result<tokio::io::unix::AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd answers with the same descriptor until it is dropped, and AsyncFd deregisters it before that.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(fd) }?)
}
