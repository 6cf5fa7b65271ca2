//! The live check's NTP client.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use super::{
    check::{self, Doubt, Sample},
    clock,
};

/// The first wait for an answer before the request is sent again; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Why there is no sample.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No socket, no route, nobody on the port.
    #[error("cannot ask {server}")]
    Io {
        /// Who was asked.
        server: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel gave no random numbers.
    #[error("cannot make a nonce: {0}")]
    Random(String),
    /// An answer that is not to be believed.
    #[error("cannot believe {server}: {doubt}")]
    Doubt {
        /// Who was asked.
        server: SocketAddr,
        /// What is wrong.
        doubt: Doubt,
    },
    /// No answer in time.
    #[error("cannot hear {server}: no answer within {} ms{}", .within.as_millis(), if *.strange { ", only datagrams that do not answer our request" } else { "" })]
    Silent {
        /// Who was asked.
        server: SocketAddr,
        /// The time limit.
        within: Duration,
        /// Whether something else arrived.
        strange: bool,
    },
}

/// Asks `server` for the time, again and again within the limit, and believes only an exact answer.
///
/// The socket is connected, so the kernel passes on only datagrams whose source is the address and port asked.
///
/// # Errors
/// [`AskError`]; a refusal or an unreachable server ends the wait at once.
pub async fn ask(server: SocketAddr, within: Duration) -> Result<Sample, AskError> {
    let failed = |source| AskError::Io { server, source };
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;

    let nonce = getrandom::u64().map_err(|error| AskError::Random(error.to_string()))?;
    let end = Instant::now() + within;
    let (mut wait, mut strange) = (FIRST_WAIT, false);
    let mut buffer = [0; 1024];
    loop {
        let left = clock::now();
        socket.send(&check::request(nonce).write()).await.map_err(failed)?;
        let again = end.min(Instant::now() + wait);
        while let Ok(received) = timeout_at(again, socket.recv(&mut buffer)).await {
            let arrived = clock::now();
            match check::judge(&buffer[..received.map_err(failed)?], nonce, left, arrived) {
                Ok(sample) => return Ok(sample),
                Err(Doubt::NotOurs) => strange = true,
                Err(doubt) => return Err(AskError::Doubt { server, doubt }),
            }
        }
        if Instant::now() >= end {
            return Err(AskError::Silent { server, within, strange });
        }
        wait *= 2;
    }
}
