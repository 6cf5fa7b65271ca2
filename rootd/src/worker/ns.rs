//! The ns worker: makes namespaces, sets their closed list of settings, opens sockets in them.
//!
//! It always acts in the namespace of the current request; between requests it stands in its own empty one.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process::ExitCode,
};

use super::{
    channel::Channel,
    message::{Failure, NsReply, NsRequest},
    ns_settings::{Kept, set_here},
    watch,
};
use crate::sys::{
    netns::{self, Netlink},
    packet,
};
use netengine_proto::root::Operation;

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
    let mut kept = Kept::default();
    while let Ok(Some((request, fds))) = channel.receive::<NsRequest>() {
        let (reply, made) = match serve(places, &mut kept, &request, &fds) {
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

fn serve(
    places: &Places,
    kept: &mut Kept,
    request: &NsRequest,
    fds: &[OwnedFd],
) -> Result<(NsReply, Vec<OwnedFd>), Failure> {
    let below = places.settings.as_fd();
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
            set_here(below, *settings).map_err(|(place, error)| failed(Operation::SetSysctl, place)(error))?;
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
        NsRequest::Compare { slot, settings } => {
            enter()?;
            let compared = kept.compare_here(below, *slot, *settings);
            let equal = compared.map_err(|(place, error)| failed(Operation::Observe, place)(error))?;
            Ok((NsReply::Compared(vec![Some(equal)]), Vec::new()))
        }
        NsRequest::CompareKept(asked) => Ok((NsReply::Compared(kept.compare(below, asked)), Vec::new())),
        NsRequest::Forget(slot) => {
            kept.forget(*slot);
            Ok((NsReply::Forgot, Vec::new()))
        }
        NsRequest::Set(settings) => {
            enter()?;
            set_here(below, *settings).map_err(|(place, error)| failed(Operation::SetSysctl, place)(error))?;
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
