//! This process's own terminal.

use std::{io, os::fd::AsFd};

use netengine_proto::exec::TerminalSize;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::sys;

/// The size of the terminal on standard output or input.
pub fn size() -> Option<TerminalSize> {
    sys::window_size(io::stdout().as_fd()).or_else(|| sys::window_size(io::stdin().as_fd()))
}

/// Standard input in raw mode: every key goes to the command's terminal. Restored when dropped.
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Enters raw mode; `None` when standard input is not a terminal.
    pub fn enter() -> Option<Self> {
        let mode = Self { before: tcgetattr(io::stdin()).ok()? };
        mode.resume();
        Some(mode)
    }

    /// Gives the terminal back as it was.
    pub fn suspend(&self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }

    /// Enters raw mode again.
    pub fn resume(&self) {
        let mut raw = self.before.clone();
        cfmakeraw(&mut raw);
        // A terminal that is gone ends the input, which is seen there.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw);
    }

    /// A second handle on the same terminal, for the thread that handles stop signals; it restores nothing by itself.
    pub fn settings(&self) -> Termios {
        self.before.clone()
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.suspend();
    }
}
