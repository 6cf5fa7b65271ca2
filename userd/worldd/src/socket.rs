//! The control socket's file: made in our own directory, by us, for one peer.
//!
//! The path is relative to the world's run directory, which is the current directory, so no other directory can be hit
//! and sun_path's 108 bytes (unix(7)) always suffice.

use std::{
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use nix::sys::stat::{Mode, umask};

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something else has the name.
    #[error("cannot make the control socket {0}: the name is taken by something that is not our socket")]
    Taken(String),
    /// Another process answers on it.
    #[error("cannot make the control socket {0}: another process listens on it")]
    InUse(String),
    /// The kernel refused.
    #[error("cannot {doing} the control socket {name}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// The file's name.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Binds the control socket `name` in the current directory, mode 0660, non-blocking.
///
/// A socket of that name that belongs to us and that nobody listens on was left by a predecessor and is removed.
/// Leaves the umask at 0027. Call it while the process has one thread: the umask is the process's.
///
/// # Errors
/// [`SocketError`]; nothing that is not our own dead socket is ever removed.
pub fn create(name: &str) -> Result<UnixListener, SocketError> {
    let failed = |doing| move |source| SocketError::Kernel { doing, name: name.to_owned(), source };
    delete_stale(name)?;
    umask(Mode::from_bits_truncate(0o117));
    let listener = UnixListener::bind(name);
    umask(Mode::from_bits_truncate(0o027));
    let listener = listener.map_err(failed("bind"))?;
    listener.set_nonblocking(true).map_err(failed("configure"))?;
    Ok(listener)
}

fn delete_stale(name: &str) -> Result<(), SocketError> {
    let failed = |doing| move |source| SocketError::Kernel { doing, name: name.to_owned(), source };
    let found = match Path::new(name).symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("inspect")(error)),
    };
    if !found.file_type().is_socket() || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(SocketError::Taken(name.to_owned()));
    }
    match UnixStream::connect(name) {
        Ok(_) => Err(SocketError::InUse(name.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => delete(name).map_err(failed("remove")),
        Err(error) => Err(failed("inspect")(error)),
    }
}

/// Removes the control socket's file at the end.
///
/// # Errors
/// As unlink(2); an absent file is none.
pub fn delete(name: &str) -> io::Result<()> {
    match std::fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
