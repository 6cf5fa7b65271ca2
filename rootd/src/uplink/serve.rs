//! The uplink service: hears rootd, and has one process for each uplink.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::relay;
use crate::{
    sys::{
        clone::{Forked, Into, exit_now, fork_into},
        fds, peer, process,
    },
    worker::channel::decode,
};

/// Longest message; sixteen ports and some networks.
const MESSAGE_BYTES: usize = 64 << 10;

/// To the uplink service, one message of a connection, with [packet socket of the uplink's link, leash]. What comes back
/// comes by the leash, as of any process of a world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStart {
    /// The MAC address of the link's far end, which passt answers with.
    pub mac: [u8; 6],
    /// The router's address on the link.
    pub router: Ipv4Addr,
    /// The address that the router sends to.
    pub peer: Ipv4Addr,
    /// Its prefix length.
    pub prefix: u8,
    /// The router's and the peer's IPv6 addresses, where the world has IPv6.
    pub v6: Option<(Ipv6Addr, Ipv6Addr)>,
    /// The host's address that is listened on.
    pub listen: Ipv4Addr,
    /// TCP ports of the host, and the router's ports that they lead to.
    pub ports: Vec<(u16, u16)>,
    /// Private networks that may be reached.
    pub reach: Vec<IpNet>,
}

/// What the service is told by its unit.
#[derive(Debug, Clone)]
pub struct Place {
    /// passt(1).
    pub passt: PathBuf,
    /// rootd's uid, which alone is heard.
    pub rootd_uid: u32,
}

/// Serves for ever.
///
/// # Errors
/// The listener fails.
pub fn run(listener: &OwnedFd, place: &Place) -> io::Result<ExitCode> {
    process::reap_automatically()?;
    loop {
        let connection = match fds::accept(listener) {
            Ok(connection) => connection,
            Err(error) if error.raw_os_error() == Some(nix::libc::ECONNABORTED) => continue,
            Err(error) => return Err(error),
        };
        if peer::credentials(&connection)?.uid != place.rootd_uid {
            eprintln!("warning: a connection of another user was refused");
            continue;
        }
        let mut buffer = vec![0; MESSAGE_BYTES];
        let Ok(received) = fds::recv(&connection, &mut buffer) else { continue };
        let Ok(start) = decode::<UplinkStart>(&buffer[..received.bytes]) else { continue };
        let Ok([frames, leash]) = <[OwnedFd; 2]>::try_from(received.fds) else { continue };
        drop(connection);
        // A leash that closes without a report is an uplink that could not be started.
        match fork_into(Into::Same) {
            Ok(Forked::Child) => {
                fds::close_others(&[frames.as_fd(), leash.as_fd()]);
                relay::run(place, &start, &frames, &leash);
                exit_now(0);
            }
            Ok(Forked::Parent(_)) => {}
            Err(error) => eprintln!("warning: cannot start an uplink: {error}"),
        }
    }
}
