//! Threads of the probe worker that close the sockets of a batch.
//!
//! Closing a packet socket waits until every processor has let go of it (net/packet/af_packet.c, `packet_release`): about ten milliseconds
//! for each link of a batch, far more than its packets take. Those who wait at once wait for the same moment.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Barrier, Mutex,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
};

/// How many wait at once; a batch among 50 ANDs has a hundred links. No process of rootd has more than eight threads.
const THREADS: usize = 7;
/// A thread takes a descriptor and closes it.
const STACK_BYTES: usize = 64 << 10;

/// The threads.
#[derive(Debug)]
pub struct Closers {
    sockets: SyncSender<OwnedFd>,
    closed: Receiver<()>,
}

impl Closers {
    /// Starts them and returns when all of them run: seccomp may then deny what starting takes.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub fn start() -> io::Result<Self> {
        let (sockets, taken) = sync_channel(THREADS);
        let (done, closed) = channel();
        let taken = Arc::new(Mutex::new(taken));
        let started = Arc::new(Barrier::new(THREADS + 1));
        for _ in 0..THREADS {
            let (taken, started, done) = (Arc::clone(&taken), Arc::clone(&started), done.clone());
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
                started.wait();
                close_each(&taken, &done);
            })?;
        }
        started.wait();
        Ok(Self { sockets, closed })
    }

    /// Closes these, and returns when all of them are closed: nothing of a batch is open when its answer is there.
    pub fn close(&self, sockets: Vec<OwnedFd>) {
        let mut open = 0;
        for socket in sockets {
            // Without threads it is closed here: the error holds it.
            open += usize::from(self.sockets.send(socket).is_ok());
        }
        for _ in 0..open {
            if self.closed.recv().is_err() {
                break;
            }
        }
    }
}

fn close_each(taken: &Mutex<Receiver<OwnedFd>>, done: &Sender<()>) {
    while let Some(socket) = next(taken) {
        drop(socket);
        if done.send(()).is_err() {
            break;
        }
    }
}

/// The lock is let go before the socket is closed.
fn next(taken: &Mutex<Receiver<OwnedFd>>) -> Option<OwnedFd> {
    taken.lock().ok()?.recv().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn all_are_closed_when_it_returns_and_others_can_follow() {
        let closers = Closers::start().expect("threads");
        for count in [0, 1, THREADS * 3] {
            let (ours, theirs): (Vec<_>, Vec<_>) = (0..count).map(|_| io::pipe().expect("a pipe")).unzip();
            closers.close(theirs.into_iter().map(OwnedFd::from).collect());
            for mut reader in ours {
                // A pipe whose writer is open would be waited for without end.
                nix::fcntl::fcntl(&reader, nix::fcntl::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).expect("a flag");
                assert_eq!(reader.read(&mut [0]).expect("the end, and not that nothing is there yet"), 0);
            }
        }
    }
}
