//! Each process of the product is killed at system call N of an `up` and of a `down`, for rising N: afterwards the world is
//! complete or gone, `down` leaves nothing, and what is not NetEngine's is as before.
//!
//! By default N rises in steps; `NETENGINE_CRASH=full` (`make crash`) takes every N.

use std::{process::Stdio, time::Duration};

use netengine_tests::{
    ALICE, BIN, Host, ROOT,
    crash::{self, Fault, Injection, Rest, WORLDD, cli, finish_cli, minimal, recovers, start_cli},
};

/// Restarts at once: nothing is learned from waiting.
const QUICK: &str = "[Service]\nRestartSec=1ms\n";

/// No process makes more calls than this during one operation; a kill that still comes is not ours.
const MOST_CALLS: u32 = 100_000;

/// The operation during which the process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum During {
    Up,
    Down,
}

fn host() -> Host {
    let units = ["netengine-spawn.service", "netengine-rootd.service", "netengine-userd.service"];
    Host::with_drop_ins(&units.map(|unit| (unit, QUICK)))
}

/// Every N, or 1, 2, 3, 5, 8, 12, 18, ...
fn next(when: u32) -> u32 {
    let all = std::env::var("NETENGINE_CRASH").is_ok_and(|value| value == "full");
    if all || when < 3 { when + 1 } else { when + when / 2 + when % 2 }
}

/// Raises N until the operation ends well without a hit; fails with every N after which something was not as promised.
fn sweep(comm: &str, follow: bool, during: During) {
    let host = host();
    host.foreign();
    let rest = Rest::of(&host);
    let mut violations = Vec::new();
    let (mut when, mut hits, mut misses) = (1, 0, 0);
    // How many calls are made varies a little with timing: one miss may be luck, two in a row are the end.
    while misses < 2 {
        assert!(when < MOST_CALLS, "{comm} was ended during {during:?} even at call {when}: not by us");
        let fault = Fault { calls: "all", what: "signal=SIGKILL", when, onward: false, follow };
        let (hit, outcome) = one(&host, comm, fault, during, &rest);
        if hit.is_empty() {
            misses += 1
        } else {
            (hits, misses) = (hits + 1, 0)
        }
        if let Err(error) = outcome {
            let place = hit.lines().next().unwrap_or("no hit");
            let logs = host.shell(ROOT, "tail -n 12 /var/log/netengine/*.log");
            eprintln!("N={when} ({place}): {error}\n{logs}");
            violations.push(format!("N={when} ({place}): {error}"));
            if violations.len() >= 5 {
                break;
            }
            // What was left would count against every later N.
            let _ = crash::takes_down(&host, ALICE);
            if rest.wait(&host, Duration::from_secs(1)).is_err() {
                break;
            }
        }
        when = next(when);
    }
    eprintln!("{comm} during {during:?}: {hits} kills, last N {when}");
    assert!(violations.is_empty(), "{comm} killed during {during:?}:\n{}", violations.join("\n"));
    assert!(hits >= 3, "{comm} was hit {hits} times only: is it the right process?");
}

fn one(host: &Host, comm: &str, fault: Fault<'_>, during: During, rest: &Rest) -> (String, Result<(), String>) {
    if during == During::Down {
        match cli(host, ALICE, &["up", &minimal()]) {
            Ok(run) if run.code == Some(0) => {}
            other => return (String::new(), Err(format!("up before the kill: {other:?}"))),
        }
    }
    let pids = host.named(comm);
    if pids.is_empty() {
        return (String::new(), Err(format!("no process {comm}")));
    }
    let injection = Injection::attach(&pids, fault);
    let spec = minimal();
    let args: &[&str] = if during == During::Up { &["up", &spec] } else { &["down", "minimal", "--yes"] };
    let run = finish_cli(start_cli(host, ALICE, args));
    // The end of the process may be told a moment after the end of the operation that it ended.
    let early = run.as_ref().is_ok_and(|run| run.code == Some(0));
    injection.wait_hit(Duration::from_millis(if early { 20 } else { 500 }));
    let hit = injection.detach();
    let outcome = run.and_then(|run| match run.code {
        Some(0 | 1 | 4) => Ok(()),
        _ => Err(format!("the CLI ended with {run:?}")),
    });
    (hit, outcome.and_then(|()| recovers(host, ALICE, rest)))
}

#[test]
fn broker_killed_at_any_call_of_up() {
    sweep("netengine-rootd", false, During::Up);
}

#[test]
fn broker_killed_at_any_call_of_down() {
    sweep("netengine-rootd", false, During::Down);
}

#[test]
fn net_worker_killed_at_any_call_of_up() {
    sweep("ne-rootd-net", false, During::Up);
}

#[test]
fn net_worker_killed_at_any_call_of_down() {
    sweep("ne-rootd-net", false, During::Down);
}

#[test]
fn ns_worker_killed_at_any_call_of_up() {
    sweep("ne-rootd-ns", false, During::Up);
}

/// With the attendant and worldd, which it forks: each process counts its own calls.
#[test]
fn spawn_worker_attendant_and_worldd_killed_at_any_call_of_up() {
    sweep("ne-rootd-spawn", true, During::Up);
}

#[test]
fn spawn_worker_and_its_children_killed_at_any_call_of_down() {
    sweep("ne-rootd-spawn", true, During::Down);
}

#[test]
fn holder_killed_at_any_call_of_up() {
    sweep("ne-holder", false, During::Up);
}

#[test]
fn holder_killed_at_any_call_of_down() {
    sweep("ne-holder", false, During::Down);
}

#[test]
fn attendant_killed_at_any_call_of_down() {
    sweep("ne-attendant", false, During::Down);
}

#[test]
fn worldd_killed_at_any_call_of_down() {
    sweep(WORLDD, true, During::Down);
}

#[test]
fn userd_killed_at_any_call_of_up() {
    sweep("netengine-userd", true, During::Up);
}

#[test]
fn userd_killed_at_any_call_of_down() {
    sweep("netengine-userd", true, During::Down);
}

/// strace starts the CLI, inside the host and as its user.
fn cli_sweep(during: During) {
    let host = host();
    host.foreign();
    let rest = Rest::of(&host);
    let (mut when, mut hits) = (1, 0);
    loop {
        if during == During::Down {
            let up = cli(&host, ALICE, &["up", &minimal()]).expect("ends");
            assert_eq!(up.code, Some(0), "{up:?}");
        }
        let spec = minimal();
        let args: &[&str] = if during == During::Up { &["up", &spec] } else { &["down", "minimal", "--yes"] };
        let mut strace = host.command(ALICE, "strace");
        strace.args(["-f", "-o", "/dev/null", "-e", &format!("inject=all:signal=SIGKILL:when={when}")]);
        strace.arg(format!("{BIN}/netengine")).args(args);
        let strace = strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let run = finish_cli(strace.expect("strace starts")).expect("ends");
        recovers(&host, ALICE, &rest).unwrap_or_else(|error| panic!("N={when}, {run:?}: {error}"));
        if run.code == Some(0) {
            break;
        }
        assert_eq!(run.code, None, "ended by the signal: {run:?}");
        hits += 1;
        when = next(when);
    }
    assert!(hits >= 5, "the CLI was hit {hits} times only");
}

#[test]
fn cli_killed_at_any_call_of_up() {
    cli_sweep(During::Up);
}

#[test]
fn cli_killed_at_any_call_of_down() {
    cli_sweep(During::Down);
}
