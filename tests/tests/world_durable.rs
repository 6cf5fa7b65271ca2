//! The services of a world die at any moment under load, and nothing that was acknowledged is lost.

mod judge;
mod world;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use judge::{feed, netengine, run};
use netengine_tests::{
    ALICE, DEADLINE, Host,
    crash::{WORLDD, eventually, settled},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use world::World;

const CLIENT: &str = include_str!("scripts/world_durable.py");
const PYTHON: &str = "/usr/bin/python3";
/// Certificates, revocations, registrations, updates of zones and changes of accounts.
const OPERATIONS: usize = 1000;
/// Under load; one more follows at the end.
const KILLS: usize = 6;

/// The process of the world's services; the router's and probers have the same name.
fn worldd(host: &Host) -> Option<Pid> {
    let is_worldd = |pid: &Pid| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == b"worldd")
    };
    host.named(WORLDD).into_iter().find(is_worldd)
}

/// Waits for another process of the world's services than that one.
fn successor(host: &Host, before: Pid) -> Pid {
    let begun = Instant::now();
    loop {
        match worldd(host) {
            Some(now) if now != before => return now,
            _ => assert!(begun.elapsed() < DEADLINE, "worldd is started again by itself"),
        }
    }
}

fn is_ready(host: &Host) -> bool {
    settled(host, ALICE).is_ok_and(|worlds| worlds["single-org"] == "ready")
}

/// Kills the services and waits for their successor, and until the world says that it is right again; tells how long that took.
fn kill_and_wait(host: &Host) -> String {
    let before = worldd(host).expect("worldd runs");
    let begun = Instant::now();
    kill(before, Signal::SIGKILL).expect("signalled");
    successor(host, before);
    let started = begun.elapsed().as_millis();
    eventually("the world is repaired", || is_ready(host));
    let served = begun.elapsed();
    if served > Duration::from_secs(2) {
        // What it waited for is in its events.
        println!("{}", run(host, ALICE, &["events", "single-org", "--json"]).out);
        println!("{}", run(host, ALICE, &["logs", "single-org", "-n", "60"]).out);
    }
    format!("a new process after {started} ms, seen to serve after {} ms", served.as_millis())
}

/// Points of the run at which it is killed, by a seed that is printed.
fn points() -> BTreeSet<usize> {
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    println!("seed {seed}");
    let mut points = BTreeSet::new();
    while points.len() < KILLS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        points.insert(OPERATIONS / 20 + (seed >> 33) as usize % (OPERATIONS * 9 / 10));
    }
    points
}

fn names(ledger: &Value, kind: &str) -> Vec<String> {
    let all = ledger[kind].as_array().expect("a list").iter();
    all.map(|name| name.as_str().expect("text").to_owned()).collect()
}

fn nothing_acknowledged_is_lost(sets: &[&str]) {
    let world = World::up("single-org", sets);
    let script = world.host.file("durable.py", CLIENT);
    let mut told = json!({
        "acme": world.secret("client_secret", "netengine-api", "/realms/acme-corp"),
        "inworld": world.secret("client_secret", "netengine-api", "/realms/inworld"),
        "update": world.tsig("update"),
    });
    let verify = told.to_string();
    told["count"] = OPERATIONS.into();
    let mut cli = world.host.command(ALICE, &netengine());
    cli.args(["exec", &world.name, "--", PYTHON, &script, &told.to_string()]);
    let begun = Instant::now();
    let mut client = cli.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the CLI starts");
    let mut points = points();
    let (mut done, mut last) = (0, String::new());
    thread::scope(|scope| {
        // The client goes on while the services are repaired; the next kill is of a world that is right again.
        let mut repair: Option<thread::ScopedJoinHandle<'_, ()>> = None;
        for line in BufReader::new(client.stdout.take().expect("piped")).lines().map(|line| line.expect("text")) {
            if line.starts_with("done ") {
                done += 1;
                if points.first().is_some_and(|point| *point <= done) {
                    points.pop_first();
                    repair.take().into_iter().for_each(|repair| repair.join().expect("repaired"));
                    repair = Some(scope.spawn(|| println!("{}", kill_and_wait(&world.host))));
                }
            }
            last = line;
        }
    });
    assert!(client.wait().expect("ends").success(), "all operations succeed in the end; it said last: {last}");
    assert_eq!((done, points.len()), (OPERATIONS, 0));
    println!("{OPERATIONS} operations in {} ms", begun.elapsed().as_millis());
    println!("the last kill: {}", kill_and_wait(&world.host));

    let ledger: Value = serde_json::from_str(&last).expect("JSON");
    // What was never made must be missed, so that the search can fail.
    let mut wanted = ledger.clone();
    for (kind, name) in [("domains", "never.corp"), ("users", "never"), ("records", "never.platform.internal")] {
        assert!(names(&ledger, kind).len() >= OPERATIONS / 20, "{kind}");
        wanted[kind].as_array_mut().expect("a list").push(name.into());
    }
    let args = ["exec", &world.name, "--", PYTHON, &script, &verify];
    let found = feed(&world.host, ALICE, &netengine(), &args, wanted.to_string().as_bytes());
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let missing: BTreeSet<String> = serde_json::from_slice(&found.stdout).expect("JSON");
    assert_eq!(missing, ["never", "never.corp", "never.platform.internal"].map(str::to_owned).into());

    let listed = world.certificates();
    let state = |serial: &str| {
        let found = listed.iter().find(|one| one["serial"] == serial);
        found.map(|one| one["state"].as_str().expect("text").to_owned())
    };
    let (made, revoked) = (names(&ledger, "certificates"), names(&ledger, "revoked"));
    assert!(made.len() >= OPERATIONS / 20 && revoked.len() >= OPERATIONS / 20, "{} {}", made.len(), revoked.len());
    for serial in &made {
        let wanted = if revoked.contains(serial) { "revoked" } else { "valid" };
        assert_eq!(state(serial).as_deref(), Some(wanted), "{serial}");
    }
    assert_eq!(state("00"), None);
}

#[test]
fn an_ephemeral_world_loses_nothing_acknowledged_when_its_services_are_killed() {
    nothing_acknowledged_is_lost(&[]);
}

#[test]
fn a_persistent_world_loses_nothing_acknowledged_when_its_services_are_killed() {
    nothing_acknowledged_is_lost(&["metadata.lifecycle=persistent"]);
}

#[test]
fn a_kill_that_falls_into_the_repair_of_another_is_repaired_as_soon() {
    let world = World::up("single-org", &["metadata.lifecycle=persistent"]);
    let mut before = worldd(&world.host).expect("worldd runs");
    let begun = Instant::now();
    for _ in 0..3 {
        kill(before, Signal::SIGKILL).expect("signalled");
        before = successor(&world.host, before);
    }
    kill(before, Signal::SIGKILL).expect("signalled");
    eventually("the world is repaired", || {
        is_ready(&world.host) && worldd(&world.host).is_some_and(|now| now != before)
    });
    println!(
        "four kills, each into the repair of the one before: seen to serve after {} ms",
        begun.elapsed().as_millis()
    );
    let asked = world.says("dig +short +time=1 +tries=1 @10.0.0.5 corp SOA");
    assert!(!asked.trim().is_empty(), "its name servers answer");
}

#[test]
fn a_world_whose_services_always_end_is_left_alone_for_a_while_and_then_comes_back() {
    let world = World::up("single-org", &[]);
    let detail = || {
        let status = run(&world.host, ALICE, &["status", "single-org", "--json"]).ok().json();
        status["phases"][0]["detail"].as_str().unwrap_or_default().to_owned()
    };
    let begun = Instant::now();
    while !detail().contains("ended again and again") {
        assert!(begun.elapsed() < DEADLINE * 2, "it is given up for a while: {}", detail());
        if let Some(pid) = worldd(&world.host) {
            // It may have ended by itself just now.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
    // An operation that is at work makes a few tries of its own.
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_secs(3) {
        if let Some(pid) = worldd(&world.host) {
            let _ = kill(pid, Signal::SIGKILL);
            last = Instant::now();
        }
        assert!(begun.elapsed() < DEADLINE, "it is left alone");
    }
    println!("left alone after {} ms", begun.elapsed().as_millis());
    // The last try may have been killed before it was started.
    let said = detail();
    assert!(!is_ready(&world.host) && (said.contains("ended") || said.contains("cannot start")), "{said}");
    let begun = Instant::now();
    while !is_ready(&world.host) {
        assert!(begun.elapsed() < DEADLINE * 2, "it is tried again: {}", detail());
        thread::sleep(Duration::from_millis(200));
    }
    println!("seen to serve again after {} ms", begun.elapsed().as_millis());
}
