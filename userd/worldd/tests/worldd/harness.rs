//! One world: a directory, a namespace, a process.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::unix::{fs::chown, net::UnixStream, process::ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use netengine_proto::control::{ControlReply, ControlRequest, Desired, Health, NtpService, ServiceHealth};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_netengine-worldd");
pub const WORLD: &str = "0001020304050607";
/// Whom the process runs as: no user of this host.
pub const UID: u32 = 61_234;
/// Nothing here takes this long, unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that belongs to [`UID`].
pub fn run_dir() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    chown(dir.path(), Some(UID), Some(UID)).expect("chown, as root");
    dir
}

/// `program` without privilege, in a new namespace with loopback up and free ports.
pub fn isolated(program: &str, arguments: &[&str]) -> Command {
    let script = "ip link set lo up && echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start && exec setpriv \
                  --reuid 61234 --regid 61234 --clear-groups --bounding-set=-all --inh-caps=-all \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-n", "--", "sh", "-c", script, program]).args(arguments).stdin(Stdio::null());
    command
}

pub struct World {
    pub dir: TempDir,
    pub child: Child,
}

impl World {
    /// A worldd that answers on its control socket.
    pub fn start() -> Self {
        Self::start_in(run_dir(), 0)
    }

    pub fn start_in(dir: TempDir, peer: u32) -> Self {
        let path = dir.path().to_str().expect("text").to_owned();
        let peer = peer.to_string();
        let arguments = ["--role", "worldd", "--world", WORLD, "--dir", &path, "--peer-uid", &peer];
        let child = isolated(BINARY, &arguments).spawn().expect("starts");
        let mut world = Self { dir, child };
        // The socket listens before the process is confined; an answer, or being closed unread, shows that it serves.
        let _ = world.control().try_ask(&ControlRequest::Hello);
        world
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn control(&mut self) -> Control {
        Control(connect(&self.dir.path().join("control.sock"), &mut self.child))
    }

    /// Runs a program inside the world's namespace.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["-t", &self.pid().to_string(), "-n", program])
            .args(arguments)
            .output()
            .expect("nsenter runs")
    }

    /// Runs code inside the world's namespace, on a thread of its own: setns(2) is per thread.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.pid())).expect("the namespace");
        let enter = || setns(namespace, CloneFlags::CLONE_NEWNET).expect("setns");
        thread::scope(|scope| {
            let entered = || {
                enter();
                work()
            };
            scope.spawn(entered).join().expect("no panic inside")
        })
    }

    /// A UDP socket inside, connected to `server`.
    pub fn udp(&self, server: SocketAddr) -> UdpSocket {
        self.inside(|| {
            let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
            let socket = UdpSocket::bind((any, 0)).expect("binds");
            socket.connect(server).expect("connects");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
            socket
        })
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("worldd.log")).expect("the log")
    }

    /// A field of /proc/PID/status.
    pub fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no field {field}")).trim().to_owned()
    }

    pub fn rss_kib(&self) -> u64 {
        let rss = self.status("VmRSS");
        rss.trim_end_matches(" kB").parse().unwrap_or_else(|_| panic!("{rss}"))
    }

    pub fn terminate(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGTERM).expect("lives");
        wait(&mut self.child)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have ended already, as some tests want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a process that is about to end; kills it when it does not.
pub fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("our child") {
            return status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("process {} does not end", child.id());
        }
        thread::yield_now();
    }
}

/// Connects as soon as the socket listens; a process that ends instead fails the test.
pub fn connect(path: &Path, child: &mut Child) -> UnixStream {
    let end = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
                return stream;
            }
            Err(error) if Instant::now() > end => panic!("{}: {error}", path.display()),
            Err(_) => thread::yield_now(),
        }
        if let Some(status) = child.try_wait().expect("our child") {
            panic!("ended with {status}, signal {:?}", status.signal());
        }
    }
}

/// userd's end of the control socket.
pub struct Control(pub UnixStream);

impl Control {
    pub fn ask(&mut self, request: &ControlRequest) -> ControlReply {
        self.try_ask(request).expect("a reply")
    }

    pub fn try_ask(&mut self, request: &ControlRequest) -> io::Result<ControlReply> {
        let body = serde_json::to_vec(request)?;
        self.0.write_all(&u32::try_from(body.len()).expect("short").to_be_bytes())?;
        self.0.write_all(&body)?;
        let mut head = [0; 4];
        self.0.read_exact(&mut head)?;
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.0.read_exact(&mut body)?;
        Ok(serde_json::from_slice(&body)?)
    }

    pub fn apply(&mut self, ntp: Option<NtpService>) -> Vec<ServiceHealth> {
        let desired = Desired { world: "blue".to_owned(), ntp, ..Desired::default() };
        let reply = self.ask(&ControlRequest::Apply(Box::new(desired)));
        assert!(matches!(reply, ControlReply::Health(_)), "{reply:?}");
        self.health()
    }

    pub fn health(&mut self) -> Vec<ServiceHealth> {
        match self.ask(&ControlRequest::Health) {
            ControlReply::Health(health) => health.services,
            other => panic!("{other:?}"),
        }
    }

    pub fn summary(&mut self) -> Health {
        match self.ask(&ControlRequest::Summary) {
            ControlReply::Health(health) => health,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the other side has closed, without having said anything.
    pub fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(0) => true,
            // Closed with our bytes unread.
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
            Ok(_) => false,
        }
    }
}

/// An NTP server on both loopback addresses.
pub fn ntp_on(port: u16) -> NtpService {
    let addresses = vec!["127.0.0.1".parse().expect("an address"), "::1".parse().expect("an address")];
    NtpService { addresses, port, stratum: 1, rate_per_source: 1000 }
}
