//! How `Root` travels: 4-byte big-endian length, then one postcard value.
//!
//! tarpc's own serialised request carries a deadline that is added to the clock while it is decoded; an absurd one
//! panics before any handler runs. The envelope here carries a time to live in milliseconds instead, and decoding
//! clamps it, so every frame either becomes a request with a sane deadline or ends the connection with an error.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{Sink, SinkExt, Stream, ready};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tarpc::{ClientMessage, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::{
    bytes::Bytes,
    codec::{Framed, LengthDelimitedCodec},
};

use crate::limits;

/// One frame from userd to rootd.
#[derive(Debug, Serialize, Deserialize)]
enum ToRoot<T> {
    /// A call.
    Call { id: u64, ttl_ms: u32, body: T },
    /// The caller no longer waits for this call.
    Cancel { id: u64 },
}

/// A framed, bounded, typed transport for `Root` over a byte stream.
///
/// As [`server_transport`] it yields requests, as [`client_transport`] it takes them.
pub struct Wire<S, In, Out> {
    frames: Framed<Metered<S>, LengthDelimitedCodec>,
    types: std::marker::PhantomData<fn(Out) -> In>,
}

fn wire<S: AsyncRead + AsyncWrite + Unpin, In, Out>(stream: S) -> Wire<S, In, Out> {
    let codec = LengthDelimitedCodec::builder().max_frame_length(limits::ROOT_FRAME_BYTES).new_codec();
    let stream = Metered { stream, taken: false };
    Wire { frames: Framed::with_capacity(stream, codec, 4096), types: std::marker::PhantomData }
}

/// A stream that remembers whether bytes were taken from it since the last whole frame. The codec takes the length of a
/// frame out of its buffer before the rest has come, so an empty buffer does not tell.
struct Metered<S> {
    stream: S,
    taken: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.taken |= buf.filled().len() > before;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S, In, Out> Wire<S, In, Out> {
    /// Whether a frame has begun and is not complete.
    pub fn mid_frame(&self) -> bool {
        self.frames.get_ref().taken
    }
}

/// The server's end: yields calls with a clamped deadline, takes responses.
pub fn server_transport<S, Req, Resp>(stream: S) -> Wire<S, ClientMessage<Req>, Response<Resp>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    wire(stream)
}

/// The client's end: takes calls, yields responses.
pub fn client_transport<S, Req, Resp>(stream: S) -> Wire<S, Response<Resp>, ClientMessage<Req>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    wire(stream)
}

/// A value that has a form on the wire.
pub trait Frame: Sized {
    /// Decodes one whole frame; bytes left over are an error.
    ///
    /// # Errors
    /// `InvalidData` for bytes that are not exactly one value.
    fn decode(bytes: &[u8]) -> io::Result<Self>;
    /// Encodes one frame.
    ///
    /// # Errors
    /// `InvalidInput` when the value has no encoding.
    fn encode(self) -> io::Result<Vec<u8>>;
}

fn decode_all<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "bytes left over in frame")),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn encode_one<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_stdvec(value).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

impl<Req: Serialize + DeserializeOwned> Frame for ClientMessage<Req> {
    fn decode(bytes: &[u8]) -> io::Result<Self> {
        Ok(match decode_all::<ToRoot<Req>>(bytes)? {
            ToRoot::Call { id, ttl_ms, body } => {
                let mut context = tarpc::context::current();
                let ttl = Duration::from_millis(ttl_ms.into()).min(limits::ROOT_CALL_TTL);
                context.deadline = Instant::now() + ttl;
                ClientMessage::Request(Request { context, id, message: body })
            }
            ToRoot::Cancel { id } => {
                ClientMessage::Cancel { trace_context: tarpc::trace::Context::default(), request_id: id }
            }
        })
    }

    fn encode(self) -> io::Result<Vec<u8>> {
        encode_one(&match self {
            ClientMessage::Request(Request { context, id, message }) => {
                let ttl = context.deadline.saturating_duration_since(Instant::now());
                ToRoot::Call { id, ttl_ms: u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX), body: message }
            }
            ClientMessage::Cancel { request_id, .. } => ToRoot::Cancel { id: request_id },
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "unknown kind of client message")),
        })
    }
}

impl<Resp: Serialize + DeserializeOwned> Frame for Response<Resp> {
    fn decode(bytes: &[u8]) -> io::Result<Self> {
        decode_all(bytes)
    }

    fn encode(self) -> io::Result<Vec<u8>> {
        encode_one(&self)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, In: Frame, Out> Stream for Wire<S, In, Out> {
    type Item = io::Result<In>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(Pin::new(&mut self.frames).poll_next(cx)) {
            Some(Ok(bytes)) => {
                let begun = !self.frames.read_buffer().is_empty();
                self.frames.get_mut().taken = begun;
                Some(In::decode(&bytes))
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, In, Out: Frame> Sink<Out> for Wire<S, In, Out> {
    type Error = io::Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SinkExt::<Bytes>::poll_ready_unpin(&mut self.frames, cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Out) -> io::Result<()> {
        // A frame past the bound fails here with InvalidInput; the connection lives.
        self.frames.start_send_unpin(Bytes::from(item.encode()?))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SinkExt::<Bytes>::poll_flush_unpin(&mut self.frames, cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        SinkExt::<Bytes>::poll_close_unpin(&mut self.frames, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(ttl_ms: u32) -> Vec<u8> {
        postcard::to_stdvec(&ToRoot::Call { id: 7, ttl_ms, body: 1u8 }).expect("encodes")
    }

    #[test]
    fn absurd_time_to_live_is_clamped_not_a_panic() {
        for ttl_ms in [0, 1, u32::MAX - 1, u32::MAX] {
            let ClientMessage::Request(request) = ClientMessage::<u8>::decode(&call(ttl_ms)).expect("decodes") else {
                panic!("not a request")
            };
            assert!(request.context.deadline <= Instant::now() + limits::ROOT_CALL_TTL);
        }
    }

    #[test]
    fn hostile_bytes_are_errors() {
        let mut long = call(1);
        long.push(0);
        assert!(ClientMessage::<u8>::decode(&long).is_err(), "trailing bytes were accepted");
        // A time to live of more than 32 bits has no encoding: the varint overflows.
        assert!(ClientMessage::<u8>::decode(&[0, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]).is_err());
        for bytes in [&[][..], &[0], &[9, 9, 9], &[0xff; 64]] {
            assert!(ClientMessage::<u8>::decode(bytes).is_err());
        }
    }
}
