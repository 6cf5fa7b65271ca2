//! What this process gives up before its first thread exists.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::sys::{prctl, resource};

use super::config::Config;

/// Enters the sandbox: no dump, no core, no capability, and only these files:
///
/// | path | rights | for |
/// |---|---|---|
/// | the state directory | read, write, make, remove | the database |
/// | the worlds' directory | read | logs (its sockets are connected to) |
/// | `/etc`, `/usr/lib`, `/lib` | read (`/usr/lib`, `/lib` also map code) | names of users (nsswitch.conf(5)) |
///
/// Connecting to Unix sockets is not a file right of Landlock and stays allowed; who may connect is the file's mode.
///
/// # Errors
/// When the process has a capability or a step is refused. A kernel without Landlock is logged, not refused.
pub fn enter(config: &Config) -> anyhow::Result<()> {
    prctl::set_dumpable(false).context("cannot forbid dumps")?;
    if let Err(error) = resource::setrlimit(resource::Resource::RLIMIT_CORE, 0, 0) {
        // The unit's own filter may forbid the call; it sets LimitCORE=0 itself, and a process that may not be dumped
        // leaves no core file in any case (core(5)).
        tracing::debug!(%error, "core files are limited by the service manager");
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    ensure!(!nix::unistd::geteuid().is_root(), "cannot run as root; run as user netengine");
    for set in [caps::CapSet::Effective, caps::CapSet::Permitted, caps::CapSet::Inheritable, caps::CapSet::Ambient] {
        let held = caps::read(None, set).context("cannot read the capabilities")?;
        ensure!(held.is_empty(), "cannot run with capabilities ({set:?}: {held:?})");
    }
    landlock(config)
}

fn landlock(config: &Config) -> anyhow::Result<()> {
    let abi = ABI::V6;
    let all = AccessFs::from_all(abi);
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let code = read | AccessFs::Execute;
    let write = all & !(AccessFs::Execute | AccessFs::MakeBlock | AccessFs::MakeChar | AccessFs::IoctlDev);
    let mut rules: Vec<(PathBuf, BitFlags<AccessFs>)> =
        vec![(config.state_dir.clone(), write), (config.worlds_dir.clone(), read)];
    rules.extend(["/etc", "/run/systemd/userdb", "/proc/self"].map(|path| (PathBuf::from(path), read)));
    rules.extend(["/usr/lib", "/lib", "/lib64"].map(|path| (PathBuf::from(path), code)));
    if let Some(directory) = sqlite_directory(&config.database)
        && directory != config.state_dir
    {
        rules.push((directory, write));
    }

    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(abi))?
        .create()
        .context("cannot make a Landlock ruleset")?;
    for (path, rights) in rules {
        // What does not exist needs no right.
        if let Ok(descriptor) = PathFd::new(&path) {
            ruleset = ruleset.add_rule(PathBeneath::new(descriptor, rights))?;
        }
    }
    let status = ruleset.restrict_self().context("cannot enter Landlock")?;
    ensure!(status.no_new_privs, "cannot give up new privileges");
    match status.ruleset {
        RulesetStatus::FullyEnforced => tracing::debug!("Landlock in force"),
        RulesetStatus::PartiallyEnforced => tracing::info!("this kernel has a part of Landlock only"),
        RulesetStatus::NotEnforced => tracing::warn!("this kernel has no Landlock: file access is not narrowed"),
    }
    Ok(())
}

/// The directory of a SQLite database that is a file.
fn sqlite_directory(url: &str) -> Option<PathBuf> {
    let path = crate::store::sqlite_path(url)?;
    path.parent().map(Path::to_path_buf)
}
