//! One netlink socket: batches of requests in one send, dumps (netlink(7)).

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::sys::fds::set_send_buffer;

/// Bytes sent at once; the default send buffer of a socket (net.core.wmem_default) is larger.
const BATCH_BYTES: usize = 64 << 10;
/// Bytes received at once; the kernel fills dump messages up to this (net/netlink/af_netlink.c, `netlink_dump`).
const RECEIVE_BYTES: usize = 64 << 10;

thread_local! {
    /// Answers are read into one buffer per thread: a worker holds sockets in thousands of namespaces, and reads from one at
    /// a time.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A request of a batch that the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("request {index}: {}", io::Error::from_raw_os_error(*.errno))]
pub struct Refused {
    /// Its place in the batch.
    pub index: usize,
    /// errno(3), positive.
    pub errno: i32,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket itself failed.
    #[error("cannot use the netlink socket")]
    Socket(#[from] io::Error),
    /// The kernel refused a request; the ones before it were done, and so were those after it.
    #[error("the kernel refused a request")]
    Refused(#[from] Refused),
    /// The kernel's answer cannot be decoded.
    #[error("cannot decode an answer: {0}")]
    Decode(String),
}

impl NetlinkError {
    /// The errno that tells it best.
    pub fn errno(&self) -> i32 {
        match self {
            NetlinkError::Socket(error) => error.raw_os_error().unwrap_or(nix::libc::EIO),
            NetlinkError::Refused(refused) => refused.errno,
            NetlinkError::Decode(_) => nix::libc::EBADMSG,
        }
    }
}

/// A netlink socket in some namespace.
#[derive(Debug)]
pub struct Netlink {
    fd: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Wraps an open netlink socket.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, sequence: 0 }
    }

    /// Sends requests in as few sends as possible and waits until the kernel has done them all.
    ///
    /// Each carries its own flags (create, exclusive, ...); acknowledgements are asked for as needed.
    ///
    /// # Errors
    /// The first refused request; later ones of the same batch were tried all the same.
    pub fn batch<T>(&mut self, requests: Vec<NetlinkMessage<T>>) -> Result<(), NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    {
        let first = self.sequence.wrapping_add(1);
        let count = requests.len();
        let mut bytes = Vec::new();
        let mut refused = None;
        let mut requests = requests.into_iter().peekable();
        while let Some(mut request) = requests.next() {
            self.sequence = self.sequence.wrapping_add(1);
            request.header.sequence_number = self.sequence;
            request.header.flags |= NLM_F_REQUEST;
            request.finalize();
            let next = requests.peek().map_or(0, NetlinkMessage::buffer_len);
            // Acknowledge only the last of each send: errors are reported anyway, and in order.
            let last = requests.peek().is_none() || bytes.len() + request.buffer_len() + next > BATCH_BYTES;
            if last {
                request.header.flags |= NLM_F_ACK;
            }
            append(&mut bytes, &request);
            if last {
                send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty()).map_err(io::Error::from)?;
                bytes.clear();
                let until = self.sequence;
                self.answers::<T>(|header, payload| match payload {
                    NetlinkPayload::Error(error) => {
                        let errno = error.code.map_or(0, |code| -code.get());
                        let index = header.sequence_number.wrapping_sub(first) as usize;
                        if errno != 0 && refused.is_none() && index < count {
                            refused = Some(Refused { index, errno });
                        }
                        header.sequence_number == until
                    }
                    _ => false,
                })?;
            }
        }
        refused.map_or(Ok(()), |refused| Err(refused.into()))
    }

    /// Sends messages that are one transaction (nfnetlink batch): nothing is done unless all is.
    ///
    /// # Errors
    /// The first refused request.
    pub fn transaction<T>(&mut self, mut requests: Vec<NetlinkMessage<T>>) -> Result<(), NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    {
        let first = self.sequence.wrapping_add(1);
        let count = requests.len();
        let mut bytes = Vec::new();
        for (place, request) in requests.iter_mut().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            request.header.sequence_number = self.sequence;
            request.header.flags |= NLM_F_REQUEST;
            // The last message before the end marker is acknowledged when the whole transaction is committed.
            if place + 2 == count {
                request.header.flags |= NLM_F_ACK;
            }
            request.finalize();
            append(&mut bytes, request);
        }
        let awaited = self.sequence.wrapping_sub(1);
        // A transaction is one send, and a send larger than the buffer is refused (net/netlink/af_netlink.c, EMSGSIZE).
        if bytes.len() > BATCH_BYTES {
            set_send_buffer(self.fd.as_fd(), bytes.len());
        }
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty()).map_err(io::Error::from)?;
        let mut refused = None;
        self.answers::<T>(|header, payload| match payload {
            NetlinkPayload::Error(error) => {
                let errno = error.code.map_or(0, |code| -code.get());
                if errno != 0 && refused.is_none() {
                    let index = header.sequence_number.wrapping_sub(first) as usize;
                    refused = Some(Refused { index, errno });
                }
                header.sequence_number == awaited || errno != 0
            }
            _ => false,
        })?;
        self.drain();
        refused.map_or(Ok(()), |refused| Err(refused.into()))
    }

    /// Asks for a dump and gives each entry to `take`.
    ///
    /// # Errors
    /// A refusal by the kernel, or an answer that cannot be decoded.
    pub fn dump<T>(&mut self, mut request: NetlinkMessage<T>, mut take: impl FnMut(T)) -> Result<(), NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    {
        self.sequence = self.sequence.wrapping_add(1);
        request.header.sequence_number = self.sequence;
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.finalize();
        let mut bytes = Vec::new();
        append(&mut bytes, &request);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty()).map_err(io::Error::from)?;
        let mut errno = 0;
        self.answers::<T>(|_, payload| match payload {
            NetlinkPayload::InnerMessage(entry) => {
                take(entry);
                false
            }
            NetlinkPayload::Error(error) => {
                errno = error.code.map_or(0, |code| -code.get());
                true
            }
            NetlinkPayload::Done(_) => true,
            _ => false,
        })?;
        if errno == 0 { Ok(()) } else { Err(Refused { index: 0, errno }.into()) }
    }

    /// Asks for one thing and gives the answer to `take`.
    ///
    /// # Errors
    /// A refusal by the kernel, or an answer that cannot be decoded.
    pub fn ask<T>(&mut self, mut request: NetlinkMessage<T>, mut take: impl FnMut(T)) -> Result<(), NetlinkError>
    where
        T: NetlinkSerializable + NetlinkDeserializable + std::fmt::Debug,
    {
        self.sequence = self.sequence.wrapping_add(1);
        request.header.sequence_number = self.sequence;
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        request.finalize();
        let mut bytes = Vec::new();
        append(&mut bytes, &request);
        send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty()).map_err(io::Error::from)?;
        let mut errno = 0;
        // The acknowledgement comes behind the answer.
        self.answers::<T>(|_, payload| match payload {
            NetlinkPayload::InnerMessage(answer) => {
                take(answer);
                false
            }
            NetlinkPayload::Error(error) => {
                errno = error.code.map_or(0, |code| -code.get());
                true
            }
            _ => false,
        })?;
        if errno == 0 { Ok(()) } else { Err(Refused { index: 0, errno }.into()) }
    }

    /// Feeds messages that answer requests of ours to `done` until it says so.
    fn answers<T>(
        &self,
        mut done: impl FnMut(&netlink_packet_core::NetlinkHeader, NetlinkPayload<T>) -> bool,
    ) -> Result<(), NetlinkError>
    where
        T: NetlinkDeserializable,
    {
        with_buffer(|buffer| {
            loop {
                let received = recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC).map_err(io::Error::from)?;
                if received > buffer.len() {
                    return Err(NetlinkError::Decode("an answer is larger than its bound".into()));
                }
                let mut rest = &buffer[..received];
                while rest.len() >= 16 {
                    let length =
                        NetlinkBuffer::new_checked(rest).map_err(|e| NetlinkError::Decode(e.to_string()))?.length();
                    let message =
                        NetlinkMessage::<T>::deserialize(rest).map_err(|e| NetlinkError::Decode(e.to_string()))?;
                    if done(&message.header, message.payload) {
                        return Ok(());
                    }
                    let step = (length as usize).next_multiple_of(4).max(16);
                    rest = rest.get(step..).unwrap_or_default();
                }
            }
        })
    }

    /// Throws away what is queued: further errors of a transaction whose first error is known.
    fn drain(&self) {
        with_buffer(|buffer| while recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).is_ok() {});
    }
}

/// Lends the thread's buffer; a call within a call gets one of its own.
fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = BUFFER.take();
    buffer.resize(RECEIVE_BYTES, 0);
    let done = work(&mut buffer);
    BUFFER.set(buffer);
    done
}

fn append<T: NetlinkSerializable>(bytes: &mut Vec<u8>, message: &NetlinkMessage<T>) {
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    message.serialize(&mut bytes[start..]);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}
