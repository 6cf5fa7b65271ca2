//! Directories: `tmpfiles.d`, `RuntimeDirectory=`, `StateDirectory=`.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid};

use crate::{accounts, directive, service::Directories};

/// A directory with its owner and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    mode: u32,
    user: String,
    group: String,
}

/// Reads every `*.conf` of a `tmpfiles.d` directory; none when there is no such directory.
///
/// # Errors
/// A line that is not `d PATH MODE USER GROUP -`: other kinds are not used by our units.
pub fn read(directory: &Path) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    let files = match fs::read_dir(directory) {
        Ok(files) => files,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(places),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", directory.display())),
    };
    for file in files {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            places.extend(parse(&path.display().to_string(), &text)?);
        }
    }
    Ok(places)
}

fn parse(file: &str, text: &str) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["d", path, mode, user, group, "-"] = words[..] else {
            bail!("{file}:{}: only `d PATH MODE USER GROUP -` is supported", index + 1)
        };
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            bail!("{file}:{}: {path:?} is not an absolute path", index + 1);
        }
        let mode = directive::octal(mode).with_context(|| format!("{file}:{}", index + 1))?;
        places.push(Place { path: path.into(), mode, user: user.into(), group: group.into() });
    }
    Ok(places)
}

impl Place {
    /// Makes the directory, or gives an existing one its owner and mode.
    ///
    /// # Errors
    /// User or group is missing, or something that is not a directory is at the path.
    pub fn make(&self) -> Result<()> {
        let (uid, gid) = accounts::owner(Some(&self.user), Some(&self.group))
            .with_context(|| format!("cannot make {}", self.path.display()))?;
        make(&self.path, self.mode, uid, gid)
    }
}

/// Makes a service's directories below `base`. Gives their paths, joined as in `RUNTIME_DIRECTORY`.
///
/// # Errors
/// As [`Place::make`].
pub fn make_all(base: &str, directories: &Directories, uid: Uid, gid: Gid) -> Result<String> {
    let mut paths = Vec::new();
    for name in &directories.names {
        let path = Path::new(base).join(name);
        make(&path, directories.mode, uid, gid)?;
        paths.push(path.display().to_string());
    }
    Ok(paths.join(":"))
}

/// Removes a service's directories, unless they are kept.
///
/// # Errors
/// The first that cannot be removed.
pub fn remove_all(base: &str, directories: &Directories) -> Result<()> {
    for name in directories.names.iter().filter(|_| !directories.kept) {
        match fs::remove_dir_all(Path::new(base).join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {base}/{name}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn make(path: &Path, mode: u32, uid: Uid, gid: Gid) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot make {}", path.display()));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        bail!("cannot use {}: something that is not a directory is there", path.display());
    }
    if (found.uid(), found.gid()) != (uid.as_raw(), gid.as_raw()) {
        lchown(path, Some(uid.as_raw()), Some(gid.as_raw()))
            .with_context(|| format!("cannot give away {}", path.display()))?;
    }
    // After the owner: chown(2) clears the set-gid bit.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_places_are_understood() {
        let places = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd/tmpfiles.d")).expect("readable");
        let worlds = places.iter().find(|place| place.path == Path::new("/run/netengine-worlds")).expect("there");
        assert_eq!((worlds.mode, worlds.user.as_str()), (0o2750, "netengine-world"));
        assert_eq!(places.len(), 3);
    }

    #[test]
    fn lines_of_other_kinds_are_errors() {
        for line in
            ["f /run/x 0644 root root -", "d run/x 0755 root root -", "d /run/../x 0755 root root -", "d /run/x"]
        {
            assert!(parse("f", line).is_err(), "accepted: {line}");
        }
    }

    #[test]
    fn a_directory_gets_its_mode_with_the_set_gid_bit_and_a_file_in_its_place_is_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("worlds");
        for _ in 0..2 {
            make(&path, 0o2750, Uid::effective(), Gid::effective()).expect("made");
            assert_eq!(path.metadata().expect("there").mode() & 0o7777, 0o2750);
        }
        fs::write(directory.path().join("file"), "").expect("written");
        assert!(make(&directory.path().join("file"), 0o755, Uid::effective(), Gid::effective()).is_err());
    }
}
