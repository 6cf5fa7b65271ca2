//! How a resolver reaches name servers.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::wire::UDP_EDNS;

/// Asks a server.
pub trait Upstream: Send + Sync + 'static {
    /// Sends one query and returns one message from that server, by UDP or in a stream. Bounded in time.
    fn ask(&self, server: IpAddr, query: Vec<u8>, stream: bool) -> impl Future<Output = io::Result<Vec<u8>>> + Send;
}

/// Asks by the network of the namespace we are in: there is no other way out.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// The servers' port; 53 except in tests.
    pub port: u16,
    /// How long one try may take; there are two by UDP and one by TCP.
    pub patience: Duration,
    /// The address that datagrams come from, to servers of its family; the kernel's choice without.
    pub source: Option<IpAddr>,
}

impl Default for Network {
    fn default() -> Self {
        Self { port: 53, patience: Duration::from_millis(800), source: None }
    }
}

impl Upstream for Network {
    async fn ask(&self, server: IpAddr, query: Vec<u8>, stream: bool) -> io::Result<Vec<u8>> {
        let server = SocketAddr::new(server, self.port);
        if stream {
            return within(self.patience, by_stream(server, &query)).await;
        }
        match within(self.patience, by_datagram(self.source, server, &query)).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                within(self.patience, by_datagram(self.source, server, &query)).await
            }
            done => done,
        }
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(patience, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// From a port the kernel picks at random for this question alone, and from that server only.
async fn by_datagram(source: Option<IpAddr>, server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let source = source.filter(|source| source.is_ipv4() == server.is_ipv4()).unwrap_or(any);
    let socket = UdpSocket::bind((source, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; UDP_EDNS];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // A guess with a wrong id is not the end of waiting for the true answer.
        if buffer[..length].first_chunk::<2>() == query.first_chunk::<2>() {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
