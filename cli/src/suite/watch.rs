//! `--watch`: waits until a file changes (inotify(7)).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use netengine_proto::api::ProblemKind;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::failure::Failure;

/// What is watched: the directories of the suites, where editors put a new file in place of the old one, and where ruleset files lie.
pub struct Watch(Inotify);

impl Watch {
    /// Begins to watch, so that a change while a run is on is not missed.
    ///
    /// # Errors
    /// Class `failed` when the kernel gives no more of these, or a directory cannot be watched.
    pub fn new(suites: &[PathBuf]) -> Result<Self, Failure> {
        let changes = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        let of = |suite: &PathBuf| match suite.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => Path::new(".").to_owned(),
        };
        let watch = Inotify::init(InitFlags::IN_CLOEXEC).map_err(failed)?;
        for directory in suites.iter().map(of).collect::<BTreeSet<_>>() {
            watch.add_watch(&directory, changes).map_err(failed)?;
        }
        Ok(Self(watch))
    }

    /// Waits until something in the suites' directories was written, made or moved there.
    ///
    /// # Errors
    /// Class `failed` when the kernel says no more.
    pub fn wait(&mut self) -> Result<(), Failure> {
        self.0.read_events().map(drop).map_err(failed)
    }
}

fn failed(error: nix::Error) -> Failure {
    let help = "raise fs.inotify.max_user_watches or max_user_instances, or run without --watch";
    Failure::new(ProblemKind::Failed, "cannot watch the suites", error, help)
}
