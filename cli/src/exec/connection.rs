//! Frames of `exec.sock`: a 4-byte big-endian length and one postcard value, with descriptors beside them.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use netengine_proto::{
    exec::{ExecReply, ExecRequest, ExecSignal},
    limits,
};
use serde::Serialize;

use super::{sys, write_all};

/// Largest reply taken; real ones are a few bytes.
const REPLY_BYTES: usize = 4096;

/// The client's end of a connection.
pub struct Connection<'a> {
    stream: &'a UnixStream,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl<'a> Connection<'a> {
    /// A connection over this stream.
    pub fn new(stream: &'a UnixStream) -> Self {
        Self { stream, bytes: Vec::new(), descriptors: Vec::new() }
    }

    /// Sends the request.
    ///
    /// # Errors
    /// `InvalidInput` when it is larger than [`limits::EXEC_REQUEST_BYTES`]; send(2).
    pub fn send(&mut self, request: &ExecRequest) -> io::Result<()> {
        send(self.stream, request)
    }

    /// The next reply with the descriptors that came until then; `None` when rootd closed the connection.
    ///
    /// # Errors
    /// `InvalidData` for bytes that are no reply, `UnexpectedEof` for half a reply, `WouldBlock` past the read timeout.
    pub fn receive(&mut self) -> io::Result<Option<(ExecReply, Vec<OwnedFd>)>> {
        loop {
            if let Some(reply) = self.take_frame()? {
                return Ok(Some((reply, std::mem::take(&mut self.descriptors))));
            }
            let mut buffer = [0; 512];
            let (read, descriptors) = match sys::receive(self.stream, &mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            self.descriptors.extend(descriptors);
            if read == 0 {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a reply");
                return if self.bytes.is_empty() { Ok(None) } else { Err(error) };
            }
            self.bytes.extend_from_slice(&buffer[..read]);
        }
    }

    fn take_frame(&mut self) -> io::Result<Option<ExecReply>> {
        let invalid = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let Some((head, rest)) = self.bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > REPLY_BYTES {
            return invalid("a reply is too long");
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        match postcard::take_from_bytes(frame) {
            Ok((reply, [])) => {
                self.bytes.drain(..4 + length);
                Ok(Some(reply))
            }
            _ => invalid("a reply cannot be decoded"),
        }
    }
}

/// Sends a signal for the command's process group.
///
/// # Errors
/// send(2).
pub fn send_signal(stream: &UnixStream, number: u8) -> io::Result<()> {
    send(stream, &ExecSignal(number))
}

fn send<T: Serialize>(stream: &UnixStream, value: &T) -> io::Result<()> {
    let body = postcard::to_stdvec(value).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    if body.len() > limits::EXEC_REQUEST_BYTES {
        let what = format!("arguments and environment are larger than {} bytes", limits::EXEC_REQUEST_BYTES);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let length = u32::try_from(body.len()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    write_all(stream, &[&length.to_be_bytes()[..], &body].concat())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use netengine_proto::ended::Ended;

    use super::*;

    fn frame(reply: &ExecReply) -> Vec<u8> {
        let body = postcard::to_stdvec(reply).expect("encodes");
        [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], &body].concat()
    }

    #[test]
    fn replies_do_not_depend_on_how_the_stream_is_cut() {
        let (ours, mut theirs) = UnixStream::pair().expect("makes a pair");
        let ended = ExecReply::Ended(Ended::Exited(3));
        let bytes = [frame(&ExecReply::Started), frame(&ended)].concat();
        std::thread::scope(|scope| {
            scope.spawn(move || bytes.iter().for_each(|byte| theirs.write_all(&[*byte]).expect("writes")));
            let mut connection = Connection::new(&ours);
            let mut next = || connection.receive().expect("receives").map(|(reply, _)| reply);
            assert_eq!((next(), next(), next()), (Some(ExecReply::Started), Some(ended), None));
        });
    }

    #[test]
    fn hostile_replies_are_errors() {
        for bytes in [&[0xff, 0xff, 0xff, 0xff][..], &[0, 0, 0, 1, 99], &[0, 0, 0, 2, 0, 0], &[0, 0, 0]] {
            let (ours, mut theirs) = UnixStream::pair().expect("makes a pair");
            theirs.write_all(bytes).expect("writes");
            drop(theirs);
            assert!(Connection::new(&ours).receive().is_err(), "{bytes:?}");
        }
    }
}
