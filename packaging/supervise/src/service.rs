//! A `.service` unit, typed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use caps::Capability;
use nix::sys::resource::Resource;

use crate::{
    directive,
    unit::{Entry, Unit},
};

/// Directories whose programs are looked up in `--bin-dir`.
const INSTALLED: [&str; 2] = ["/usr/lib/netengine/", "/usr/bin/netengine"];
/// systemd's defaults.
const TIMEOUT: Duration = Duration::from_secs(90);

/// What a `.service` unit asks for.
#[derive(Debug, Clone)]
pub struct Service {
    /// Unit name, for example `netengine-rootd.service`.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// `User=`; root when absent.
    pub user: Option<String>,
    /// `Group=`; the user's own when absent.
    pub group: Option<String>,
    /// `SupplementaryGroups=`, beside those of the user database.
    pub supplementary: Vec<String>,
    /// `UMask=`.
    pub umask: u32,
    /// `AmbientCapabilities=`.
    pub ambient: Vec<Capability>,
    /// `CapabilityBoundingSet=`; everything when absent.
    pub bounding: Option<Vec<Capability>>,
    /// `NoNewPrivileges=`.
    pub no_new_privileges: bool,
    /// `Limit*=`.
    pub limits: Vec<(Resource, u64)>,
    /// `RuntimeDirectory=`, `RuntimeDirectoryMode=`, and whether it is kept.
    pub runtime: Directories,
    /// `StateDirectory=`, `StateDirectoryMode=`; always kept.
    pub state: Directories,
    /// `Type=notify`: it is ready when it says so; otherwise as soon as it runs.
    pub notifies: bool,
    /// `Restart=always`.
    pub restarts: bool,
    /// `RestartSec=`.
    pub restart_pause: Duration,
    /// `TimeoutStartSec=`.
    pub start_timeout: Duration,
    /// `TimeoutStopSec=`.
    pub stop_timeout: Duration,
    /// `Environment=` and `EnvironmentFile=`.
    pub environment: Vec<(String, String)>,
    /// `Sockets=`, in the order in which they are passed.
    pub sockets: Vec<String>,
}

/// Directories that a service is given under `/run` or `/var/lib`.
#[derive(Debug, Clone, Default)]
pub struct Directories {
    /// Names, one path component each.
    pub names: Vec<String>,
    /// Their mode.
    pub mode: u32,
    /// Whether they stay when the service stops.
    pub kept: bool,
}

impl Service {
    /// Reads the directives of a unit; `bin_dir` replaces the directory of an installed program.
    ///
    /// # Errors
    /// A value that means nothing, an `ExecStart=` that is not one absolute program, an unsupported `Type=` or `Restart=`.
    pub fn from_unit(unit: &Unit, bin_dir: Option<&Path>) -> Result<Self> {
        let last = |key| unit.last("Service", key);
        let text = |key| last(key).map(|entry| entry.value.clone());
        let span = |key, default| last(key).map_or(Ok(default), directive::duration);
        let mode = |key, default| last(key).map_or(Ok(default), directive::mode);
        let choice = |key, default: bool, choices: [(&str, bool); 2]| choose(last(key), default, choices);
        Ok(Self {
            name: unit.name.clone(),
            command: command(unit, bin_dir)?,
            user: text("User"),
            group: text("Group"),
            supplementary: unit.words("Service", "SupplementaryGroups"),
            umask: mode("UMask", 0o022)?,
            ambient: directive::capabilities(unit, "AmbientCapabilities")?,
            bounding: unit
                .has("Service", "CapabilityBoundingSet")
                .then(|| directive::capabilities(unit, "CapabilityBoundingSet"))
                .transpose()?,
            no_new_privileges: last("NoNewPrivileges").map_or(Ok(false), directive::boolean)?,
            limits: directive::limits(unit)?,
            runtime: Directories {
                names: directory_names(unit, "RuntimeDirectory")?,
                mode: mode("RuntimeDirectoryMode", 0o755)?,
                kept: last("RuntimeDirectoryPreserve").map_or(Ok(false), directive::boolean)?,
            },
            state: Directories {
                names: directory_names(unit, "StateDirectory")?,
                mode: mode("StateDirectoryMode", 0o755)?,
                kept: true,
            },
            notifies: choice("Type", false, [("notify", true), ("simple", false)])?,
            restarts: choice("Restart", false, [("always", true), ("no", false)])?,
            restart_pause: span("RestartSec", Duration::from_millis(100))?,
            start_timeout: span("TimeoutStartSec", TIMEOUT)?,
            stop_timeout: span("TimeoutStopSec", TIMEOUT)?,
            environment: environment(unit)?,
            sockets: unit.words("Service", "Sockets"),
        })
    }
}

fn choose(entry: Option<&Entry>, default: bool, choices: [(&str, bool); 2]) -> Result<bool> {
    let Some(entry) = entry else { return Ok(default) };
    match choices.iter().find(|(word, _)| *word == entry.value) {
        Some((_, choice)) => Ok(*choice),
        None => bail!("{}: {}={} is not supported here", entry.place, entry.key, entry.value),
    }
}

fn command(unit: &Unit, bin_dir: Option<&Path>) -> Result<Vec<String>> {
    let commands = unit.all("Service", "ExecStart");
    let [entry] = commands[..] else { bail!("{}: needs exactly one ExecStart=", unit.name) };
    // Quotes, specifiers and variables have meanings in systemd that are not done here.
    if entry.value.contains(['"', '\'', '%', '$']) || !entry.value.starts_with('/') {
        bail!("{}: ExecStart= must be an absolute path with plain arguments", entry.place);
    }
    Ok(entry.value.split_whitespace().map(|word| located(word, bin_dir)).collect())
}

fn located(word: &str, bin_dir: Option<&Path>) -> String {
    match (bin_dir, Path::new(word).file_name()) {
        (Some(bin_dir), Some(name)) if INSTALLED.iter().any(|place| word.starts_with(place)) => {
            bin_dir.join(name).display().to_string()
        }
        _ => word.to_owned(),
    }
}

fn directory_names(unit: &Unit, key: &str) -> Result<Vec<String>> {
    let names = unit.words("Service", key);
    match names.iter().find(|name| name.contains('/') || name.starts_with('.')) {
        Some(name) => bail!("{}: {key}={name} must be one plain directory name", unit.name),
        None => Ok(names),
    }
}

fn environment(unit: &Unit) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for entry in unit.all("Service", "Environment") {
        for word in entry.value.split_whitespace() {
            pairs.push(pair(word).with_context(|| entry.place.clone())?);
        }
    }
    for entry in unit.all("Service", "EnvironmentFile") {
        let (path, optional) = match entry.value.strip_prefix('-') {
            Some(path) => (PathBuf::from(path), true),
            None => (PathBuf::from(&entry.value), false),
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
            pairs.push(pair(line).with_context(|| path.display().to_string())?);
        }
    }
    Ok(pairs)
}

fn pair(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').with_context(|| format!("{text:?} is not NAME=VALUE"))?;
    let unquoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    Ok((name.to_owned(), unquoted.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Result<Service> {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("toy.service");
        fs::write(&path, text).expect("written");
        Service::from_unit(&Unit::read(&path)?, Some(Path::new("/bin-dir")))
    }

    #[test]
    fn our_own_units_are_understood_whole() {
        let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd");
        for (name, program, capabilities, sockets, kept) in [
            ("netengine-rootd.service", "netengine-rootd", 4, 2, true),
            ("netengine-spawn.service", "netengine-rootd", 5, 1, false),
            ("netengine-lab.service", "netengine-rootd", 7, 1, false),
            ("netengine-userd.service", "netengine-userd", 0, 2, false),
        ] {
            let unit = Unit::read(&units.join(name)).expect("readable");
            directive::check(&unit).expect("no unknown directive");
            let service = Service::from_unit(&unit, Some(Path::new("/b"))).expect("understood");
            assert_eq!(service.ambient.len(), capabilities);
            assert_eq!(service.bounding.as_ref().map(Vec::len), Some(capabilities));
            assert_eq!(service.command[0], format!("/b/{program}"));
            assert!(
                !service.command.iter().any(|word| word.starts_with("/usr/lib/netengine/")),
                "{:?}",
                service.command
            );
            assert_eq!(service.runtime.kept, kept);
            assert!(service.notifies && service.restarts && service.no_new_privileges);
            assert_eq!(service.sockets.len(), sockets);
            assert_eq!(service.umask, 0o077);
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for text in [
            "[Service]\n",
            "[Service]\nExecStart=relative\n",
            "[Service]\nExecStart=/bin/sh -c \"x y\"\n",
            "[Service]\nExecStart=/bin/a\nExecStart=/bin/b\n",
            "[Service]\nExecStart=/bin/a\nType=forking\n",
            "[Service]\nExecStart=/bin/a\nStateDirectory=../etc\n",
            "[Service]\nExecStart=/bin/a\nAmbientCapabilities=CAP_MAGIC\n",
            "[Service]\nExecStart=/bin/a\nEnvironmentFile=/no/such/file\n",
        ] {
            assert!(service(text).is_err(), "accepted: {text}");
        }
    }

    #[test]
    fn only_installed_programs_are_looked_up_elsewhere() {
        let text = "[Service]\nExecStart=/usr/bin/strace -f /usr/lib/netengine/netengine-rootd\nEnvironment=A=1 B=2\n";
        let service = service(text).expect("understood");
        assert_eq!(service.command, ["/usr/bin/strace", "-f", "/bin-dir/netengine-rootd"]);
        assert_eq!(service.environment, [("A".into(), "1".into()), ("B".into(), "2".into())]);
    }
}
