//! The probe worker: sends the packets of a proof and hears what became of them. It holds no capability and no file; its
//! sockets come from the ns worker and are closed after each batch. It runs on one processor: what it sends is handled in the
//! order sent (net/core/dev.c, `enqueue_to_backlog`), so that a later packet tells that an earlier one is not on its way.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant},
};

use netengine_packet::{attributes::messages, trace};
use netengine_proto::root::Operation;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv, send},
};

use super::{
    channel::Channel,
    message::{Failure, ProbeBatch, ProbeReply, ProbeRequest},
    probe_close::Closers,
    probe_judge::{Ear, Judge, ShotSeen},
};

/// Frames sent before what they cause is read: fewer than the buffers of sockets hold.
const VOLLEY: usize = 32;
/// The largest report of the kernel is a few hundred bytes; of frames only the begin is read.
const RECEIVE_BYTES: usize = 16 << 10;
/// Messages read from one socket before others get their turn.
const TURN: usize = 4096;

/// Serves until the broker is gone.
pub fn run(mut channel: Channel, closers: &Closers) -> ExitCode {
    let mut links: Vec<OwnedFd> = Vec::new();
    while let Ok(Some((request, fds))) = channel.receive::<ProbeRequest>() {
        let reply = match request {
            ProbeRequest::Links => {
                links.extend(fds);
                ProbeReply::Done
            }
            ProbeRequest::Run(batch) => {
                let links = std::mem::take(&mut links);
                match fds.into_iter().next() {
                    Some(traces) if links.len() == batch.ears.len() => {
                        let sockets = Sockets { traces, links };
                        let seen = sockets.prove(batch);
                        closers.close(sockets.links);
                        ProbeReply::Seen(seen)
                    }
                    _ => ProbeReply::Failed(Failure {
                        operation: Operation::ProveFlows,
                        object: "without its sockets".into(),
                        errno: nix::libc::EBADF,
                    }),
                }
            }
        };
        if channel.reply(&reply, &[]).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

struct Sockets {
    traces: OwnedFd,
    links: Vec<OwnedFd>,
}

impl Sockets {
    fn prove(&self, batch: ProbeBatch) -> Vec<ShotSeen> {
        let until = Instant::now() + Duration::from_millis(batch.time_ms.into());
        let mut judge = Judge::new(batch.tables, batch.shots);
        let mut buffer = vec![0; RECEIVE_BYTES];
        let mut place = 0;
        while judge.shot(place).is_some() {
            self.send(&mut judge, place);
            place += 1;
            if place.is_multiple_of(VOLLEY) {
                self.read(&mut judge, &batch.ears, &mut buffer);
            }
        }
        loop {
            self.read(&mut judge, &batch.ears, &mut buffer);
            let left = until.saturating_duration_since(Instant::now());
            if judge.is_done() || left.is_zero() {
                return judge.seen();
            }
            let wait = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let all = std::iter::once(&self.traces).chain(&self.links);
            let mut all: Vec<_> = all.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
            if let Err(errno) = poll(&mut all, wait)
                && errno != Errno::EINTR
            {
                judge.doubt_all("the sockets could not be waited for");
            }
        }
    }

    fn send(&self, judge: &mut Judge, place: usize) {
        let Some(shot) = judge.shot(place) else { return };
        let sent = match self.links.get(usize::from(shot.link)) {
            Some(link) => send(link.as_raw_fd(), &shot.frame, MsgFlags::empty()),
            None => Err(Errno::ENODEV),
        };
        if let Err(errno) = sent {
            judge.not_sent(place, &io::Error::from(errno));
        }
    }

    fn read(&self, judge: &mut Judge, ears: &[Ear], buffer: &mut [u8]) {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        for _ in 0..TURN {
            match recv(self.traces.as_raw_fd(), buffer, flags) {
                Ok(length) if length > buffer.len() => judge.doubt_all("a report of the kernel was too large"),
                Ok(length) => {
                    for message in messages(&buffer[..length]) {
                        match message.and_then(|message| trace::decode(&message)) {
                            Ok(report) => judge.hear(report),
                            Err(_) => judge.doubt_all("a report of the kernel could not be read"),
                        }
                    }
                }
                Err(Errno::ENOBUFS) => judge.doubt_all("the kernel could not deliver all of its reports"),
                Err(_) => break,
            }
        }
        for ((place, link), ear) in (0..).zip(&self.links).zip(ears) {
            for _ in 0..TURN {
                match recv(link.as_raw_fd(), buffer, flags) {
                    Ok(length) => judge.arrive(place, *ear, &buffer[..length.min(buffer.len())]),
                    Err(_) => break,
                }
            }
        }
    }
}
