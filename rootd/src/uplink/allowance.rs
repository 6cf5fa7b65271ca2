//! Who may have an uplink, written by root: `/etc/netengine/uplink.conf`.
//!
//! Each line is one of
//! ```text
//! allow user NAME            # or a numeric uid
//! allow group NAME
//! inbound ADDRESS FIRST-LAST # TCP ports of the host, IPv4, where worlds may be reached
//! reach CIDR                 # a private network that worlds may reach beside the internet
//! ```
//! A missing file allows nobody, and so does one with a mistake. It is read again when it changes, or the host's users and groups do.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::Read,
    net::Ipv4Addr,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use ipnet::IpNet;
use nix::libc;
use serde::{Deserialize, Serialize};

/// Bytes of the file; thousands of lines.
const BYTES: u64 = 256 << 10;

/// Why this file allows nobody. What it means must not be guessed.
#[derive(Debug, thiserror::Error)]
pub enum AllowanceError {
    /// It exists and cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(String, std::io::Error),
    /// Others than root may write it.
    #[error("cannot trust {0}: it must be a plain file of root that nobody else may write")]
    Trust(String),
    /// A line that means nothing.
    #[error("cannot read {file} line {line}: {why}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// Where worlds may be reached from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// The host's address that is listened on; 0.0.0.0 is every one.
    pub address: Ipv4Addr,
    /// The lowest port.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

/// What an administrator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// The uids whose worlds may have an uplink.
    pub users: BTreeSet<u32>,
    /// Where they may be reached, if anywhere.
    pub inbound: Option<Inbound>,
    /// Private networks that they may reach.
    pub reach: Vec<IpNet>,
}

/// The user database, as far as it is asked.
pub trait Accounts {
    /// The uid of a name.
    fn user(&self, name: &str) -> Option<u32>;
    /// The uids of a group's members, those whose primary group it is included.
    fn members(&self, group: &str) -> Option<Vec<u32>>;
}

impl Allowance {
    /// Reads the file; a missing one allows nobody.
    ///
    /// # Errors
    /// [`AllowanceError`].
    pub fn read(path: &Path, accounts: &impl Accounts) -> Result<Self, AllowanceError> {
        let name = path.display().to_string();
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
        let file = match opened {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.map_err(|error| AllowanceError::Read(name.clone(), error))?,
        };
        let about = file.metadata().map_err(|error| AllowanceError::Read(name.clone(), error))?;
        if about.uid() != 0 || about.mode() & 0o022 != 0 || !about.is_file() || about.len() > BYTES {
            return Err(AllowanceError::Trust(name));
        }
        let mut text = String::new();
        file.take(BYTES).read_to_string(&mut text).map_err(|error| AllowanceError::Read(name.clone(), error))?;
        Self::parse(&text, accounts).map_err(|(line, why)| AllowanceError::Line { file: name, line, why })
    }

    /// Reads the text. The error is the line, from 1, and what is wrong with it.
    fn parse(text: &str, accounts: &impl Accounts) -> Result<Self, (usize, String)> {
        let mut found = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let fault = |why: String| (number, why);
            match words[..] {
                [] => {}
                ["allow", "user", name] => {
                    let uid = name.parse().ok().or_else(|| accounts.user(name));
                    let uid = uid.ok_or_else(|| fault(format!("there is no user {name:?}")))?;
                    found.users.insert(uid);
                }
                ["allow", "group", name] => {
                    let members = accounts.members(name);
                    found.users.extend(members.ok_or_else(|| fault(format!("there is no group {name:?}")))?);
                }
                ["inbound", address, ports] if found.inbound.is_none() => {
                    found.inbound = Some(inbound(address, ports).ok_or_else(|| {
                        fault(format!("{address} {ports} is not an IPv4 address with ports FIRST-LAST"))
                    })?);
                }
                ["inbound", ..] => return Err(fault("`inbound ADDRESS FIRST-LAST` stands once".to_owned())),
                ["reach", net] => {
                    let net: IpNet = net.parse().map_err(|_| fault(format!("{net:?} is not a network")))?;
                    found.reach.push(net.trunc());
                }
                [word, ..] => return Err(fault(format!("{word:?} begins no line that is known"))),
            }
        }
        // Root's worlds are features' trials; the overflow uid is nobody's.
        found.users.retain(|uid| *uid != 0 && *uid != 65_534);
        Ok(found)
    }
}

fn inbound(address: &str, ports: &str) -> Option<Inbound> {
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let found = Inbound { address: address.parse().ok()?, first: first.parse().ok()?, last: last.parse().ok()? };
    (found.first > 0 && found.first <= found.last).then_some(found)
}

/// The user database of this host.
#[derive(Debug, Clone, Copy)]
pub struct Host;

impl Accounts for Host {
    fn user(&self, name: &str) -> Option<u32> {
        nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn members(&self, group: &str) -> Option<Vec<u32>> {
        let group = nix::unistd::Group::from_name(group).ok().flatten()?;
        let mut members: Vec<u32> = group.mem.iter().filter_map(|name| self.user(name)).collect();
        // Whose primary group it is stands in the list of users alone (passwd(5)).
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        for line in passwd.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [_, _, uid, gid, ..] = fields[..]
                && gid.parse() == Ok(group.gid.as_raw())
            {
                members.extend(uid.parse::<u32>().ok());
            }
        }
        Some(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Some4;

    impl Accounts for Some4 {
        fn user(&self, name: &str) -> Option<u32> {
            (name == "alice").then_some(1000)
        }

        fn members(&self, group: &str) -> Option<Vec<u32>> {
            (group == "labs").then(|| vec![1001, 1002, 0])
        }
    }

    #[test]
    fn an_allowance_is_read_line_by_line() {
        let text = "# who\nallow user alice\nallow user 4711\n  allow group labs # all\n\ninbound 192.0.2.1 20000-20999\nreach 10.1.2.3/8\n";
        let found = Allowance::parse(text, &Some4).expect("readable");
        assert_eq!(found.users, BTreeSet::from([1000, 1001, 1002, 4711]));
        let address = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(found.inbound, Some(Inbound { address, first: 20_000, last: 20_999 }));
        assert_eq!(found.reach, ["10.0.0.0/8".parse::<IpNet>().expect("a network")]);
    }

    #[test]
    fn what_is_not_understood_allows_nothing() {
        for (text, line) in [
            ("allow alice", 1),
            ("\nallow user bob", 2),
            ("allow group nobody", 1),
            ("inbound 0.0.0.0 0-10", 1),
            ("inbound 0.0.0.0 30-20", 1),
            ("inbound ::1 1-2", 1),
            ("inbound 0.0.0.0 1-2\ninbound 0.0.0.0 3-4", 2),
            ("reach 10.0.0.0/33", 1),
            ("allow user alice bob", 1),
            ("deny user alice", 1),
        ] {
            assert_eq!(Allowance::parse(text, &Some4).expect_err("refused").0, line, "{text}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("uplink.conf");
        assert_eq!(Allowance::read(&path, &Some4).expect("absent is nobody"), Allowance::default());
        std::fs::write(&path, "allow user alice\n").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("mode");
        assert!(matches!(Allowance::read(&path, &Some4), Err(AllowanceError::Trust(_))));
    }
}
