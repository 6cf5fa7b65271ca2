//! Passes signals of this process on to the command.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
};

use nix::sys::{
    signal::{SigSet, Signal, raise},
    termios::{SetArg, Termios, cfmakeraw, tcsetattr},
};

use super::{connection::send_signal, sys, terminal, terminal::RawMode};

/// Passed on as they are. In raw mode the keyboard sends none of them: the keys go to the command's terminal.
const PASSED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
/// Have a meaning of their own here.
const HANDLED: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGCONT, Signal::SIGWINCH];

/// Signals held back from this thread and all it starts.
pub struct Blocked(SigSet);

/// Holds the signals back until [`Blocked::forward`].
///
/// # Errors
/// pthread_sigmask(3).
pub fn block() -> io::Result<Blocked> {
    let set: SigSet = PASSED.into_iter().chain(HANDLED).collect();
    set.thread_block()?;
    Ok(Blocked(set))
}

impl Blocked {
    /// Starts a thread that waits for the signals; it ends with the process.
    ///
    /// # Errors
    /// A thread cannot be started, or the connection not be duplicated.
    pub fn forward(
        self,
        stream: &UnixStream,
        master: Option<Arc<OwnedFd>>,
        raw_mode: Option<&RawMode>,
    ) -> io::Result<()> {
        let stream = stream.try_clone()?;
        let settings = raw_mode.map(RawMode::settings);
        let forward = move || {
            while let Ok(signal) = self.0.wait() {
                // When the connection is gone, the main thread sees that and ends.
                let _ = pass(signal, &stream, master.as_deref(), settings.as_ref());
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(forward).map(drop)
    }
}

fn pass(signal: Signal, stream: &UnixStream, master: Option<&OwnedFd>, cooked: Option<&Termios>) -> io::Result<()> {
    match signal {
        Signal::SIGWINCH => match (master, terminal::size()) {
            (Some(master), Some(size)) => sys::set_window_size(master.as_fd(), size),
            _ => Ok(()),
        },
        Signal::SIGTSTP => {
            // The command's process group has no shell that would continue it, so only SIGSTOP stops it
            // (kernel/signal.c: the default action of SIGTSTP is left out in an orphaned process group).
            send_signal(stream, Signal::SIGSTOP as u8)?;
            if let Some(cooked) = cooked {
                tcsetattr(io::stdin(), SetArg::TCSADRAIN, cooked)?;
            }
            raise(Signal::SIGSTOP)?;
            if let Some(cooked) = cooked {
                let mut raw = cooked.clone();
                cfmakeraw(&mut raw);
                tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
            }
            Ok(())
        }
        other => send_signal(stream, other as u8),
    }
}
