//! The real binary: its start, its sandbox, its end, and what it does without descriptors.
#![allow(missing_docs)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt, PermissionsExt, chown},
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    time::Duration,
};

use nix::unistd::geteuid;

/// A uid of nobody's when the tests run as root, so that the daemon does not.
const DAEMON: u32 = 65_533;

struct Daemon {
    directory: tempfile::TempDir,
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Daemon {
    /// Starts the daemon and waits until it says that it is ready.
    fn start(descriptors: u32) -> Self {
        Self::start_over(descriptors, None)
    }

    /// The same over a database file with this content.
    fn start_over(descriptors: u32, database: Option<&[u8]>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let path = |name: &str| directory.path().join(name);
        for name in ["state", "worlds"] {
            fs::create_dir(path(name)).expect("made");
            if geteuid().is_root() {
                chown(path(name), Some(DAEMON), Some(DAEMON)).expect("given");
            }
        }
        if let Some(bytes) = database {
            fs::write(path("state/state.db"), bytes).expect("written");
            if geteuid().is_root() {
                chown(path("state/state.db"), Some(DAEMON), Some(DAEMON)).expect("given");
            }
        }
        let notify = UnixDatagram::bind(path("notify")).expect("bound");
        fs::set_permissions(path("notify"), fs::Permissions::from_mode(0o666)).expect("set");
        notify.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let listen = |name: &str| OwnedFd::from(UnixListener::bind(path(name)).expect("bound"));

        // The shell puts the two listeners, which come as its stdin and stdout, where sd_listen_fds(3) says.
        let script = "ulimit -n $1; shift; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=user:admin \
                      exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
        let mut command = if geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={DAEMON}"), format!("--regid={DAEMON}")]);
            command.args(["--clear-groups", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        command.args(["-c", script, "sh", &descriptors.to_string(), env!("CARGO_BIN_EXE_netengine-userd")]);
        let flag = |name: &str, value: PathBuf| format!("--{name}={}", value.display());
        command.arg(flag("state-dir", path("state"))).arg(flag("worlds-dir", path("worlds")));
        command.arg(flag("rootd-socket", path("rootd.sock")));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("NOTIFY_SOCKET", path("notify"));
        command.stdin(listen("user.sock")).stdout(listen("admin.sock")).stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut said = [0; 64];
        match notify.recv(&mut said) {
            Ok(length) => assert_eq!(&said[..length], b"READY=1"),
            Err(error) => {
                let _ = child.kill();
                let mut text = String::new();
                let _ = log.read_to_string(&mut text);
                panic!("not ready: {error}: {text}");
            }
        }
        Self { directory, child, log }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.directory.path().join("user.sock")).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        stream
    }

    fn get(&self, path: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET /api/v1{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    /// Clock ticks of CPU time used (proc_pid_stat(5), fields 14 and 15).
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(self.proc("stat")).expect("read");
        let rest = stat.rsplit_once(')').expect("a name in brackets").1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        [11, 12].iter().map(|field| fields[*field].parse::<u64>().expect("a number")).sum()
    }

    /// Reads the log up to a line with this text.
    fn wait_for(&mut self, text: &str) {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).expect("read"), 0, "the daemon ended without {text:?}");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends the daemon as the service manager does; its exit status.
fn end(mut daemon: Daemon) -> i32 {
    let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", daemon.child.id())]).status().expect("ran");
    assert!(sent.success());
    daemon.child.wait().expect("ended").code().expect("it exited by itself")
}

#[test]
fn the_daemon_starts_unprivileged_serves_and_exits_cleanly() {
    let daemon = Daemon::start(256);
    let answer = daemon.get("/version");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"rootd\":null"), "{answer}");
    assert!(daemon.get("/worlds").ends_with("[]"));

    let status = fs::read_to_string(daemon.proc("status")).expect("read");
    for line in
        ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(status.contains(line), "{line} is not in {status}");
    }
    let limits = fs::read_to_string(daemon.proc("limits")).expect("read");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // A process that cannot be dumped belongs to root in /proc, so its own user cannot trace it (proc(5)).
    assert_eq!(fs::metadata(daemon.proc("mem")).expect("seen").uid(), 0);
    let mode = fs::metadata(daemon.directory.path().join("state/state.db")).expect("made").mode();
    assert_eq!(mode & 0o077, 0, "others may read the database");
    assert_eq!(end(daemon), 0);
}

#[test]
fn without_descriptors_it_waits_and_serves_again() {
    let mut daemon = Daemon::start(28);
    assert!(daemon.get("/worlds").ends_with("[]"), "its database is open");
    let held: Vec<UnixStream> = (0..32).map(|_| daemon.connect()).collect();
    daemon.wait_for("cannot accept connections for now");
    let before = daemon.ticks();
    // Two more tries lie a second apart: what a loop without a pause would burn shows.
    daemon.wait_for("cannot accept connections for now");
    daemon.wait_for("cannot accept connections for now");
    let used = daemon.ticks() - before;
    assert!(used <= 10, "{used} clock ticks in a second");
    drop(held);
    assert!(daemon.get("/worlds").ends_with("[]"));
    assert_eq!(end(daemon), 0);
}

#[test]
fn over_a_damaged_database_it_says_so_and_serves_when_it_is_gone() {
    let mut daemon = Daemon::start_over(256, Some(&[0x5a; 8192]));
    let body = |answer: &str| -> serde_json::Value {
        let body = answer.split_once("\r\n\r\n").expect("a head and a body").1;
        serde_json::from_str(body).expect("JSON")
    };
    for path in ["/worlds", "/worlds/w", "/events", "/operations/0001020304050607"] {
        let answer = daemon.get(path);
        assert!(answer.starts_with("HTTP/1.1 500"), "{path}: {answer}");
        let problem = body(&answer);
        assert_eq!((&problem["kind"], &problem["cause"]), (&"failed".into(), &"the database is damaged".into()));
        assert!(problem["help"].as_str().is_some_and(|help| help.contains("backup")), "{answer}");
    }
    assert!(daemon.get("/version").starts_with("HTTP/1.1 200"));
    let doctor = body(&daemon.get("/doctor"));
    let checks = doctor["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == "database").expect("a check");
    assert_eq!((&check["passed"], &check["detail"]), (&false.into(), &"the database is damaged".into()));
    fs::remove_file(daemon.directory.path().join("state/state.db")).expect("removed");
    daemon.wait_for("the database is open");
    assert!(daemon.get("/worlds").ends_with("[]"));
    assert_eq!(end(daemon), 0);
}

/// A database as a release with this many migrations left it, as bytes.
fn database_of(migrations: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("state.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        use sqlx::Connection;
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}?mode=rwc", file.display());
        let mut connection = sqlx::AnyConnection::connect(&url).await.expect("open");
        // As much as a few hundred operations on a large world: SQLite then wants more than its cache.
        let operations = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400) \
                          INSERT INTO operations (id, world, owner, name, kind, state, spec, up_to, changes, begun_at) \
                          SELECT printf('%016x', i), '0000000000000001', 1000, 'w', 'up', 'done', hex(zeroblob(20000)), 9, 0, i FROM n;";
        let version = format!(
            "CREATE TABLE schema_version (version BIGINT NOT NULL); INSERT INTO schema_version VALUES ({});",
            migrations.len()
        );
        for text in migrations.iter().map(|text| (*text).to_owned()).chain([operations.to_owned(), version]) {
            sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&mut connection).await.expect("written");
        }
        connection.close().await.expect("closed");
    });
    fs::read(&file).expect("read")
}

#[test]
fn in_its_sandbox_it_upgrades_the_database_of_a_release_before() {
    let database = database_of(&[
        include_str!("../../migrations/0001_core.sql"),
        include_str!("../../migrations/0002_services.sql"),
        include_str!("../../migrations/0003_and_leases.sql"),
        include_str!("../../migrations/0004_drift.sql"),
        include_str!("../../migrations/0005_peers.sql"),
    ]);
    let daemon = Daemon::start_over(256, Some(&database));
    let answer = daemon.get("/worlds");
    assert!(answer.ends_with("[]"), "{answer}");
    let copy = daemon.directory.path().join("state/state.db.before-6");
    assert!(fs::metadata(copy).expect("the copy of the database before").len() > 0);
    assert_eq!(end(daemon), 0);
}

#[test]
fn it_refuses_to_start_without_its_sockets_or_with_flags_it_does_not_know() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_netengine-userd")).args(arguments).env_clear().output();
        let output = output.expect("ran");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = run(&[]);
    assert!(code == Some(1) && text.contains("cannot find the sockets"), "{text}");
    let (code, text) = run(&["--nonsense=1"]);
    assert!(code == Some(2) && text.contains("--nonsense=1"), "{text}");
}
