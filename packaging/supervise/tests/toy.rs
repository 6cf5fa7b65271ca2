//! The supervisor with a toy service, in a mount namespace of its own where `/run` is fresh. Needs root.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

const SOCKET: &str = "[Socket]\nListenStream=/run/toy/toy.sock\nFileDescriptorName=toy\nSocketUser=nobody\n\
    SocketGroup=nogroup\nSocketMode=0660\n";
const SERVICE: &str = "[Service]\nType=notify\nExecStart=/usr/lib/netengine/toy\nSockets=netengine-toy.socket\n\
    User=nobody\nGroup=nogroup\nUMask=0027\nAmbientCapabilities=CAP_NET_ADMIN\nCapabilityBoundingSet=CAP_NET_ADMIN\n\
    NoNewPrivileges=yes\nRuntimeDirectory=toy-own\nRuntimeDirectoryMode=0700\nLimitCORE=0\nRestart=always\n\
    RestartSec=10ms\nTimeoutStopSec=5s\nProtectHome=yes\nEnvironment=TOY=1\n";

/// Units in a directory of their own.
struct Units(TempDir);

impl Units {
    fn new(socket: &str, service: &str) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        fs::write(directory.path().join("netengine-toy.socket"), socket).expect("written");
        fs::write(directory.path().join("netengine-toy.service"), service).expect("written");
        // A place that every user can reach, unlike the build directory.
        fs::copy(toy(), directory.path().join("toy")).expect("copied");
        Self(directory)
    }

    /// `before` runs as root in the fresh `/run`; then the supervisor, once for each of `times`.
    fn command(&self, before: &str, times: usize) -> Command {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let run = if times == 1 { "exec \"$@\"".to_owned() } else { "\"$@\"; ".repeat(times) };
        let script = format!("mount -t tmpfs -o mode=755 tmpfs /run && {before} {run}");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
        command.arg(env!("CARGO_BIN_EXE_netengine-supervise"));
        command.arg("--units").arg(self.0.path()).arg("--bin-dir").arg(self.0.path());
        command.arg("--log-dir").arg(self.0.path().join("log")).arg("run").stdin(Stdio::null());
        command
    }

    fn refusal(&self, before: &str) -> String {
        let Output { status, stderr, stdout } = self.command(before, 1).output().expect("runs");
        assert_eq!((status.code(), stdout.len()), (Some(1), 0), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stderr).expect("text")
    }
}

fn toy() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_netengine-supervise"));
    program.parent().expect("directory").join("examples/toy")
}

/// A running supervisor, past `ready`.
struct Supervisor {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Supervisor {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let mut supervisor = Self { child, stdout };
        supervisor.await_ready();
        supervisor
    }

    fn await_ready(&mut self) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n");
    }

    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.child.id()))
    }

    fn report(&self) -> Report {
        let mut text = String::new();
        let mut stream = UnixStream::connect(self.path("/run/toy/toy.sock")).expect("connected");
        stream.read_to_string(&mut text).expect("read");
        Report(text)
    }

    fn terminate(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("signalled");
        self.child.wait().expect("waited").code()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Report(String);

impl Report {
    /// The words behind `Name:`.
    fn status(&self, name: &str) -> Vec<&str> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.0)).split_whitespace().collect()
    }

    fn pid(&self, name: &str) -> Pid {
        Pid::from_raw(self.status(name)[0].parse().expect("pid"))
    }
}

/// Ended; perhaps not yet waited for by the init of this machine.
fn is_gone(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn a_service_gets_exactly_what_its_unit_says() {
    let units = Units::new(SOCKET, SERVICE);
    let supervisor = Supervisor::start(units.command("", 1));
    let report = supervisor.report();
    let nobody = ["65534"; 4];
    assert_eq!((report.status("Uid"), report.status("Gid")), (nobody.to_vec(), nobody.to_vec()));
    assert_eq!(report.status("Groups"), ["65534"], "root's groups are gone");
    assert_eq!(report.status("Umask"), ["0027"]);
    assert_eq!(report.status("NoNewPrivs"), ["1"]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(report.status(set), ["0000000000001000"], "{set} is CAP_NET_ADMIN alone");
    }
    assert_eq!(report.status("SigBlk"), ["0000000000000000"]);
    let ignored = u64::from_str_radix(report.status("SigIgn")[0], 16).expect("number") as u32 & 0x7fff_ffff;
    assert_eq!(ignored, 1 << (Signal::SIGPIPE as u32 - 1), "only what the toy's own runtime ignores");
    assert!(report.0.contains("Max core file size        0                    0 "), "{}", report.0);
    let names: Vec<&str> =
        report.0.lines().filter_map(|line| Some(line.strip_prefix("env ")?.split_once('=')?.0)).collect();
    let expected = "HOME LISTEN_FDNAMES LISTEN_FDS LISTEN_PID LOGNAME NOTIFY_SOCKET PATH RUNTIME_DIRECTORY TOY USER";
    assert_eq!(names.join(" "), expected, "the environment is clean");
    assert!(report.0.contains(&format!("env LISTEN_PID={}\n", report.pid("Pid"))));
    assert!(report.0.contains("env LISTEN_FDNAMES=toy\n"));
    let fds: Vec<&str> = report.0.lines().filter_map(|line| line.strip_prefix("fd ")).collect();
    assert_eq!(fds, ["0", "1", "2", "3"], "no descriptor leaks in");

    let socket = supervisor.path("/run/toy/toy.sock").metadata().expect("there");
    assert!(socket.file_type().is_socket());
    assert_eq!((socket.mode() & 0o777, socket.uid(), socket.gid()), (0o660, 65534, 65534));
    let own = supervisor.path("/run/toy-own").metadata().expect("there");
    assert_eq!((own.mode() & 0o777, own.uid()), (0o700, 65534));
    assert!(fs::read_to_string(units.0.path().join("log/netengine-toy.log")).expect("log").contains("toy is ready"));
    assert_eq!(supervisor.terminate(), Some(0));
}

#[test]
fn the_socket_stays_open_while_its_service_is_killed_and_restarted() {
    let units = Units::new(SOCKET, SERVICE);
    let supervisor = Supervisor::start(units.command("", 1));
    let first = supervisor.report().pid("Pid");
    kill(first, Signal::SIGKILL).expect("killed");
    // Each connects at once and waits in the backlog. The killed process may yet have taken one, without an answer.
    let answered = |report: &Report| !report.0.is_empty() && report.pid("Pid") != first;
    let second = std::iter::repeat_with(|| supervisor.report()).find(answered).expect("endless").pid("Pid");
    assert_eq!(supervisor.terminate(), Some(0));
    assert!(is_gone(second), "the service ended with its supervisor");
}

#[test]
fn stopping_takes_away_what_starting_made() {
    let units = Units::new(SOCKET, SERVICE);
    // The shell stays after the supervisor, so that its /run can be looked at.
    let before = "trap 'kill $!' TERM; (\"$@\"); test -z \"$(ls /run/toy)\" && ls /run && exit 0; exit 9;";
    let mut child = units.command(before, 1).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("started");
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("read");
    let mut report = String::new();
    let path = format!("/proc/{}/root/run/toy/toy.sock", child.id());
    UnixStream::connect(path).expect("connected").read_to_string(&mut report).expect("read");
    kill(Report(report).pid("PPid"), Signal::SIGTERM).expect("signalled");
    let mut left = String::new();
    stdout.read_to_string(&mut left).expect("read");
    assert_eq!(child.wait().expect("waited").code(), Some(0));
    assert_eq!(left, "toy\n", "only the sockets' directory is left, and it is empty");
}

#[test]
fn a_killed_supervisor_leaves_no_service_and_the_next_one_starts() {
    let units = Units::new(SOCKET, SERVICE);
    let mut supervisor = Supervisor::start(units.command("", 2));
    let report = supervisor.report();
    kill(report.pid("PPid"), Signal::SIGKILL).expect("killed");
    supervisor.await_ready();
    let next = supervisor.report();
    assert_ne!(next.pid("Pid"), report.pid("Pid"));
    assert!(is_gone(report.pid("Pid")), "the first supervisor's service is gone");
    kill(next.pid("PPid"), Signal::SIGTERM).expect("signalled");
    supervisor.child.wait().expect("waited");
}

#[test]
fn a_missing_group_refuses_the_start_and_opens_nothing() {
    let units = Units::new(&SOCKET.replace("nogroup", "no-such-group"), SERVICE);
    let error = units.refusal("");
    assert!(error.contains("cannot find group \"no-such-group\": make it with packaging/users"), "{error}");
    let user = Units::new(SOCKET, &SERVICE.replace("User=nobody", "User=no-such-user")).refusal("");
    assert!(user.contains("cannot find user \"no-such-user\""), "{user}");
}

#[test]
fn a_squatted_socket_path_refuses_the_start() {
    let units = Units::new(SOCKET, SERVICE);
    for squat in ["touch /run/toy/toy.sock", "mkdir /run/toy/toy.sock", "ln -s /etc/passwd /run/toy/toy.sock"] {
        let error = units.refusal(&format!("mkdir /run/toy && {squat} && "));
        assert!(error.contains("cannot bind /run/toy/toy.sock: something that is not a socket is there"), "{error}");
    }
    let open = units.refusal("mkdir -m 777 /run/toy && ");
    assert!(open.contains("a directory of root that nobody else may write to"), "{open}");
}

#[test]
fn an_unknown_directive_or_a_service_that_never_becomes_ready_is_an_error() {
    let misspelt = Units::new(SOCKET, &format!("{SERVICE}ProtectHme=yes\n")).refusal("");
    assert!(misspelt.contains("unknown directive ProtectHme= in section [Service]"), "{misspelt}");
    let failing = Units::new(SOCKET, &format!("{SERVICE}Environment=TOY_FAILS=1\n")).refusal("");
    assert!(failing.contains("it ended with exit status 9 before it was ready"), "{failing}");
}
