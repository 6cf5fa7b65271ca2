//! Landlock (landlock(7)): after this the process can reach its own one or two directories and nothing else of the file
//! system.
//!
//! Every right to files that the kernel knows is handled, so every right is refused unless granted here. The network is not
//! handled: ports come with each desired state (the spec names some of them), challenges and logout notices lead to any
//! host of the world, and there is no other network in the namespace that the process is in.

use std::path::Path;

use ::landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

/// Rights in the world's own directories: the log and its rotation, databases with their journals, secrets, and removing the
/// control socket at the end.
fn granted() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile})
}

/// Why the process could not be restricted.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// A directory cannot be opened.
    #[error("cannot open the world's directories for Landlock")]
    Directory(#[source] ::landlock::PathFdError),
    /// The kernel refused the rules.
    #[error("cannot restrict the process with Landlock")]
    Rules(#[source] RulesetError),
}

/// Restricts this process, for good, to the current directory and the data directory. Answers what was enforced, in words for the log.
///
/// Best effort by the kernel's ABI: rights that the kernel does not know cannot be refused, and a kernel without
/// Landlock refuses nothing. Also sets no_new_privs. Call it while the process has one thread.
///
/// # Errors
/// [`LandlockError`] when the kernel has Landlock and still refuses.
pub fn restrict_to(data: Option<&Path>) -> Result<String, LandlockError> {
    let directories = [Some(Path::new(".")), data].into_iter().flatten().map(PathFd::new);
    let directories = directories.collect::<Result<Vec<_>, _>>().map_err(LandlockError::Directory)?;
    let status = restrict(directories).map_err(LandlockError::Rules)?;
    Ok(match (status.ruleset, status.landlock) {
        (
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced,
            LandlockStatus::Available { effective_abi, .. },
        ) => {
            format!("landlock enforced with every right of ABI {}", effective_abi as i32)
        }
        (_, LandlockStatus::NotEnabled) => "landlock not enforced: not enabled in this kernel".to_owned(),
        (_, LandlockStatus::NotImplemented) => "landlock not enforced: not built into this kernel".to_owned(),
        (RulesetStatus::NotEnforced, _) => "landlock not enforced".to_owned(),
    })
}

fn restrict(directories: Vec<PathFd>) -> Result<::landlock::RestrictionStatus, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V10))?
        .scope(Scope::from_all(ABI::V10))?
        .create()?
        .add_rules(
            directories.into_iter().map(|directory| Ok::<_, RulesetError>(PathBeneath::new(directory, granted()))),
        )?
        .restrict_self()
}
