//! WHOIS on a listener that is given, with a bound on everything.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{query::MAX_LINE_BYTES, render::answer};
use crate::registry::{Registry, now};

/// How much the server bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Connections of one address at the same time; further ones are closed.
    pub per_source: usize,
    /// How long a client may take to send its line.
    pub read: Duration,
    /// How long a client may take to receive its answer.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 1024, per_source: 128, read: Duration::from_secs(5), write: Duration::from_secs(5) }
    }
}

/// How many connections each address has.
#[derive(Clone, Default)]
struct Sources(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A place among the connections of an address; dropping it gives it back.
struct Place(Sources, IpAddr);

impl Sources {
    fn take(&self, source: IpAddr, most: usize) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(source).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place(self.clone(), source))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.1);
            }
        }
    }
}

/// Serves until it is dropped, which ends every connection.
///
/// # Errors
/// When the listener is of no more use.
pub async fn serve(listener: TcpListener, registry: Arc<Registry>, limits: Limits) -> io::Result<Infallible> {
    let places = Arc::new(Semaphore::new(limits.connections));
    let sources = Sources::default();
    let mut running = JoinSet::new();
    loop {
        // Whatever has ended makes room in the set; a panic has ended one connection and nothing else.
        while running.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else {
            return Err(io::Error::other("the listener is closed"));
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(of_source) = sources.take(peer.ip().to_canonical(), limits.per_source) else { continue };
                let registry = registry.clone();
                running.spawn(async move {
                    // How a connection ends concerns nobody but the client.
                    let _ = converse(stream, &registry, limits).await;
                    drop((place, of_source));
                });
            }
            Err(error) => match error.raw_os_error() {
                // Out of descriptors or memory (accept(2)): it passes when connections end.
                Some(23 | 24 | 105 | 12) => sleep(Duration::from_millis(500)).await,
                // Invalid, or not a socket any more.
                Some(9 | 22 | 88 | 95) => return Err(error),
                // The peer went away before it was accepted, and what the network reports for it.
                _ => {}
            },
        }
    }
}

/// One question, one answer.
async fn converse(mut stream: TcpStream, registry: &Registry, limits: Limits) -> io::Result<()> {
    let mut line = [0; MAX_LINE_BYTES];
    let text = match timeout(limits.read, read_line(&mut stream, &mut line)).await {
        Ok(Ok(Some(length))) => answer(&registry.look(), &line[..length], now()),
        // The rest of the line is never read.
        Ok(Ok(None)) => format!("% Error: a query has at most {MAX_LINE_BYTES} bytes\r\n"),
        Ok(Err(error)) => return Err(error),
        Err(_) => "% Error: the query did not come in time\r\n".to_owned(),
    };
    let sent = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    timeout(limits.write, sent).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}

/// Reads up to the line's end; how long it is without it. `None` when it is too long. A client that ends without a line's
/// end has asked as well.
async fn read_line(stream: &mut TcpStream, line: &mut [u8]) -> io::Result<Option<usize>> {
    let mut length = 0;
    loop {
        if length == line.len() {
            return Ok(None);
        }
        let read = stream.read(&mut line[length..]).await?;
        let end = line[length..length + read].iter().position(|byte| *byte == b'\n').map(|at| length + at);
        length += read;
        if let Some(end) = end {
            return Ok(Some(line[..end].strip_suffix(b"\r").map_or(end, <[u8]>::len)));
        }
        if read == 0 {
            return if length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Some(length)) };
        }
    }
}
