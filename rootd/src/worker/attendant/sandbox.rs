//! The attendant of one sandbox of the firewall lab. Order of setting up:
//! 1. a mount namespace with a fresh /proc, whose settings of the network the sandbox binds into its empty root;
//! 2. the lab's uid, gid and no group;
//! 3. fork, exec of `netengine-lab --sandbox`, which makes user, network, mount, process, IPC and UTS namespaces of its own: it holds
//!    four capabilities for that, because hosts may deny user namespaces to those who have none;
//! 4. drop every capability but CAP_NET_ADMIN, lock in;
//! 5. enlarge receive buffers of trace sockets until either side has gone (a user namespace cannot: socket(7), SO_RCVBUFFORCE).

use std::{
    ffi::CString,
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use caps::{CapSet, Capability};
use netengine_proto::{exec::ExecStep, sandbox::SandboxAnswer};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::CloneFlags,
};

use super::{Stopped, at, become_account, launch, mounts};
use crate::{
    sandbox,
    sys::{clone::exit_now, fds, process, trace_buffer},
    worker::{lab::LabSite, spawn::Account},
};

/// What `netengine-lab` may inherit: namespaces, and where the host has no user namespaces at all, the network inside them.
const INHERITED: [Capability; 4] =
    [Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW, Capability::CAP_NET_BIND_SERVICE];

/// Starts the sandbox, answers, attends; never returns. The end of this process ends all in its process namespace.
pub fn attend(site: &LabSite, connection: &UnixStream, leash: &OwnedFd, processor: usize) -> ! {
    process::set_name(c"ne-lab-attend");
    let started = fds::pair(4096).map_err(|error| (ExecStep::Fork, error)).and_then(|(near, far)| {
        start(site, connection, &far, processor)?;
        at(ExecStep::Credentials, sandbox::lock_lab_attendant())?;
        Ok(near)
    });
    let answer = if started.is_ok() { SandboxAnswer::Granted } else { SandboxAnswer::Failed };
    let told = (&*connection).write_all(&[answer as u8]);
    match started {
        Ok(buffers) if told.is_ok() => serve(connection, leash, &buffers),
        Ok(_) => {}
        Err((step, error)) => eprintln!("warning: cannot start a sandbox\n  cause: {step:?}: {error}"),
    }
    exit_now(0)
}

fn start(site: &LabSite, connection: &UnixStream, buffers: &OwnedFd, processor: usize) -> Result<(), Stopped> {
    at(ExecStep::ProcFiles, nix::sched::unshare(CloneFlags::CLONE_NEWNS))?;
    at(ExecStep::ProcFiles, mounts::make_private())?;
    at(ExecStep::ProcFiles, mounts::proc_alone())?;
    let account = Account { groups: Vec::new(), ..site.account.clone() };
    at(ExecStep::Credentials, become_account(&account))?;
    at(ExecStep::Credentials, process::no_new_privileges())?;
    for set in [CapSet::Inheritable, CapSet::Ambient] {
        let wanted = INHERITED.into_iter().collect();
        at(ExecStep::Credentials, caps::set(None, set, &wanted).map_err(io::Error::other))?;
    }
    let text = |text: &std::path::Path| CString::new(text.as_os_str().as_encoded_bytes()).map_err(io::Error::other);
    let words = (|| Ok::<_, io::Error>((text(&site.lab)?, text(&site.nft)?, CString::new(processor.to_string())?)))();
    let (lab, nft, processor) = at(ExecStep::Fork, words)?;
    let arguments = [lab, c"--sandbox".to_owned(), nft, processor];
    let error = io::stderr();
    launch(&[connection.as_fd(), buffers.as_fd(), error.as_fd()], false, 0o077, &arguments, &[]).map(drop)
}

/// Until the leash, the connection or the sandbox is gone. What the connection carries is the sandbox's, and not looked at.
fn serve(connection: &UnixStream, leash: &OwnedFd, buffers: &OwnedFd) {
    loop {
        let mut waited = [
            PollFd::new(leash.as_fd(), PollFlags::POLLIN),
            // POLLHUP comes unasked, whatever is still to be read.
            PollFd::new(connection.as_fd(), PollFlags::empty()),
            PollFd::new(buffers.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waited, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return,
        }
        let happened = |place: usize| waited[place].revents().is_some_and(|events: PollFlags| !events.is_empty());
        if happened(0) || happened(1) {
            return;
        }
        if happened(2) && enlarge(buffers.as_fd()).is_err() {
            return;
        }
    }
}

/// Takes one socket, enlarges its buffer if it is of the kind that traces come by, and says whether it did.
fn enlarge(buffers: BorrowedFd<'_>) -> io::Result<()> {
    let received = fds::recv(buffers, &mut [0; 1])?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let done = match received.fds.as_slice() {
        [socket] => trace_buffer::force(socket.as_fd()).is_ok(),
        _ => false,
    };
    fds::send(buffers, &[u8::from(done)], &[]).map(drop)
}
