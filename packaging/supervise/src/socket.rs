//! A `.socket` unit: bound here, passed on, kept open over restarts of its service.

use std::{
    fs,
    io::{ErrorKind, Read},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::stat::{Mode, umask},
    unistd::{Gid, Uid, chown},
};

use crate::{accounts, directive, unit::Unit};

/// How long a socket whose supervisor was killed may take to die.
const DYING: Duration = Duration::from_secs(1);

/// What a `.socket` unit asks for.
#[derive(Debug, Clone)]
pub struct SocketUnit {
    /// Unit name.
    pub name: String,
    /// `ListenStream=`, an absolute path.
    pub path: PathBuf,
    /// `FileDescriptorName=`, told to the service in `LISTEN_FDNAMES`.
    pub fd_name: String,
    /// `Service=`.
    pub service: String,
    user: Option<String>,
    group: Option<String>,
    mode: u32,
    directory_mode: u32,
}

/// A bound socket; its path goes with it.
#[derive(Debug)]
pub struct Bound {
    /// What was asked for.
    pub unit: SocketUnit,
    /// The listening socket.
    pub listener: UnixListener,
    inode: u64,
}

impl SocketUnit {
    /// Reads the directives of a unit.
    ///
    /// # Errors
    /// Not exactly one `ListenStream=` with an absolute path, or a value that means nothing.
    pub fn from_unit(unit: &Unit) -> Result<Self> {
        let text = |key| unit.last("Socket", key).map(|entry| entry.value.clone());
        let [listen] = unit.all("Socket", "ListenStream")[..] else {
            bail!("{}: needs exactly one ListenStream=", unit.name)
        };
        let path = PathBuf::from(&listen.value);
        if !path.is_absolute() {
            bail!("{}: only paths are supported, not {:?}", listen.place, listen.value);
        }
        let stem = unit.name.strip_suffix(".socket").unwrap_or(&unit.name);
        Ok(Self {
            path,
            fd_name: text("FileDescriptorName").unwrap_or_else(|| unit.name.clone()),
            service: text("Service").unwrap_or_else(|| format!("{stem}.service")),
            user: text("SocketUser"),
            group: text("SocketGroup"),
            mode: unit.last("Socket", "SocketMode").map_or(Ok(0o666), directive::mode)?,
            directory_mode: unit.last("Socket", "DirectoryMode").map_or(Ok(0o755), directive::mode)?,
            name: unit.name.clone(),
        })
    }

    /// Binds the socket with its owner, group and mode.
    ///
    /// # Errors
    /// User or group is missing; anything but a dead socket of ours is at the path; others may write to its directory.
    pub fn bind(&self) -> Result<Bound> {
        let (uid, gid) = accounts::owner(self.user.as_deref(), self.group.as_deref())
            .with_context(|| format!("cannot open {}", self.name))?;
        let directory = self.path.parent().context("socket path without a directory")?;
        make_directory(directory, self.directory_mode)?;
        remove_dead(&self.path, uid, gid)?;
        // Nobody but root until owner and group are right, so there is no moment in which too many may connect.
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(&self.path);
        umask(before);
        let listener = listener.with_context(|| format!("cannot bind {}", self.path.display()))?;
        chown(&self.path, Some(uid), Some(gid)).with_context(|| format!("cannot give away {}", self.path.display()))?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(self.mode))
            .with_context(|| format!("cannot set the mode of {}", self.path.display()))?;
        let inode = fs::symlink_metadata(&self.path)?.ino();
        Ok(Bound { unit: self.clone(), listener, inode })
    }
}

impl Drop for Bound {
    /// Takes the path away again, unless somebody else's file is there by now.
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.unit.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.unit.path);
        }
    }
}

fn make_directory(directory: &Path, mode: u32) -> Result<()> {
    match fs::create_dir(directory) {
        Ok(()) => fs::set_permissions(directory, fs::Permissions::from_mode(mode))?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", directory.display())),
    }
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != 0 || found.mode() & 0o022 != 0 {
        bail!("cannot use {}: it must be a directory of root that nobody else may write to", directory.display());
    }
    Ok(())
}

/// Removes a socket that a killed supervisor left behind. Anything else at the path is somebody's, and stays.
fn remove_dead(path: &Path, uid: Uid, gid: Gid) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
    };
    let what = if !found.file_type().is_socket() {
        "something that is not a socket is there"
    } else if found.uid() != uid.as_raw() && found.uid() != 0 || found.gid() != gid.as_raw() && found.gid() != 0 {
        "a socket of another owner is there"
    } else if is_alive(path) {
        "another process listens there"
    } else {
        return fs::remove_file(path).with_context(|| format!("cannot remove dead socket {}", path.display()));
    };
    bail!("cannot bind {}: {what}; remove it if it is not in use, then start again", path.display())
}

/// Whether somebody listens. A service of a supervisor that was killed a moment ago is given time to end: its end
/// resets the connection made here.
fn is_alive(path: &Path) -> bool {
    let deadline = Instant::now() + DYING;
    while let Ok(mut stream) = UnixStream::connect(path) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
            return true;
        }
        let _ = stream.read(&mut [0]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        remove_dead(path, Uid::effective(), Gid::effective()).expect_err("refused").to_string()
    }

    #[test]
    fn squatted_paths_are_refused_and_left_alone() {
        let directory = tempfile::tempdir().expect("directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "theirs").expect("written");
        fs::create_dir(path("dir")).expect("made");
        std::os::unix::fs::symlink(path("file"), path("link")).expect("linked");
        for name in ["file", "dir", "link"] {
            assert!(refusal(&path(name)).contains("not a socket"), "{name}");
            assert!(path(name).symlink_metadata().is_ok(), "{name} was removed");
        }
        let live = UnixListener::bind(path("live")).expect("bound");
        assert!(refusal(&path("live")).contains("another process listens"));
        drop(live);
        remove_dead(&path("live"), Uid::effective(), Gid::effective()).expect("a dead socket of ours goes");
        assert!(!path("live").exists());
        remove_dead(&path("absent"), Uid::effective(), Gid::effective()).expect("nothing there");
    }
}
