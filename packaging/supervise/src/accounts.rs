//! Users and groups by name. A missing one ends the start: what would be open to nobody must not become open to all.

use anyhow::{Context, Result};
use nix::unistd::{Gid, Group, Uid, User};

/// What a unit file's author must do about a missing name.
const HELP: &str = "make it with packaging/users (or systemd-sysusers), then start again";

/// The user of this name.
///
/// # Errors
/// There is none, or the user database cannot be read.
pub fn user(name: &str) -> Result<User> {
    User::from_name(name)
        .with_context(|| format!("cannot look up user {name:?}"))?
        .with_context(|| format!("cannot find user {name:?}: {HELP}"))
}

/// The group of this name.
///
/// # Errors
/// There is none, or the group database cannot be read.
pub fn group(name: &str) -> Result<Gid> {
    let found = Group::from_name(name).with_context(|| format!("cannot look up group {name:?}"))?;
    Ok(found.with_context(|| format!("cannot find group {name:?}: {HELP}"))?.gid)
}

/// Owner and group of a place or socket; `None` is root, as in systemd.
///
/// # Errors
/// As [`user`] and [`group`].
pub fn owner(user_name: Option<&str>, group_name: Option<&str>) -> Result<(Uid, Gid)> {
    let uid = user_name.map_or(Ok(Uid::from_raw(0)), |name| user(name).map(|user| user.uid))?;
    let gid = group_name.map_or(Ok(Gid::from_raw(0)), group)?;
    Ok((uid, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_names_are_refused_by_name() {
        let error = user("no-such-user-here").expect_err("refused").to_string();
        assert!(error.contains("\"no-such-user-here\"") && error.contains("packaging/users"), "{error}");
        assert!(group("no-such-group-here").expect_err("refused").to_string().contains("no-such-group-here"));
        assert_eq!(owner(None, None).expect("root"), (Uid::from_raw(0), Gid::from_raw(0)));
    }
}
