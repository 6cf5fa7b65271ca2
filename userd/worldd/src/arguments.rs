//! The command line. Written by rootd's spawn worker only, so it is short and strict; there is no configuration file.
//!
//! ```text
//! netengine-worldd --role worldd --world ID --peer-uid N [--dir DIR] [--control NAME] [--data DIR]
//! netengine-worldd --role gateway --world ID --peer-uid N [--dir DIR] [--control NAME]
//! netengine-worldd --role prober --host NAME --world ID --peer-uid N [--dir DIR] [--control NAME]
//! ```

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use netengine_proto::{
    ids::{Uid, WorldId},
    names::HostName,
};

/// What this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The world's services.
    Worldd,
    /// The services of the world's router.
    Gateway,
    /// The live checks' client in this vantage host.
    Prober(HostName),
}

impl Role {
    /// The word for it on the control socket and in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Role::Worldd => "worldd",
            Role::Gateway => "gateway",
            Role::Prober(_) => "prober",
        }
    }
}

/// A command line that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// What to be.
    pub role: Role,
    /// Which world's.
    pub world: WorldId,
    /// The world's run directory.
    pub dir: PathBuf,
    /// The control socket's file name in `dir`.
    pub control: String,
    /// Where a world keeps what outlives its run, absolute; worldd only.
    pub data: Option<PathBuf>,
    /// The only uid whose connections to the control socket are read.
    pub peer: Uid,
}

/// Why a command line was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// An argument is not Unicode.
    #[error("cannot read the arguments: {0:?} is not text")]
    NotText(OsString),
    /// No such flag.
    #[error("cannot read the arguments: {0:?} is not a flag")]
    Unknown(String),
    /// A flag without its value.
    #[error("cannot read the arguments: {0} needs a value")]
    NoValue(String),
    /// A flag twice.
    #[error("cannot read the arguments: {0} is given twice")]
    Twice(&'static str),
    /// A flag that must be there.
    #[error("cannot read the arguments: {0} is missing")]
    Missing(&'static str),
    /// A flag whose value is not acceptable.
    #[error("cannot read the arguments: {flag} {value:?} {reason}")]
    Value {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

const FLAGS: [&str; 7] = ["--role", "--world", "--host", "--dir", "--control", "--peer-uid", "--data"];

impl Arguments {
    /// Parses the arguments after the program's name.
    ///
    /// # Errors
    /// [`ArgumentError`] with the first thing that is wrong.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ArgumentError> {
        let mut given: [Option<String>; FLAGS.len()] = Default::default();
        let mut arguments = arguments.into_iter().map(|text| text.into_string().map_err(ArgumentError::NotText));
        while let Some(flag) = arguments.next() {
            let flag = flag?;
            let Some(index) = FLAGS.iter().position(|known| *known == flag) else {
                return Err(ArgumentError::Unknown(flag));
            };
            let value = arguments.next().ok_or(ArgumentError::NoValue(flag))??;
            if given[index].replace(value).is_some() {
                return Err(ArgumentError::Twice(FLAGS[index]));
            }
        }
        let [role, world, host, dir, control, peer, data] = given;

        let role = match (required("--role", role)?, host) {
            (role, None) if role == "worldd" => Role::Worldd,
            (role, None) if role == "gateway" => Role::Gateway,
            (role, Some(host)) if role == "prober" => {
                Role::Prober(HostName::parse(&host).map_err(|error| wrong("--host", host, error))?)
            }
            (role, None) if role == "prober" => return Err(ArgumentError::Missing("--host")),
            (role, Some(host)) if role == "worldd" || role == "gateway" => {
                return Err(wrong("--host", host, "is for a prober only"));
            }
            (role, _) => return Err(wrong("--role", role, "is none of worldd, gateway, prober")),
        };
        let world = required("--world", world)?;
        let world = WorldId::parse(&world).map_err(|error| wrong("--world", world, error))?;
        let peer = required("--peer-uid", peer)?;
        let peer = match peer.parse() {
            Ok(uid) if Uid(uid) == Uid::OVERFLOW => {
                return Err(wrong("--peer-uid", peer, "is what unmapped users look like"));
            }
            Ok(uid) => Uid(uid),
            Err(_) => return Err(wrong("--peer-uid", peer, "is not a user id")),
        };
        let control = control.unwrap_or_else(|| match &role {
            Role::Worldd => "control.sock".to_owned(),
            Role::Gateway => "gateway.sock".to_owned(),
            Role::Prober(host) => format!("prober-{host}.sock"),
        });
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if control.is_empty() || control.starts_with(['.', '-']) || !control.bytes().all(plain) {
            return Err(wrong("--control", control, "is not a plain file name"));
        }
        let data = match (data, &role) {
            (Some(data), Role::Worldd) if Path::new(&data).is_absolute() => Some(PathBuf::from(data)),
            (Some(data), Role::Worldd) => return Err(wrong("--data", data, "is not absolute")),
            (Some(data), _) => return Err(wrong("--data", data, "is for worldd only")),
            (None, _) => None,
        };
        Ok(Self { role, world, dir: dir.map_or_else(|| PathBuf::from("."), PathBuf::from), control, data, peer })
    }
}

fn required(flag: &'static str, value: Option<String>) -> Result<String, ArgumentError> {
    value.ok_or(ArgumentError::Missing(flag))
}

fn wrong(flag: &'static str, value: String, reason: impl ToString) -> ArgumentError {
    ArgumentError::Value { flag, value, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, ArgumentError> {
        Arguments::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn all_roles_have_their_defaults() {
        let worldd = parse("--role worldd --world 0001020304050607 --peer-uid 7").expect("parses");
        assert_eq!((worldd.control.as_str(), worldd.peer, worldd.role), ("control.sock", Uid(7), Role::Worldd));
        assert_eq!(worldd.data, None);
        let worldd = parse("--role worldd --world 0001020304050607 --peer-uid 7 --data /d").expect("parses");
        assert_eq!(worldd.data, Some(PathBuf::from("/d")));
        let gateway = parse("--role gateway --world 0001020304050607 --peer-uid 7").expect("parses");
        assert_eq!((gateway.control.as_str(), gateway.role), ("gateway.sock", Role::Gateway));
        let prober =
            parse("--role prober --host core-2 --world 0001020304050607 --peer-uid 7 --dir /x").expect("parses");
        assert_eq!((prober.control.as_str(), prober.dir), ("prober-core-2.sock", PathBuf::from("/x")));
    }

    #[test]
    fn anything_else_is_refused() {
        let base = "--role worldd --world 0001020304050607";
        for bad in [
            String::new(),
            base.to_owned(),
            format!("{base} --peer-uid 65534"),
            format!("{base} --peer-uid -1"),
            format!("{base} --peer-uid 4294967296"),
            format!("{base} --peer-uid"),
            format!("{base} --peer-uid 1 --peer-uid 1"),
            format!("{base} --peer-uid 1 --host core"),
            format!("{base} --peer-uid 1 --verbose 1"),
            format!("{base} --peer-uid 1 --data d"),
            "--role gateway --world 0001020304050607 --peer-uid 1 --data /d".to_owned(),
            "--role gateway --world 0001020304050607 --peer-uid 1 --host core".to_owned(),
            format!("{base} --peer-uid 1 --control ../x"),
            format!("{base} --peer-uid 1 --control .."),
            format!("{base} --peer-uid 1 --control a/b"),
            "--role worldd --world ../1020304050607 --peer-uid 1".to_owned(),
            "--role prober --world 0001020304050607 --peer-uid 1".to_owned(),
            "--role prober --host a/b --world 0001020304050607 --peer-uid 1".to_owned(),
            "--role decoy --world 0001020304050607 --peer-uid 1".to_owned(),
        ] {
            assert!(parse(&bad).is_err(), "{bad:?} was accepted");
        }
    }
}
