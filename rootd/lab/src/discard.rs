//! Threads that close what a case leaves behind.
//!
//! Closing a packet socket waits until every processor has let go of it (net/packet/af_packet.c, `packet_release`): about ten
//! milliseconds, three times what a case takes. Several wait at once for the price of one.

use std::{
    io,
    sync::{
        Arc, Barrier, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

/// Cases left behind that wait at most; more make the worker wait.
const WAITING: usize = 32;
const THREADS: usize = 12;

/// Something that is closed when dropped.
pub type Leftover = Box<dyn Send>;

/// Hands leftovers to the threads.
#[derive(Debug, Clone)]
pub struct Discard(SyncSender<Leftover>);

impl Discard {
    /// Starts the threads and returns when all of them run: seccomp may then deny what starting takes.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Leftover>(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        let started = Arc::new(Barrier::new(THREADS + 1));
        for _ in 0..THREADS {
            let (receiver, started) = (Arc::clone(&receiver), Arc::clone(&started));
            std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
                started.wait();
                while let Some(leftover) = next(&receiver) {
                    drop(leftover);
                }
            })?;
        }
        started.wait();
        Ok(Self(sender))
    }

    /// Has something closed; waits when too much is waiting already.
    pub fn give(&self, leftover: Leftover) {
        // Without threads it is closed here: the error holds it.
        let _ = self.0.send(leftover);
    }
}

/// The lock is let go before the leftover is closed.
fn next(receiver: &Mutex<Receiver<Leftover>>) -> Option<Leftover> {
    receiver.lock().ok()?.recv().ok()
}
