//! The watch worker: hears what the kernel says of changes in worlds' namespaces, and passes it on. It holds no capability
//! and no file; sockets come from the ns worker, each joined to its groups already.
//!
//! It decides nothing. Of each namespace it tells at most [`FACTS`] facts, then that there is more, then nothing until the
//! broker has looked ([`WatchRequest::Settle`]); so a burst of any size is a few short messages. What the kernel could not
//! deliver (`ENOBUFS`) is more as well.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsRawFd, OwnedFd},
    process::ExitCode,
};

use netengine_proto::root::Operation;
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{MsgFlags, NetlinkAddr, bind, recv},
    },
};

use super::{
    channel::Channel,
    message::{Failure, Slot, WatchReply, WatchRequest},
    watch_fact::{Fact, facts},
};
use crate::sys::netns::{self, Netlink};

/// Facts told of a namespace between two looks: more than a host has links, addresses and routes, fewer than a burst.
pub const FACTS: usize = 32;
/// The largest message: the kernel makes none above a page or two for one link, address or route.
const RECEIVE_BYTES: usize = 32 << 10;
/// Messages read from one socket before others get their turn.
const TURN: usize = 256;
/// Events taken at once.
const EVENTS: usize = 256;
/// The broker's channel among the slots.
const CHANNEL: u64 = u64::MAX;

/// Groups of a route socket (linux/rtnetlink.h, `RTNLGRP_*`): links, addresses, routes, rules, settings of all interfaces.
const ROUTE_GROUPS: [u32; 9] = [1, 5, 7, 8, 9, 11, 19, 24, 25];
/// Groups of a netfilter socket (linux/netfilter/nfnetlink.h): `NFNLGRP_NFTABLES`.
const NETFILTER_GROUPS: [u32; 1] = [7];

/// Opens the sockets of one namespace, in which the caller must stand: a route socket, and a netfilter socket for a
/// namespace with a policy. For the ns worker.
///
/// # Errors
/// What the kernel refuses; joining the netfilter group needs CAP_NET_ADMIN.
pub fn sockets(policy: bool) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = vec![joined(Netlink::Route, &ROUTE_GROUPS)?];
    if policy {
        sockets.push(joined(Netlink::Netfilter, &NETFILTER_GROUPS)?);
    }
    Ok(sockets)
}

fn joined(protocol: Netlink, groups: &[u32]) -> io::Result<OwnedFd> {
    let socket = netns::netlink(protocol)?;
    let mask = groups.iter().fold(0, |mask, group| mask | 1 << (group - 1));
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, mask))?;
    Ok(socket)
}

/// One namespace.
struct Watched {
    route: OwnedFd,
    netfilter: Option<OwnedFd>,
    /// What may still be told; 0 when the broker knows that there is more.
    left: usize,
}

/// All of them.
struct Watch {
    epoll: Epoll,
    watched: HashMap<Slot, Watched>,
    buffer: Vec<u8>,
}

/// Serves until the broker is gone.
pub fn run(channel: Channel) -> ExitCode {
    match serve(channel) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot watch namespaces\n  cause: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(mut channel: Channel) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&channel, EpollEvent::new(EpollFlags::EPOLLIN, CHANNEL))?;
    let mut watch = Watch { epoll, watched: HashMap::new(), buffer: vec![0; RECEIVE_BYTES] };
    loop {
        let is_asked = watch.turn(&channel, EpollTimeout::NONE)?.asked;
        if !is_asked {
            continue;
        }
        let Some((request, fds)) = channel.receive::<WatchRequest>()? else { return Ok(()) };
        let reply = match request {
            WatchRequest::Adopt(slot) => watch.adopt(slot, fds),
            WatchRequest::Forget(slot) => {
                watch.watched.remove(&slot);
                WatchReply::Done
            }
            WatchRequest::Settle(slots) => {
                slots.iter().for_each(|slot| watch.settle(*slot));
                WatchReply::Done
            }
            WatchRequest::Look => {
                // Each turn takes the next of those that have something, so these are all; who speaks on and on is heard
                // later as well.
                for _ in 0..watch.watched.len() / (EVENTS / 2) + 4 {
                    if !watch.turn(&channel, EpollTimeout::ZERO)?.spoke {
                        break;
                    }
                }
                WatchReply::Done
            }
        };
        channel.reply(&reply, &[])?;
    }
}

/// What one wait brought.
struct Turn {
    asked: bool,
    spoke: bool,
}

impl Watch {
    /// Waits, and tells what was heard.
    fn turn(&mut self, channel: &Channel, timeout: EpollTimeout) -> io::Result<Turn> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match self.epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => 0,
            count => count?,
        };
        let mut turn = Turn { asked: false, spoke: false };
        for event in &events[..count] {
            if event.data() == CHANNEL {
                turn.asked = true;
                continue;
            }
            turn.spoke = true;
            let Ok(slot) = Slot::try_from(event.data()) else { continue };
            let told = self.hear(slot, TURN);
            if !told.is_empty() {
                channel.reply(&WatchReply::Heard(slot, told), &[])?;
            }
        }
        Ok(turn)
    }

    fn adopt(&mut self, slot: Slot, fds: Vec<OwnedFd>) -> WatchReply {
        let mut fds = fds.into_iter();
        let Some(route) = fds.next() else { return failed(Errno::EBADF) };
        let netfilter = fds.next();
        // Closing a socket takes it out of the set by itself: no other process holds it.
        self.watched.remove(&slot);
        for socket in std::iter::once(&route).chain(&netfilter) {
            if let Err(errno) = self.epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, slot.into())) {
                return failed(errno);
            }
        }
        self.watched.insert(slot, Watched { route, netfilter, left: FACTS });
        WatchReply::Done
    }

    /// Forgets what the sockets hold; from here on facts are told again.
    fn settle(&mut self, slot: Slot) {
        // Bounded: whoever keeps a socket from ever being empty is told of again right after.
        self.hear(slot, 16 * TURN);
        if let Some(watched) = self.watched.get_mut(&slot) {
            watched.left = FACTS;
        }
    }

    /// Reads what the sockets of a namespace hold, at most `limit` messages of each; what is to be told of it.
    fn hear(&mut self, slot: Slot, limit: usize) -> Vec<Fact> {
        let Some(watched) = self.watched.get_mut(&slot) else { return Vec::new() };
        let mut told = Vec::new();
        let tell = |told: &mut Vec<Fact>, left: &mut usize, fact: Fact| {
            if *left > 0 {
                *left = if fact == Fact::More { 0 } else { *left - 1 };
                told.push(if *left == 0 { Fact::More } else { fact });
            }
        };
        for _ in 0..limit {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            match recv(watched.route.as_raw_fd(), &mut self.buffer, flags) {
                // Nothing is read that nobody is told of.
                Ok(_) if watched.left == 0 => {}
                Ok(length) if length <= self.buffer.len() => {
                    for fact in facts(&self.buffer[..length]) {
                        tell(&mut told, &mut watched.left, fact);
                    }
                }
                Ok(_) | Err(Errno::ENOBUFS) => tell(&mut told, &mut watched.left, Fact::More),
                Err(_) => break,
            }
        }
        if let Some(socket) = &watched.netfilter {
            for _ in 0..limit {
                // A table is compared as a whole, so that it changed is all there is to know.
                match recv(socket.as_raw_fd(), &mut [0u8; 32], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
                    Ok(_) | Err(Errno::ENOBUFS) => tell(&mut told, &mut watched.left, Fact::More),
                    Err(_) => break,
                }
            }
        }
        told
    }
}

fn failed(errno: Errno) -> WatchReply {
    WatchReply::Failed(Failure { operation: Operation::Watch, object: "a node".into(), errno: errno as i32 })
}
