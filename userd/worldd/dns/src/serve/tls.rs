//! DNS over TLS (RFC 7858): the streams of TCP inside TLS, with a handshake that has a deadline as well.

use std::{io, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{Handler, Peer, TcpLimits, Transport, accept::accept, tcp::converse};

/// What TLS servers present; may be replaced while they serve.
#[derive(Debug)]
pub struct Tls {
    /// For DNS over TLS.
    streams: ArcSwap<ServerConfig>,
    /// For DNS over HTTPS.
    https: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Takes a configuration with its certificate, or with a resolver of certificates that knows of renewals itself. The
    /// protocols that clients may choose (ALPN) are set here.
    pub fn new(config: ServerConfig) -> Self {
        let (streams, https) = both(config);
        Self { streams: ArcSwap::new(streams), https: ArcSwap::new(https) }
    }

    /// Presents something else to new connections; those that are open go on.
    pub fn replace(&self, config: ServerConfig) {
        let (streams, https) = both(config);
        self.streams.store(streams);
        self.https.store(https);
    }

    pub(super) async fn accept_https(&self, stream: TcpStream, limits: TcpLimits) -> io::Result<TlsStream<TcpStream>> {
        handshake(self.https.load_full(), stream, limits).await
    }
}

fn both(config: ServerConfig) -> (Arc<ServerConfig>, Arc<ServerConfig>) {
    let with = |protocols: &[&[u8]]| {
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    };
    (with(&[b"dot"]), with(&[b"h2", b"http/1.1"]))
}

async fn handshake(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    limits: TcpLimits,
) -> io::Result<TlsStream<TcpStream>> {
    let accepting = TlsAcceptor::from(config).accept(stream);
    timeout(limits.message, accepting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Accepts TLS on `listener`, which listens on `local`, for ever; 853 is the usual port. [`TcpLimits::message`] bounds the
/// handshake too. Dropping the future closes the listener and all its connections.
///
/// # Errors
/// When the listener fails for good; what a client or a lack of descriptors causes is not such.
pub async fn serve_tls<H: Handler>(
    listener: TcpListener,
    local: IpAddr,
    tls: Arc<Tls>,
    handler: Arc<H>,
    limits: TcpLimits,
) -> io::Result<()> {
    accept(listener, limits, |stream, remote| {
        let (peer, handler) = (Peer { local, remote, transport: Transport::Tcp }, handler.clone());
        let config = tls.streams.load_full();
        async move {
            let Ok(stream) = handshake(config, stream, limits).await else { return };
            // The peer is gone or was too slow: nobody is left to tell.
            let _ = converse(stream, peer, handler.as_ref(), limits).await;
        }
    })
    .await
}
