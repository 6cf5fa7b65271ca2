//! The spawn worker: starts programs and commands, each under an attendant; starts the holder; erases directories; reads who
//! may have an uplink.
//!
//! It never runs anything as uid 0, and what it runs has no capability and can gain none.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
};

use netengine_proto::{ids::WorldId, root::Operation};

use super::{
    attendant,
    channel::{Channel, encode},
    erase, holder,
    message::{AllowanceRead, Erased, Failure, OurProgram, SpawnReply, SpawnRequest},
};
use crate::{
    sandbox,
    sys::{
        clone::{Forked, Into, exit_now, fork_into},
        fds, process,
    },
    uplink::allowance::{Allowance, Host},
};

/// An erasure ends after this, done or not.
const ERASE_SECONDS: u32 = 300;
/// Databases of users may lie on other hosts; who waits for them longer is asked again.
const ALLOWANCE_SECONDS: u32 = 30;

/// What the spawn worker is told once, at start, from root-owned configuration.
#[derive(Debug, Clone)]
pub struct Site {
    /// The one program that may run as `world`.
    pub worldd: PathBuf,
    /// The user of worldd and probers.
    pub world: Account,
    /// The only uid whose control connections worldd serves.
    pub userd_uid: u32,
    /// Parent of the worlds' run directories.
    pub worlds_run: PathBuf,
    /// Parent of the worlds' persistent directories.
    pub worlds_state: PathBuf,
    /// The file that tells who may have an uplink.
    pub uplink_config: PathBuf,
}

/// A system account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id, never 0.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Serves until the broker is gone. Ended attendants must vanish by themselves ([`process::reap_automatically`]).
pub fn run(mut channel: Channel, site: &Site) {
    while let Ok(Some((request, fds))) = channel.receive::<SpawnRequest>() {
        let reply = serve(site, request, fds).unwrap_or_else(SpawnReply::Failed);
        if channel.reply(&reply, &[]).is_err() {
            break;
        }
    }
}

fn serve(site: &Site, request: SpawnRequest, fds: Vec<OwnedFd>) -> Result<SpawnReply, Failure> {
    match request {
        SpawnRequest::Program { world, program, files } => {
            let mut fds = fds;
            // No other program is handed anything.
            let input = if fds.len() == 3 && program == OurProgram::Gateway { fds.pop() } else { None };
            let [ns, leash] = take(fds)?;
            if fork(Into::NewPid)? == Forked::Child {
                let kept: Vec<_> =
                    [Some(&ns), Some(&leash), input.as_ref()].into_iter().flatten().map(AsFd::as_fd).collect();
                fds::close_others(&kept);
                attendant::program(attendant::ProgramStart { site, world, program, files, input, ns, leash });
            }
            Ok(SpawnReply::Done)
        }
        SpawnRequest::Command { user, request, files } => {
            let [ns, leash, connection, caller] = take(fds)?;
            if user.uid == 0 || user.uid == netengine_proto::ids::Uid::OVERFLOW.0 {
                return Err(failure(nix::libc::EPERM));
            }
            if fork(Into::NewPid)? == Forked::Child {
                fds::close_others(&[ns.as_fd(), leash.as_fd(), connection.as_fd(), caller.as_fd()]);
                attendant::command(attendant::CommandStart { user, request, files, ns, leash, connection, caller });
            }
            Ok(SpawnReply::Done)
        }
        SpawnRequest::Holder => {
            let [listener] = take(fds)?;
            if fork(Into::Same)? == Forked::Child {
                fds::close_others(&[listener.as_fd()]);
                become_holder(&listener);
            }
            Ok(SpawnReply::Done)
        }
        SpawnRequest::Erase(world) => {
            let [report] = take(fds)?;
            if fork(Into::Same)? == Forked::Child {
                fds::close_others(&[report.as_fd()]);
                erase_world(site, world, &report);
            }
            Ok(SpawnReply::Done)
        }
        SpawnRequest::Allowance => {
            let [report] = take(fds)?;
            if fork(Into::Same)? == Forked::Child {
                fds::close_others(&[report.as_fd()]);
                read_allowance(site, &report);
            }
            Ok(SpawnReply::Done)
        }
    }
}

fn take<const N: usize>(fds: Vec<OwnedFd>) -> Result<[OwnedFd; N], Failure> {
    fds.try_into().map_err(|_| failure(nix::libc::EBADF))
}

fn failure(errno: i32) -> Failure {
    Failure { operation: Operation::StartProgram, object: "under an attendant".into(), errno }
}

fn fork(into: Into) -> Result<Forked, Failure> {
    fork_into(into).map_err(|error| failure(error.raw_os_error().unwrap_or(nix::libc::EAGAIN)))
}

/// A session of its own, so that what ends rootd's process group does not end it; then no privilege at all.
fn become_holder(listener: &OwnedFd) -> ! {
    let locked = || -> io::Result<()> {
        nix::unistd::setsid()?;
        process::set_name(c"ne-holder");
        process::forbid_dump()?;
        sandbox::lock_holder()
    };
    let status = if locked().is_ok() { holder::run(listener) } else { ExitCode::FAILURE };
    exit_now(i32::from(status != ExitCode::SUCCESS))
}

/// In a process of its own, as the worlds' user, so that no link planted by a world reaches anything else, and so that
/// nobody waits for a world that left many files.
fn erase_world(site: &Site, world: WorldId, report: &OwnedFd) -> ! {
    // What cannot be removed in this time is found again by the next call.
    nix::unistd::alarm::set(ERASE_SECONDS);
    let erased = attendant::become_account(&site.world).and_then(|()| attendant::drop_privileges()).and_then(|()| {
        process::set_name(c"ne-eraser");
        erase::world(site, world)
    });
    let message = match erased {
        Ok(present) => Erased::Done { present },
        Err(error) => Erased::Failed { errno: error.raw_os_error().unwrap_or(nix::libc::EIO) },
    };
    if let Ok(bytes) = encode(&message) {
        let _ = fds::send(report, &bytes, &[]);
    }
    exit_now(0)
}

/// In a process of its own without any privilege: the host's databases of users may load code to be asked (nsswitch.conf(5)).
fn read_allowance(site: &Site, report: &OwnedFd) -> ! {
    nix::unistd::alarm::set(ALLOWANCE_SECONDS);
    let message = attendant::drop_privileges().map(|()| {
        process::set_name(c"ne-allowance");
        match Allowance::read(&site.uplink_config, &Host) {
            Ok(allowance) => AllowanceRead::Allows(allowance),
            Err(error) => AllowanceRead::Unreadable(error.to_string()),
        }
    });
    let told = |message: &AllowanceRead| encode(message).and_then(|bytes| fds::send(report, &bytes, &[]));
    // Without a message the broker asks again.
    if let Ok(message) = message
        && told(&message).is_err()
    {
        let _ = told(&AllowanceRead::Unreadable("cannot tell of so many users".to_owned()));
    }
    exit_now(0)
}
