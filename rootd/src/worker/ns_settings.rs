//! Settings of namespaces: set, compared, and kept open so that the next comparison costs a read each.
//!
//! A file below /proc/sys/net that is open belongs to the namespace it was opened in, wherever its reader stands, and does not keep
//! that namespace alive: once it is gone, a read says so (fs/proc/proc_sysctl.c, `grab_header`).

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    libc,
    sys::{stat::Mode, uio::pread},
    unistd::write,
};

use super::message::Slot;
use crate::plan::settings::{Setting, Settings};

/// Namespaces whose settings are kept open at most: ten descriptors each, of the 65,536 of rootd's unit.
const KEPT: usize = 4096;
/// The longest value of a setting is two numbers of ten digits.
const VALUE_BYTES: usize = 64;

/// A setting that could not be read or written.
pub type Failed = (&'static str, io::Error);

/// Settings that are kept open, by namespace.
#[derive(Debug)]
pub struct Kept {
    of: HashMap<Slot, Vec<Opened>>,
    /// No more namespaces than this.
    bound: usize,
}

/// A setting's place and its file; none where the kernel has no such setting.
type Opened = (&'static str, Option<OwnedFd>);

impl Default for Kept {
    fn default() -> Self {
        Self { of: HashMap::new(), bound: KEPT }
    }
}

impl Kept {
    /// Compares the settings of the namespace that the caller stands in, and keeps them open under `slot`.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn compare_here(&mut self, below: BorrowedFd<'_>, slot: Slot, settings: Settings) -> Result<bool, Failed> {
        self.of.remove(&slot);
        let mut opened = open_all(below, settings);
        if let Err((_, error)) = &opened
            && matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
            && !self.of.is_empty()
        {
            // Fewer descriptors than were thought: what is kept makes room, and less is kept from here on.
            self.bound = self.of.len() / 2;
            self.of.clear();
            opened = open_all(below, settings);
        }
        let opened = opened?;
        let mut equal = true;
        for ((place, file), setting) in opened.iter().zip(settings.all()) {
            if let Some(file) = file {
                equal &= is_set(file.as_fd(), setting).map_err(|error| (*place, error.into()))?;
            }
        }
        if self.of.len() < self.bound {
            self.of.insert(slot, opened);
        }
        Ok(equal)
    }

    /// Compares settings that are kept open, from anywhere. `None` for a namespace that must be entered: of which nothing is kept, or
    /// where the kernel has lost or gained a setting since, as it does with a module; `below` is where a new one would show.
    pub fn compare(&mut self, below: BorrowedFd<'_>, asked: &[(Slot, Settings)]) -> Vec<Option<bool>> {
        let mut gained: HashMap<&'static str, bool> = HashMap::new();
        let mut is_gained = |setting: Setting| {
            *gained.entry(setting.0).or_insert_with(|| !matches!(open(below, setting, OFlag::O_PATH), Ok(None)))
        };
        let one = |(slot, settings): &(Slot, Settings)| {
            let mut equal = true;
            for ((_, file), setting) in self.of.get(slot)?.iter().zip(settings.all()) {
                match file {
                    Some(file) => equal &= is_set(file.as_fd(), setting).ok()?,
                    None if is_gained(setting) => return None,
                    None => {}
                }
            }
            Some(equal)
        };
        asked.iter().map(one).collect()
    }

    /// Closes what is kept of a namespace.
    pub fn forget(&mut self, slot: Slot) {
        self.of.remove(&slot);
    }
}

/// Gives the namespace that the caller stands in these settings.
///
/// # Errors
/// [`Failed`].
pub fn set_here(below: BorrowedFd<'_>, settings: Settings) -> Result<(), Failed> {
    let mut directories = Directories::of(below);
    for setting in settings.all() {
        let file = directories.open(setting, OFlag::O_WRONLY).map_err(|error| (setting.0, error))?;
        if let Some(file) = file {
            write(&file, setting.1.as_bytes()).map_err(|error| (setting.0, error.into()))?;
        }
    }
    Ok(())
}

/// All of them, in the order of [`Settings::all`].
fn open_all(below: BorrowedFd<'_>, settings: Settings) -> Result<Vec<Opened>, Failed> {
    let mut directories = Directories::of(below);
    let one = |setting: Setting| match directories.open(setting, OFlag::O_RDONLY) {
        Ok(file) => Ok((setting.0, file)),
        Err(error) => Err((setting.0, error)),
    };
    settings.all().map(one).collect()
}

fn open(below: BorrowedFd<'_>, setting: Setting, flags: OFlag) -> io::Result<Option<OwnedFd>> {
    Directories::of(below).open(setting, flags)
}

fn is_set(file: BorrowedFd<'_>, setting: Setting) -> nix::Result<bool> {
    let mut text = [0u8; VALUE_BYTES];
    let length = pread(file, &mut text, 0)?;
    Ok(text[..length].trim_ascii() == setting.1.as_bytes())
}

/// A kernel without IPv6 or without bridge netfilter has no such settings, and needs none. A plan with IPv6 addresses
/// fails where it gives them.
fn not_in_this_kernel(setting: Setting, error: Errno) -> bool {
    error == Errno::ENOENT && (setting.0.starts_with("ipv6/") || setting.0.starts_with("bridge/"))
}

/// The directories of a namespace's settings, each opened once. The kernel tells those of one namespace from those of all others
/// by going through them (fs/proc/proc_sysctl.c, `proc_sys_compare`), which takes longer than all else with 500 namespaces.
struct Directories<'a> {
    below: BorrowedFd<'a>,
    opened: Vec<(&'static str, Option<OwnedFd>)>,
}

impl<'a> Directories<'a> {
    fn of(below: BorrowedFd<'a>) -> Self {
        Self { below, opened: Vec::new() }
    }

    /// Opens a setting; `None` when it is not in this kernel.
    fn open(&mut self, setting: Setting, flags: OFlag) -> io::Result<Option<OwnedFd>> {
        let absent = |error| if not_in_this_kernel(setting, error) { Ok(None) } else { Err(error.into()) };
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let Some((directory, rest)) = setting.0.split_once('/') else { return Err(io::ErrorKind::InvalidInput.into()) };
        let known = self.opened.iter().position(|(name, _)| *name == directory);
        let place = known.map_or_else(
            || {
                let path = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let found = openat(self.below, directory, path, Mode::empty()).map(Some).or_else(absent)?;
                self.opened.push((directory, found));
                Ok::<_, io::Error>(self.opened.len() - 1)
            },
            Ok,
        )?;
        let Some(directory) = &self.opened[place].1 else { return Ok(None) };
        openat(directory, rest, flags, Mode::empty()).map(Some).or_else(absent)
    }
}
