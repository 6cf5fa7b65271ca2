//! A worker without any daemon, where the host lets users make user namespaces.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use netengine_lab_proto::{CaseRequest, CaseResult};

use crate::wire;

/// Added to a case's own time before the worker is given up.
const GRACE: Duration = Duration::from_secs(90);

/// How the answer of a worker begins that could not make its namespaces; it has ended.
const REFUSED: &str = "this host does not let you make user namespaces";

/// The answer of a worker that could not make its namespaces.
#[must_use]
pub fn refusal(error: &io::Error) -> String {
    let reason = match error.raw_os_error() {
        // unshare(2): the bound on their number, here or in a namespace around this one.
        Some(nix::libc::ENOSPC) => "as many are there as user.max_user_namespaces allows, or it is 0",
        Some(nix::libc::EPERM) => "a setting or a security module forbids it to users without privileges",
        Some(nix::libc::EINVAL | nix::libc::ENOSYS) => "its kernel is built without them",
        _ => "it gave another reason",
    };
    format!("{REFUSED}: {reason} ({error})")
}

/// Whether a result is a [`refusal`]: no other worker of this user fares better, and why.
#[must_use]
pub fn refused(result: &CaseResult) -> Option<&str> {
    match result {
        CaseResult::Unsupported { message } => Some(message.as_str()).filter(|message| message.starts_with(REFUSED)),
        _ => None,
    }
}

/// A running worker of the caller's own.
#[derive(Debug)]
pub struct Rootless {
    socket: UnixStream,
    child: Child,
    /// Hands on what the worker says of its failures. Were our own standard error the worker's too, whoever reads it to the end
    /// would wait until the kernel has taken the worker's sockets down, some 50 ms after this program.
    says: Option<JoinHandle<()>>,
    failed: bool,
}

impl Rootless {
    /// Starts `lab` (the program `netengine-lab`), which starts `nft` (`netengine-nft`). `processor` says on which of the processors it
    /// may use it stays, counted from 0 and around.
    ///
    /// # Errors
    /// When the program cannot be run. What the host forbids is told by the first case.
    pub fn start(lab: &Path, nft: &Path, processor: usize) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(lab);
        command.arg("--rootless").arg(nft).arg(processor.to_string()).env_clear();
        let mut child = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let said = child.stderr.take();
        let says = said.map(|mut said| thread::spawn(move || drop(io::copy(&mut said, &mut io::stderr()))));
        Ok(Self { socket: ours, child, says, failed: false })
    }

    /// Runs a case.
    ///
    /// # Errors
    /// When the worker ended or took longer than the case allows; start another one then.
    pub fn run(&mut self, request: &CaseRequest) -> io::Result<CaseResult> {
        let patience = Duration::from_millis(u64::from(request.limits.timeout_ms)) + GRACE;
        self.socket.set_read_timeout(Some(patience))?;
        self.socket.set_write_timeout(Some(patience))?;
        let result = wire::write(&mut self.socket, request).and_then(|()| wire::read(&mut self.socket));
        let result = result.and_then(|answer| answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()));
        self.failed |= result.is_err();
        result
    }

    /// The worker's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Rootless {
    fn drop(&mut self) {
        // The worker is in a process namespace of its own: all of it ends with its first process.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Why it failed is worth the wait for its last word.
        if let Some(says) = self.says.take().filter(|_| self.failed) {
            let _ = says.join();
        }
    }
}
