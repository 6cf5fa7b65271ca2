//! UDP: one socket per address, so an answer leaves from the very address that was asked.

use std::{io, net::IpAddr, sync::Arc};

use tokio::{net::UdpSocket, sync::Semaphore, task::JoinSet};

use super::{Handler, Peer, Reply, Transport};

/// Longest request looked at: the longest that we say we take; a longer one is cut and then malformed.
const REQUEST: usize = 4096;
/// Requests taken before other tasks get their turn.
const BATCH: usize = 64;
/// Failures of the socket in a row after which it is given up; one is normal (an error queued by the kernel).
const FAILURES: u32 = 64;
/// Answers in the making per socket; more are dropped, and the asker asks again.
const IN_FLIGHT: usize = 1024;

/// Answers on `socket`, which listens on `local`, until it fails for good. Dropping the future closes the socket and ends
/// what it began. Needs no `LocalSet`.
///
/// # Errors
/// The last of 64 failures in a row.
pub async fn serve_udp<H: Handler>(socket: UdpSocket, local: IpAddr, handler: Arc<H>) -> io::Result<()> {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; REQUEST].into_boxed_slice();
    let mut failures = 0;
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut later: JoinSet<()> = JoinSet::new();
    'empty: loop {
        socket.readable().await?;
        while later.try_join_next().is_some() {}
        for _ in 0..BATCH {
            let (length, remote) = match socket.try_recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue 'empty,
                Err(error) if failures >= FAILURES => return Err(error),
                Err(_) => {
                    failures += 1;
                    continue;
                }
            };
            failures = 0;
            let peer = Peer { local, remote, transport: Transport::Udp };
            match handler.handle(&buffer[..length], &peer) {
                // A full send buffer costs that one answer.
                Reply::Message(message) => drop(socket.try_send_to(&message, remote)),
                Reply::Later(future) => {
                    let Ok(permit) = in_flight.clone().try_acquire_owned() else { continue };
                    let socket = socket.clone();
                    later.spawn(async move {
                        if let Some(message) = future.await {
                            let _ = socket.send_to(&message, remote).await;
                        }
                        drop(permit);
                    });
                }
                Reply::Messages(_) | Reply::Silence => {}
            }
        }
        tokio::task::yield_now().await;
    }
}
