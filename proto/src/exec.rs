//! The frames of `exec.sock`, by which a user's own process asks rootd to run a command in a vantage host.
//!
//! userd only grants a [`Ticket`]; the command line comes from the user's own connection, and rootd starts it with the
//! uid, gid and groups that the kernel reports for that peer (unix(7): `SO_PEERCRED`, `SO_PEERGROUPS`). So a userd under
//! foreign control can run nothing as anybody.
//!
//! One connection is one command. Each frame is a 4-byte big-endian length and one postcard value. The client sends
//! [`ExecRequest`] once, then any number of [`ExecSignal`]; rootd's side sends [`ExecReply`]: `Started` together with
//! descriptors (SCM_RIGHTS: the pty's master, or stdin, stdout, stderr pipes), then `Ended`. When the client's end closes
//! the command and all its descendants are ended.

use serde::{Deserialize, Serialize};

use crate::{bounded::Bounded, ended::Ended, ids::Ticket, limits};

/// Bytes of one argument, environment entry or path; never interpreted by rootd.
pub type Text = Bounded<u8, { limits::EXEC_STRING_BYTES }>;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The right to do so, granted by userd to this uid.
    pub ticket: Ticket,
    /// The command and its arguments; the first is looked up in the `PATH` of `environment` by execvpe(3) rules.
    pub arguments: Bounded<Text, { limits::EXEC_STRINGS }>,
    /// `NAME=VALUE` entries.
    pub environment: Bounded<Text, { limits::EXEC_STRINGS }>,
    /// The working directory; `/` when it cannot be entered.
    pub directory: Text,
    /// The file mode creation mask (umask(2)) of the caller; bits above 0777 are ignored.
    pub umask: u16,
    /// A terminal of this size, or pipes.
    pub terminal: Option<TerminalSize>,
}

/// Rows and columns of a terminal (ioctl_tty(2), `TIOCSWINSZ`). Later changes are set by the client on the master itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Character rows.
    pub rows: u16,
    /// Character columns.
    pub columns: u16,
}

/// A signal for the command's process group, by number (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSignal(pub u8);

/// What rootd's side answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecReply {
    /// The command runs; the descriptors come with this frame.
    Started,
    /// It could not be started.
    Failed(ExecFailure),
    /// It ended.
    Ended(Ended),
}

/// Why a command did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecFailure {
    /// The ticket is unknown, used, expired, or another user's.
    Ticket,
    /// Commands are not run as uid 0.
    Root,
    /// No such command (ENOENT along `PATH`); exit status 127 by convention.
    NotFound,
    /// The command cannot be executed (errno of execve(2)); exit status 126 by convention.
    NotExecutable(i32),
    /// A step of the set-up failed, with its errno.
    Setup(ExecStep, i32),
    /// Too many commands at once.
    Limit,
    /// The request was malformed.
    Malformed,
}

/// Steps of setting up a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecStep {
    /// Enter the caller's mount namespace.
    CallerFiles,
    /// Enter the vantage host's network namespace.
    Network,
    /// Lay the world's resolv.conf and trust store over the caller's.
    WorldFiles,
    /// Mount /proc and /sys of the new namespaces.
    ProcFiles,
    /// Take the caller's uid, gid and groups.
    Credentials,
    /// Make the terminal or the pipes.
    Terminal,
    /// Start a process.
    Fork,
}
