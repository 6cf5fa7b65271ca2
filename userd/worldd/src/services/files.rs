//! Where a world's data lies, and files that only this user may read.
//!
//! Every file is made with mode 0600 before anything is written to it: the run directory is shared with userd's group.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use netengine_spec::{
    Spec,
    model::{KeyStorageMode, Lifecycle},
};
use nix::libc;

/// The two directories of a world.
#[derive(Debug, Clone)]
pub struct Files {
    /// Kept beyond the run of a world; absent when rootd gave none.
    data: Option<PathBuf>,
}

/// Where the data of one world lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The world's state.
    pub state: PathBuf,
    /// The authority's keys, and what they signed.
    pub authority: PathBuf,
}

/// A persistent world, or a persistent key, and no directory for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot keep what is persistent: there is no data directory")]
pub struct NoDataDirectory;

impl Files {
    /// The run directory is the current one; `data` is for what outlives it.
    pub fn new(data: Option<PathBuf>) -> Self {
        Self { data }
    }

    /// Where the data of this world lies.
    ///
    /// # Errors
    /// [`NoDataDirectory`].
    pub fn places(&self, spec: &Spec) -> Result<Places, NoDataDirectory> {
        let state = self.place(spec.lifecycle() == Lifecycle::Persistent)?;
        let authority = self.place(spec.pki.root_ca.key_storage_mode == KeyStorageMode::Persistent)?;
        Ok(Places { state, authority })
    }

    fn place(&self, is_persistent: bool) -> Result<PathBuf, NoDataDirectory> {
        match (is_persistent, &self.data) {
            (false, _) => Ok(PathBuf::from(".")),
            (true, Some(data)) => Ok(data.clone()),
            (true, None) => Err(NoDataDirectory),
        }
    }
}

/// Makes an empty file with mode 0600 where there is none, so that whoever opens it by name keeps that mode (SQLite gives
/// its journals the mode of the database).
///
/// # Errors
/// As open(2).
pub fn reserve(path: &Path) -> io::Result<()> {
    private().create(true).truncate(false).open(path).map(drop)
}

/// 32 random bytes that stay the same as long as the directory is there, and when they were made, seconds since 1970.
///
/// # Errors
/// As open(2), read(2), write(2), or when the kernel has no randomness.
pub fn seed(directory: &Path, name: &str) -> io::Result<([u8; 32], u64)> {
    let path = directory.join(name);
    match read(&path) {
        Ok(bytes) => {
            let parts = bytes.split_first_chunk::<32>().and_then(|(seed, rest)| Some((*seed, rest.try_into().ok()?)));
            let (seed, made) = parts.ok_or(io::ErrorKind::InvalidData)?;
            Ok((seed, u64::from_be_bytes(made)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (mut seed, made) = ([0; 32], super::clock::unix());
            getrandom::fill(&mut seed).map_err(io::Error::other)?;
            replace(&path, &[&seed[..], &made.to_be_bytes()].concat())?;
            Ok((seed, made))
        }
        Err(error) => Err(error),
    }
}

/// Reads a file whole, following no link.
///
/// # Errors
/// As open(2) and read(2).
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file whole, mode 0600: readers see the old one or the new one.
///
/// # Errors
/// As open(2), write(2), fsync(2) and rename(2).
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = private().create(true).truncate(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn a_seed_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = seed(dir.path(), "seed").expect("made");
        assert_eq!(seed(dir.path(), "seed").expect("read"), first);
        assert_eq!(mode(&dir.path().join("seed")), 0o600);
        fs::write(dir.path().join("seed"), "short").expect("writes");
        assert_eq!(seed(dir.path(), "seed").expect_err("damaged").kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn reserving_keeps_what_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.db");
        reserve(&path).expect("made");
        assert_eq!(mode(&path), 0o600);
        replace(&path, b"content").expect("written");
        reserve(&path).expect("left alone");
        assert_eq!((read(&path).expect("read"), mode(&path)), (b"content".to_vec(), 0o600));
    }
}
