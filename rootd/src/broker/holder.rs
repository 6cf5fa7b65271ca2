//! The broker's end of the holder: found if it lives, started if not.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use tokio::{io::unix::AsyncFd, sync::RwLock};

use super::client::{receive, register, send};
use crate::worker::{
    channel::{decode, encode},
    message::{HeldKey, HolderReply, HolderRequest},
};

/// The connection to the holder.
pub struct Holder {
    path: PathBuf,
    socket: RwLock<AsyncFd<OwnedFd>>,
}

fn seqpacket() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
}

fn path_of(run_directory: &Path) -> PathBuf {
    run_directory.join("holder.sock")
}

fn dial(path: &Path) -> io::Result<OwnedFd> {
    let socket = seqpacket()?;
    connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// Connects to a living holder; `None` when there is none.
///
/// # Errors
/// Anything but "nobody listens".
pub fn find(run_directory: &Path) -> io::Result<Option<Holder>> {
    let path = path_of(run_directory);
    match dial(&path) {
        Ok(socket) => Ok(Some(Holder { path, socket: RwLock::new(register(socket)?) })),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A listening socket for a new holder; a stale one of a dead holder, in our own directory, is replaced.
///
/// # Errors
/// When the directory is full or not ours.
pub fn listener(run_directory: &Path) -> io::Result<OwnedFd> {
    let path = path_of(run_directory);
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = seqpacket()?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &UnixAddr::new(&path)?)?;
    listen(&socket, nix::sys::socket::Backlog::new(4)?)?;
    Ok(socket)
}

impl Holder {
    async fn send(&self, request: &HolderRequest, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(&*self.socket.read().await, &encode(request)?, descriptors).await
    }

    /// Has the holder keep a duplicate. What was sent is kept even if this process dies right after.
    ///
    /// # Errors
    /// When the holder is gone.
    pub async fn keep(&self, key: HeldKey, fd: &OwnedFd) -> io::Result<()> {
        self.send(&HolderRequest::Keep(key), &[fd.as_fd()]).await
    }

    /// Has the holder close its duplicate.
    ///
    /// # Errors
    /// When the holder is gone.
    pub async fn drop_key(&self, key: HeldKey) -> io::Result<()> {
        self.send(&HolderRequest::Drop(key), &[]).await
    }

    /// Asks the holder to exit if it keeps nothing.
    ///
    /// # Errors
    /// When the holder is gone.
    pub async fn quit(&self) -> io::Result<()> {
        self.send(&HolderRequest::Quit, &[]).await
    }

    /// Everything the holder keeps.
    ///
    /// # Errors
    /// When the holder is gone or speaks nonsense.
    pub async fn list(&self) -> io::Result<Vec<(HeldKey, OwnedFd)>> {
        let socket = self.socket.read().await;
        send(&socket, &encode(&HolderRequest::List)?, &[]).await?;
        let mut buffer = Vec::new();
        let mut held = Vec::new();
        loop {
            let received = receive(&socket, &mut buffer).await?;
            match decode::<HolderReply>(&buffer[..received.bytes])? {
                HolderReply::Held(key) => held.extend(received.fds.into_iter().next().map(|fd| (key, fd))),
                HolderReply::End => return Ok(held),
            }
        }
    }

    /// Returns when the holder is gone.
    pub async fn closed(&self) {
        let socket = self.socket.read().await;
        let mut buffer = Vec::new();
        while receive(&socket, &mut buffer).await.is_ok() {}
    }

    /// Connects to the holder that was started in place of a dead one.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn reconnect(&self) -> io::Result<()> {
        let fresh = register(dial(&self.path)?)?;
        *self.socket.write().await = fresh;
        Ok(())
    }
}
