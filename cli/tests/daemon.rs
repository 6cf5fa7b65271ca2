//! The binary against a daemon whose answers the test chooses.

mod harness;

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    process::{Command, Stdio},
    sync::{Mutex, mpsc},
};

use harness::{Answer, Daemon, event, events, netengine, operation, problem, run, status};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

fn accepted() -> Answer {
    Answer::Json(202, json!({"operation": "op1", "world": "my-world"}))
}

/// A daemon on which `up` works.
fn sound() -> Daemon {
    Daemon::start(|request| match request.line.as_str() {
        "POST /api/v1/worlds" => {
            assert_eq!(request.body["spec"]["metadata"]["name"], "my-world");
            accepted()
        }
        "GET /api/v1/events?operation=op1&after=0&follow=true" => events(&[
            event(4, "phase.running", "phase 0 (substrate)"),
            event(5, "phase.done", "phase 0 (substrate) done\u{1b}[2J"),
            event(6, "operation.done", "world is ready"),
        ]),
        "GET /api/v1/operations/op1" => Answer::Json(200, operation("up", "done")),
        "GET /api/v1/worlds/my-world" => Answer::Json(200, status()),
        other => panic!("unexpected {other}"),
    })
}

#[test]
fn up_shows_each_phase_and_the_state_that_was_observed() {
    let daemon = sound();
    let spec = daemon.file("w.yaml", harness::SPEC);
    let (code, out, err) = run(daemon.netengine().arg("up").arg(&spec));
    assert_eq!((code, out.as_str()), (0, "world my-world is ready: 3 changes, 12 ms\n"), "{err}");
    assert_eq!(err, "phase 0 (substrate)\nphase 0 (substrate) done\\x1b[2J\nworld is ready\n");
    let (code, out, err) = run(daemon.netengine().args(["--json", "up"]).arg(&spec));
    let document: Value = serde_json::from_str(&out).expect("is JSON");
    assert_eq!((code, document, err.as_str()), (0, operation("up", "done"), ""));
}

#[test]
fn up_passes_its_options_on() {
    let daemon = Daemon::start(|request| {
        assert_eq!(request.body["up_to"], 3);
        assert_eq!(request.body["timeout_ms"], 7000);
        Answer::Json(429, problem("quota"))
    });
    let spec = daemon.file("w.yaml", harness::SPEC);
    let (code, _, err) = run(daemon.netengine().args(["up", "--up-to", "3", "--timeout", "7"]).arg(&spec));
    assert_eq!((code, daemon.requests().len()), (3, 1), "{err}");
}

#[test]
fn every_class_of_problem_has_three_lines_and_its_exit_code() {
    for (status, kind, expected) in [
        (400, "usage", 2),
        (422, "spec", 2),
        (404, "not_found", 1),
        (403, "refused", 3),
        (429, "quota", 3),
        (412, "confirmation", 3),
        (409, "conflict", 1),
        (500, "failed", 1),
        (503, "engine", 4),
    ] {
        let daemon = Daemon::start(move |_| Answer::Json(status, problem(kind)));
        let (code, out, err) = run(daemon.netengine().args(["status", "my-world"]));
        let lines = format!("error: cannot start world \"my-world\"\n  cause: a {kind} cause\n  help:  do this\n");
        assert_eq!((code, out.as_str(), err), (expected, "", lines), "{kind}");
        let (code, out, err) = run(daemon.netengine().args(["status", "my-world", "--json"]));
        let document: Value = serde_json::from_str(&err).expect("is JSON");
        assert_eq!((code, out.as_str(), &document["error"]["kind"]), (expected, "", &json!(kind)));
        assert_eq!(document["error"]["exit_code"], expected);
    }
}

#[test]
fn a_failed_operation_is_told_with_its_cause() {
    let daemon = Daemon::start(|request| match request.line.as_str() {
        "POST /api/v1/worlds" => accepted(),
        line if line.starts_with("GET /api/v1/events") => events(&[event(1, "operation.failed", "no")]),
        _ => {
            let mut failed = operation("up", "failed");
            failed["problem"] = problem("failed");
            Answer::Json(200, failed)
        }
    });
    let (code, out, err) = run(daemon.netengine().arg("up").arg(daemon.file("w.yaml", harness::SPEC)));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.ends_with("  cause: a failed cause\n  help:  do this\n"), "{err}");
}

#[test]
fn a_cut_stream_is_taken_up_where_it_ended() {
    let daemon = Daemon::start(|request| match request.line.as_str() {
        "POST /api/v1/worlds" => accepted(),
        "GET /api/v1/events?operation=op1&after=0&follow=true" => {
            events(&[event(8, "phase.running", "one"), json!("lagged")])
        }
        "GET /api/v1/events?operation=op1&after=8&follow=true" => events(&[event(9, "operation.done", "two")]),
        "GET /api/v1/worlds/my-world" => Answer::Json(200, status()),
        "GET /api/v1/operations/op1" => {
            // Asked after the first stream (still running) and after the last event.
            static ASKED: Mutex<bool> = Mutex::new(false);
            let was_asked = std::mem::replace(&mut *ASKED.lock().expect("not poisoned"), true);
            Answer::Json(200, operation("up", if was_asked { "done" } else { "running" }))
        }
        other => panic!("unexpected {other}"),
    });
    let (code, _, err) = run(daemon.netengine().arg("up").arg(daemon.file("w.yaml", harness::SPEC)));
    assert_eq!((code, err.as_str()), (0, "one\ntwo\n"));
}

#[test]
fn a_daemon_that_ends_every_stream_is_an_engine_fault_not_a_loop() {
    let daemon = Daemon::start(|request| match request.line.as_str() {
        "POST /api/v1/worlds" => accepted(),
        line if line.starts_with("GET /api/v1/events") => events(&[]),
        _ => Answer::Json(200, operation("up", "running")),
    });
    let (code, _, err) = run(daemon.netengine().arg("up").arg(daemon.file("w.yaml", harness::SPEC)));
    assert_eq!(code, 4, "{err}");
    assert!(daemon.requests().len() < 20);
}

/// A daemon whose operation goes on until it is cancelled; with `ends_on_cancel` off, also after that.
fn endless(ends_on_cancel: bool) -> Daemon {
    let (sender, receiver) = mpsc::channel();
    sender.send(event(1, "phase.running", "at work")).expect("is received");
    let stream = Mutex::new(Some(receiver));
    let sender = Mutex::new(Some(sender));
    Daemon::start(move |request| match request.line.as_str() {
        "POST /api/v1/worlds" => accepted(),
        line if line.starts_with("GET /api/v1/events") => {
            Answer::Events(stream.lock().expect("not poisoned").take().expect("one stream"))
        }
        "DELETE /api/v1/operations/op1" => {
            let mut sender = sender.lock().expect("not poisoned");
            if ends_on_cancel {
                let sender = sender.take().expect("cancelled once");
                sender.send(event(2, "operation.cancelled", "undone")).expect("is received");
            }
            Answer::Json(202, operation("up", "undoing"))
        }
        "GET /api/v1/operations/op1" => Answer::Json(200, operation("up", "cancelled")),
        other => panic!("unexpected {other}"),
    })
}

/// Runs `up`, sends an interrupt after each of the given lines of standard error, and gives exit code and all lines.
fn interrupted(daemon: &Daemon, after: &[&str]) -> (i32, Vec<String>) {
    let spec = daemon.file("w.yaml", harness::SPEC);
    let mut child = daemon.netengine().arg("up").arg(spec).stderr(Stdio::piped()).spawn().expect("starts");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("is a pid"));
    let mut lines = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("is piped")).lines() {
        let line = line.expect("reads");
        if after.iter().any(|start| line.starts_with(start)) {
            kill(pid, Signal::SIGINT).expect("is alive");
        }
        lines.push(line);
    }
    (child.wait().expect("ends").code().expect("exits by itself"), lines)
}

#[test]
fn an_interrupt_cancels_and_waits_for_the_undo() {
    let daemon = endless(true);
    let (code, lines) = interrupted(&daemon, &["at work"]);
    assert_eq!(code, 1);
    assert!(daemon.requests().contains(&"DELETE /api/v1/operations/op1".to_owned()));
    assert!(
        lines.contains(&"undone".to_owned()) && lines.contains(&"  cause: it was cancelled".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn a_second_interrupt_leaves_at_once_and_says_that_the_operation_goes_on() {
    let daemon = endless(false);
    let (code, lines) = interrupted(&daemon, &["at work", "cancelling"]);
    assert_eq!(code, 1);
    assert!(lines.iter().any(|line| line.contains("operation op1 goes on")), "{lines:?}");
}

#[test]
fn a_world_may_be_omitted_when_there_is_exactly_one() {
    let summary =
        |name: &str| json!({"world": name, "owner": "alice", "state": "ready", "networks": 2, "started_at": null});
    for (worlds, code, text) in [
        (vec![summary("my-world")], 0, "state  ready"),
        (vec![], 1, "there is no world"),
        (vec![summary("a"), summary("b")], 2, "there are 2: a, b"),
    ] {
        let daemon = Daemon::start(move |request| match request.line.as_str() {
            "GET /api/v1/worlds" => Answer::Json(200, json!(worlds)),
            "GET /api/v1/worlds/my-world" => Answer::Json(200, status()),
            other => panic!("unexpected {other}"),
        });
        let (got, out, err) = run(daemon.netengine().arg("status"));
        assert_eq!(got, code);
        assert!(out.contains(text) || err.contains(text), "{out}{err}");
    }
}

#[test]
fn plan_exits_5_for_changes_and_dry_run_0() {
    let change = json!({"phase": 0, "action": "create", "kind": "bridge", "object": "gw nebr0"});
    let daemon = Daemon::start(move |request| {
        assert_eq!(request.line, "POST /api/v1/plan");
        Answer::Json(200, json!({"world": "my-world", "exists": false, "changes": [change]}))
    });
    let spec = daemon.file("w.yaml", harness::SPEC);
    let (code, out, _) = run(daemon.netengine().arg("plan").arg(&spec));
    assert_eq!(code, 5);
    assert!(out.ends_with("0      create  bridge  gw nebr0\nworld my-world (new): 1 change\n"), "{out}");
    assert_eq!(run(daemon.netengine().args(["up", "--dry-run"]).arg(&spec)).0, 0);
}

#[test]
fn down_asks_for_the_removal_first_and_passes_the_confirmation_on() {
    let daemon = Daemon::start(|request| match request.line.as_str() {
        "GET /api/v1/worlds/my-world/removal" => {
            let objects = json!([{"kind": "namespace", "object": "gw"}]);
            Answer::Json(200, json!({"world": "my-world", "needs_confirmation": true, "objects": objects}))
        }
        "DELETE /api/v1/worlds/my-world?confirm=my-world" => accepted(),
        line if line.starts_with("GET /api/v1/events") => events(&[event(1, "operation.done", "gone")]),
        "GET /api/v1/operations/op1" => Answer::Json(200, operation("down", "done")),
        other => panic!("unexpected {other}"),
    });
    let (code, _, err) = run(daemon.netengine().args(["down", "my-world", "--yes"]));
    assert_eq!(code, 3);
    assert!(err.contains("  help:  give `--confirm my-world`\n"), "{err}");
    let (code, out, _) = run(daemon.netengine().args(["down", "my-world", "--dry-run"]));
    assert!(code == 0 && out.contains("namespace  gw\n"), "{out}");
    assert!(!daemon.requests().iter().any(|line| line.starts_with("DELETE")), "something was removed");
    let (code, out, _) = run(daemon.netengine().args(["down", "my-world", "--confirm", "my-world"]));
    assert_eq!((code, out.as_str()), (0, "world my-world is gone: 1 object removed, 12 ms\n"));
}

#[test]
fn events_follow_as_json_lines_and_text_is_escaped() {
    let daemon = Daemon::start(|request| match request.line.as_str() {
        "GET /api/v1/events?world=w&after=3&follow=true" => events(&[event(4, "a.b", "x\u{1b}")]),
        "GET /api/v1/events?world=w&after=0" => Answer::Json(200, json!([event(1, "a.b", "x\u{1b}")])),
        "GET /api/v1/events?world=w&after=1" => Answer::Json(200, json!([event(2, "a.b", "y")])),
        "GET /api/v1/events?world=w&after=2" => Answer::Json(200, json!([])),
        _ => Answer::Json(503, problem("engine")),
    });
    let (code, out, _) = run(daemon.netengine().args(["events", "w", "--follow", "--after", "3", "--json"]));
    assert_eq!((code, serde_json::from_str::<Value>(&out).expect("one line")), (4, event(4, "a.b", "x\u{1b}")));
    let (_, out, _) = run(daemon.netengine().args(["events", "w"]));
    assert_eq!(
        out,
        "    1  2026-01-02T03:04:05.678Z  a.b                   x\\x1b\n    2  2026-01-02T03:04:05.678Z  a.b                   y\n"
    );
}

#[test]
fn a_stream_that_the_daemon_cannot_go_on_with_is_exit_4_with_its_reason() {
    let daemon = Daemon::start(|_| events(&[event(4, "a.b", "x"), json!("failed")]));
    let (code, out, err) = run(daemon.netengine().args(["events", "w", "-f"]));
    assert!(code == 4 && out.lines().count() == 1 && err.contains("  cause: why\n"), "{out}{err}");
}

#[test]
fn an_unreachable_daemon_is_exit_4_with_how_to_start_it() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let socket = dir.path().join("user.sock");
    for _ in 0..2 {
        let (code, out, err) = run(netengine(&socket).arg("list"));
        assert_eq!((code, out.as_str()), (4, ""));
        assert!(err.contains("systemctl start netengine.target") && err.lines().count() == 3, "{err}");
        // The second time there is a socket that nobody listens on.
        if !socket.exists() {
            drop(UnixListener::bind(&socket).expect("binds"));
        }
    }
    let (code, out, _) = run(netengine(&socket).args(["doctor", "--json"]));
    let document: Value = serde_json::from_str(&out).expect("is JSON");
    assert_eq!((code, &document["healthy"]), (4, &json!(false)));
}

#[test]
fn a_daemon_that_talks_nonsense_is_exit_4() {
    for answer in [|| Answer::Close, || Answer::Json(200, json!({"no": 1})), || Answer::Json(502, json!("x"))] {
        let daemon = Daemon::start(move |_| answer());
        let (code, _, err) = run(daemon.netengine().args(["status", "w"]));
        assert_eq!((code, err.lines().count()), (4, 3), "{err}");
    }
}

#[test]
fn an_owner_needs_admin() {
    let daemon = Daemon::start(|request| {
        assert_eq!(request.line, "GET /api/v1/worlds?owner=1234");
        Answer::Json(200, json!([]))
    });
    let (code, _, err) = run(daemon.netengine().args(["list", "--owner", "1234"]));
    assert!(code == 2 && err.contains("--admin"), "{err}");
    let socket = daemon.socket.to_str().expect("is UTF-8");
    assert_eq!(run(daemon.netengine().args(["list", "--admin", "--owner", "1234", "--socket", socket])).0, 0);
}

#[test]
fn doctor_joins_its_own_checks_to_the_daemons() {
    let daemon = Daemon::start(|request| match request.line.as_str() {
        "GET /api/v1/version" => Answer::Json(200, json!({"release": env!("CARGO_PKG_VERSION"), "rootd": null})),
        "GET /api/v1/doctor" => {
            let check =
                json!({"name": "kernel: bridge", "passed": true, "required": true, "detail": "works", "help": ""});
            Answer::Json(200, json!({"healthy": true, "checks": [check]}))
        }
        other => panic!("unexpected {other}"),
    });
    let exec_socket = daemon.dir.path().join("exec.sock");
    let doctor = || run(daemon.netengine().env("NETENGINE_EXEC_SOCKET", &exec_socket).arg("doctor"));
    let (code, out, _) = doctor();
    assert!(code == 1 && out.contains("FAILED  daemon: rootd's exec socket: nothing listens"), "{out}");
    let _listener = UnixListener::bind(&exec_socket).expect("binds");
    let (code, out, _) = doctor();
    assert!(code == 0 && out.contains("ok      kernel: bridge: works\nNetEngine can run here\n"), "{out}");
}

#[test]
fn up_on_a_terminal_shows_live_progress_and_leaves_no_spinner() {
    let daemon = sound();
    let pty = nix::pty::openpty(None, None).expect("makes a pty");
    let mut command = daemon.netengine();
    let mut child = command
        .env("TERM", "xterm")
        .arg("up")
        .arg(daemon.file("w.yaml", harness::SPEC))
        .stdout(Stdio::piped())
        .stderr(Stdio::from(pty.slave))
        .spawn()
        .expect("starts");
    // The command holds the last copies of the terminal's other side, so reading ends (with EIO) when it does.
    drop(command);
    let (mut screen, mut master) = (Vec::new(), std::fs::File::from(pty.master));
    let _ = master.read_to_end(&mut screen);
    let screen = String::from_utf8(screen).expect("is UTF-8");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert!(screen.contains("phase 0 (substrate) done\\x1b[2J"), "{screen:?}");
    assert!(!screen.contains("\u{1b}[2Jphase") && screen.ends_with("\u{1b}[2K"), "{screen:?}");
}

#[test]
fn a_user_outside_the_group_is_told_which_group_to_join() {
    let is_root = nix::unistd::geteuid().is_root();
    let dir = tempfile::tempdir().expect("makes a directory");
    let socket = dir.path().join("user.sock");
    let _listener = UnixListener::bind(&socket).expect("binds");
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(dir.path(), mode(0o755)).expect("changes the mode");
    // Root can become somebody else, whom the mode keeps out; anybody else can keep himself out.
    std::fs::set_permissions(&socket, mode(if is_root { 0o660 } else { 0 })).expect("changes the mode");
    // A copy, because the build directory may not be open to others. Made by another process: were the file open for
    // writing here, a test beside this one could carry it into its own child, and it could not be run (ETXTBSY).
    let binary = dir.path().join("netengine");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_netengine")).arg(&binary).status().expect("runs");
    assert!(copied.success());
    let mut command = Command::new(&binary);
    command.env("NETENGINE_SOCKET", &socket).current_dir("/").arg("list");
    if is_root {
        command.uid(65_534).gid(65_534);
    }
    let (code, _, err) = run(&mut command);
    assert!(code == 3 && err.contains("  help:  join the group netengine "), "{code} {err}");
}
