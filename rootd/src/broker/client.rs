//! The broker's end of a worker's socketpair: requests are pipelined, replies come in order.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Notify, oneshot},
};

use crate::{
    sys::fds::{self, Received},
    worker::channel::{MESSAGE_BYTES, decode, encode},
};

/// Waits for a message and takes it.
///
/// # Errors
/// `UnexpectedEof` at the end of the stream.
pub async fn receive(socket: &AsyncFd<OwnedFd>, buffer: &mut Vec<u8>) -> io::Result<Received> {
    loop {
        let mut ready = socket.readable().await?;
        // The size of the waiting message, so that a small answer costs a small buffer.
        let peeked = ready.try_io(|socket| {
            use nix::sys::socket::{MsgFlags, recv};
            use std::os::fd::AsRawFd;
            let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC | MsgFlags::MSG_DONTWAIT;
            Ok(recv(socket.as_raw_fd(), &mut [], flags)?)
        });
        let Ok(waiting) = peeked else { continue };
        let waiting = waiting?;
        buffer.resize(waiting.clamp(1, MESSAGE_BYTES), 0);
        match ready.try_io(|socket| fds::recv(socket, buffer)) {
            Ok(Ok(received)) if received.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(done) => return done,
            Err(_would_block) => {}
        }
    }
}

/// Sends a message, waiting for room.
///
/// # Errors
/// When the other end is closed.
pub async fn send(socket: &AsyncFd<OwnedFd>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    socket.async_io(Interest::WRITABLE, |socket| fds::send(socket, bytes, descriptors)).await.map(drop)
}

/// Registers a descriptor with the event loop, non-blocking.
///
/// # Errors
/// When the kernel refuses.
pub fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = nix::fcntl::OFlag::from_bits_truncate(nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_GETFL)?);
    nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFL(flags | nix::fcntl::OFlag::O_NONBLOCK))?;
    fds::watched(socket)
}

type Answer<R> = oneshot::Sender<(R, Vec<OwnedFd>)>;

/// A worker as seen from the broker.
pub struct Client<Q, R> {
    socket: Arc<AsyncFd<OwnedFd>>,
    waiting: Arc<Mutex<VecDeque<Answer<R>>>>,
    types: std::marker::PhantomData<fn(Q) -> R>,
}

/// The worker is gone; the broker ends too and all start anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a worker is gone")]
pub struct Gone;

impl<Q: Serialize, R: DeserializeOwned + Send + 'static> Client<Q, R> {
    /// Starts reading answers; `gone` is notified when the worker's end closes.
    ///
    /// # Errors
    /// When the descriptor cannot be registered.
    pub fn new(socket: OwnedFd, gone: Arc<Notify>) -> io::Result<Self> {
        let socket = Arc::new(register(socket)?);
        let waiting: Arc<Mutex<VecDeque<Answer<R>>>> = Arc::default();
        let (reading, answers) = (socket.clone(), waiting.clone());
        tokio::spawn(async move {
            let mut buffer = Vec::new();
            let error = loop {
                let received = match receive(&reading, &mut buffer).await {
                    Ok(received) => received,
                    Err(error) => break error,
                };
                let reply = match decode::<R>(&buffer[..received.bytes]) {
                    Ok(reply) => reply,
                    Err(error) => break error,
                };
                let answer = answers.lock().expect("no panic while held").pop_front();
                let Some(answer) = answer else { break io::Error::other("an answer that nobody waits for") };
                // A caller that no longer waits lets the descriptors of its answer drop, which closes them.
                let _ = answer.send((reply, received.fds));
            };
            tracing::error!(%error, worker = std::any::type_name::<Q>(), "a worker is not heard any more");
            answers.lock().expect("no panic while held").clear();
            gone.notify_one();
        });
        Ok(Self { socket, waiting, types: std::marker::PhantomData })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn call(&self, request: &Q, descriptors: &[BorrowedFd<'_>]) -> Result<(R, Vec<OwnedFd>), Gone> {
        let bytes = encode(request).map_err(|_| Gone)?;
        let (answer, answered) = oneshot::channel();
        let mut answer = Some(answer);
        // Order of sending and order of waiting are the same, also when a caller goes away while it waits for room.
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| {
            let mut waiting = self.waiting.lock().expect("no panic while held");
            let sent = fds::send(socket, &bytes, descriptors)?;
            waiting.extend(answer.take());
            Ok(sent)
        });
        sent.await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }
}

impl<Q, R> AsFd for Client<Q, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
