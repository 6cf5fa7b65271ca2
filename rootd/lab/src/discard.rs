//! Threads that close what a case leaves behind, or wait until the kernel has.
//!
//! Closing a packet socket waits until every processor has let go of it (net/packet/af_packet.c, `packet_release`), and tables that were removed hold on
//! to conntrack's hooks until then: about ten milliseconds, ten times what a case takes. Several wait at once for the price of one.

use std::{
    io,
    sync::{
        Arc, Barrier, Mutex,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
};

use crate::reuse::Sandbox;

/// Cases left behind that wait at most; more make the worker wait.
const WAITING: usize = 32;
const THREADS: usize = 12;
/// Sandboxes that rest at once; with as many, waiting for one costs less than making another.
const RESTING: usize = 8;

/// What a thread is given.
enum Leftover {
    /// To be closed.
    Close(Box<dyn Send>),
    /// To be given back once it is as good as new.
    Rest(Box<Sandbox>),
}

/// Hands leftovers to the threads, and has back what they made ready.
#[derive(Debug)]
pub struct Discard {
    leftovers: SyncSender<Leftover>,
    rested: Receiver<Option<Box<Sandbox>>>,
    resting: usize,
}

impl Discard {
    /// Starts the threads and returns when all of them run: seccomp may then deny what starting takes.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub fn start() -> io::Result<Self> {
        let (leftovers, taken) = sync_channel::<Leftover>(WAITING);
        let (ready, rested) = channel();
        let taken = Arc::new(Mutex::new(taken));
        let started = Arc::new(Barrier::new(THREADS + 1));
        for _ in 0..THREADS {
            let (taken, started, ready) = (Arc::clone(&taken), Arc::clone(&started), ready.clone());
            std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
                started.wait();
                while let Some(leftover) = next(&taken) {
                    finish(leftover, &ready);
                }
            })?;
        }
        started.wait();
        Ok(Self { leftovers, rested, resting: 0 })
    }

    /// Has something closed; waits when too much is waiting already.
    pub fn give(&self, leftover: Box<dyn Send>) {
        // Without threads it is closed here: the error holds it.
        let _ = self.leftovers.send(Leftover::Close(leftover));
    }

    /// Has a sandbox made ready for [`Discard::rested`].
    pub fn rest(&mut self, sandbox: Box<Sandbox>) {
        if self.leftovers.send(Leftover::Rest(sandbox)).is_ok() {
            self.resting += 1;
        }
    }

    /// Sandboxes that are as good as new by now. Waits for one when many rest.
    pub fn rested(&mut self) -> Vec<Box<Sandbox>> {
        let mut ready = Vec::new();
        while self.resting > 0 {
            let next = if self.resting >= RESTING { self.rested.recv().ok() } else { self.rested.try_recv().ok() };
            let Some(sandbox) = next else { break };
            self.resting -= 1;
            ready.extend(sandbox);
        }
        ready
    }
}

fn finish(leftover: Leftover, ready: &Sender<Option<Box<Sandbox>>>) {
    match leftover {
        Leftover::Close(leftover) => drop(leftover),
        Leftover::Rest(mut sandbox) => {
            let as_new = sandbox.rest().unwrap_or(false);
            // The worker may have gone.
            let _ = ready.send(as_new.then_some(sandbox));
        }
    }
}

/// The lock is let go before the leftover is closed.
fn next(taken: &Mutex<Receiver<Leftover>>) -> Option<Leftover> {
    taken.lock().ok()?.recv().ok()
}
