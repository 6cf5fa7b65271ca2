//! A throw-away host.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::Arc,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Person, Snapshot, daemons::Daemons, enter::Doors, people::ROOT};

/// Inside a host: the built binaries.
pub const BIN: &str = "/run/netengine-bin";
/// Inside a host: this repository's `examples/`.
pub const EXAMPLES: &str = "/run/netengine-examples";
/// Inside a host: files of the test, homes, units.
pub const SCRATCH: &str = "/run/netengine-test";

/// Makes what is foreign to NetEngine and must never be touched by it.
const FOREIGN: &str = "set -e
ip netns add foreign
ip link add foreign0 type veth peer name foreign1
ip link set foreign0 addrgenmode none
ip link set foreign1 addrgenmode none
ip link set foreign1 up
ip address add 198.51.100.1/24 dev foreign0
ip address add 2001:db8:f::1/64 dev foreign0 nodad
ip link set foreign0 up
ip route add 203.0.113.0/24 via 198.51.100.2
ip rule add from 198.51.100.9 lookup 77
nft add table inet foreign
nft add chain inet foreign input '{ type filter hook input priority 0; policy accept; }'
nft add rule inet foreign input tcp dport 4711 drop comment '\"not ours\"'
ip netns exec foreign nft add table inet foreign-inside";

/// A throw-away host. Everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Host {
    init: Child,
    life: Option<ChildStdin>,
    init_pid: Pid,
    pid_namespace: u64,
    doors: Arc<Doors>,
    daemons: Option<Daemons>,
}

impl Host {
    /// A host without daemons.
    ///
    /// # Panics
    /// Not root, or a namespace cannot be made.
    pub fn bare() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "root tests make namespaces: run them as root");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"]);
        command.arg(bin_dir().join("host-init")).arg(bin_dir()).arg(repository().join("examples"));
        let mut init = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare(1) starts");
        let mut line = String::new();
        BufReader::new(init.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
        let pid = line.strip_prefix("ready ").and_then(|pid| pid.trim().parse().ok());
        let init_pid = Pid::from_raw(pid.expect("host-init is ready; its error is above"));
        Self {
            life: init.stdin.take(),
            init_pid,
            pid_namespace: pid_namespace(init_pid).expect("it runs"),
            doors: Arc::new(Doors::of(init_pid).expect("it runs")),
            daemons: None,
            init,
        }
    }

    /// A host with rootd and userd running.
    ///
    /// # Panics
    /// As [`Host::bare`], or a daemon is not built or not ready.
    pub fn new() -> Self {
        Self::with_drop_ins(&[])
    }

    /// As [`Host::new`], with drop-ins: unit name (`netengine-userd.service`) and text.
    ///
    /// # Panics
    /// As [`Host::new`].
    pub fn with_drop_ins(drop_ins: &[(&str, &str)]) -> Self {
        let mut host = Self::bare();
        let units = host.copy_units(&repository().join("systemd"));
        for (unit, text) in drop_ins {
            host.file(&format!("units/{unit}.d/test.conf"), text);
        }
        host.start_daemons(&units, &["netengine-spawn", "netengine-rootd", "netengine-userd"]);
        host
    }

    /// Copies unit files into the host; gives their directory inside it.
    ///
    /// # Panics
    /// They cannot be read.
    pub fn copy_units(&self, from: &Path) -> String {
        let copy = |from: &Path, to: &str| {
            for entry in fs::read_dir(from).expect("unit files") {
                let path = entry.expect("entry").path();
                if path.is_file() {
                    let name = path.file_name().expect("name").display();
                    self.file(&format!("{to}/{name}"), &fs::read_to_string(&path).expect("readable"));
                }
            }
        };
        copy(from, "units");
        copy(&from.join("tmpfiles.d"), "units/tmpfiles.d");
        format!("{SCRATCH}/units")
    }

    /// Starts the services of a units directory (inside the host) and waits until they are ready.
    ///
    /// # Panics
    /// They are not built, or not ready.
    pub fn start_daemons(&mut self, units: &str, services: &[&str]) {
        let mut command = self.command(ROOT, &format!("{BIN}/netengine-supervise"));
        command.args(["--units", units, "--bin-dir", BIN, "run"]);
        self.daemons = Some(Daemons::start(command, services));
    }

    /// Stops the daemons as `systemctl stop` would; what outlives them stays.
    ///
    /// # Panics
    /// None were started, or the supervisor does not end well.
    pub fn stop_daemons(&mut self) {
        self.daemons.take().expect("daemons were started").stop();
    }

    /// A command to be run inside the host by one of its users. The program is looked up inside.
    pub fn command(&self, person: Person, program: &str) -> Command {
        self.doors.command(person, program)
    }

    /// Runs `netengine ARGS` as a user, to the end.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn cli(&self, person: Person, args: &[&str]) -> Output {
        let mut command = self.command(person, &format!("{BIN}/netengine"));
        command.args(args).stdin(Stdio::null()).output().expect("the CLI starts; is it built?")
    }

    /// Runs a shell script as a user and gives its standard output.
    ///
    /// # Panics
    /// It does not exit with 0.
    pub fn shell(&self, person: Person, script: &str) -> String {
        let output = self.command(person, "/bin/sh").args(["-c", script]).stdin(Stdio::null()).output();
        let output = output.expect("sh starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}\nin: {script}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Writes a file that everybody in the host may read; gives its path inside.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn file(&self, name: &str, text: &str) -> String {
        let inside = format!("{SCRATCH}/{name}");
        let path = self.path(&inside);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("mode");
        inside
    }

    /// A path inside the host, as this process can open it.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.init_pid))
    }

    /// The pid of a ready daemon, as this process can signal it.
    ///
    /// # Panics
    /// It is not running.
    pub fn daemon_pid(&self, service: &str) -> Pid {
        let inside = self.daemons().pid(service);
        let outside = self.processes().into_iter().find(|(_, within)| *within == inside);
        outside.unwrap_or_else(|| panic!("{service} has no process {inside}")).0
    }

    /// Sends a signal to a daemon's main process.
    ///
    /// # Panics
    /// It is not running.
    pub fn kill(&self, service: &str, signal: Signal) {
        kill(self.daemon_pid(service), signal).expect("signalled");
    }

    /// Ends a daemon with a signal and waits until it is ready again.
    ///
    /// # Panics
    /// It is not running, or does not come back.
    pub fn restart(&self, service: &str, signal: Signal) {
        let generation = self.daemons().generation(service);
        self.kill(service, signal);
        self.daemons().wait_ready_after(service, generation);
    }

    /// What the supervisor has said, line by line.
    ///
    /// # Panics
    /// No daemons were started.
    pub fn supervisor_lines(&self) -> Vec<String> {
        self.daemons().lines()
    }

    /// Every process of the host: its pid for this process, and its pid inside.
    pub fn processes(&self) -> Vec<(Pid, i32)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("proc").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw) else {
                continue;
            };
            let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
            let pids: Vec<i32> = status
                .lines()
                .find_map(|line| line.strip_prefix("NSpid:"))
                .map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
                .unwrap_or_default();
            // Members of nested pid namespaces have further numbers behind the one that counts here.
            if pids.len() >= 2 && belongs(pid, self.pid_namespace, pids.len()) {
                found.push((pid, pids[1]));
            }
        }
        found
    }

    /// The state of the host, asked with tools that the product does not use.
    ///
    /// # Panics
    /// It cannot be asked.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::parse(&self.shell(ROOT, &Snapshot::script()))
    }

    /// Makes a namespace, a link, addresses, a route, a rule and tables that are not NetEngine's; gives the state
    /// that must not change from then on.
    ///
    /// # Panics
    /// They cannot be made.
    pub fn foreign(&self) -> Snapshot {
        self.shell(ROOT, FOREIGN);
        self.snapshot()
    }

    fn daemons(&self) -> &Daemons {
        self.daemons.as_ref().expect("daemons were started")
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed && let Some(daemons) = &self.daemons {
            eprintln!("supervisor:\n{}", daemons.lines().join("\n"));
        }
        drop(self.life.take());
        let ended = self.init.wait();
        drop(self.daemons.take());
        if !failed {
            ended.expect("the first process ends");
            assert!(pid_namespace(self.init_pid) != Some(self.pid_namespace), "the host's first process lives");
            let left = self.processes();
            assert!(left.is_empty(), "processes outlived their host: {left:?}");
        }
    }
}

fn pid_namespace(pid: Pid) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|found| found.ino())
}

/// Whether a process is in a pid namespace, or in one nested in it.
fn belongs(pid: Pid, namespace: u64, depth: usize) -> bool {
    if depth == 2 {
        return pid_namespace(pid) == Some(namespace);
    }
    // Nested: an ancestor is a direct member, for orphans go to the init of their own namespace.
    let parent = fs::read_to_string(format!("/proc/{pid}/status")).ok().and_then(|status| {
        let ppid = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        Some(Pid::from_raw(ppid))
    });
    let Some(parent) = parent.filter(|parent| parent.as_raw() > 0) else { return false };
    pid_namespace(parent) == Some(namespace) || belongs(parent, namespace, depth)
}

/// Where cargo put the binaries of this build.
fn bin_dir() -> PathBuf {
    let test = std::env::current_exe().expect("own path");
    let directory = test.parent().expect("a directory");
    if directory.ends_with("deps") { directory.parent().expect("a profile").to_owned() } else { directory.to_owned() }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}
