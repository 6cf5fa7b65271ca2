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
    termios::Termios,
};

use super::{connection::send_signal, sys, terminal, terminal::RawMode};

/// Passed on as they are. In raw mode the keyboard sends none of them: the keys go to the command's terminal.
const PASSED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
/// Have a meaning of their own here.
const HANDLED: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGCONT, Signal::SIGWINCH];

/// Signals held back from this thread and all it starts.
pub struct Blocked(SigSet);

/// Holds the signals back until [`Blocked::forward`]; those that this process was told to ignore (nohup(1), a shell's
/// `&`) stay ignored, so the command is spared them too.
///
/// # Errors
/// pthread_sigmask(3), or /proc is not there.
pub fn block() -> io::Result<Blocked> {
    let ignored = ignored(&std::fs::read_to_string("/proc/self/status")?);
    let is_taken = |signal: &Signal| ignored >> (*signal as u64 - 1) & 1 == 0;
    let set: SigSet = PASSED.into_iter().filter(is_taken).chain(HANDLED).collect();
    set.thread_block()?;
    Ok(Blocked(set))
}

/// The ignored signals of a process as a bit set, from its status (proc_pid_status(5), `SigIgn`).
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(0)
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
        let settings = raw_mode.map(|mode| mode.before.clone());
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
            cooked.inspect(|before| terminal::set_cooked(before));
            raise(Signal::SIGSTOP)?;
            // Here somebody continued this process; the SIGCONT itself is passed on next.
            cooked.inspect(|before| terminal::set_raw(before));
            Ok(())
        }
        other => send_signal(stream, other as u8),
    }
}
