//! The holder: keeps duplicates of descriptors by name while rootd is away. No privilege, no files, no threads.
//!
//! It serves one connection at a time, on a socket in rootd's own run directory; the newest one wins, because a broker
//! that connects is the only broker. It exits on request when it keeps nothing.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    channel::Channel,
    message::{HELD, HeldKey, HolderReply, HolderRequest},
};
use crate::sys::fds;

/// Serves for as long as anything is kept or may come.
pub fn run(listener: &OwnedFd) -> ExitCode {
    let mut kept: BTreeMap<HeldKey, OwnedFd> = BTreeMap::new();
    let mut broker: Option<Channel> = None;
    loop {
        let mut ready =
            [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(listener.as_fd(), PollFlags::empty())];
        if let Some(channel) = &broker {
            ready[1] = PollFd::new(channel.as_fd(), PollFlags::POLLIN);
        }
        match poll(&mut ready, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return ExitCode::FAILURE,
            Ok(_) => {}
        }
        let event = |place: usize| ready[place].revents().is_some_and(|events| !events.is_empty());
        let (connects, speaks) = (event(0), broker.is_some() && event(1));
        // What the former broker still sent is served before a new one is listened to.
        if speaks && let Some(channel) = &mut broker {
            match serve(channel, &mut kept) {
                Ok(Served::GoOn) => {}
                Ok(Served::Quit) => return ExitCode::SUCCESS,
                Ok(Served::Gone) | Err(_) => broker = None,
            }
        } else if connects {
            broker = fds::accept(listener).map(Channel::new).ok().or(broker);
        }
    }
}

enum Served {
    GoOn,
    Gone,
    Quit,
}

fn serve(channel: &mut Channel, kept: &mut BTreeMap<HeldKey, OwnedFd>) -> io::Result<Served> {
    let Some((request, fds)) = channel.receive::<HolderRequest>()? else { return Ok(Served::Gone) };
    match request {
        HolderRequest::Keep(key) => {
            if let Some(fd) = fds.into_iter().next()
                && (kept.len() < HELD || kept.contains_key(&key))
            {
                kept.insert(key, fd);
            }
        }
        HolderRequest::Drop(key) => drop(kept.remove(&key)),
        HolderRequest::List => {
            for (key, fd) in kept.iter() {
                channel.reply(&HolderReply::Held(key.clone()), &[fd.as_fd()])?;
            }
            channel.reply(&HolderReply::End, &[])?;
        }
        HolderRequest::Quit if kept.is_empty() => return Ok(Served::Quit),
        HolderRequest::Quit => {}
    }
    Ok(Served::GoOn)
}
