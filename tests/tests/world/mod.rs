//! A world of a shipped example and other people's clients in its vantage hosts, run through `netengine exec`.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use netengine_tests::{ALICE, EXAMPLES, Host, Person, ROOT};

use crate::judge::{Ran, inside, netengine, run};

/// Inside a host: the clients of PyPI and npm, and the scripts of `tests/clients`.
pub const CLIENTS: &str = "/run/netengine-clients/world-clients";
/// Inside a host: Python with those of PyPI.
pub const PYTHON: &str = "/run/netengine-clients/world-clients/venv/bin/python";

/// A host with one world on it, which belongs to alice.
pub struct World {
    pub host: Host,
    pub name: String,
}

impl World {
    /// Brings up `examples/EXAMPLE.yaml`, whose world has the same name, with these `--set`s.
    #[track_caller]
    pub fn up(example: &str, sets: &[&str]) -> Self {
        Self::of(Host::new(), &format!("{EXAMPLES}/{example}.yaml"), example, sets)
    }

    /// Brings up a spec file on a host.
    #[track_caller]
    pub fn of(host: Host, spec: &str, name: &str, sets: &[&str]) -> Self {
        let mut args = vec!["up", spec];
        sets.iter().for_each(|set| args.extend(["--set", set]));
        run(&host, ALICE, &args).ok();
        Self { host, name: name.to_owned() }
    }

    /// What a script prints in the vantage host `core`; it must succeed.
    #[track_caller]
    pub fn says(&self, script: &str) -> String {
        self.attempt(script).ok().out
    }

    /// As [`World::says`], in another vantage host.
    #[track_caller]
    pub fn says_at(&self, vantage: &str, script: &str) -> String {
        inside(&self.host, ALICE, &format!("{}/{vantage}", self.name), script).ok().out
    }

    /// Runs a script in the vantage host `core`, whatever its end.
    #[track_caller]
    pub fn attempt(&self, script: &str) -> Ran {
        inside(&self.host, ALICE, &self.name, &format!("cd $HOME; {script}"))
    }

    /// The one secret of this kind and name; `issuer` as far as it must end so.
    #[track_caller]
    pub fn secret(&self, kind: &str, name: &str, issuer: &str) -> String {
        let args = ["credentials", &self.name, "--kind", kind, "--name", name, "--json"];
        let found = run(&self.host, ALICE, &args).ok().json();
        let all = found.as_array().expect("an array");
        let fits = |one: &&serde_json::Value| one["issuer"].as_str().is_some_and(|held| held.ends_with(issuer));
        let fitting: Vec<_> = all.iter().filter(fits).collect();
        assert_eq!(fitting.len(), 1, "{kind} {name} {issuer}: {} of {}", fitting.len(), all.len());
        fitting[0]["secret"].as_str().expect("text").to_owned()
    }

    /// A TSIG key as dig, nsupdate and kdig take it with `-y`.
    #[track_caller]
    pub fn tsig(&self, name: &str) -> String {
        format!("hmac-sha256:{name}:{}", self.secret("tsig", name, ""))
    }

    /// The serial numbers of all certificates that alice sees, with state and names.
    #[track_caller]
    pub fn certificates(&self) -> Vec<serde_json::Value> {
        let listed = run(&self.host, ALICE, &["pki", "list", &self.name, "--json"]).ok().json();
        listed.as_array().expect("an array").clone()
    }

    /// Starts a script in the vantage host `core`; it ends with the guard.
    pub fn background(&self, script: &str) -> Background {
        self.background_at("core", script)
    }

    /// As [`World::background`], in another vantage host.
    pub fn background_at(&self, vantage: &str, script: &str) -> Background {
        Background::of(&self.host, ALICE, &format!("{}/{vantage}", self.name), &format!("cd $HOME; {script}"))
    }

    /// Installs the clients of PyPI and npm, once for all tests, and lays them into the host.
    #[track_caller]
    pub fn with_clients(self) -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let prepare = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/prepare");
        let prepared = Command::new("sh").arg(prepare).arg(place).output().expect("sh runs");
        assert!(prepared.status.success(), "prepare: {}", String::from_utf8_lossy(&prepared.stderr));
        let place = place.to_str().expect("text");
        let lay = format!("mkdir -p /run/netengine-clients; mount --bind '{place}' /run/netengine-clients");
        self.host.shell(ROOT, &lay);
        self
    }
}

/// A command that runs beside the test; ending the CLI ends it in the world (rootd sees the connection close).
pub struct Background(Child);

impl Background {
    /// Starts a script of a user in a vantage host, `WORLD/HOST`.
    pub fn of(host: &Host, person: Person, target: &str, script: &str) -> Self {
        let mut command = host.command(person, &netengine());
        command.args(["exec", target, "--", "/bin/sh", "-c", script]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the CLI starts"))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            netengine_tests::signal(&self.0, nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}

/// The lines of a text, sorted.
pub fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}
