//! Cases and results over a stream socket: length (4 bytes, little endian), then postcard.

use std::io::{self, Read, Write};

pub use netengine_lab_proto::limits::MESSAGE_BYTES;
use serde::{Serialize, de::DeserializeOwned};

/// Writes a message.
///
/// # Errors
/// When it is longer than [`MESSAGE_BYTES`], or the socket fails.
pub fn write<T: Serialize>(socket: &mut impl Write, value: &T) -> io::Result<()> {
    let body = postcard::to_stdvec(value).map_err(io::Error::other)?;
    if body.len() > MESSAGE_BYTES {
        return Err(io::Error::other("cannot send a message of that length"));
    }
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend(body);
    socket.write_all(&bytes)
}

/// Reads a message; none when the other side closed between messages.
///
/// # Errors
/// When it is too long, cut off, or not of the type.
pub fn read<T: DeserializeOwned>(socket: &mut impl Read) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    match socket.read(&mut head)? {
        0 => return Ok(None),
        read => socket.read_exact(&mut head[read..])?,
    }
    let length = u32::from_le_bytes(head) as usize;
    if length > MESSAGE_BYTES {
        return Err(io::Error::other("cannot take a message of that length"));
    }
    // Memory grows with what arrives, not with what the length claims.
    let mut body = Vec::new();
    socket.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&body).map(Some).map_err(io::Error::other)
}
