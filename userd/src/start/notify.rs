//! sd_notify(3): one datagram to the socket the service manager named.

use std::{
    env,
    os::{linux::net::SocketAddrExt, unix::ffi::OsStrExt, unix::net::SocketAddr, unix::net::UnixDatagram},
};

/// Where to report; nowhere when the service manager does not ask.
pub struct Notify(Option<UnixDatagram>);

impl Notify {
    /// Connects to `NOTIFY_SOCKET` (a path, or an abstract name written with a leading `@`).
    pub fn from_environment() -> Self {
        let connect = || {
            let name = env::var_os("NOTIFY_SOCKET")?;
            let address = match name.as_bytes() {
                [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest),
                path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            socket.connect_addr(&address.ok()?).ok()?;
            Some(socket)
        };
        Self(connect())
    }

    /// The daemon serves.
    pub fn ready(&mut self) {
        self.tell(b"READY=1");
    }

    /// The daemon is about to end.
    pub fn stopping(&mut self) {
        self.tell(b"STOPPING=1");
    }

    fn tell(&mut self, state: &[u8]) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(state)
        {
            tracing::warn!(%error, "cannot tell the service manager");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_one_datagram() {
        let (ours, theirs) = UnixDatagram::pair().expect("a socket pair");
        Notify(Some(ours)).ready();
        let mut bytes = [0; 32];
        let read = theirs.recv(&mut bytes).expect("a datagram");
        assert_eq!(&bytes[..read], b"READY=1");
    }
}
