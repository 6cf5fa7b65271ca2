//! Removing a world's directories, as the worlds' user.

use std::{io, path::Path};

use netengine_proto::ids::WorldId;

use super::spawn::Site;

/// Removes the world's run and state directories; `true` when anything was there.
///
/// Symbolic links inside are removed, not followed (std's `remove_dir_all` works by descriptors), and the name is an id.
///
/// # Errors
/// The first file that cannot be removed.
pub fn world(site: &Site, world: WorldId) -> io::Result<bool> {
    let mut present = false;
    for parent in [&site.worlds_run, &site.worlds_state] {
        present |= directory(&parent.join(world.to_string()))?;
    }
    Ok(present)
}

fn directory(path: &Path) -> io::Result<bool> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
