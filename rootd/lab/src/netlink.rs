//! Netlink requests in batches, and their answers (netlink(7), rtnetlink(7)).

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::OnceLock,
};

use netengine_packet::attributes::messages;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendmsg,
        sendto, socket,
    },
};

use crate::sys;

const REQUEST: u16 = 0x1;
const REQUEST_ACK: u16 = 0x1 | 0x4;
/// `NLM_F_ROOT | NLM_F_MATCH`.
pub const DUMP: u16 = 0x100 | 0x200;
/// `NLM_F_CREATE | NLM_F_EXCL`.
pub const CREATE: u16 = 0x400 | 0x200;
/// `NLM_F_CREATE | NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x400 | 0x100;

/// Who enlarges receive buffers past the host's bound, when rootd started this worker.
static ENLARGER: OnceLock<OwnedFd> = OnceLock::new();

/// From now on receive buffers are enlarged by who is at the other end of this socket.
pub fn enlarge_by(other: OwnedFd) {
    let _ = ENLARGER.set(other);
}

/// Whether there is somebody who enlarged this socket's buffer.
fn enlarged(socket: BorrowedFd<'_>) -> bool {
    let Some(other) = ENLARGER.get() else { return false };
    let descriptors = [socket.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let asked = sendmsg::<()>(other.as_raw_fd(), &[IoSlice::new(&[1])], &rights, MsgFlags::MSG_NOSIGNAL, None);
    let mut answer = [0];
    asked.is_ok() && recv(other.as_raw_fd(), &mut answer, MsgFlags::empty()) == Ok(1) && answer == [1]
}

/// Requests that are sent together.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    message: usize,
    count: u32,
}

impl Batch {
    /// Begins a request of this type with these flags and fixed header; the one before is complete.
    pub fn request(&mut self, kind: u16, flags: u16, header: &[u8]) {
        self.count += 1;
        self.message(kind, REQUEST_ACK | flags, header);
    }

    /// Begins a message that gets no answer of its own: the ends of a transaction of nf_tables.
    pub fn unanswered(&mut self, kind: u16, header: &[u8]) {
        self.message(kind, REQUEST, header);
    }

    fn message(&mut self, kind: u16, flags: u16, header: &[u8]) {
        self.finish();
        self.message = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.count.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(header);
        self.finish();
    }

    /// Adds an attribute to the request.
    pub fn attribute(&mut self, number: u16, content: &[u8]) {
        self.bytes.extend(((content.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend(number.to_ne_bytes());
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.finish();
    }

    /// Adds an attribute whose content `fill` writes.
    pub fn nested(&mut self, number: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(number.to_ne_bytes());
        fill(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.finish();
    }

    /// Adds bytes that are no attribute, such as the header inside `VETH_INFO_PEER`.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.finish();
    }

    /// Requests so far.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// No request yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn finish(&mut self) {
        if !self.bytes.is_empty() {
            let length = (self.bytes.len() - self.message) as u32;
            self.bytes[self.message..self.message + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }
}

/// A netlink socket of the namespace that was current when it was opened.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens a socket of `NETLINK_ROUTE`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn route() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// Opens a socket of `NETLINK_NETFILTER`, joined to `groups`, with a receive buffer of up to `buffer` bytes.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn netfilter(groups: &[u32], buffer: i32) -> io::Result<Self> {
        use nix::libc;
        let socket = Self::open(SockProtocol::NetlinkNetFilter)?;
        let fd = socket.0.as_fd();
        // Forcing needs CAP_NET_ADMIN over the host's own namespaces; without it the host's rmem_max bounds the buffer.
        if sys::set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, buffer).is_err() && !enlarged(fd) {
            sys::set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, buffer)?;
        }
        for group in groups {
            sys::set(fd, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, *group as i32)?;
        }
        Ok(socket)
    }

    /// Opens a socket of `NETLINK_NETFILTER` for requests alone.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn requests() -> io::Result<Self> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Bytes of its receive buffer, as the kernel counts them: with what each message costs beside its content.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn buffer(&self) -> io::Result<usize> {
        Ok(nix::sys::socket::getsockopt(&self.0, nix::sys::socket::sockopt::RcvBuf)?)
    }

    /// The descriptor.
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Sends all requests and reads an answer to each. rtnetlink answers before the call that sends returns.
    ///
    /// # Errors
    /// The number of the first request that was refused, counted from 1, and why.
    pub fn transact(&self, batch: &Batch) -> Result<(), (u32, io::Error)> {
        if batch.is_empty() {
            return Ok(());
        }
        let all = |error: Errno| (0, io::Error::from(error));
        sendto(self.0.as_raw_fd(), &batch.bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map_err(all)?;
        let mut buffer = vec![0; 32 << 10];
        let (mut answers, mut first) = (0, None);
        while answers < batch.count {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(all)?;
            for message in messages(&buffer[..length]) {
                let message = message.map_err(|error| (0, io::Error::other(error)))?;
                let code = message.body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                // NLMSG_ERROR, which with code 0 is an acknowledgement.
                if message.kind == 2 {
                    answers += 1;
                    if code != 0 && first.is_none() {
                        first = Some((message.sequence, io::Error::from_raw_os_error(-code)));
                    }
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Sends one request, which may be a [`DUMP`], and gives the first message that is no error, if any.
    ///
    /// # Errors
    /// Why the kernel refused it.
    pub fn ask(&self, batch: &Batch) -> io::Result<Option<Vec<u8>>> {
        sendto(self.0.as_raw_fd(), &batch.bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        let mut buffer = vec![0; 8 << 10];
        let mut found = None;
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for message in messages(&buffer[..length]).flatten() {
                // NLMSG_DONE: the end of a dump.
                if message.kind == 3 {
                    return Ok(found);
                }
                if message.kind != 2 {
                    found = found.or_else(|| Some(message.body.to_vec()));
                    continue;
                }
                let code = message.body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
                return if code == 0 { Ok(found) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
        }
    }

    /// Receives one datagram into `buffer`; none when nothing is there.
    ///
    /// # Errors
    /// `ENOBUFS` when messages were lost.
    pub fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        match recv(self.0.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(length) => Ok(Some(length)),
            Err(Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
