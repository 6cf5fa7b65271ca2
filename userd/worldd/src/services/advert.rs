//! IPv6 router advertisements on the links of ANDs that have an IPv6 network (role `gateway`).
//!
//! One raw ICMPv6 socket for all links. This process could not open it: rootd does, in the router's namespace, and hands it
//! over as standard input, as inetd(8) does. It hears router solicitations and nothing else (RFC 3542, section 3.2).

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

use netengine_dhcp::advert::{Advert, HOP_LIMIT, INTERVAL_S, is_solicitation};
use netengine_proto::{
    control::{AndNetwork, ServiceHealth},
    net::IfName,
};
use nix::{
    libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, SockType, SockaddrIn6, getsockopt, recvmsg, sendmsg, setsockopt,
        sockopt::{self, Ipv6RecvHopLimit, Ipv6RecvPacketInfo},
    },
};
use socket2::SockRef;
use tokio::{io::Interest, net::UdpSocket, sync::Notify, task::JoinHandle, time::Instant};
use tracing::{info, warn};

use super::{PHASE_OF_ANDS, link};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// How often it is seen whether each link is still the same.
const LOOK: Duration = Duration::from_secs(1);
/// Between two advertisements to all of a link (RFC 4861, section 10: MIN_DELAY_BETWEEN_RAS).
const APART: Duration = Duration::from_secs(3);
/// The first few come sooner (MAX_INITIAL_RTR_ADVERTISEMENTS, MAX_INITIAL_RTR_ADVERT_INTERVAL).
const INITIAL: (u32, Duration) = (3, Duration::from_secs(16));
/// Solicitations of a link that are answered within one [`LOOK`].
const ANSWERS: u32 = 20;
/// Solicitations taken before other tasks get their turn.
const BATCH: usize = 32;

/// The advertiser of all links.
#[derive(Default)]
pub struct Advertiser {
    socket: Option<Rc<UdpSocket>>,
    shared: Rc<Shared>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    links: RefCell<BTreeMap<IfName, Link>>,
    changed: Notify,
}

struct Link {
    router: Ipv6Addr,
    advert: Advert,
    /// The link as it was last seen; `None` while it is not there.
    index: Option<u32>,
    next: Instant,
    last: Option<Instant>,
    to_all: u32,
    answered: u32,
    /// Of this [`LOOK`].
    answers: u32,
    fault: Option<String>,
}

/// The socket that rootd opened, if standard input is it. Call it while the process has its own standard input.
///
/// # Errors
/// When it cannot be made ours.
pub fn inherited() -> io::Result<Option<OwnedFd>> {
    let input = io::stdin();
    let is_raw = getsockopt(&input, sockopt::SockType) == Ok(SockType::Raw);
    if !is_raw || SockRef::from(&input).local_addr()?.as_socket_ipv6().is_none() {
        return Ok(None);
    }
    let socket = input.as_fd().try_clone_to_owned()?;
    let options = SockRef::from(&socket);
    options.set_nonblocking(true)?;
    options.set_multicast_hops_v6(HOP_LIMIT.into())?;
    options.set_unicast_hops_v6(HOP_LIMIT.into())?;
    options.set_multicast_loop_v6(false)?;
    setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
    Ok(Some(socket))
}

impl Advertiser {
    /// An advertiser with the socket it was given.
    ///
    /// # Errors
    /// When the event loop refuses the socket.
    pub fn new(socket: Option<OwnedFd>) -> io::Result<Self> {
        // It is none of UDP; what is used of the type is that it is a socket the event loop waits for.
        let socket = socket.map(|socket| UdpSocket::from_std(socket.into())).transpose()?;
        Ok(Self { socket: socket.map(Rc::new), ..Self::default() })
    }

    /// Advertises on these links and no others. `name_servers` are told to each.
    pub fn apply(&mut self, ands: &[AndNetwork], name_servers: &[Ipv6Addr]) {
        let mut links = self.shared.links.borrow_mut();
        let wanted: BTreeMap<_, _> = ands.iter().filter_map(|and| Some((and.link.clone(), (and, and.v6?)))).collect();
        links.retain(|name, link| {
            let stays = wanted.contains_key(name);
            if !stays && let (Some(index), Some(socket)) = (link.index, &self.socket) {
                // It may be gone with the link.
                let _ = SockRef::from(&socket).leave_multicast_v6(&ALL_ROUTERS, index);
            }
            stays
        });
        for (name, (and, (prefix, router))) in wanted {
            let advert = Advert { prefix, name_servers: name_servers.to_vec(), domain: and.suffix.clone() };
            match links.get_mut(&name) {
                Some(link) if link.advert == advert && link.router == router => {}
                Some(link) => {
                    (link.advert, link.router) = (advert, router);
                    link.next = link.earliest(Instant::now());
                }
                None => drop(links.insert(name, Link::new(router, advert))),
            }
        }
        let socket = self.socket.clone().filter(|_| !links.is_empty());
        if let Some(socket) = &socket {
            // The first look is now, so that the answer to `Apply` says how it went.
            look(socket, &mut links);
        }
        drop(links);
        self.shared.changed.notify_one();
        match (&self.task, socket) {
            (None, Some(socket)) => {
                self.task = Some(tokio::task::spawn_local(advertise(socket, self.shared.clone())));
            }
            (Some(task), None) => {
                task.abort();
                self.task = None;
            }
            _ => {}
        }
    }

    /// Stops, and tells each link that this router is none any more.
    pub fn close(&mut self) {
        if let Some(socket) = &self.socket {
            for link in self.shared.links.borrow().values() {
                if let Some(index) = link.index {
                    let _ = send(socket, &Advert::farewell(), ALL_NODES, index);
                }
            }
        }
        self.apply(&[], &[]);
    }

    /// Per link, at the router's address.
    pub fn health(&self) -> Vec<ServiceHealth> {
        let links = self.shared.links.borrow();
        let has_ended = self.task.as_ref().is_some_and(JoinHandle::is_finished);
        let one = |(name, link): (&IfName, &Link)| {
            let fault = match (&self.socket, &link.fault, link.index) {
                (None, ..) => Some("no raw ICMPv6 socket was handed over".to_owned()),
                _ if has_ended => Some("it has failed; the log tells why".to_owned()),
                (_, Some(fault), _) => Some(fault.clone()),
                (.., None) => Some(format!("{name} is not there")),
                _ => None,
            };
            ServiceHealth {
                name: "router-advertisement".to_owned(),
                phase: PHASE_OF_ANDS,
                address: link.router.into(),
                // ICMPv6 has no ports.
                port: 0,
                serving: fault.is_none(),
                detail: fault.unwrap_or_else(|| {
                    format!("{name}: {} sent to all, {} solicitations answered", link.to_all, link.answered)
                }),
            }
        };
        links.iter().map(one).collect()
    }
}

impl Link {
    fn new(router: Ipv6Addr, advert: Advert) -> Self {
        let (index, last, fault) = (None, None, None);
        Self { router, advert, index, next: Instant::now(), last, to_all: 0, answered: 0, answers: 0, fault }
    }

    /// The first moment at which all of the link may be told again.
    fn earliest(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| now.max(last + APART))
    }

    /// Tells all of the link.
    fn tell_all(&mut self, socket: &UdpSocket, index: u32, now: Instant) {
        self.fault =
            send(socket, &self.advert.write(), ALL_NODES, index).err().map(|error| format!("cannot send: {error}"));
        self.to_all = self.to_all.wrapping_add(1);
        self.last = Some(now);
        // At random between three quarters of the interval and all of it, so that routers do not fall into step.
        let random = getrandom::u32().unwrap_or(0) % (INTERVAL_S * 250);
        let pause = Duration::from_millis((INTERVAL_S * 750 + random).into());
        self.next = now + if self.to_all < INITIAL.0 { pause.min(INITIAL.1) } else { pause };
    }
}

/// Finds each link anew: one that came or was made anew is joined and told at once.
fn look(socket: &UdpSocket, links: &mut BTreeMap<IfName, Link>) {
    let now = Instant::now();
    for (name, link) in links.iter_mut() {
        link.answers = 0;
        let index = link::index(name).ok();
        if index == link.index {
            continue;
        }
        link.index = index;
        let Some(index) = index else { continue };
        // A router is in the group already when the kernel forwards (net/ipv6/addrconf.c), for itself, not for this socket.
        match SockRef::from(socket).join_multicast_v6(&ALL_ROUTERS, index) {
            Ok(()) => {
                info!(service = "router-advertisement", "advertising on {name}");
                (link.fault, link.next) = (None, now);
            }
            Err(error) => link.fault = Some(format!("cannot hear solicitations: {error}")),
        }
    }
}

async fn advertise(socket: Rc<UdpSocket>, shared: Rc<Shared>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let now = Instant::now();
        let mut next = now + LOOK;
        for link in shared.links.borrow_mut().values_mut() {
            let Some(index) = link.index else { continue };
            if link.next <= now {
                link.tell_all(&socket, index, now);
            }
            next = next.min(link.next);
        }
        tokio::select! {
            ready = socket.readable() => {
                if ready.is_err() {
                    warn!(service = "router-advertisement", "the event loop has failed");
                    return;
                }
                for _ in 0..BATCH {
                    match socket.try_io(Interest::READABLE, || receive(&socket)) {
                        Ok(Some((source, index))) => answer(&socket, &shared, source, index),
                        Ok(None) => {}
                        // Nothing more, or an error of an answer that was sent.
                        Err(_) => break,
                    }
                }
                tokio::task::yield_now().await;
            }
            _ = looks.tick() => look(&socket, &mut shared.links.borrow_mut()),
            () = shared.changed.notified() => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// A solicitation: from whom, and on which link.
fn receive(socket: &UdpSocket) -> io::Result<Option<(Ipv6Addr, u32)>> {
    let mut buffer = [0; 1500];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, libc::c_int);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let (mut index, mut hop_limit) = (None, 0);
    for one in message.cmsgs()? {
        match one {
            ControlMessageOwned::Ipv6PacketInfo(info) => index = Some(info.ipi6_ifindex),
            ControlMessageOwned::Ipv6HopLimit(limit) => hop_limit = u8::try_from(limit).unwrap_or(0),
            _ => {}
        }
    }
    let (bytes, source) = (message.bytes, message.address.map(|address| address.ip()));
    let (Some(index), Some(source)) = (index, source) else { return Ok(None) };
    Ok(is_solicitation(&buffer[..bytes], hop_limit).then_some((source, index)))
}

/// Answers the host alone; one without an address yet is answered by telling all, not more often than every three seconds
/// (RFC 4861, section 6.2.6).
fn answer(socket: &UdpSocket, shared: &Shared, source: Ipv6Addr, index: u32) {
    let mut links = shared.links.borrow_mut();
    let Some(link) = links.values_mut().find(|link| link.index == Some(index)) else { return };
    if link.answers >= ANSWERS {
        return;
    }
    link.answers += 1;
    if source.is_unicast_link_local() {
        if send(socket, &link.advert.write(), source, index).is_ok() {
            link.answered = link.answered.wrapping_add(1);
        }
    } else {
        link.next = link.next.min(link.earliest(Instant::now()));
    }
}

/// From the link's own link-local address, which the kernel finds by the link.
fn send(socket: &UdpSocket, bytes: &[u8], to: Ipv6Addr, index: u32) -> io::Result<()> {
    let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: [0; 16] }, ipi6_ifindex: index };
    let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, index));
    let control = [ControlMessage::Ipv6PacketInfo(&info)];
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(bytes)], &control, MsgFlags::MSG_DONTWAIT, Some(&to))?;
    Ok(())
}
