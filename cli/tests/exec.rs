//! `netengine exec` against an exec socket that runs commands on this host, as rootd does in a vantage host.

mod harness;

use std::{
    fs::File,
    io::{BufRead, BufReader, IoSlice, Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            net::{UnixListener, UnixStream},
            process::{CommandExt, ExitStatusExt},
        },
    },
    process::{Child, Command, Stdio},
};

use harness::{Answer, Daemon, run};
use netengine_proto::{
    ended::Ended,
    exec::{ExecFailure, ExecReply, ExecRequest, ExecSignal, TerminalSize},
};
use nix::{
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill, killpg},
        socket::{ControlMessage, MsgFlags, sendmsg},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::Pid,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

const TICKET: &str = "00112233445566778899aabbccddeeff";

/// A daemon that grants a ticket, and an exec socket beside it that is served by `serve`.
fn exec_daemon(serve: impl Fn(UnixStream, ExecRequest) + Send + 'static) -> Daemon {
    let daemon = Daemon::start(|request| match request.line.as_str() {
        "POST /api/v1/worlds/w/exec" => {
            let host = request.body["host"].as_str().unwrap_or("core").to_owned();
            Answer::Json(200, json!({"ticket": TICKET, "host": host}))
        }
        other => panic!("unexpected {other}"),
    });
    let listener = UnixListener::bind(daemon.dir.path().join("exec.sock")).expect("binds");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("accepts");
            let request: ExecRequest = read_frame(&stream).expect("a request comes");
            assert_eq!(request.ticket.to_string(), TICKET);
            serve(stream, request);
        }
    });
    daemon
}

/// `netengine exec OPTIONS -- COMMAND` on this daemon.
fn exec(daemon: &Daemon, options: &[&str], command: &[&str]) -> Command {
    let mut netengine = daemon.netengine();
    netengine.args(["exec", "w"]).args(options).arg("--exec-socket").arg(daemon.dir.path().join("exec.sock"));
    netengine.arg("--").args(command);
    netengine
}

fn read_frame<T: DeserializeOwned>(mut stream: &UnixStream) -> Option<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).ok()?;
    Some(postcard::from_bytes(&body).expect("decodes"))
}

fn send_frame<T: Serialize>(stream: &UnixStream, value: &T, descriptors: &[OwnedFd]) {
    let body = postcard::to_stdvec(value).expect("encodes");
    let frame = [&u32::try_from(body.len()).expect("short").to_be_bytes()[..], &body].concat();
    let raw: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &control[..] };
    // The command may have been ended by the test.
    let _ = sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(&frame)], control, MsgFlags::MSG_NOSIGNAL, None);
}

/// Runs the requested command here and reports its end; passes signals on.
fn serve(stream: UnixStream, request: ExecRequest) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the tests use UTF-8");
    let arguments: Vec<String> = request.arguments.iter().map(|argument| text(argument)).collect();
    let (mut child, descriptors) = match request.terminal {
        Some(size) => spawn_on_terminal(&arguments, size),
        None => spawn_on_pipes(&arguments, &text(&request.directory), &request),
    };
    send_frame(&stream, &ExecReply::Started, &descriptors);
    drop(descriptors);
    let group = Pid::from_raw(i32::try_from(child.id()).expect("is a pid"));
    let signals = stream.try_clone().expect("duplicates");
    std::thread::spawn(move || {
        while let Some(ExecSignal(number)) = read_frame(&signals) {
            let _ = killpg(group, Signal::try_from(i32::from(number)).expect("is a signal"));
        }
        let _ = killpg(group, Signal::SIGKILL);
    });
    std::thread::spawn(move || {
        let status = child.wait().expect("ends");
        // rootd ends the command's descendants with it.
        let _ = killpg(group, Signal::SIGKILL);
        let ended = match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exited(code),
            (_, Some(signal)) => Ended::Signaled(signal),
            _ => Ended::Vanished,
        };
        send_frame(&stream, &ExecReply::Ended(ended), &[]);
    });
}

fn spawn_on_pipes(arguments: &[String], directory: &str, request: &ExecRequest) -> (Child, Vec<OwnedFd>) {
    let environment = request.environment.iter().map(|entry| String::from_utf8_lossy(entry).into_owned());
    let mut child = Command::new(&arguments[0])
        .args(&arguments[1..])
        .env_clear()
        .envs(environment.filter_map(|entry| entry.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))))
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let input = OwnedFd::from(child.stdin.take().expect("is piped"));
    let output = OwnedFd::from(child.stdout.take().expect("is piped"));
    let errors = OwnedFd::from(child.stderr.take().expect("is piped"));
    (child, vec![input, output, errors])
}

fn spawn_on_terminal(arguments: &[String], size: TerminalSize) -> (Child, Vec<OwnedFd>) {
    let OpenptyResult { master, slave } = openpty(&winsize(size.rows, size.columns), None).expect("makes a pty");
    let copy = || Stdio::from(slave.try_clone().expect("duplicates"));
    // setsid(1) makes it the session's leader with this terminal as controlling terminal.
    let child = Command::new("setsid")
        .args(["--ctty", "--wait"])
        .args(arguments)
        .stdin(copy())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .expect("starts");
    (child, vec![master])
}

fn winsize(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("is a pid"))
}

#[test]
fn output_errors_and_status_come_through() {
    let daemon = exec_daemon(serve);
    let (code, out, err) = run(&mut exec(&daemon, &[], &["sh", "-c", "echo out; echo err >&2; exit 42"]));
    assert_eq!((code, out.as_str(), err.as_str()), (42, "out\n", "err\n"));
    let (code, ..) = run(&mut exec(&daemon, &[], &["sh", "-c", "kill -KILL $$"]));
    assert_eq!(code, 137, "128 and the number of the signal");
}

#[test]
fn arguments_environment_and_directory_are_the_callers() {
    let daemon = exec_daemon(serve);
    let directory = daemon.dir.path().canonicalize().expect("exists");
    let mut command = exec(&daemon, &[], &["sh", "-c", "echo \"$PWD|$MINE|$1\"", "sh", "a b\n*"]);
    let (code, out, _) = run(command.env("MINE", "x=y").current_dir(&directory));
    assert_eq!((code, out), (0, format!("{}|x=y|a b\n*\n", directory.display())));
}

#[test]
fn programs_that_look_elsewhere_are_told_of_the_worlds_trust_store_unless_the_caller_did() {
    let store = "/etc/ssl/certs/ca-certificates.crt";
    let daemon = exec_daemon(serve);
    let show = "echo \"$NODE_EXTRA_CA_CERTS|$REQUESTS_CA_BUNDLE|${SSL_CERT_FILE-unset}|${CURL_CA_BUNDLE-unset}\"";
    let run_with = |set: &[(&str, &str)]| {
        let mut command = exec(&daemon, &[], &["sh", "-c", show]);
        for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
            command.env_remove(name);
        }
        run(command.envs(set.iter().copied())).1
    };
    assert!(std::path::Path::new("/etc/ssl/certs").is_dir(), "rootd lays the world's store over this directory");
    assert_eq!(run_with(&[]), format!("{store}|{store}|unset|unset\n"));
    assert_eq!(run_with(&[("REQUESTS_CA_BUNDLE", "/mine"), ("NODE_EXTRA_CA_CERTS", "")]), "|/mine|unset|unset\n");
}

#[test]
fn input_ends_and_nothing_is_lost_in_either_direction() {
    let daemon = exec_daemon(serve);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut child = exec(&daemon, &[], &["cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    let mut input = child.stdin.take().expect("is piped");
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent).expect("writes"));
    let mut got = Vec::new();
    child.stdout.take().expect("is piped").read_to_end(&mut got).expect("reads");
    writer.join().expect("writes all");
    assert!(child.wait().expect("ends").success());
    assert!(got == bytes, "{} bytes of {} came back", got.len(), bytes.len());
}

#[test]
fn a_reader_that_goes_away_ends_the_command_by_sigpipe() {
    let daemon = exec_daemon(serve);
    let mut child = exec(&daemon, &[], &["yes"]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut reader = BufReader::new(child.stdout.take().expect("is piped"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("reads");
    drop(reader);
    assert_eq!((line.as_str(), child.wait().expect("ends").code()), ("y\n", Some(128 + 13)));
}

#[test]
fn signals_reach_the_command() {
    let daemon = exec_daemon(serve);
    for (signal, name) in
        [(Signal::SIGINT, "INT"), (Signal::SIGTERM, "TERM"), (Signal::SIGHUP, "HUP"), (Signal::SIGUSR1, "USR1")]
    {
        let script = format!("trap 'echo got {name}; exit 9' {name}; echo ready; tail -f /dev/null & wait");
        let mut child = exec(&daemon, &[], &["bash", "-c", &script]).stdout(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("reads"), "ready");
        kill(pid(&child), signal).expect("is alive");
        assert_eq!(lines.next().expect("a line").expect("reads"), format!("got {name}"));
        assert_eq!(child.wait().expect("ends").code(), Some(9), "{name}");
    }
    let mut child = exec(&daemon, &[], &["sh", "-c", "echo ready; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    BufReader::new(child.stdout.as_mut().expect("is piped")).read_line(&mut String::new()).expect("reads");
    // Held until the end: waiting would close it, and `cat` would end by that.
    let input = child.stdin.take();
    kill(pid(&child), Signal::SIGTERM).expect("is alive");
    assert_eq!(child.wait().expect("ends").code(), Some(143));
    drop(input);
}

#[test]
fn stopping_and_continuing_holds_for_the_command_too() {
    let daemon = exec_daemon(serve);
    let script = "echo $$; while read line; do echo \"got $line\"; done; exit 5";
    let mut child = exec(&daemon, &[], &["bash", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    let command = lines.next().expect("a line").expect("reads");
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{command}/stat")).expect("is alive");
        stat.rsplit_once(") ").expect("has a state").1.chars().next()
    };
    kill(pid(&child), Signal::SIGTSTP).expect("is alive");
    let stopped = nix::sys::wait::waitpid(pid(&child), Some(nix::sys::wait::WaitPidFlag::WUNTRACED)).expect("waits");
    assert_eq!(stopped, nix::sys::wait::WaitStatus::Stopped(pid(&child), Signal::SIGSTOP));
    // The signal was sent to the exec socket before this process stopped; the other side may still be reading it.
    let deadline = std::time::Instant::now() + harness::DEADLINE;
    while state() != Some('T') {
        assert!(std::time::Instant::now() < deadline, "the command was not stopped");
        std::thread::yield_now();
    }
    kill(pid(&child), Signal::SIGCONT).expect("is alive");
    let mut input = child.stdin.take().expect("is piped");
    input.write_all(b"x\n").expect("writes");
    assert_eq!(lines.next().expect("a line").expect("reads"), "got x");
    drop(input);
    assert_eq!(child.wait().expect("ends").code(), Some(5));
}

#[test]
fn an_ignored_signal_is_not_passed_on() {
    let daemon = exec_daemon(serve);
    let script =
        "trap 'echo hup' HUP; trap 'echo usr1; exit 3' USR1; echo ready; tail -f /dev/null & while :; do wait; done";
    let direct = exec(&daemon, &[], &["bash", "-c", script]);
    let mut child = Command::new("nohup")
        .arg(direct.get_program())
        .args(direct.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .env("NETENGINE_SOCKET", &daemon.socket)
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("reads"), "ready");
    kill(pid(&child), Signal::SIGHUP).expect("is alive");
    kill(pid(&child), Signal::SIGUSR1).expect("is alive");
    assert_eq!(lines.next().expect("a line").expect("reads"), "usr1");
    assert_eq!(child.wait().expect("ends").code(), Some(3));
}

#[test]
fn refusals_have_their_own_exit_codes_and_three_lines() {
    for (failure, code) in [
        (ExecFailure::NotFound, 127),
        (ExecFailure::NotExecutable(13), 126),
        (ExecFailure::Ticket, 3),
        (ExecFailure::Root, 3),
        (ExecFailure::Limit, 3),
        (ExecFailure::Malformed, 2),
        (ExecFailure::Setup(netengine_proto::exec::ExecStep::Network, 1), 4),
    ] {
        let daemon = exec_daemon(move |stream, _| send_frame(&stream, &ExecReply::Failed(failure), &[]));
        let (got, out, err) = run(&mut exec(&daemon, &[], &["frob"]));
        assert_eq!((got, out.as_str(), err.lines().count()), (code, "", 3), "{failure:?}: {err}");
    }
}

#[test]
fn a_lost_rootd_is_an_engine_fault() {
    let daemon = exec_daemon(|stream, _| drop(stream));
    assert_eq!(run(&mut exec(&daemon, &[], &["true"])).0, 4);
    let daemon = exec_daemon(|stream, _| {
        let pipe = || std::io::pipe().expect("makes a pipe");
        let ((_r0, w0), (r1, _w1), (r2, _w2)) = (pipe(), pipe(), pipe());
        send_frame(&stream, &ExecReply::Started, &[w0.into(), r1.into(), r2.into()]);
    });
    let (code, _, err) = run(&mut exec(&daemon, &[], &["true"]));
    assert!(code == 4 && err.contains("cannot learn how the command ended"), "{err}");
    let daemon = exec_daemon(|stream, _| send_frame(&stream, &ExecReply::Started, &[]));
    assert_eq!(run(&mut exec(&daemon, &[], &["true"])).0, 4, "no descriptors came");
}

#[test]
fn no_exec_socket_tells_how_to_start_the_daemons() {
    let daemon = Daemon::start(|_| Answer::Json(200, json!({"ticket": TICKET, "host": "core"})));
    let (code, _, err) = run(&mut exec(&daemon, &[], &["true"]));
    assert!(code == 4 && err.contains("systemctl start"), "{err}");
}

#[test]
fn too_long_arguments_are_a_usage_error() {
    let daemon = exec_daemon(serve);
    // The kernel's own bound on one argument is the same, so many short ones are used.
    let many = vec!["x"; 9000];
    let (code, _, err) = run(&mut exec(&daemon, &[], &many));
    assert!(code == 2 && err.contains("more than 8192"), "{err}");
}

/// The binary on a terminal of its own.
struct OnTerminal {
    child: Child,
    screen: BufReader<File>,
    master: File,
    slave: OwnedFd,
    before: Termios,
}

impl OnTerminal {
    fn start(daemon: &Daemon, script: &str) -> Self {
        let OpenptyResult { master, slave } = openpty(&winsize(11, 22), None).expect("makes a pty");
        let before = tcgetattr(&slave).expect("is a terminal");
        let copy = || Stdio::from(slave.try_clone().expect("duplicates"));
        let mut command = exec(daemon, &[], &["bash", "-c", script]);
        let child = command.stdin(copy()).stdout(copy()).stderr(Stdio::piped()).spawn().expect("starts");
        let master = File::from(master);
        let screen = BufReader::new(master.try_clone().expect("duplicates"));
        Self { child, screen, master, slave, before }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.screen.read_line(&mut line).expect("reads");
        line.trim_end().to_owned()
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.slave).expect("is a terminal").local_flags.contains(LocalFlags::ICANON)
    }

    /// The exit code, once the terminal was found as it had been.
    fn end(mut self) -> Option<i32> {
        let code = self.child.wait().expect("ends").code();
        let after = tcgetattr(&self.slave).expect("is a terminal");
        assert_eq!(after, self.before, "the terminal was not restored");
        code
    }
}

#[test]
fn a_terminal_passes_keys_size_and_status_and_is_restored() {
    let daemon = exec_daemon(serve);
    let script = "stty size; echo ready; read line; echo \"got $line\"; tty >/dev/null && exit 6";
    let mut terminal = OnTerminal::start(&daemon, script);
    assert_eq!(terminal.line(), "11 22");
    assert_eq!(terminal.line(), "ready");
    terminal.master.write_all(b"hello\r").expect("writes");
    assert_eq!(terminal.line(), "hello", "the command's own terminal echoes, once");
    assert_eq!(terminal.line(), "got hello");
    assert_eq!(terminal.end(), Some(6));
}

#[test]
fn a_size_change_and_the_interrupt_key_reach_the_commands_terminal() {
    let daemon = exec_daemon(serve);
    let script = "trap 'stty size' WINCH; trap 'exit 8' INT; tail -f /dev/null & echo ready; while :; do wait; done";
    let mut terminal = OnTerminal::start(&daemon, script);
    assert_eq!(terminal.line(), "ready");
    assert_eq!(
        Command::new("stty")
            .args(["rows", "33", "cols", "44"])
            .stdin(terminal.slave.try_clone().expect("duplicates"))
            .status()
            .expect("runs")
            .code(),
        Some(0)
    );
    // The test's terminal has no foreground group that the kernel would tell.
    kill(pid(&terminal.child), Signal::SIGWINCH).expect("is alive");
    assert_eq!(terminal.line(), "33 44");
    assert!(terminal.is_raw());
    terminal.master.write_all(b"\x03").expect("writes");
    assert_eq!(terminal.end(), Some(8));
}

#[test]
fn a_terminal_is_restored_when_a_signal_or_a_lost_rootd_ends_the_command() {
    let daemon = exec_daemon(serve);
    let mut terminal = OnTerminal::start(&daemon, "echo ready; exec tail -f /dev/null");
    assert_eq!(terminal.line(), "ready");
    kill(pid(&terminal.child), Signal::SIGTERM).expect("is alive");
    assert_eq!(terminal.end(), Some(143));

    let daemon = exec_daemon(|stream, _| {
        let pty = openpty(None, None).expect("makes a pty");
        let mut slave = File::from(pty.slave);
        send_frame(&stream, &ExecReply::Started, &[pty.master]);
        slave.write_all(b"ready\n").expect("writes");
        // The test types a key when the terminal is raw; then rootd is gone.
        slave.read_exact(&mut [0]).expect("reads");
    });
    let mut terminal = OnTerminal::start(&daemon, "unused");
    assert_eq!(terminal.line(), "ready");
    terminal.master.write_all(b"x\r").expect("writes");
    assert_eq!(terminal.end(), Some(4));
}
