//! netengine-lab: the firewall lab's worker for a user without daemons. Standard input is a socket that cases come by.
//!
//! Usage: `netengine-lab --rootless NFT PROCESSOR`, as `netengine_lab::client::Rootless` starts it, or `netengine-lab --sandbox NFT
//! PROCESSOR`, as rootd's lab role does; standard output is then a socket to who enlarges the buffers of trace sockets.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    path::PathBuf,
    process::ExitCode,
};

use netengine_lab::{
    client,
    isolate::{self, Boundary},
    netlink,
    nft::Nft,
    sys, wire, worker,
};
use netengine_lab_proto::{CaseRequest, CaseResult};
use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::ForkResult,
};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let parsed = match arguments.as_slice() {
        [_, mode, nft, processor] if mode == "--rootless" || mode == "--sandbox" => processor
            .to_str()
            .and_then(|text| text.parse::<usize>().ok())
            .map(|processor| (mode == "--sandbox", PathBuf::from(nft), processor)),
        _ => None,
    };
    let Some((from_rootd, nft, processor)) = parsed else {
        eprintln!("usage: netengine-lab --rootless|--sandbox NFT PROCESSOR");
        return ExitCode::from(2);
    };
    match start(from_rootd, &nft, processor) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("netengine-lab: {error}");
            ExitCode::FAILURE
        }
    }
}

/// 0 who enlarges buffers, 1 namespaces, 2 the first process of them, 3 the ruleset reader, 4 an empty root, 5 limits, 6 cases.
fn start(from_rootd: bool, nft: &std::path::Path, processor: usize) -> io::Result<ExitCode> {
    sys::end_with_parent()?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let entered = if from_rootd {
        netlink::enlarge_by(io::stdout().as_fd().try_clone_to_owned()?);
        isolate::enter_from_rootd()
    } else {
        isolate::enter().map(|()| Boundary::User)
    };
    let boundary = match entered {
        Ok(boundary) => boundary,
        Err(error) if from_rootd => return refuse(socket, &format!("rootd cannot make namespaces here: {error}")),
        Err(error) => return refuse(socket, &client::refusal(&error)),
    };
    match sys::fork_single()? {
        ForkResult::Parent { child } => {
            drop(socket);
            Ok(match waitpid(child, None)? {
                WaitStatus::Exited(_, 0) => ExitCode::SUCCESS,
                WaitStatus::Exited(_, _) => ExitCode::FAILURE,
                ended => {
                    eprintln!("netengine-lab: the worker ended: {ended:?}");
                    ExitCode::FAILURE
                }
            })
        }
        ForkResult::Child => {
            sys::end_with_parent()?;
            isolate::raise_descriptors()?;
            isolate::stay(processor)?;
            let nft = Nft::start(nft, boundary)
                .map_err(|error| io::Error::other(format!("cannot run {}: {error}", nft.display())))?;
            isolate::empty_root().map_err(|error| io::Error::other(format!("cannot empty the root: {error}")))?;
            if boundary == Boundary::Host {
                sys::keep_capabilities(&[
                    sys::CAP_NET_ADMIN,        // links, rules, settings
                    sys::CAP_NET_BIND_SERVICE, // listeners
                    sys::CAP_NET_RAW,          // packets
                    sys::CAP_SYS_ADMIN,        // network namespaces
                ])?;
            }
            worker::serve(socket, nft, isolate::limit)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Answers the first case with what the host lacks.
fn refuse(mut socket: UnixStream, message: &str) -> io::Result<ExitCode> {
    if wire::read::<CaseRequest>(&mut socket)?.is_some() {
        wire::write(&mut socket, &CaseResult::Unsupported { message: message.to_owned() })?;
    }
    Ok(ExitCode::FAILURE)
}
