//! Frames: a 4-byte big-endian length, then that many bytes of JSON. Bounds before memory, a deadline before patience.

use std::io;

use netengine_proto::limits;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer closed between two frames; the usual end.
    #[error("cannot read a frame: the peer has closed")]
    Closed,
    /// The peer announces more than the bound.
    #[error("cannot read a frame of {0} bytes; the bound is {max}", max = limits::CONTROL_BYTES)]
    TooLong(u32),
    /// The bytes are not one request.
    #[error("cannot read a frame: it is not a request")]
    NotARequest,
    /// A frame was begun and not finished, or a reply not taken.
    #[error("cannot {0} a frame within {max} s", max = limits::CONTROL_FRAME_TIME.as_secs())]
    TooSlow(&'static str),
    /// The reply would be longer than the bound.
    #[error("cannot send a reply of {0} bytes")]
    ReplyTooLong(usize),
    /// As read(2) or write(2).
    #[error("cannot use the control connection: {0}")]
    Io(#[from] io::Error),
}

/// Reads one frame. Waiting for its first byte is not limited; from then on it has [`limits::CONTROL_FRAME_TIME`].
///
/// Memory grows with the bytes that arrive, never with the length that is claimed.
///
/// # Errors
/// [`FrameError`]; after any the connection cannot be used.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, FrameError> {
    let mut head = [0; 4];
    if stream.read(&mut head[..1]).await? == 0 {
        return Err(FrameError::Closed);
    }
    let rest = async {
        stream.read_exact(&mut head[1..]).await?;
        let length = u32::from_be_bytes(head);
        if length as usize > limits::CONTROL_BYTES {
            return Err(FrameError::TooLong(length));
        }
        let mut body = Vec::new();
        stream.take(length.into()).read_to_end(&mut body).await?;
        if body.len() < length as usize {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_slice(&body).map_err(|_| FrameError::NotARequest)
    };
    timeout(limits::CONTROL_FRAME_TIME, rest).await.map_err(|_| FrameError::TooSlow("read"))?
}

/// Writes one frame.
///
/// # Errors
/// [`FrameError`]; after any the connection cannot be used.
pub async fn write(stream: &mut (impl AsyncWrite + Unpin), value: &impl Serialize) -> Result<(), FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, value).map_err(io::Error::from)?;
    let length = bytes.len() - 4;
    let head = u32::try_from(length).ok().filter(|_| length <= limits::CONTROL_BYTES);
    bytes[..4].copy_from_slice(&head.ok_or(FrameError::ReplyTooLong(length))?.to_be_bytes());
    let written = timeout(limits::CONTROL_FRAME_TIME, stream.write_all(&bytes)).await;
    Ok(written.map_err(|_| FrameError::TooSlow("write"))??)
}

#[cfg(test)]
mod tests {
    use netengine_proto::control::ControlRequest;
    use proptest::prelude::*;

    use super::*;

    async fn read_bytes(bytes: &[u8]) -> Result<ControlRequest, FrameError> {
        let mut bytes = bytes;
        read(&mut bytes).await
    }

    #[tokio::test]
    async fn frames_survive_writing_and_reading() {
        let mut bytes = Vec::new();
        write(&mut bytes, &ControlRequest::Health).await.expect("writes");
        assert_eq!(read_bytes(&bytes).await.expect("reads"), ControlRequest::Health);
    }

    #[tokio::test]
    async fn hostile_frames_are_errors() {
        assert!(matches!(read_bytes(b"").await, Err(FrameError::Closed)));
        assert!(matches!(read_bytes(&[0xff; 8]).await, Err(FrameError::TooLong(u32::MAX))));
        let past = u32::try_from(limits::CONTROL_BYTES + 1).expect("four bytes");
        assert!(matches!(read_bytes(&past.to_be_bytes()).await, Err(FrameError::TooLong(length)) if length == past));
        assert!(matches!(read_bytes(&[0, 0, 0]).await, Err(FrameError::Io(_))));
        assert!(matches!(read_bytes(&[0, 0, 0, 9, b'{']).await, Err(FrameError::Io(_))));
        assert!(matches!(read_bytes(&[0, 0, 0, 0]).await, Err(FrameError::NotARequest)));
        assert!(matches!(read_bytes(b"\0\0\0\x04junk").await, Err(FrameError::NotARequest)));
        let mut deep = vec![0, 1, 0, 0];
        deep.resize(4 + 0x1_0000, b'[');
        assert!(matches!(read_bytes(&deep).await, Err(FrameError::NotARequest)));
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_frame_is_given_up_in_time() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(&[0, 0, 0, 9, b'{']).await.expect("writes");
        let began = tokio::time::Instant::now();
        assert!(matches!(read::<ControlRequest>(&mut ours).await, Err(FrameError::TooSlow("read"))));
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_is_not_taken_is_given_up_in_time() {
        let (mut ours, _theirs) = tokio::io::duplex(16);
        let reply = "x".repeat(1000);
        assert!(matches!(write(&mut ours, &reply).await, Err(FrameError::TooSlow("write"))));
        let endless = "x".repeat(limits::CONTROL_BYTES);
        assert!(matches!(write(&mut ours, &endless).await, Err(FrameError::ReplyTooLong(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(length in 0_u32..80, body in prop::collection::vec(any::<u8>(), 0..80)) {
            let bytes = [&length.to_be_bytes()[..], &body].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            if let Ok(request) = runtime.block_on(read_bytes(&bytes)) {
                prop_assert_eq!(serde_json::from_slice::<ControlRequest>(&body[..length as usize]).ok(), Some(request));
            }
        }
    }
}
