//! TCP (RFC 7766): bounded connections, each a task of its own, each wait with a deadline.
//!
//! A peer that sends nothing, half a message, one byte at a time, or does not take its answers costs one connection of
//! its own share until a deadline, and nobody else anything (CVE-2024-8418, CVE-2026-35406).

use std::{collections::VecDeque, io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::timeout,
};

use super::{Handler, Later, Peer, Reply, Transport, accept::accept};

/// What one listener allows.
#[derive(Debug, Clone, Copy)]
pub struct TcpLimits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one source.
    pub per_source: usize,
    /// How long a connection may be silent between messages.
    pub idle: Duration,
    /// How long one message may take, from its first byte to its last, and each answer to be taken.
    pub message: Duration,
    /// Answers in the making per connection; further requests wait.
    pub pipeline: usize,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            connections: 1200,
            per_source: 1024,
            idle: Duration::from_secs(10),
            message: Duration::from_secs(3),
            pipeline: 16,
        }
    }
}

/// Accepts on `listener`, which listens on `local`, for ever. Dropping the future closes the listener and all its connections.
///
/// # Errors
/// When the listener fails for good; what a client or a lack of descriptors causes is not such.
pub async fn serve_tcp<H: Handler>(
    listener: TcpListener,
    local: IpAddr,
    handler: Arc<H>,
    limits: TcpLimits,
) -> io::Result<()> {
    accept(listener, limits, |stream, remote| {
        let (peer, handler) = (Peer { local, remote, transport: Transport::Tcp }, handler.clone());
        async move {
            // The peer is gone or was too slow: nobody is left to tell.
            let _ = converse(stream, peer, handler.as_ref(), limits).await;
        }
    })
    .await
}

/// Serves one stream of messages, each with a length of two bytes before it, until the peer ends it or is too slow.
///
/// # Errors
/// When the stream fails or a deadline passes.
pub async fn converse<S, H>(stream: S, peer: Peer, handler: &H, limits: TcpLimits) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler + ?Sized,
{
    let (mut input, mut output) = tokio::io::split(stream);
    let mut waiting: JoinSet<Option<Vec<u8>>> = JoinSet::new();
    let mut ready: VecDeque<Vec<u8>> = VecDeque::new();
    let mut partial = Partial::default();
    loop {
        while let Some(message) = ready.pop_front() {
            send(&mut output, &message, limits.message).await?;
        }
        let room = waiting.len() < limits.pipeline;
        let request = tokio::select! {
            Some(done) = waiting.join_next() => {
                ready.extend(done.ok().flatten());
                continue;
            }
            request = partial.next(&mut input, limits), if room => match request? {
                Some(request) => request,
                None => break,
            },
        };
        match handler.handle(&request, &peer) {
            Reply::Silence => {}
            Reply::Message(message) => ready.push_back(message),
            Reply::Messages(messages) => {
                for message in messages {
                    send(&mut output, &message, limits.message).await?;
                }
            }
            Reply::Later(later) => drop(waiting.spawn(later as Later)),
        }
    }
    // The peer has closed its side and may still be reading.
    while let Some(done) = waiting.join_next().await {
        if let Some(message) = done.ok().flatten() {
            send(&mut output, &message, limits.message).await?;
        }
    }
    Ok(())
}

/// A message that is arriving; kept outside the future that reads, which may be dropped at any await.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    /// When the first byte must have been followed by the last.
    deadline: Option<tokio::time::Instant>,
}

impl Partial {
    /// The next whole message; `None` when the peer ended the stream between messages.
    async fn next<R: AsyncRead + Unpin>(&mut self, input: &mut R, limits: TcpLimits) -> io::Result<Option<Vec<u8>>> {
        loop {
            let wanted = match self.bytes.first_chunk::<2>() {
                Some(length) => 2 + usize::from(u16::from_be_bytes(*length)),
                None => 2,
            };
            if self.bytes.len() >= 2 && self.bytes.len() == wanted {
                self.deadline = None;
                let message = self.bytes.split_off(2);
                self.bytes.clear();
                return Ok(Some(message));
            }
            let deadline = match self.deadline {
                Some(deadline) => deadline,
                None => *self.deadline.insert(tokio::time::Instant::now() + limits.idle),
            };
            let missing = (wanted - self.bytes.len()).min(8192);
            let mut chunk = [0; 8192];
            let read = tokio::time::timeout_at(deadline, input.read(&mut chunk[..missing])).await;
            match read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
                0 if self.bytes.is_empty() => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => {
                    if self.bytes.is_empty() {
                        self.deadline = Some(tokio::time::Instant::now() + limits.message);
                    }
                    self.bytes.extend_from_slice(&chunk[..length]);
                }
            }
        }
    }
}

async fn send<W: AsyncWrite + Unpin>(output: &mut W, message: &[u8], within: Duration) -> io::Result<()> {
    let Ok(length) = u16::try_from(message.len()) else { return Err(io::ErrorKind::InvalidData.into()) };
    let whole = [&length.to_be_bytes()[..], message].concat();
    timeout(within, output.write_all(&whole)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
