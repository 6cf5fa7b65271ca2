//! The ns worker: makes namespaces, sets their closed list of settings, opens sockets in them.
//!
//! It always acts in the namespace of the current request; between requests it stands in its own empty one.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ExitCode,
};

use netengine_proto::root::Operation;
use nix::{
    fcntl::{OFlag, openat},
    sys::stat::Mode,
    unistd::{read, write},
};

use super::{
    channel::Channel,
    message::{Failure, NsReply, NsRequest},
    watch,
};
use crate::{
    plan::settings::Setting,
    sys::{
        netns::{self, Netlink},
        packet,
    },
};

/// What the worker needs to hold before it locks itself in.
#[derive(Debug)]
pub struct Places {
    /// Its own empty namespace, to come back to.
    pub home: OwnedFd,
    /// The directory /proc/sys/net, whose content follows the caller's namespace.
    pub settings: OwnedFd,
}

/// Serves until the broker is gone.
pub fn run(mut channel: Channel, places: &Places) -> ExitCode {
    while let Ok(Some((request, fds))) = channel.receive::<NsRequest>() {
        let (reply, made) = match serve(places, &request, &fds) {
            Ok((reply, made)) => (reply, made),
            Err(failure) => (NsReply::Failed(failure), Vec::new()),
        };
        // The worker leaves before it answers: when the broker drops the last descriptor, the namespace dies at once.
        let left = netns::enter(&places.home);
        let fds: Vec<BorrowedFd<'_>> = made.iter().map(AsFd::as_fd).collect();
        if left.is_err() || channel.reply(&reply, &fds).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn serve(places: &Places, request: &NsRequest, fds: &[OwnedFd]) -> Result<(NsReply, Vec<OwnedFd>), Failure> {
    let failed = |operation, object: &str| {
        let object = object.to_owned();
        move |error: io::Error| Failure { operation, object, errno: error.raw_os_error().unwrap_or(nix::libc::EIO) }
    };
    let enter = || {
        let ns = fds.first().ok_or_else(|| io::Error::from_raw_os_error(nix::libc::EBADF));
        ns.and_then(netns::enter).map_err(failed(Operation::Observe, "a namespace"))
    };
    match request {
        NsRequest::Create(settings) => {
            netns::unshare_net().map_err(failed(Operation::CreateNamespace, "for a node"))?;
            for setting in settings.all() {
                set(places, setting).map_err(failed(Operation::SetSysctl, setting.0))?;
            }
            Ok((NsReply::Made, sockets().map_err(failed(Operation::CreateNamespace, "with its sockets"))?))
        }
        NsRequest::Open => {
            enter()?;
            Ok((NsReply::Made, sockets().map_err(failed(Operation::Observe, "sockets"))?))
        }
        NsRequest::Watch { policy } => {
            enter()?;
            Ok((NsReply::Made, watch::sockets(*policy).map_err(failed(Operation::Watch, "a namespace"))?))
        }
        NsRequest::Solicitations => {
            enter()?;
            let opened = match netns::solicitations() {
                // A kernel without IPv6 has no routers to advertise.
                Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => Vec::new(),
                opened => vec![opened.map_err(failed(Operation::StartProgram, "a raw ICMPv6 socket"))?],
            };
            Ok((NsReply::Made, opened))
        }
        NsRequest::Frames(link) => {
            enter()?;
            Ok((NsReply::Made, vec![packet::link(link).map_err(failed(Operation::ProveFlows, link.as_str()))?]))
        }
        NsRequest::Traces => {
            enter()?;
            Ok((NsReply::Made, vec![packet::traces().map_err(failed(Operation::ProveFlows, "the router"))?]))
        }
        NsRequest::Compare(settings) => {
            enter()?;
            let mut equal = true;
            for setting in settings.all() {
                equal &= is_set(places, setting).map_err(failed(Operation::Observe, setting.0))?;
            }
            Ok((NsReply::Compared(equal), Vec::new()))
        }
        NsRequest::Set(settings) => {
            enter()?;
            for setting in settings.all() {
                set(places, setting).map_err(failed(Operation::SetSysctl, setting.0))?;
            }
            Ok((NsReply::Set, Vec::new()))
        }
    }
}

fn sockets() -> io::Result<Vec<OwnedFd>> {
    let route = netns::netlink(Netlink::Route)?;
    let netfilter = netns::netlink(Netlink::Netfilter)?;
    let ns = netns::of_socket(&route)?;
    Ok(vec![ns, route, netfilter])
}

/// A kernel without IPv6 or without bridge netfilter has no such settings, and needs none. A plan with IPv6 addresses
/// fails where it gives them.
fn not_in_this_kernel(setting: Setting, error: nix::errno::Errno) -> bool {
    error == nix::errno::Errno::ENOENT && (setting.0.starts_with("ipv6/") || setting.0.starts_with("bridge/"))
}

fn set(places: &Places, setting: Setting) -> io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    match openat(&places.settings, setting.0, flags, Mode::empty()) {
        Ok(file) => write(&file, setting.1.as_bytes()).map(drop).map_err(Into::into),
        Err(error) if not_in_this_kernel(setting, error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_set(places: &Places, setting: Setting) -> io::Result<bool> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = match openat(&places.settings, setting.0, flags, Mode::empty()) {
        Err(error) if not_in_this_kernel(setting, error) => return Ok(true),
        file => file?,
    };
    let mut text = [0u8; 64];
    let length = read(&file, &mut text)?;
    Ok(text[..length].trim_ascii() == setting.1.as_bytes())
}
