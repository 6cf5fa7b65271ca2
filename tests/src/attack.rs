//! The attacker's tools: raw frames to rootd, other users' connections, and a look at every process from outside.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::Path,
    time::{Duration, Instant},
};

use netengine_proto::{
    ids::{CallKey, ProcessId, Uid, WorldId},
    plan::NetworkPlan,
    root::{Program, ROOT_VERSION, RootError, RootRequest, RootResponse},
};
use nix::unistd::Pid;
use tarpc::Response;

use crate::{
    DEADLINE, Host, Person, USERD,
    root::{ROOTD_SOCKET, connect_as},
};

/// Where users redeem tickets.
pub const EXEC_SOCKET: &str = "/run/netengine/exec.sock";
/// Where the broker reaches the spawn worker.
pub const SPAWN_SOCKET: &str = "/run/netengine/spawn.sock";
/// The names of rootd's processes (comm(5)), each with the capabilities docs/decisions.md grants it.
pub const ROOTD_PROCESSES: [(&str, u64); 7] = [
    ("netengine-rootd", 0),
    ("ne-rootd-net", 1 << 12),
    ("ne-rootd-ns", 1 << 21 | 1 << 13 | 1 << 12),
    ("ne-rootd-watch", 0),
    ("ne-rootd-probe", 0),
    ("ne-rootd-spawn", 1 << 21 | 1 << 18 | 1 << 7 | 1 << 6 | 1 << 8),
    ("ne-holder", 0),
];

/// A host with rootd and its spawn worker but without userd, which would remove worlds that it does not know.
///
/// # Panics
/// As [`Host::new`].
pub fn rootd_only() -> Host {
    rootd_with(&[])
}

/// As [`rootd_only`], with drop-ins as in [`Host::with_drop_ins`].
///
/// # Panics
/// As [`Host::new`].
pub fn rootd_with(drop_ins: &[(&str, &str)]) -> Host {
    let mut host = Host::bare();
    let units = rootd_units(&host);
    for (unit, text) in drop_ins {
        host.file(&format!("units/{unit}.d/test.conf"), text);
    }
    host.start_daemons(&units, &["netengine-spawn", "netengine-rootd"]);
    host
}

/// Copies the units of rootd alone into a host; gives their directory inside it.
///
/// # Panics
/// They cannot be read.
pub fn rootd_units(host: &Host) -> String {
    let units = host.copy_units(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd"));
    for unit in ["netengine-userd.service", "netengine-user.socket", "netengine-admin.socket"] {
        fs::remove_file(host.path(&units).join(unit)).expect("a unit");
    }
    units
}

/// A connection to rootd on which any bytes can be sent.
#[derive(Debug)]
pub struct Raw(pub UnixStream);

/// What rootd said to a frame.
#[derive(Debug)]
pub enum Heard {
    /// It answered a call.
    Answer(Box<Response<RootResponse>>),
    /// It closed the connection.
    Closed,
}

impl Raw {
    /// Connects with userd's uid, without a word.
    ///
    /// # Panics
    /// rootd does not listen.
    pub fn silent(host: &Host) -> Self {
        let stream = connect_as(host, USERD, ROOTD_SOCKET).expect("rootd listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        stream.set_write_timeout(Some(DEADLINE)).expect("a socket");
        Self(stream)
    }

    /// Connects and says hello; tries again while former connections are still counted.
    ///
    /// # Panics
    /// rootd does not answer.
    pub fn greeted(host: &Host) -> Self {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut raw = Self::silent(host);
            if raw.send(&call(0, 1000, &RootRequest::Hello { version: ROOT_VERSION })).is_ok()
                && matches!(raw.hear(), Heard::Answer(_))
            {
                return raw;
            }
            assert!(Instant::now() < deadline, "rootd does not answer");
        }
    }

    /// Sends one frame with its true length.
    ///
    /// # Errors
    /// rootd has closed the connection.
    pub fn send(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).expect("short");
        self.0.write_all(&[&length.to_be_bytes(), body].concat())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// rootd has closed the connection.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Waits for one frame.
    ///
    /// # Panics
    /// None comes in time, or it is not a response.
    pub fn hear(&mut self) -> Heard {
        let mut length = [0; 4];
        let mut body = Vec::new();
        let read = self.0.read_exact(&mut length).and_then(|()| {
            body.resize(u32::from_be_bytes(length) as usize, 0);
            self.0.read_exact(&mut body)
        });
        match read {
            Ok(()) => Heard::Answer(Box::new(postcard::from_bytes(&body).expect("a response"))),
            Err(error) if is_close(&error) => Heard::Closed,
            Err(error) => panic!("rootd neither answers nor closes: {error}"),
        }
    }

    /// Sends a frame and gives what follows: the answer's message as text, or `closed`.
    pub fn ask(&mut self, body: &[u8]) -> String {
        if self.send(body).is_err() {
            return "closed".into();
        }
        match self.hear() {
            Heard::Answer(response) => format!("{:?}", response.message),
            Heard::Closed => "closed".into(),
        }
    }

    /// Makes a call and gives its answer.
    ///
    /// # Panics
    /// The connection is closed, or rootd refuses the call before its handler.
    pub fn call(&mut self, request: &RootRequest) -> RootResponse {
        self.send(&call(1, 50_000, request)).expect("sent");
        match self.hear() {
            Heard::Answer(response) => response.message.expect("served"),
            Heard::Closed => panic!("rootd closed the connection"),
        }
    }

    /// Applies a plan.
    ///
    /// # Errors
    /// What rootd says.
    ///
    /// # Panics
    /// As [`Raw::call`].
    pub fn apply(&mut self, plan: &NetworkPlan) -> Result<(), RootError> {
        match self.call(&RootRequest::ApplyNetwork { key: crate::root::key(), plan: plan.clone() }) {
            RootResponse::ApplyNetwork(answer) => answer.map(drop),
            other => panic!("another answer: {other:?}"),
        }
    }

    /// Deletes a world.
    ///
    /// # Panics
    /// rootd cannot.
    pub fn delete(&mut self, world: WorldId, owner: Uid) {
        match self.call(&RootRequest::DeleteWorld { key: crate::root::key(), world, owner }) {
            RootResponse::DeleteWorld(answer) => drop(answer.expect("deleted")),
            other => panic!("another answer: {other:?}"),
        }
    }

    /// Starts a program of ours.
    ///
    /// # Errors
    /// What rootd says.
    ///
    /// # Panics
    /// As [`Raw::call`].
    pub fn start(&mut self, world: WorldId, owner: Uid, program: Program) -> Result<ProcessId, RootError> {
        let key: CallKey = crate::root::key();
        match self.call(&RootRequest::StartProgram { key, world, owner, program }) {
            RootResponse::StartProgram(answer) => answer,
            other => panic!("another answer: {other:?}"),
        }
    }

    /// Whether the peer has closed this connection, after reading what is left; waits for it.
    ///
    /// # Panics
    /// It has not within [`DEADLINE`].
    pub fn ends(&mut self) -> Duration {
        let since = Instant::now();
        let mut rest = [0; 4096];
        loop {
            match self.0.read(&mut rest) {
                Ok(0) => return since.elapsed(),
                Ok(_) => {}
                Err(error) if is_close(&error) => return since.elapsed(),
                Err(error) => panic!("rootd does not close the connection: {error}"),
            }
        }
    }
}

fn is_close(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// The body of a call's frame.
///
/// # Panics
/// Never: every request has an encoding.
pub fn call(id: u64, ttl_ms: u32, request: &RootRequest) -> Vec<u8> {
    let mut bytes = postcard::to_stdvec(&(0u32, id, ttl_ms)).expect("encodes");
    bytes.extend(postcard::to_stdvec(request).expect("encodes"));
    bytes
}

/// `bytes` with each text `from` replaced by `to`, which no type of ours would hold: the lengths before them too.
///
/// # Panics
/// `from` does not occur.
pub fn splice(bytes: &[u8], from: &str, to: &[u8]) -> Vec<u8> {
    let encoded = |text: &[u8]| [postcard::to_stdvec(&text.len()).expect("encodes"), text.to_vec()].concat();
    let (from, to) = (encoded(from.as_bytes()), encoded(to));
    let mut out = Vec::new();
    let mut rest = bytes;
    let mut found = false;
    while let Some(place) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..place]);
        out.extend_from_slice(&to);
        rest = &rest[place + from.len()..];
        found = true;
    }
    assert!(found, "the text to replace is not there");
    out.extend_from_slice(rest);
    out
}

/// The processes of a host with a name (proc(5), comm).
pub fn named(host: &Host, name: &str) -> Vec<Pid> {
    let comm = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    host.processes().into_iter().map(|(pid, _)| pid).filter(|pid| comm(*pid).trim_end() == name).collect()
}

/// The one process of a host with a name.
///
/// # Panics
/// There is none, or more than one.
pub fn the(host: &Host, name: &str) -> Pid {
    match named(host, name)[..] {
        [pid] => pid,
        ref all => panic!("{} processes are called {name}", all.len()),
    }
}

/// A line of /proc/PID/status.
///
/// # Panics
/// The process is gone.
pub fn status(pid: Pid, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

/// How many descriptors a process has open.
///
/// # Panics
/// The process is gone.
pub fn descriptors(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

/// Descriptors of each of rootd's processes, by name.
pub fn all_descriptors(host: &Host) -> Vec<(&'static str, usize)> {
    ROOTD_PROCESSES.iter().map(|(name, _)| (*name, descriptors(the(host, name)))).collect()
}

/// The network namespace of each thread of a process.
///
/// # Panics
/// The process is gone.
pub fn thread_namespaces(pid: Pid) -> Vec<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks.flatten().map(|task| fs::metadata(task.path().join("ns/net")).expect("a thread").ino()).collect()
}

/// Resident memory of a process in KiB.
///
/// # Panics
/// The process is gone.
pub fn rss_kib(pid: Pid) -> u64 {
    status(pid, "VmRSS").trim_end_matches(" kB").trim().parse().expect("a number")
}

/// CPU time that a process has used, in clock ticks of 10 ms.
///
/// # Panics
/// The process is gone.
pub fn cpu_ticks(pid: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let rest = text.rsplit_once(") ").expect("a name").1;
    rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// Runs `python3 -c SCRIPT ARGS` as a person inside a host: its exit status and what it printed, both streams.
///
/// # Panics
/// Python does not start.
pub fn python(host: &Host, person: Person, script: &str, args: &[&str]) -> (bool, String) {
    let mut command = host.command(person, "/usr/bin/python3");
    let output = command.args(["-I", "-c", script]).args(args).output().expect("python3 starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Waits until `found` gives something.
///
/// # Panics
/// It does not within [`DEADLINE`].
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "not so: {what}");
        std::thread::yield_now();
    }
}

/// What a service has written so far.
pub fn log_of(host: &Host, service: &str) -> String {
    fs::read_to_string(host.path(&format!("/var/log/netengine/{service}.log"))).unwrap_or_default()
}
