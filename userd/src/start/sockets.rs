//! The listening sockets, passed by the service manager (sd_listen_fds(3)). userd never binds, chmods or unlinks a path.

use std::{env, os::fd::OwnedFd, os::unix::net::UnixListener as StdListener};

use anyhow::{Context, bail, ensure};
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, UnixAddr, getsockname, getsockopt, sockopt};
use tokio::net::UnixListener;

/// What a socket's users may do. It decides the role, not the peer's groups: the kernel checked the file's group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketRole {
    /// `user.sock`: own objects.
    User,
    /// `admin.sock`: all objects.
    Admin,
}

/// The sockets that were passed.
pub struct Sockets(Vec<(StdListener, SocketRole)>);

/// Takes the sockets named `user` (required) and `admin` (optional).
///
/// # Errors
/// When none was passed, a name is unknown or twice, or one is not a listening Unix stream socket.
pub fn take() -> anyhow::Result<Sockets> {
    let for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    ensure!(for_us, "cannot find the sockets: start me by the service manager or netengine-supervise (LISTEN_PID)");
    let count = env::var("LISTEN_FDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let descriptors = crate::sys::adopt_descriptors(count).context("cannot take the inherited sockets")?;
    let names: Vec<&str> = names.split(':').collect();
    ensure!(names.len() == descriptors.len(), "cannot match LISTEN_FDNAMES with LISTEN_FDS");
    let mut sockets: Vec<(StdListener, SocketRole)> = Vec::new();
    for (descriptor, name) in descriptors.into_iter().zip(names) {
        let role = match name {
            "user" => SocketRole::User,
            "admin" => SocketRole::Admin,
            other => bail!("cannot use an inherited socket named {other:?}"),
        };
        ensure!(sockets.iter().all(|(_, taken)| *taken != role), "cannot use two sockets named {name:?}");
        check(&descriptor).with_context(|| format!("cannot use the inherited socket {name:?}"))?;
        sockets.push((StdListener::from(descriptor), role));
    }
    ensure!(sockets.iter().any(|(_, role)| *role == SocketRole::User), "cannot serve without a socket named user");
    Ok(Sockets(sockets))
}

fn check(descriptor: &OwnedFd) -> anyhow::Result<()> {
    use std::os::fd::AsRawFd;
    ensure!(getsockopt(descriptor, sockopt::SockType)? == SockType::Stream, "it is not a stream socket");
    ensure!(getsockopt(descriptor, sockopt::AcceptConn)?, "it does not listen");
    let address: UnixAddr = getsockname(descriptor.as_raw_fd())?;
    ensure!(address.family() == Some(AddressFamily::Unix), "it is not a Unix socket");
    Ok(())
}

impl Sockets {
    /// The listeners, for the runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch one.
    pub fn listeners(self) -> anyhow::Result<Vec<(UnixListener, SocketRole)>> {
        let mut listeners = Vec::new();
        for (listener, role) in self.0 {
            listener.set_nonblocking(true)?;
            listeners.push((UnixListener::from_std(listener)?, role));
        }
        Ok(listeners)
    }

    /// Role and path of each, for `doctor`.
    pub fn described(&self) -> Vec<(SocketRole, String)> {
        let path = |listener: &StdListener| {
            let address = listener.local_addr().ok()?;
            Some(address.as_pathname()?.display().to_string())
        };
        self.0.iter().map(|(listener, role)| (*role, path(listener).unwrap_or_else(|| "unnamed".to_owned()))).collect()
    }
}
