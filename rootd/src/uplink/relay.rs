//! One uplink: passt(1), and frames between it and the link inside the world.
//!
//! passt speaks QEMU's framing on a stream socket: the length of a frame in four bytes, most significant first, then the
//! frame. The link's side is a packet socket, one frame at a time. Nothing waits: what one side does not take is kept up
//! to a bound, and then the other side is not read.

use std::{
    collections::VecDeque,
    ffi::CString,
    io,
    net::IpAddr,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    time::{Duration, Instant},
};

use netengine_proto::{ended::Ended, exec::ExecStep};
use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockType, bind, recv, send, socketpair},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{
    filter::Filter,
    serve::{Place, UplinkStart},
};
use crate::{
    netlink::socket::Netlink,
    sandbox,
    sys::{
        clone::{Forked, Into, fork_into},
        fds,
        netns::{self, Netlink as Protocol},
        process,
    },
    worker::{channel::encode, message::Report},
};

/// The largest frame: passt's bound, and more than a link of 1500 bytes carries but for frames that are cut later (GSO).
const FRAME: usize = 65_535;
/// Bytes kept for passt before the link is not read.
const KEPT: usize = 1 << 20;
/// passt answers for its address within this, or it does not run.
const START: Duration = Duration::from_secs(5);
/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` (linux/rtnetlink.h).
const ADDRESS_GROUPS: u32 = 0x10 | 0x100;
/// What passt's link carries (Ethernet, RFC 894).
const MTU: &str = "1500";

/// Runs an uplink to its end. What happens is told by the leash; whatever closes that ends all of it.
pub fn run(place: &Place, start: &UplinkStart, frames: &OwnedFd, leash: &OwnedFd) {
    process::set_name(c"ne-uplink");
    let told = |report: &Report| encode(report).and_then(|bytes| fds::send(leash, &bytes, &[]));
    let failed = |error: io::Error| Report::Failed {
        step: ExecStep::Fork,
        errno: error.raw_os_error().unwrap_or(nix::libc::EIO),
    };
    let mut uplink = match Uplink::start(place, start, frames, leash) {
        Ok(uplink) => uplink,
        Err(error) => {
            let _ = told(&failed(error));
            return;
        }
    };
    let report = match uplink.greet(start) {
        Ok(()) if told(&Report::Running).is_ok() => {
            uplink.carry();
            Report::Ended(uplink.end())
        }
        Ok(()) => Report::Ended(uplink.end()),
        Err(error) => {
            uplink.end();
            failed(error)
        }
    };
    let _ = told(&report);
}

struct Uplink<'a> {
    passt: OwnedFd,
    child: Pid,
    descriptor: OwnedFd,
    frames: &'a OwnedFd,
    leash: &'a OwnedFd,
    addresses: Netlink,
    changes: OwnedFd,
    filter: Filter,
    /// For passt, framed.
    outgoing: VecDeque<u8>,
    /// Of passt, perhaps cut.
    incoming: Vec<u8>,
}

/// The whole command line of passt: numbers and addresses, nothing that a user wrote.
fn arguments(place: &Place, start: &UplinkStart, socket: i32) -> Vec<CString> {
    let [a, b, c, d, e, f] = start.mac;
    let mut all: Vec<Vec<u8>> = vec![place.passt.as_os_str().as_bytes().to_vec()];
    let mut say = |words: &[&str]| all.extend(words.iter().map(|word| word.as_bytes().to_vec()));
    say(&["--foreground", "--quiet", "--stderr", "--fd", &socket.to_string(), "--mtu", MTU]);
    say(&["--mac-addr", &format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")]);
    say(&["--address", &start.router.to_string(), "--netmask", &start.prefix.to_string()]);
    say(&["--gateway", &start.peer.to_string()]);
    match start.v6 {
        Some((router, peer)) => say(&["--address", &router.to_string(), "--gateway", &peer.to_string()]),
        None => say(&["--ipv4-only"]),
    }
    // Its gateway address is not the host; it configures nobody; it knows no names.
    say(&["--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ra", "--dns", "none", "--search", "none"]);
    say(&["--udp-ports", "none"]);
    if start.ports.is_empty() {
        say(&["--tcp-ports", "none"]);
    }
    for (host, port) in &start.ports {
        let from = if start.listen.is_unspecified() { String::new() } else { format!("{}/", start.listen) };
        say(&["--tcp-ports", &format!("{from}{host}:{port}")]);
    }
    all.into_iter().filter_map(|word| CString::new(word).ok()).collect()
}

impl<'a> Uplink<'a> {
    fn start(place: &Place, start: &UplinkStart, frames: &'a OwnedFd, leash: &'a OwnedFd) -> io::Result<Self> {
        process::reap_by_hand()?;
        nix::unistd::setsid()?;
        let (near, far) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        let arguments = arguments(place, start, far.as_raw_fd());
        let child = match fork_into(Into::Same)? {
            Forked::Parent(child) => child,
            Forked::Child => {
                fds::close_others(&[far.as_fd()]);
                let _ = fcntl(&far, FcntlArg::F_SETFD(FdFlag::empty()));
                process::reset_signals();
                let error = process::exec(&arguments, &[]);
                eprintln!("error: cannot run {}\n  cause: {error}\n  help:  install passt", place.passt.display());
                crate::sys::clone::exit_now(127);
            }
        };
        drop(far);
        let descriptor = process::descriptor(child)?;
        for socket in [&near, frames] {
            fcntl(socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let changes = netns::netlink(Protocol::Route)?;
        bind(changes.as_raw_fd(), &NetlinkAddr::new(0, ADDRESS_GROUPS))?;
        fcntl(&changes, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let addresses = Netlink::new(netns::netlink(Protocol::Route)?);
        sandbox::lock_uplink()?;
        let filter = Filter { reach: start.reach.clone(), ..Filter::default() };
        let (outgoing, incoming) = (VecDeque::new(), Vec::new());
        let mut made =
            Self { passt: near, child, descriptor, frames, leash, addresses, changes, filter, outgoing, incoming };
        made.read_addresses()?;
        Ok(made)
    }

    /// The host's own addresses, of all links, link-local ones included.
    fn read_addresses(&mut self) -> io::Result<()> {
        let mut own = std::collections::HashSet::new();
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let dumped = self.addresses.dump(NetlinkMessage::from(request), |answer| {
            let RouteNetlinkMessage::NewAddress(message) = answer else { return };
            own.extend(message.attributes.iter().filter_map(|attribute| match attribute {
                AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(*address),
                AddressAttribute::Broadcast(address) => Some(IpAddr::V4(*address)),
                _ => None,
            }));
        });
        dumped.map_err(|error| io::Error::from_raw_os_error(error.errno()))?;
        self.filter.own = own;
        Ok(())
    }

    /// Asks passt for the address of its gateway (RFC 826): it answers once it serves, its ports included.
    fn greet(&mut self, start: &UplinkStart) -> io::Result<()> {
        let until = Instant::now() + START;
        let asker = [2, 0, 0, 0, 0, 1];
        let mut ask = [[0xff; 6], asker].concat();
        ask.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        ask.extend(asker);
        ask.extend(start.router.octets());
        ask.extend([0; 6]);
        ask.extend(start.peer.octets());
        self.keep(&ask);
        loop {
            let left = until.checked_duration_since(Instant::now()).ok_or(Errno::ETIMEDOUT)?;
            let mut ready = [
                PollFd::new(self.passt.as_fd(), self.passt_events()),
                PollFd::new(self.leash.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut ready, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))?;
            if ready[1].revents().is_some_and(|events| !events.is_empty()) {
                return Err(Errno::ECANCELED.into());
            }
            self.give()?;
            let mut answered = false;
            if !self
                .take(|frame| answered |= frame.get(12..14) == Some(&[8, 6]) && frame.get(20..22) == Some(&[0, 2]))?
            {
                // It ended: most often a port of the host that is taken.
                return Err(Errno::EADDRINUSE.into());
            }
            if answered {
                return Ok(());
            }
        }
    }

    fn passt_events(&self) -> PollFlags {
        if self.outgoing.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT }
    }

    /// Carries frames until the leash or passt ends, or the link is gone.
    fn carry(&mut self) {
        let mut frame = vec![0; FRAME];
        loop {
            let has_room = self.outgoing.len() < KEPT;
            let link = if has_room { PollFlags::POLLIN } else { PollFlags::empty() };
            let mut ready = [
                PollFd::new(self.passt.as_fd(), self.passt_events()),
                PollFd::new(self.frames.as_fd(), link),
                PollFd::new(self.leash.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.changes.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
            let event = |place: usize| ready[place].revents().is_some_and(|events| !events.is_empty());
            let (of_passt, of_link, of_leash, of_addresses) = (event(0), event(1), event(2), event(3));
            if of_leash {
                return;
            }
            // Before any frame that came after it.
            if of_addresses && self.addresses_changed().is_err() {
                return;
            }
            if of_link && !self.read_link(&mut frame) {
                return;
            }
            if self.give().is_err() {
                return;
            }
            if of_passt {
                let link = self.frames.as_raw_fd();
                // A frame that the link does not take, for its length or for want of room, is lost, as on any link.
                let sent = self.take(|frame| {
                    let _ = send(link, frame, MsgFlags::MSG_DONTWAIT);
                });
                if !matches!(sent, Ok(true)) {
                    return;
                }
            }
        }
    }

    fn addresses_changed(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        while !matches!(recv(self.changes.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT), Err(Errno::EAGAIN)) {}
        self.read_addresses()
    }

    /// Whether the link is still there.
    fn read_link(&mut self, frame: &mut [u8]) -> bool {
        while self.outgoing.len() < KEPT {
            match recv(self.frames.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
                Ok(length) if length <= frame.len() && self.filter.passes(&frame[..length]) => {
                    self.keep(&frame[..length]);
                }
                Ok(_) => {}
                Err(Errno::EAGAIN) => return true,
                Err(Errno::EINTR) => {}
                // A link that is down says so once; one that is gone says so for ever, and its socket is of no more use.
                Err(_) => return false,
            }
        }
        true
    }

    fn keep(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap_or_default();
        self.outgoing.extend(length.to_be_bytes());
        self.outgoing.extend(frame);
    }

    /// Hands passt what it takes.
    fn give(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let (first, _) = self.outgoing.as_slices();
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.passt.as_raw_fd(), first, flags) {
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what passt says and gives each whole frame; whether it is still there.
    fn take(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        let there = match recv(self.passt.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => false,
            Ok(length) => {
                self.incoming.extend_from_slice(&buffer[..length]);
                true
            }
            Err(Errno::EAGAIN | Errno::EINTR) => true,
            Err(Errno::ECONNRESET) => false,
            Err(error) => return Err(error.into()),
        };
        let mut done = 0;
        while let Some((length, rest)) = self.incoming[done..].split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > FRAME {
                return Err(Errno::EPROTO.into());
            }
            let Some(frame) = rest.get(..length) else { break };
            each(frame);
            done += 4 + length;
        }
        self.incoming.drain(..done);
        Ok(there)
    }

    /// Ends passt, which has no descendants, and waits for its end.
    fn end(&mut self) -> Ended {
        process::kill_by_descriptor(&self.descriptor);
        match waitpid(self.child, None) {
            Ok(WaitStatus::Exited(_, status)) => Ended::Exited(status),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Signaled(signal as i32),
            _ => Ended::Vanished,
        }
    }
}
