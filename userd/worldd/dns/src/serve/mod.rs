//! Serving: sockets that somebody else bound, and handlers that know nothing of sockets.

mod accept;
mod https;
mod limit;
mod tcp;
mod tls;
mod udp;

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
};

pub use self::{
    https::{DNS_QUERY, serve_https},
    limit::{Limiter, Verdict},
    tcp::{TcpLimits, serve_tcp},
    tls::{Tls, serve_tls},
    udp::serve_udp,
};

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram: the source may be forged, the answer must be short.
    Udp,
    /// In a stream: the source is real.
    Tcp,
}

/// Who asks, and where.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The address that was asked.
    pub local: IpAddr,
    /// Who asked.
    pub remote: SocketAddr,
    /// How.
    pub transport: Transport,
}

/// A future that makes an answer, or silence.
pub type Later = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>;

/// What becomes of a request.
pub enum Reply {
    /// Nothing is sent.
    Silence,
    /// One message.
    Message(Vec<u8>),
    /// Messages one after the other, made as fast as the peer takes them; over TCP only.
    Messages(Box<dyn Iterator<Item = Vec<u8>> + Send>),
    /// It takes a while.
    Later(Later),
}

/// Answers requests. Must not block and must not panic on anything a peer sends.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, request: &[u8], peer: &Peer) -> Reply;
}
