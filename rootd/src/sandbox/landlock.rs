//! Landlock (landlock(7)): files, TCP, signals and abstract sockets, as far as the kernel knows them.

use std::{io, os::fd::OwnedFd, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

/// What remains allowed.
#[derive(Debug)]
pub enum Allow<'a> {
    /// Everything below this directory but device files and execution.
    Directory(&'a Path),
    /// Reading and writing files below this open directory.
    Settings(&'a OwnedFd),
    /// Signals to processes that were started before, whose user must be one's own all the same.
    Signals,
}

/// How much of it the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// All that this code asks for.
    Full,
    /// Files at least; an older kernel knows no more.
    Partial,
    /// Nothing: the kernel has no Landlock.
    None,
}

/// Denies the calling process everything but `allowed`: files, TCP bind and connect, signals to others, abstract sockets.
///
/// # Errors
/// Whatever the kernel refuses. A kernel without Landlock is not an error; the level tells.
pub fn restrict(allowed: &[Allow<'_>]) -> io::Result<Level> {
    let abi = ABI::V6;
    let keeps_signals = allowed.iter().any(|allow| matches!(allow, Allow::Signals));
    let scope = if keeps_signals { Scope::AbstractUnixSocket.into() } else { Scope::from_all(abi) };
    let build = || -> Result<Level, Box<dyn std::error::Error + Send + Sync>> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(abi))?
            .handle_access(AccessNet::from_all(abi))?
            .scope(scope)?
            .create()?;
        for allow in allowed {
            rules = match allow {
                Allow::Directory(path) => {
                    let access =
                        AccessFs::from_all(abi) & !AccessFs::Execute & !AccessFs::MakeChar & !AccessFs::MakeBlock;
                    rules.add_rule(PathBeneath::new(PathFd::new(path)?, access))?
                }
                Allow::Settings(directory) => {
                    let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::ReadDir;
                    rules.add_rule(PathBeneath::new(directory, access))?
                }
                Allow::Signals => rules,
            };
        }
        Ok(match rules.restrict_self()?.ruleset {
            RulesetStatus::FullyEnforced => Level::Full,
            RulesetStatus::PartiallyEnforced => Level::Partial,
            RulesetStatus::NotEnforced => Level::None,
        })
    };
    build().map_err(io::Error::other)
}
