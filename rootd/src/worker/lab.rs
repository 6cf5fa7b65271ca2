//! The lab role: starts sandboxes of the firewall lab, each under an attendant, for userd alone.
//!
//! A connection on `lab.sock` is one sandbox: six bytes say for whom, one byte is the answer, and from then on it belongs to the sandbox
//! worker. Nothing else of what userd sends is read here. The end of the connection, of the attendant or of this process ends the sandbox, and
//! all in it, because the attendant is the first process of its process namespace.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::ExitCode,
};

use netengine_proto::{
    ids::Uid,
    limits,
    sandbox::{SandboxAnswer, SandboxRequest},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{attendant, spawn::Account};
use crate::sys::{
    clone::{Forked, Into, fork_into},
    fds, peer,
};

/// What the lab role is told once, at start, from root-owned configuration.
#[derive(Debug, Clone)]
pub struct LabSite {
    /// The one program that is started.
    pub lab: PathBuf,
    /// What it starts beside itself.
    pub nft: PathBuf,
    /// Who both are.
    pub account: Account,
    /// The only uid that may ask.
    pub userd_uid: u32,
}

/// A running sandbox.
#[derive(Debug)]
struct Sandbox {
    owner: Uid,
    leash: OwnedFd,
}

/// Whether one more may start.
fn judge(running: &[Sandbox], owner: Uid) -> SandboxAnswer {
    let own = running.iter().filter(|sandbox| sandbox.owner == owner).count();
    if running.len() >= limits::SANDBOXES {
        SandboxAnswer::Limit
    } else if own >= limits::SANDBOXES_PER_OWNER {
        SandboxAnswer::OwnerLimit
    } else {
        SandboxAnswer::Granted
    }
}

/// Serves for ever.
///
/// # Errors
/// When the listener is broken.
pub fn run(listener: &OwnedFd, site: &LabSite) -> io::Result<ExitCode> {
    let (mut running, mut processor) = (Vec::<Sandbox>::new(), 0_usize);
    loop {
        let mut waited: Vec<_> = running.iter().map(|s| PollFd::new(s.leash.as_fd(), PollFlags::POLLIN)).collect();
        waited.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        match poll(&mut waited, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        // An attendant says nothing: whatever happens on its leash is its end.
        let ready: Vec<bool> = waited.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect();
        drop(waited);
        let mut ended = ready.iter();
        running.retain(|_| !ended.next().copied().unwrap_or(false));
        if ready.last() != Some(&true) {
            continue;
        }
        let connection = match fds::accept(listener) {
            Ok(connection) => UnixStream::from(connection),
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ECONNABORTED | nix::libc::EINTR)) => continue,
            Err(error) => return Err(error),
        };
        processor = processor.wrapping_add(1);
        if let Err(error) = serve(connection, site, &mut running, processor) {
            eprintln!("warning: cannot serve a connection\n  cause: {error}");
        }
    }
}

fn serve(mut connection: UnixStream, site: &LabSite, running: &mut Vec<Sandbox>, processor: usize) -> io::Result<()> {
    if peer::credentials(&connection)?.uid != site.userd_uid {
        return Err(io::Error::other("not userd"));
    }
    connection.set_read_timeout(Some(limits::SANDBOX_REQUEST_TIME))?;
    connection.set_write_timeout(Some(limits::SANDBOX_REQUEST_TIME))?;
    let mut bytes = [0; SandboxRequest::BYTES];
    connection.read_exact(&mut bytes)?;
    let answer = match SandboxRequest::decode(bytes) {
        Ok(request) => match judge(running, request.owner) {
            SandboxAnswer::Granted => match start(&connection, site, processor) {
                Ok(leash) => {
                    running.push(Sandbox { owner: request.owner, leash });
                    return Ok(());
                }
                Err(error) => {
                    eprintln!("warning: cannot start a sandbox\n  cause: {error}");
                    SandboxAnswer::Failed
                }
            },
            refused => refused,
        },
        Err(refused) => refused,
    };
    connection.write_all(&[answer as u8])
}

/// Makes the attendant, which answers; its leash.
fn start(connection: &UnixStream, site: &LabSite, processor: usize) -> io::Result<OwnedFd> {
    let (near, far) = fds::pair(4096)?;
    if fork_into(Into::NewPid)? == Forked::Child {
        fds::close_others(&[connection.as_fd(), far.as_fd()]);
        // `near` is closed already, and never dropped: this does not return.
        attendant::sandbox::attend(site, connection, &far, processor);
    }
    Ok(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_cannot_keep_others_out_and_all_have_a_bound() {
        let mut running = Vec::new();
        let mut add = |owner: u32, times: usize| {
            let mut last = SandboxAnswer::Granted;
            for _ in 0..times {
                last = judge(&running, Uid(owner));
                if last == SandboxAnswer::Granted {
                    running.push(Sandbox { owner: Uid(owner), leash: fds::pair(4096).expect("a pair").0 });
                }
            }
            (last, running.len())
        };
        let each = limits::SANDBOXES_PER_OWNER;
        assert_eq!(add(1, each), (SandboxAnswer::Granted, each));
        assert_eq!(add(1, 1), (SandboxAnswer::OwnerLimit, each));
        assert_eq!(add(2, 1), (SandboxAnswer::Granted, each + 1));
        for owner in 3..10 {
            add(owner, each);
        }
        assert_eq!(add(11, 1), (SandboxAnswer::Limit, limits::SANDBOXES));
    }
}
