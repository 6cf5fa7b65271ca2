//! Accepting connections: bounded in all and for each source, each a task that is owned here.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::TcpLimits;

/// Pause after an accept that failed for want of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

type PerSource = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// A connection's place among those of its source.
struct Place(PerSource, IpAddr);

impl Place {
    fn take(sources: &PerSource, source: IpAddr, most: usize) -> Option<Self> {
        let mut open = sources.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(source).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self(sources.clone(), source))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.1);
            }
        }
    }
}

/// Accepts for ever and serves each connection by `serve`. Dropping the future closes the listener and all connections.
///
/// # Errors
/// When the listener fails for good; what a client or a lack of descriptors causes is not such.
pub(super) async fn accept<F>(
    listener: TcpListener,
    limits: TcpLimits,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let sources = PerSource::default();
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => match error.raw_os_error() {
                // ECONNABORTED, EPERM and the like are the client's; EMFILE, ENFILE, ENOBUFS, ENOMEM pass.
                Some(24 | 23 | 105 | 12) => {
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    continue;
                }
                Some(9 | 22 | 88) => return Err(error),
                _ => continue,
            },
        };
        if connections.len() >= limits.connections {
            continue;
        }
        let Some(place) = Place::take(&sources, remote.ip().to_canonical(), limits.per_source) else { continue };
        // Answers are whole messages already.
        let _ = stream.set_nodelay(true);
        let serving = serve(stream, remote);
        connections.spawn(async move {
            let _place = place;
            serving.await;
        });
    }
}
