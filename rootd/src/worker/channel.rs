//! Requests and replies between broker and workers: one SEQPACKET message each, postcard, with descriptors.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::sys::fds;

/// Largest message between broker and workers: an observation of the largest node, or a command line.
pub const MESSAGE_BYTES: usize = 4 << 20;

/// Encodes a message.
///
/// # Errors
/// `InvalidData` when the value has no encoding, which our types always have.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Decodes a message.
///
/// # Errors
/// `InvalidData` when the bytes are not exactly one value.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// A worker's end.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Channel {
    /// Wraps a worker's end of the socketpair.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; 64 << 10] }
    }

    /// Waits for the next request; `None` when the broker is gone.
    ///
    /// # Errors
    /// A message that does not decode: the broker is not what it was, the worker ends.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.make_room()?;
        let received = fds::recv(&self.socket, &mut self.buffer)?;
        if received.bytes == 0 {
            return Ok(None);
        }
        Ok(Some((decode(&self.buffer[..received.bytes])?, received.fds)))
    }

    /// Grows the buffer to the size of the message that waits, so that rest costs 64 KiB and not 4 MiB.
    fn make_room(&mut self) -> io::Result<()> {
        use nix::sys::socket::{MsgFlags, recv};
        use std::os::fd::AsRawFd;
        let waiting = recv(self.socket.as_raw_fd(), &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC)?;
        let wanted = waiting.clamp(64 << 10, MESSAGE_BYTES);
        if wanted != self.buffer.len() {
            self.buffer = vec![0; wanted];
        }
        Ok(())
    }

    /// Answers.
    ///
    /// # Errors
    /// When the broker is gone.
    pub fn reply<T: Serialize>(&self, reply: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        fds::send(&self.socket, &encode(reply)?, fds).map(drop)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
