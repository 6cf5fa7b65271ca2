//! Configuration: the command line of the unit file, written by root.

use std::path::PathBuf;

use nix::unistd::{User, getgrouplist};

use crate::{
    uplink::serve::Place,
    worker::{
        lab::LabSite,
        spawn::{Account, Site},
    },
};

/// Which of the units this process is the main process of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Broker, net and ns worker.
    Root,
    /// The spawn worker.
    Spawn,
    /// The uplinks' forwarder.
    Uplink,
    /// Sandboxes of the firewall lab.
    Lab,
}

/// Everything rootd is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which unit.
    pub role: Role,
    /// Where the spawn worker listens for the broker.
    pub spawn_socket: PathBuf,
    /// The only uid that may speak on `rootd.sock`.
    pub userd_uid: u32,
    /// rootd's own run directory.
    pub run_directory: PathBuf,
    /// What the spawn worker needs.
    pub site: Site,
    /// What the lab role needs; the others are not told.
    pub lab: Option<LabSite>,
    /// Where the uplink service listens for the broker.
    pub uplink_socket: PathBuf,
    /// The file that tells who may have an uplink.
    pub uplink_config: PathBuf,
    /// What the uplink service needs.
    pub uplink: Place,
}

/// Why rootd does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An option that does not exist.
    #[error("cannot read the command line: unknown option {0:?}")]
    Unknown(String),
    /// An option without its value.
    #[error("cannot read the command line: {0} needs a value")]
    Value(String),
    /// A role that does not exist.
    #[error("cannot read the command line: --role is root, spawn, uplink or lab, not {0:?}")]
    Role(String),
    /// An account that does not exist.
    #[error("cannot find user {0}: create it with the package's sysusers file or `make deps`")]
    Account(String),
    /// An account that must not be used.
    #[error("cannot run anything as user {0}: it is root")]
    Root(String),
}

impl Config {
    /// Reads the command line; each option has a default that fits the packages.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_arguments(arguments: impl IntoIterator<Item = String>) -> Result<Self, ConfigError> {
        let mut role = Role::Root;
        let mut spawn_socket = PathBuf::from("/run/netengine/spawn.sock");
        let mut userd_user = "netengine".to_owned();
        let mut world_user = "netengine-world".to_owned();
        let mut lab_user = "netengine-lab".to_owned();
        let mut lab = PathBuf::from("/usr/lib/netengine/netengine-lab");
        let mut nft = PathBuf::from("/usr/lib/netengine/netengine-nft");
        let mut worldd = PathBuf::from("/usr/lib/netengine/netengine-worldd");
        let mut run_directory = PathBuf::from("/run/netengine-rootd");
        let mut worlds_run = PathBuf::from("/run/netengine-worlds");
        let mut worlds_state = PathBuf::from("/var/lib/netengine-worlds");
        let mut uplink_socket = PathBuf::from("/run/netengine/uplink.sock");
        let mut uplink_config = PathBuf::from("/etc/netengine/uplink.conf");
        let mut rootd_user = "netengine-rootd".to_owned();
        let mut passt = PathBuf::from("/usr/bin/passt");
        let mut arguments = arguments.into_iter();
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| ConfigError::Value(option.clone()));
            match option.as_str() {
                "--role" => {
                    role = match value()?.as_str() {
                        "root" => Role::Root,
                        "spawn" => Role::Spawn,
                        "uplink" => Role::Uplink,
                        "lab" => Role::Lab,
                        other => return Err(ConfigError::Role(other.to_owned())),
                    }
                }
                "--spawn-socket" => spawn_socket = value()?.into(),
                "--userd-user" => userd_user = value()?,
                "--world-user" => world_user = value()?,
                "--lab-user" => lab_user = value()?,
                "--lab" => lab = value()?.into(),
                "--nft" => nft = value()?.into(),
                "--worldd" => worldd = value()?.into(),
                "--run-dir" => run_directory = value()?.into(),
                "--worlds-run-dir" => worlds_run = value()?.into(),
                "--worlds-state-dir" => worlds_state = value()?.into(),
                "--uplink-socket" => uplink_socket = value()?.into(),
                "--uplink-config" => uplink_config = value()?.into(),
                "--rootd-user" => rootd_user = value()?,
                "--passt" => passt = value()?.into(),
                _ => return Err(ConfigError::Unknown(option)),
            }
        }
        let userd_uid = account(&userd_user)?.uid;
        let world = account(&world_user)?;
        let site = Site { worldd, world, userd_uid, worlds_run, worlds_state, uplink_config: uplink_config.clone() };
        let uplink = Place { passt, rootd_uid: account(&rootd_user)?.uid };
        // Worlds do without the lab's account.
        let lab = match role {
            Role::Lab => Some(LabSite { lab, nft, account: account(&lab_user)?, userd_uid }),
            Role::Root | Role::Spawn | Role::Uplink => None,
        };
        Ok(Self { role, spawn_socket, userd_uid, run_directory, site, lab, uplink_socket, uplink_config, uplink })
    }
}

fn account(name: &str) -> Result<Account, ConfigError> {
    let missing = || ConfigError::Account(name.to_owned());
    let user = User::from_name(name).ok().flatten().ok_or_else(missing)?;
    if user.uid.is_root() {
        return Err(ConfigError::Root(name.to_owned()));
    }
    let c_name = std::ffi::CString::new(name).map_err(|_| missing())?;
    let groups = getgrouplist(&c_name, user.gid).map_err(|_| missing())?;
    Ok(Account {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(|g| g.as_raw()).collect(),
    })
}
