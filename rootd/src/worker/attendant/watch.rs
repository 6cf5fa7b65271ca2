//! Attending: waiting for the end of the process, for the leash, and for the caller's connection.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use netengine_proto::ended::Ended;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill, killpg},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Between asking a process to end and ending it.
const GRACE: Duration = Duration::from_secs(1);

/// Attends `child` until it and all its descendants are gone. SIGCHLD must be blocked.
///
/// A closed leash or a message on it, or a closed caller's connection, ends the process: SIGTERM (SIGHUP for a
/// lost caller), then SIGKILL after a second. `Some(None)` is a caller that is already gone.
pub fn until_end(child: Pid, leash: &OwnedFd, connection: Option<Option<&OwnedFd>>) -> Ended {
    let Ok(signals) =
        SignalFd::with_flags(&SigSet::from(Signal::SIGCHLD), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
    else {
        return finish(child, None);
    };
    let mut leash_open = true;
    let mut caller = Caller { connection: connection.flatten(), pending: Vec::new() };
    let mut kill_at = None;
    if connection.is_some_and(|c| c.is_none()) {
        let _ = killpg(child, Signal::SIGHUP);
        kill_at = Some(Instant::now() + GRACE);
    }
    loop {
        if let Some(ended) = reap(child) {
            return finish(child, Some(ended));
        }
        let timeout = match kill_at {
            None => PollTimeout::NONE,
            Some(at) => match at.checked_duration_since(Instant::now()) {
                None => return finish(child, None),
                Some(left) => PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
            },
        };
        // A closed end stays ready for ever, so what is done with is not polled: the signals stand in its place.
        let mut ready = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(if leash_open { leash.as_fd() } else { signals.as_fd() }, PollFlags::POLLIN),
            PollFd::new(caller.connection.map_or(signals.as_fd(), AsFd::as_fd), PollFlags::POLLIN),
        ];
        match poll(&mut ready, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return finish(child, None),
        }
        let event = |place: usize| ready[place].revents().is_some_and(|events| !events.is_empty());
        let (child_changed, leashed, spoke) = (event(0), event(1), event(2));
        if child_changed {
            while let Ok(Some(_)) = signals.read_signal() {}
        }
        if leash_open && leashed {
            // Whether a message or the end: whoever holds the other end wants this to stop.
            leash_open = false;
            let _ = killpg(child, Signal::SIGTERM);
            kill_at.get_or_insert_with(|| Instant::now() + GRACE);
        }
        if caller.connection.is_some() && spoke && !caller.serve(child) {
            caller.connection = None;
            let _ = killpg(child, Signal::SIGHUP);
            kill_at.get_or_insert_with(|| Instant::now() + GRACE);
        }
    }
}

struct Caller<'a> {
    connection: Option<&'a OwnedFd>,
    pending: Vec<u8>,
}

impl Caller<'_> {
    /// Takes signals to pass on; `false` when the caller is gone or speaks nonsense.
    fn serve(&mut self, child: Pid) -> bool {
        let Some(connection) = self.connection else { return false };
        let mut bytes = [0u8; 64];
        // read(2) takes bytes only; descriptors that come along are closed by the kernel.
        let length = match nix::unistd::read(connection, &mut bytes) {
            Ok(0) | Err(_) => return false,
            Ok(length) => length,
        };
        self.pending.extend_from_slice(&bytes[..length]);
        // A frame is the length 1 and one signal number.
        while let Some((frame, rest)) = self.pending.split_first_chunk::<5>() {
            let [0, 0, 0, 1, number] = *frame else { return false };
            if let Ok(signal) = Signal::try_from(i32::from(number)) {
                let _ = killpg(child, signal);
            }
            self.pending = rest.to_vec();
        }
        true
    }
}

/// Takes the status of every ended process of this pid namespace; the child's when it is among them.
fn reap(child: Pid) -> Option<Ended> {
    let mut ended = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => ended = Some(Ended::Exited(status)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => ended = Some(Ended::Signaled(signal as i32)),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return ended,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return ended,
        }
    }
}

/// Ends whatever is left in this pid namespace and waits for it, so that an end reported is an end complete.
fn finish(child: Pid, mut ended: Option<Ended>) -> Ended {
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => ended = Some(Ended::Exited(status)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => ended = Some(Ended::Signaled(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return ended.unwrap_or(Ended::Vanished),
        }
    }
}
