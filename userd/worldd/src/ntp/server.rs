//! The NTP server's sockets: one per address, so an answer leaves from the very address that was asked.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    os::fd::AsRawFd,
    rc::Rc,
    time::Instant,
};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recvmsg,
    sendto, setsockopt, socket,
    sockopt::{Ipv6V6Only, ReceiveTimestampns},
};
use nix::sys::time::TimeSpec;
use tokio::{io::Interest, net::UdpSocket};

use super::{
    answer::{Announced, Query},
    clock,
    limit::{Limiter, Verdict},
    packet::Timestamp,
};

/// Longest request looked at; RFC 7822 bounds extension fields far below. Longer ones are no requests.
const DATAGRAM_BYTES: usize = 1024;
/// Datagrams taken before other tasks get their turn.
const BATCH: usize = 32;
/// Failed receptions in a row after which the socket is given up; one is normal (an error queued by the kernel).
const FAILURES: u32 = 64;

/// What all sockets of the server share: changed in place when the desired state changes, so no socket is rebound.
#[derive(Debug)]
pub struct Shared {
    /// The clock that is announced.
    pub clock: Cell<Announced>,
    /// The rate limit, per source over all addresses.
    pub limiter: RefCell<Limiter>,
    started: Instant,
}

impl Shared {
    /// A server that announces `clock` and limits with `limiter`.
    pub fn new(clock: Announced, limiter: Limiter) -> Self {
        Self { clock: Cell::new(clock), limiter: RefCell::new(limiter), started: Instant::now() }
    }
}

/// What one socket did.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests answered.
    pub served: Cell<u64>,
    /// Requests answered with kiss-o'-death.
    pub kissed: Cell<u64>,
    /// Datagrams that got no answer.
    pub dropped: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

/// Binds the socket of one address. IPv6 sockets take IPv6 only; the kernel stamps each datagram on arrival.
///
/// # Errors
/// As socket(2), bind(2) and setsockopt(2).
pub fn listen(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
    if address.is_ipv6() {
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, port)))?;
    UdpSocket::from_std(socket.into())
}

/// Answers on `socket` until it fails for good. Dropping the future closes the socket.
///
/// # Errors
/// The last of 64 failures in a row.
pub async fn serve(socket: UdpSocket, shared: Rc<Shared>, counters: Rc<Counters>) -> io::Result<()> {
    let mut failures = 0;
    'empty: loop {
        socket.readable().await?;
        for _ in 0..BATCH {
            match socket.try_io(Interest::READABLE, || one(&socket, &shared, &counters)) {
                Ok(()) => failures = 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue 'empty,
                Err(error) if failures >= FAILURES => return Err(error),
                Err(_) => failures += 1,
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Takes one datagram and answers it if it deserves it. A full send buffer costs that one answer.
fn one(socket: &UdpSocket, shared: &Shared, counters: &Counters) -> io::Result<()> {
    let mut buffer = [0; DATAGRAM_BYTES];
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let stamp = message.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(time) => Some(time),
            _ => None,
        })
    });
    let received = stamp.map_or_else(clock::now, |time| {
        Timestamp::from_unix(time.tv_sec(), u32::try_from(time.tv_nsec()).unwrap_or(0))
    });
    let (bytes, whole, peer) = (message.bytes, !message.flags.contains(MsgFlags::MSG_TRUNC), message.address);

    let query = Query::read(&buffer[..bytes]).filter(|_| whole);
    let (Some(query), Some(peer)) = (query, peer) else {
        count(&counters.dropped);
        return Ok(());
    };
    let Some(source) = ip(&peer) else {
        count(&counters.dropped);
        return Ok(());
    };
    let verdict = shared.limiter.borrow_mut().judge(source.into(), shared.started.elapsed());
    let sent = query
        .answer(verdict, shared.clock.get(), received, clock::now())
        .is_some_and(|answer| sendto(socket.as_raw_fd(), &answer, &peer, MsgFlags::MSG_DONTWAIT).is_ok());
    count(match verdict {
        Verdict::Serve if sent => &counters.served,
        Verdict::Kiss if sent => &counters.kissed,
        _ => &counters.dropped,
    });
    Ok(())
}

fn ip(peer: &SockaddrStorage) -> Option<IpAddr> {
    peer.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip())).or_else(|| peer.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
