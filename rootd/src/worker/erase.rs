//! Removing a world's directories, as the worlds' user.
//!
//! A world may have left anything there: links to elsewhere, directories without permissions, or nested a thousand
//! deep. So nothing is followed, permissions are set before they are needed, and the number of open descriptors and the
//! depth of the stack are the same for every tree: a directory inside a directory is first moved up to the top.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use netengine_proto::ids::WorldId;
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, RenameFlags, openat, renameat2},
    sys::stat::{FchmodatFlags, Mode, fchmodat},
    unistd::{UnlinkatFlags, unlinkat},
};

use super::spawn::Site;

/// Removes the world's run and state directories; `true` when anything was there.
///
/// # Errors
/// The first file that cannot be removed.
pub fn world(site: &Site, world: WorldId) -> io::Result<bool> {
    let mut present = false;
    for parent in [&site.worlds_run, &site.worlds_state] {
        present |= tree(parent, &world.to_string())?;
    }
    Ok(present)
}

/// Removes what is called `name` in `parent`; `true` when it was there.
fn tree(parent: &Path, name: &str) -> io::Result<bool> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let parent = match nix::fcntl::open(parent, flags, Mode::empty()) {
        Ok(parent) => parent,
        Err(Errno::ENOENT) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    match remove_file(parent.as_fd(), name)? {
        Removed::Gone => return Ok(true),
        Removed::Absent => return Ok(false),
        Removed::Directory => {}
    }
    let top = open_directory(parent.as_fd(), name)?;
    let mut moved = 0;
    // Directories that were moved to the top are met in a later pass, at the latest.
    while pass(&top, |top, name| {
        if let Removed::Directory = remove_file(top, name)? {
            let inner = open_directory(top, name)?;
            while pass(&inner, |inner, name| match remove_file(inner, name)? {
                Removed::Directory => move_up(inner, name, top, &mut moved),
                Removed::Gone | Removed::Absent => Ok(()),
            })? {}
            remove_directory(top, name)?;
        }
        Ok(())
    })? {}
    remove_directory(parent.as_fd(), name)?;
    Ok(true)
}

/// Calls `remove` for every entry once; `false` when there was none.
fn pass(
    directory: &OwnedFd,
    mut remove: impl FnMut(BorrowedFd<'_>, &std::ffi::CStr) -> io::Result<()>,
) -> io::Result<bool> {
    // A description of its own, so that every pass reads from the beginning.
    let mut entries = Dir::openat(directory, ".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut found = false;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            found = true;
            remove(directory.as_fd(), name)?;
        }
    }
    Ok(found)
}

enum Removed {
    Gone,
    Absent,
    Directory,
}

/// Removes anything but a directory; links themselves, not where they lead.
fn remove_file<P: nix::NixPath + ?Sized>(at: BorrowedFd<'_>, name: &P) -> io::Result<Removed> {
    match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => Ok(Removed::Gone),
        Err(Errno::ENOENT) => Ok(Removed::Absent),
        Err(Errno::EISDIR) => Ok(Removed::Directory),
        Err(error) => Err(error.into()),
    }
}

fn remove_directory<P: nix::NixPath + ?Sized>(at: BorrowedFd<'_>, name: &P) -> io::Result<()> {
    match unlinkat(at, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whatever its permissions were: its owner may set them. Where we are not the owner, they stay and decide.
fn open_directory<P: nix::NixPath + ?Sized>(at: BorrowedFd<'_>, name: &P) -> io::Result<OwnedFd> {
    allow(at, name);
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

fn allow<P: nix::NixPath + ?Sized>(at: BorrowedFd<'_>, name: &P) {
    let _ = fchmodat(at, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink);
}

/// Moves a directory to the top under a free name. It must be writable itself, for its entry `..` changes.
fn move_up(from: BorrowedFd<'_>, name: &std::ffi::CStr, top: BorrowedFd<'_>, moved: &mut u64) -> io::Result<()> {
    allow(from, name);
    loop {
        *moved += 1;
        match renameat2(from, name, top, moved.to_string().as_str(), RenameFlags::RENAME_NOREPLACE) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    fn removed(directory: &Path) -> bool {
        let present = tree(directory, "world").expect("removed");
        assert!(fs::symlink_metadata(directory.join("world")).is_err());
        present
    }

    fn shell(directory: &Path, script: &str) {
        assert!(Command::new("sh").args(["-c", script]).current_dir(directory).status().expect("runs").success());
    }

    #[test]
    fn absent_files_and_links_are_told_and_not_followed() {
        let place = tempfile::tempdir().expect("a directory");
        assert!(!removed(place.path()));
        assert!(!tree(&place.path().join("none"), "world").expect("nothing to do"));
        let victim = tempfile::tempdir().expect("a directory");
        fs::write(victim.path().join("precious"), "x").expect("written");
        let target = victim.path().display();
        let mode = || fs::metadata(victim.path()).expect("there").permissions().mode();
        let before = mode();
        for plant in [
            format!("ln -s {target} world"),
            format!("mkdir -p world/a/b; ln -s {target} world/l; ln -s {target} world/a/l; ln -s {target} world/a/b/l"),
            format!("mkdir -p world/a; ln {target}/precious world/a/hard"),
            "mkfifo world".to_owned(),
        ] {
            shell(place.path(), &plant);
            assert!(removed(place.path()), "{plant}");
            assert_eq!(fs::read_to_string(victim.path().join("precious")).expect("there"), "x", "{plant}");
            assert_eq!(mode(), before, "{plant}");
        }
    }

    #[test]
    fn names_that_we_would_use_and_names_of_every_byte_are_removed() {
        let place = tempfile::tempdir().expect("a directory");
        shell(
            place.path(),
            "mkdir -p world/1 world/2/3/4 world/5/6; touch world/3 world/2/1; mkdir world/7; ln -s . world/4
             mkdir \"$(printf 'world/\\377\\n*-rf')\"; touch \"$(printf 'world/5/6/-rf\\001')\"",
        );
        assert!(removed(place.path()));
    }

    #[test]
    fn the_depth_of_a_tree_costs_neither_stack_nor_descriptors() {
        let place = tempfile::tempdir().expect("a directory");
        // Paths of this length have no name; each directory is made from the one before.
        let mut at: OwnedFd = fs::File::open(place.path()).expect("opens").into();
        for level in 0..3000 {
            let name = if level == 0 { "world" } else { "d" };
            nix::sys::stat::mkdirat(&at, name, Mode::S_IRWXU).expect("made");
            at = openat(&at, name, OFlag::O_DIRECTORY, Mode::empty()).expect("opens");
        }
        drop(at);
        std::thread::Builder::new()
            .stack_size(128 << 10)
            .spawn({
                let path = place.path().to_owned();
                move || assert!(removed(&path))
            })
            .expect("starts")
            .join()
            .expect("removed");
    }
}
