//! Flags and environment. A flag wins over its environment variable, which wins over the default.

use std::{collections::BTreeMap, env, path::PathBuf};

/// Bounds on what one owner may hold. `admin.sock` is not bound by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Worlds.
    pub worlds: i64,
    /// Namespaces, over all worlds.
    pub nodes: i64,
    /// Links, over all worlds.
    pub links: i64,
    /// Operations at work at the same time.
    pub operations: i64,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { worlds: 16, nodes: 512, links: 2048, operations: 16 }
    }
}

/// How this daemon is run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where userd keeps what must survive a reboot.
    pub state_dir: PathBuf,
    /// rootd's socket.
    pub rootd_socket: PathBuf,
    /// The socket of rootd's lab role.
    pub lab_socket: PathBuf,
    /// Where worlds' sockets and logs are, one directory per world.
    pub worlds_dir: PathBuf,
    /// Where worlds keep what survives their processes; only the room on its disk is looked at.
    pub worlds_state_dir: PathBuf,
    /// The database: `sqlite:` or `postgres:` URL.
    pub database: String,
    /// Bounds per owner.
    pub quotas: Quotas,
    /// tracing filter.
    pub log: String,
    /// Runtime threads.
    pub threads: usize,
}

/// Why the daemon does not start with these flags.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an error: `--help` or `--version`.
    #[error("{0}")]
    Asked(String),
    /// A flag nobody knows, or one without its value.
    #[error("cannot use the flag {0:?}; see --help")]
    Flag(String),
    /// A value outside its grammar.
    #[error("cannot use {value:?} as {name}: {why}")]
    Value {
        /// The flag.
        name: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: String,
    },
}

/// One flag: its name, its environment variable, its default, what it is for.
struct Flag {
    name: &'static str,
    variable: &'static str,
    default: &'static str,
    help: &'static str,
}

const FLAGS: &[Flag] = &[
    Flag {
        name: "state-dir",
        variable: "STATE_DIRECTORY",
        default: "/var/lib/netengine",
        help: "state that survives a reboot",
    },
    Flag {
        name: "rootd-socket",
        variable: "NETENGINE_ROOTD_SOCKET",
        default: "/run/netengine/rootd.sock",
        help: "rootd's socket",
    },
    Flag {
        name: "lab-socket",
        variable: "NETENGINE_LAB_SOCKET",
        default: "/run/netengine/lab.sock",
        help: "the socket of rootd's firewall lab",
    },
    Flag {
        name: "worlds-dir",
        variable: "NETENGINE_WORLDS_DIR",
        default: "/run/netengine-worlds",
        help: "worlds' sockets and logs",
    },
    Flag {
        name: "worlds-state-dir",
        variable: "NETENGINE_WORLDS_STATE_DIR",
        default: "/var/lib/netengine-worlds",
        help: "where worlds keep what survives their processes",
    },
    Flag {
        name: "db-url",
        variable: "NETENGINE_DB_URL",
        default: "",
        help: "sqlite: or postgres: URL; default STATE-DIR/state.db",
    },
    Flag { name: "quota-worlds", variable: "NETENGINE_QUOTA_WORLDS", default: "16", help: "worlds of one owner" },
    Flag { name: "quota-nodes", variable: "NETENGINE_QUOTA_NODES", default: "512", help: "namespaces of one owner" },
    Flag { name: "quota-links", variable: "NETENGINE_QUOTA_LINKS", default: "2048", help: "links of one owner" },
    Flag {
        name: "quota-operations",
        variable: "NETENGINE_QUOTA_OPERATIONS",
        default: "16",
        help: "operations of one owner at the same time",
    },
    Flag { name: "log", variable: "NETENGINE_LOG", default: "info", help: "what to log, as tracing directives" },
    Flag { name: "threads", variable: "NETENGINE_THREADS", default: "2", help: "threads of the runtime, 1 to 64" },
];

impl Config {
    /// Reads this process's flags and environment.
    ///
    /// # Errors
    /// [`ConfigError`] with the first flag that cannot be used.
    pub fn from_process() -> Result<Self, ConfigError> {
        let arguments = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
        Self::parse(arguments.collect(), |name| env::var(name).ok())
    }

    fn parse(arguments: Vec<String>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut given = BTreeMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--help" | "-h" => return Err(ConfigError::Asked(help())),
                "--version" | "-V" => {
                    return Err(ConfigError::Asked(format!("netengine-userd {}", env!("CARGO_PKG_VERSION"))));
                }
                _ => {}
            }
            let text = argument.strip_prefix("--").ok_or_else(|| ConfigError::Flag(argument.clone()))?;
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (text.to_owned(), arguments.next()),
            };
            let known = FLAGS.iter().any(|flag| flag.name == name);
            match value {
                Some(value) if known => given.insert(name, value),
                _ => return Err(ConfigError::Flag(argument)),
            };
        }
        let text = |name: &str| {
            let flag = FLAGS.iter().find(|flag| flag.name == name);
            let fallback = || flag.and_then(|flag| variable(flag.variable).or_else(|| Some(flag.default.to_owned())));
            given.get(name).cloned().or_else(fallback).unwrap_or_default()
        };
        let path = |name: &str| match text(name) {
            value if value.starts_with('/') => Ok(PathBuf::from(value)),
            value => Err(refuse(name, value, "is not an absolute path")),
        };
        let number = |name: &str, max: i64| match text(name).parse::<i64>() {
            Ok(value) if (0..=max).contains(&value) => Ok(value),
            _ => Err(refuse(name, text(name), &format!("is not a number from 0 to {max}"))),
        };
        let state_dir = path("state-dir")?;
        let database = match text("db-url") {
            url if url.is_empty() => format!("sqlite://{}", state_dir.join("state.db").display()),
            url if url.starts_with("sqlite:") || url.starts_with("postgres:") || url.starts_with("postgresql:") => url,
            // The value may hold a password: it is not repeated.
            _ => return Err(refuse("db-url", "...".to_owned(), "is not a sqlite: or postgres: URL")),
        };
        let quotas = Quotas {
            worlds: number("quota-worlds", 4096)?,
            nodes: number("quota-nodes", 16_384)?,
            links: number("quota-links", 1 << 20)?,
            operations: number("quota-operations", 1024)?,
        };
        let threads = usize::try_from(number("threads", 64)?.max(1)).unwrap_or(1);
        let (rootd_socket, worlds_dir) = (path("rootd-socket")?, path("worlds-dir")?);
        let lab_socket = path("lab-socket")?;
        let worlds_state_dir = path("worlds-state-dir")?;
        Ok(Self {
            state_dir,
            rootd_socket,
            lab_socket,
            worlds_dir,
            worlds_state_dir,
            database,
            quotas,
            log: text("log"),
            threads,
        })
    }
}

fn refuse(name: &str, value: String, why: &str) -> ConfigError {
    ConfigError::Value { name: format!("--{name}"), value, why: why.to_owned() }
}

fn help() -> String {
    let mut text = "netengine-userd: the unprivileged daemon of NetEngine\n\nIts sockets come from the service manager (LISTEN_FDS, names user and admin).\n".to_owned();
    for flag in FLAGS {
        let default = if flag.default.is_empty() { String::new() } else { format!(" [{}]", flag.default) };
        text.push_str(&format!("\n  --{:<18} {}{default} (or {})", flag.name, flag.help, flag.variable));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Config, ConfigError> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        Config::parse(arguments, |name| (name == "STATE_DIRECTORY").then(|| "/from/env".to_owned()))
    }

    #[test]
    fn a_flag_wins_over_its_variable_which_wins_over_the_default() {
        let config = parse(&[]).expect("defaults");
        assert_eq!(
            (config.state_dir.to_str(), config.database.as_str()),
            (Some("/from/env"), "sqlite:///from/env/state.db")
        );
        assert_eq!(config.quotas, Quotas::default());
        let config = parse(&["--state-dir=/a", "--quota-worlds", "3"]).expect("flags");
        assert_eq!((config.state_dir.to_str(), config.quotas.worlds), (Some("/a"), 3));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            &["--nope=1"][..],
            &["x"],
            &["--state-dir"],
            &["--state-dir", "relative"],
            &["--threads=-1"],
            &["--db-url=mysql:x"],
        ] {
            assert!(parse(bad).is_err(), "{bad:?} was accepted");
        }
        let text = parse(&["--db-url=mysql://u:secret@h"]).expect_err("refused").to_string();
        assert!(!text.contains("secret"), "{text}");
    }
}
