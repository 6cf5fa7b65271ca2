//! Certificates, trust, secrets and diagnosis of a world, against a daemon whose answers the test chooses.

mod harness;

use std::{io::Read, process::Stdio};

use harness::{Answer, Daemon, events, problem, run};
use serde_json::{Value, json};

const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn certificate(serial: &str) -> Value {
    json!({"serial": serial, "names": ["www.a.test"], "not_before": 1_700_000_000, "not_after": 4_000_000_000i64,
        "revoked": null, "account": "acct-1"})
}

/// A daemon with three certificates on pages of two, trust, secrets, and a diagnosis that failed.
fn world() -> Daemon {
    Daemon::start(|request| match request.line.as_str() {
        "GET /api/v1/worlds/w/certificates" => Answer::Json(200, json!([certificate("4c"), certificate("4b")])),
        "GET /api/v1/worlds/w/certificates?before=4b" => Answer::Json(200, json!([certificate("4a")])),
        "GET /api/v1/worlds/w/certificates?before=4a" => Answer::Json(200, json!([])),
        "GET /api/v1/worlds/w/certificates/4b" => {
            Answer::Json(200, json!({"certificate": certificate("4b"), "chain": PEM}))
        }
        "GET /api/v1/worlds/w/trust" => Answer::Json(200, json!({"certificates": PEM, "dns_root": ["7 13 2 0AFF"]})),
        "GET /api/v1/worlds/plain/trust" => Answer::Json(200, json!({"certificates": "", "dns_root": []})),
        "GET /api/v1/worlds/w/credentials" => Answer::Json(
            200,
            json!([
                {"kind": "password", "issuer": "https://auth.internal/realms/a", "name": "alice", "secret": "pw-1"},
                {"kind": "tsig", "issuer": "", "name": "update.", "secret": "a2V5"},
            ]),
        ),
        "POST /api/v1/worlds/w/diagnose?follow=true" => {
            let check = |name: &str, fault: &str, remedy: &str| {
                json!({"name": name, "phase": 1, "passed": fault.is_empty(), "fault": fault, "detail": "seen",
                    "remedy": remedy, "micros": 1500})
            };
            let checks = [check("dns: root", "", ""), check("ntp", "service_stopped", "run `netengine up` again")];
            let diagnosis = json!({"world": "w", "passed": false, "checks": checks, "millis": 7});
            let progress = json!({"name": "progress", "data": {"done": 1, "all": 2}});
            events(&[progress, json!({"name": "diagnosis", "data": diagnosis})])
        }
        "POST /api/v1/worlds/sound/diagnose?follow=true" => {
            let diagnosis = json!({"world": "sound", "passed": true, "checks": [], "millis": 7});
            events(&[json!({"name": "diagnosis", "data": diagnosis})])
        }
        _ => Answer::Json(404, problem("not_found")),
    })
}

#[test]
fn certificates_are_listed_over_all_pages_newest_first() {
    let daemon = world();
    let (code, out, _) = run(daemon.netengine().args(["pki", "list", "w"]));
    let serials: Vec<&str> = out.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!((code, serials), (0, vec!["4c", "4b", "4a"]), "{out}");
    let (_, out, _) = run(daemon.netengine().args(["pki", "list", "w", "--json"]));
    let all: Value = serde_json::from_str(&out).expect("one document");
    assert_eq!(all.as_array().map(Vec::len), Some(3));
    assert_eq!((&all[0]["state"], &all[0]["not_before"]), (&json!("valid"), &json!("2023-11-14T22:13:20Z")));
    let before = daemon.requests().len();
    let (_, out, _) = run(daemon.netengine().args(["pki", "list", "w", "-n", "1"]));
    assert_eq!((out.lines().count(), daemon.requests().len() - before), (2, 1), "one page is enough: {out}");
}

#[test]
fn a_page_that_repeats_itself_ends_the_list() {
    let daemon = Daemon::start(|_| Answer::Json(200, json!([certificate("4c")])));
    let (code, out, _) = run(daemon.netengine().args(["pki", "list", "w"]));
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
}

#[test]
fn one_certificate_is_shown_with_its_chain() {
    let daemon = world();
    let (code, out, _) = run(daemon.netengine().args(["pki", "show", "w", "4B"]));
    assert_eq!(code, 0);
    assert!(out.starts_with("serial   4b\nnames    www.a.test\nstate    valid\n") && out.ends_with(PEM), "{out}");
    let (_, out, _) = run(daemon.netengine().args(["pki", "show", "w", "4b", "--json"]));
    let document: Value = serde_json::from_str(&out).expect("one document");
    assert_eq!((&document["serial"], &document["chain"]), (&json!("4b"), &json!(PEM)));
    let (code, out, err) = run(daemon.netengine().args(["pki", "show", "w", "../trust"]));
    assert!(code == 2 && out.is_empty() && err.contains("  help:  `netengine pki list"), "{err}");
    assert!(!daemon.requests().iter().any(|line| line.contains("..")), "nothing of it reached the daemon");
    assert_eq!(run(daemon.netengine().args(["pki", "show", "w", "4f"])).0, 1, "no such certificate");
}

#[test]
fn what_clients_trust_goes_to_standard_output_and_nothing_else() {
    let daemon = world();
    assert_eq!(run(daemon.netengine().args(["pki", "root", "w"])), (0, PEM.to_owned(), String::new()));
    let (code, out, _) = run(daemon.netengine().args(["pki", "root", "w", "--dns"]));
    assert_eq!((code, out.as_str()), (0, ". IN DS 7 13 2 0AFF\n"));
    let (_, out, _) = run(daemon.netengine().args(["pki", "root", "w", "--json"]));
    let trust: Value = serde_json::from_str(&out).expect("one document");
    assert_eq!(trust, json!({"certificates": PEM, "dns_root": ["7 13 2 0AFF"]}));
    for more in [&[][..], &["--dns"], &["--json"]] {
        let (code, out, err) = run(daemon.netengine().args(["pki", "root", "plain"]).args(more));
        assert_eq!((code, out.as_str()), (1, ""), "an absent root is no empty success: {err}");
    }
}

#[test]
fn secrets_are_shown_when_asked_with_a_warning_beside_them() {
    let daemon = world();
    let (code, out, err) = run(daemon.netengine().args(["credentials", "w"]));
    assert_eq!((code, out.lines().count()), (0, 3), "{out}");
    assert!(out.contains("alice") && out.contains("pw-1") && !out.contains("whoever"), "{out}");
    assert_eq!(err, "these are secrets: whoever reads them can use them\n");
    let (_, out, _) = run(daemon.netengine().args(["credentials", "w", "--kind", "tsig", "--json"]));
    let found: Value = serde_json::from_str(&out).expect("one document");
    assert_eq!(found, json!([{"kind": "tsig", "issuer": "", "name": "update.", "secret": "a2V5"}]));
    let (code, out, err) = run(daemon.netengine().args(["credentials", "w", "--name", "bob"]));
    assert!(code == 1 && out.is_empty() && err.contains("  cause: the world has no such secret\n"), "{err}");
    assert_eq!(run(daemon.netengine().args(["credentials", "w", "--kind", "key"])).0, 2);
    let (code, out, err) = run(daemon.netengine().args(["credentials", "others"]));
    assert!(code == 1 && out.is_empty() && !err.contains("secrets:"), "{err}");
}

#[test]
fn a_failed_check_is_exit_1_and_names_fault_and_remedy() {
    let daemon = world();
    let (code, out, err) = run(daemon.netengine().args(["diagnose", "w"]));
    assert_eq!((code, err.as_str()), (1, ""));
    assert_eq!(
        out,
        "ok      dns: root: seen (1.50 ms)\n\
         FAILED  ntp: service_stopped: seen (1.50 ms)\n        help: run `netengine up` again\n\
         world w: 1 of 2 checks failed, 7 ms\n"
    );
    let (code, out, _) = run(daemon.netengine().args(["diagnose", "w", "--json"]));
    let document: Value = serde_json::from_str(&out).expect("one document");
    assert_eq!((code, &document["checks"][1]["fault"]), (1, &json!("service_stopped")));
    assert_eq!(run(daemon.netengine().args(["diagnose", "sound"])).0, 0);
    assert_eq!(run(daemon.netengine().args(["diagnose", "absent"])).0, 1);
}

#[test]
fn a_diagnosis_on_a_terminal_shows_that_it_is_at_work_and_leaves_no_spinner() {
    let daemon = world();
    let pty = nix::pty::openpty(None, None).expect("makes a pty");
    let mut command = daemon.netengine();
    command.env("TERM", "xterm").args(["diagnose", "w"]).stdout(Stdio::piped()).stderr(Stdio::from(pty.slave));
    let mut child = command.spawn().expect("starts");
    // The command holds the last copies of the terminal's other side, so reading ends (with EIO) when it does.
    drop(command);
    let (mut screen, mut master) = (Vec::new(), std::fs::File::from(pty.master));
    let _ = master.read_to_end(&mut screen);
    assert_eq!(child.wait().expect("ends").code(), Some(1));
    let screen = String::from_utf8(screen).expect("is UTF-8");
    assert!(screen.contains("diagnose world \"w\"") && screen.ends_with("\u{1b}[2K"), "{screen:?}");
}
