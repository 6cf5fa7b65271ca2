//! `--watch`: waits until a file changes (inotify(7)).

use std::{
    collections::{BTreeSet, HashMap},
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use netengine_proto::api::ProblemKind;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::failure::Failure;

/// What is watched: the directories of files, where editors put a new file in place of the old one. Of a directory that is not there, the one that it
/// would be in.
pub struct Watch {
    inotify: Inotify,
    /// The names that matter in each directory; all of them when there is none.
    names: HashMap<WatchDescriptor, BTreeSet<OsString>>,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// Class `failed` when the kernel gives no more of these.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self { inotify: Inotify::init(InitFlags::IN_CLOEXEC).map_err(failed)?, names: HashMap::new() })
    }

    /// Watches these files beside those of before. A directory that was replaced since is watched anew.
    ///
    /// # Errors
    /// Class `failed` when none of the directories above a file can be watched.
    pub fn follow(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        let changes = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        // A file that is a symbolic link changes where it leads to.
        let real = files.iter().filter_map(|file| file.canonicalize().ok());
        for file in files.iter().cloned().chain(real) {
            let mut name: Option<&OsStr> = file.file_name();
            let mut directory = parent(&file);
            loop {
                match self.inotify.add_watch(directory, changes) {
                    Ok(watch) => {
                        let names = self.names.entry(watch).or_default();
                        names.extend(name.map(OsStr::to_owned));
                        break;
                    }
                    Err(nix::Error::ENOENT | nix::Error::ENOTDIR) if directory != parent(directory) => {
                        name = directory.file_name();
                        directory = parent(directory);
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        }
        Ok(())
    }

    /// Waits until one of the files was written, made, moved or deleted.
    ///
    /// # Errors
    /// Class `failed` when the kernel says no more.
    pub fn wait(&mut self) -> Result<(), Failure> {
        loop {
            let events = self.inotify.read_events().map_err(failed)?;
            let matters = |event: &nix::sys::inotify::InotifyEvent| match (&event.name, self.names.get(&event.wd)) {
                // An empty new file is not written yet; a new directory is where one may come.
                (Some(name), Some(names)) => {
                    let is_new_file =
                        event.mask.contains(AddWatchFlags::IN_CREATE) && !event.mask.contains(AddWatchFlags::IN_ISDIR);
                    names.contains(name) && !is_new_file
                }
                // The directory itself, or more than the kernel remembers.
                _ => true,
            };
            if events.iter().any(matters) {
                return Ok(());
            }
        }
    }
}

/// The directory that a path is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

fn failed(error: nix::Error) -> Failure {
    let help = "raise fs.inotify.max_user_watches or max_user_instances, or run without --watch";
    Failure::new(ProblemKind::Failed, "cannot watch the suites", error, help)
}
