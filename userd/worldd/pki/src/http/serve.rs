//! Accepting connections on a socket that is given, with a bound on each.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// The address a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// How much one listener bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Connections at the same time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a client may take to send the head of a request, also of the next one on an idle connection.
    pub head: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self { connections: 4096, handshake: Duration::from_secs(10), head: Duration::from_secs(30) }
    }
}

/// Serves HTTP until it is dropped, which ends every connection.
///
/// # Errors
/// When the listener is of no more use.
pub async fn serve(listener: TcpListener, router: Router, limit: Limit) -> io::Result<Infallible> {
    accept_all(listener, limit, move |stream, peer| converse(stream, peer, router.clone(), limit)).await
}

/// Serves HTTP over TLS until it is dropped, which ends every connection. The certificate may be swapped meanwhile:
/// see [`super::SwappedCertificate`].
///
/// # Errors
/// When the listener is of no more use.
pub async fn serve_tls(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    limit: Limit,
) -> io::Result<Infallible> {
    let acceptor = TlsAcceptor::from(config);
    accept_all(listener, limit, move |stream, peer| {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        async move {
            if let Ok(Ok(stream)) = timeout(limit.handshake, acceptor.accept(stream)).await {
                converse(stream, peer, router, limit).await;
            }
        }
    })
    .await
}

async fn accept_all<F>(
    listener: TcpListener,
    limit: Limit,
    converse: impl Fn(TcpStream, SocketAddr) -> F,
) -> io::Result<Infallible>
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limit.connections));
    let mut running = JoinSet::new();
    loop {
        // Whatever has ended makes room in the set; a panic has ended one connection and nothing else.
        while running.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else {
            return Err(io::Error::other("the listener is closed"));
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small answers should not wait for more; without it they are only slower.
                let _ = stream.set_nodelay(true);
                let talk = converse(stream, peer);
                running.spawn(async move {
                    talk.await;
                    drop(place);
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

async fn converse<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: T,
    peer: SocketAddr,
    router: Router,
    limit: Limit,
) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limit.head)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // How a connection ends concerns nobody but the client.
    drop(connection.await);
}
