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
            let mut directories = Directories::of(places);
            for setting in settings.all() {
                set(&mut directories, setting).map_err(failed(Operation::SetSysctl, setting.0))?;
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
        NsRequest::Uplink(link) => {
            enter()?;
            Ok((NsReply::Made, vec![packet::uplink(link).map_err(failed(Operation::StartProgram, link.as_str()))?]))
        }
        NsRequest::Traces => {
            enter()?;
            Ok((NsReply::Made, vec![packet::traces().map_err(failed(Operation::ProveFlows, "the router"))?]))
        }
        NsRequest::Compare(settings) => {
            enter()?;
            let (mut equal, mut directories) = (true, Directories::of(places));
            for setting in settings.all() {
                equal &= is_set(&mut directories, setting).map_err(failed(Operation::Observe, setting.0))?;
            }
            Ok((NsReply::Compared(equal), Vec::new()))
        }
        NsRequest::Set(settings) => {
            enter()?;
            let mut directories = Directories::of(places);
            for setting in settings.all() {
                set(&mut directories, setting).map_err(failed(Operation::SetSysctl, setting.0))?;
            }
            Ok((NsReply::Set, Vec::new()))
        }
    }
}

fn sockets() -> io::Result<Vec<OwnedFd>> {
    let route = netns::netlink(Netlink::Route)?;
    netns::choose_in_dumps(&route);
    let netfilter = netns::netlink(Netlink::Netfilter)?;
    let ns = netns::of_socket(&route)?;
    Ok(vec![ns, route, netfilter])
}

/// A kernel without IPv6 or without bridge netfilter has no such settings, and needs none. A plan with IPv6 addresses
/// fails where it gives them.
fn not_in_this_kernel(setting: Setting, error: nix::errno::Errno) -> bool {
    error == nix::errno::Errno::ENOENT && (setting.0.starts_with("ipv6/") || setting.0.starts_with("bridge/"))
}

/// The directories of a namespace's settings, each opened once. The kernel tells those of one namespace from those of all others
/// by going through them (fs/proc/proc_sysctl.c, `proc_sys_compare`), which takes longer than all else with 500 namespaces.
struct Directories<'a> {
    places: &'a Places,
    opened: Vec<(&'static str, Option<OwnedFd>)>,
}

impl<'a> Directories<'a> {
    fn of(places: &'a Places) -> Self {
        Self { places, opened: Vec::new() }
    }

    /// Opens a setting; `None` when it is not in this kernel.
    fn open(&mut self, setting: Setting, flags: OFlag) -> io::Result<Option<OwnedFd>> {
        let absent = |error| if not_in_this_kernel(setting, error) { Ok(None) } else { Err(error.into()) };
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let Some((directory, rest)) = setting.0.split_once('/') else { return Err(io::ErrorKind::InvalidInput.into()) };
        let known = self.opened.iter().position(|(name, _)| *name == directory);
        let place = known.map_or_else(
            || {
                let path = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let found = openat(&self.places.settings, directory, path, Mode::empty()).map(Some).or_else(absent)?;
                self.opened.push((directory, found));
                Ok::<_, io::Error>(self.opened.len() - 1)
            },
            Ok,
        )?;
        let Some(directory) = &self.opened[place].1 else { return Ok(None) };
        openat(directory, rest, flags, Mode::empty()).map(Some).or_else(absent)
    }
}

fn set(directories: &mut Directories<'_>, setting: Setting) -> io::Result<()> {
    match directories.open(setting, OFlag::O_WRONLY)? {
        Some(file) => write(&file, setting.1.as_bytes()).map(drop).map_err(Into::into),
        None => Ok(()),
    }
}

fn is_set(directories: &mut Directories<'_>, setting: Setting) -> io::Result<bool> {
    let Some(file) = directories.open(setting, OFlag::O_RDONLY)? else { return Ok(true) };
    let mut text = [0u8; 64];
    let length = read(&file, &mut text)?;
    Ok(text[..length].trim_ascii() == setting.1.as_bytes())
}
