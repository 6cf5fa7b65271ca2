//! This process's own terminal.

use std::{io, os::fd::AsFd};

use netengine_proto::exec::TerminalSize;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::sys;

/// The size of the terminal on standard output or input.
pub fn size() -> Option<TerminalSize> {
    sys::window_size(io::stdout().as_fd()).or_else(|| sys::window_size(io::stdin().as_fd()))
}

/// Gives standard input back as it was.
pub fn set_cooked(before: &Termios) {
    // A terminal that is gone needs no restoring.
    let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, before);
}

/// Makes every key on standard input go to the command's terminal.
pub fn set_raw(before: &Termios) {
    let mut raw = before.clone();
    cfmakeraw(&mut raw);
    // A terminal that is gone ends the input, which is seen there.
    let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw);
}

/// Standard input in raw mode; restored when dropped.
pub struct RawMode {
    /// The settings to restore.
    pub before: Termios,
}

impl RawMode {
    /// Enters raw mode; `None` when standard input is not a terminal.
    pub fn enter() -> Option<Self> {
        let mode = Self { before: tcgetattr(io::stdin()).ok()? };
        set_raw(&mode.before);
        Some(mode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        set_cooked(&self.before);
    }
}
