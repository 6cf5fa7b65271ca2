//! The process that reads rulesets: `netengine-nft`, beside the worker in the same sandbox.

use std::{
    io::{self, IoSlice, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use crate::isolate::Boundary;

/// Longest that one text may take to load and list.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest listing, or list of messages.
const ANSWER_BYTES: usize = 64 << 20;

/// What nft says of a transaction that the netlink socket does not take.
const TOO_LONG: &str = "Message too long";
/// Longer texts are loaded in pieces; what has to stay together for the kernel is a set inside a rule, with the rule, or all of a text that
/// places rules by `index`.
const TOO_LONG_MEANS: &str = "the kernel takes no piece that long here (net.core.wmem_max bounds it): give a large set inside a rule a \
     name and elements of its own, place no rules by index, or have an administrator raise the setting";

/// What the parser says when its stack is full: it takes 10,000 tokens that wait for others (bison, `YYMAXDEPTH`).
const TOO_DEEP: &str = "memory exhausted";
const TOO_DEEP_MEANS: &str = "nested too deeply for nft's parser (memory exhausted)";

/// What is to be done with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Load it.
    Load = 1,
    /// List the ruleset with handles and what counters came to; there is no text.
    List = 2,
    /// Load it, then list the ruleset with handles.
    LoadAndList = 3,
    /// Load it, each rule with its number among those of its chain, then list the chains without rules.
    LoadAndOutline = 5,
    /// List the ruleset with handles, of its rules those that the text names: lines of `NFPROTO_*` number, table, chain and handle.
    ListRules = 8,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The listing, or nothing.
    Done(String),
    /// nft's messages.
    Refused(String),
    /// nft's messages; a part of a long text was loaded before the kernel refused the rest, and the namespace has no tables now.
    Emptied(String),
    /// The text ended the parser.
    Crashed,
    /// It takes more memory than the reader may have.
    TooLarge,
    /// It takes more than [`PATIENCE`]; the reader is still at work, so nothing else can be asked of it.
    TooSlow,
}

/// The running process.
#[derive(Debug)]
pub struct Nft {
    socket: UnixStream,
    _child: Child,
    is_late: bool,
}

impl Nft {
    /// Starts it; it waits for [`Nft::limit`] before it reads anything.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn start(program: &Path, boundary: Boundary) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        ours.set_write_timeout(Some(PATIENCE))?;
        let mut command = Command::new(program);
        if boundary == Boundary::Host {
            command.arg("--drop");
        }
        let child = command.env_clear().stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).spawn()?;
        let mut nft = Self { socket: ours, _child: child, is_late: false };
        nft.expect(b'r')?;
        Ok(nft)
    }

    /// Has it limit itself, now that there are no files.
    ///
    /// # Errors
    /// When it cannot.
    pub fn limit(&mut self) -> io::Result<()> {
        self.socket.write_all(b"g")?;
        self.expect(b'l')
    }

    fn expect(&mut self, word: u8) -> io::Result<()> {
        let mut got = [0];
        self.socket.read_exact(&mut got)?;
        if got[0] == word { Ok(()) } else { Err(io::Error::other("cannot understand the ruleset reader")) }
    }

    /// Loads a text in a network namespace.
    ///
    /// # Errors
    /// When the process is gone, took too long, or could not make a context; the worker must end then.
    pub fn run(&mut self, mode: Mode, namespace: BorrowedFd<'_>, text: &str) -> io::Result<Answer> {
        if self.is_late {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut head = vec![mode as u8];
        head.extend((text.len() as u32).to_le_bytes());
        let descriptors = [namespace.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let fd = self.socket.as_fd().as_raw_fd();
        let sent = sendmsg::<()>(fd, &[IoSlice::new(&head)], &rights, MsgFlags::MSG_NOSIGNAL, None)?;
        self.socket.write_all(&head[sent..])?;
        self.socket.write_all(text.as_bytes())?;
        let mut answer = [0; 5];
        match self.socket.read_exact(&mut answer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_late = true;
                return Ok(Answer::TooSlow);
            }
            read => read?,
        }
        let length = u32::from_le_bytes([answer[1], answer[2], answer[3], answer[4]]) as usize;
        if length > ANSWER_BYTES {
            return Err(io::Error::other("cannot take an answer of that length"));
        }
        let mut text = vec![0; length];
        self.socket.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        match answer[0] {
            0 => Ok(Answer::Done(text)),
            1 => Ok(Answer::Refused(text)),
            2 => Ok(Answer::Crashed),
            4 => Ok(Answer::Emptied(text)),
            5 => Ok(Answer::TooLarge),
            _ => Err(io::Error::other("cannot make a context of libnftables")),
        }
    }
}

/// nft's messages, each with line and column where it tells: `/dev/stdin:LINE:COLUMN-COLUMN: Error: MESSAGE`, then the line itself and a mark.
pub fn messages(text: &str) -> Vec<(String, Option<(u32, u32)>)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((place, message)) = line.split_once(" Error: ").or(line.split_once("Error: ")) else { continue };
        let mut parts = place.trim_end_matches(':').rsplitn(3, ':');
        let column = parts.next().and_then(|columns| columns.split('-').next()?.parse().ok());
        let line = parts.next().and_then(|line| line.parse().ok());
        let message = match message {
            _ if message.ends_with(TOO_LONG) => TOO_LONG_MEANS,
            TOO_DEEP => TOO_DEEP_MEANS,
            _ => message,
        };
        found.push((message.trim().to_owned(), line.zip(column)));
    }
    if found.is_empty() {
        found.push((text.lines().next().unwrap_or("nft gave no message").trim().to_owned(), None));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_places() {
        let text = "/dev/stdin:3:13-20: Error: syntax error, unexpected string\n    tcp dport bogus\n            ^^^^^\n\
                    internal:0:0-0: Error: Could not process rule: Message too long\n";
        assert_eq!(
            messages(text),
            [("syntax error, unexpected string".to_owned(), Some((3, 13))), (TOO_LONG_MEANS.to_owned(), Some((0, 0))),]
        );
        let deep = "/dev/stdin:1:10022-10022: Error: memory exhausted\n";
        assert_eq!(messages(deep), [(TOO_DEEP_MEANS.to_owned(), Some((1, 10_022)))]);
        assert_eq!(messages("odd\n"), [("odd".to_owned(), None)]);
    }
}
