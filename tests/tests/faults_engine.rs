//! The disk is full, the database is locked, broken or away, the kernel refuses: exit 1 or 4 with cause and help,
//! everything undone, and all is well when the fault is gone.

mod judge;

use std::time::Instant;

use judge::{inside, minimal, pids, run, sh, until, up};
use netengine_tests::{ALICE, Host, ROOT, SCRATCH};
use nix::sys::signal::Signal;
use serde_json::json;

/// What was made for a world: everything but the daemons' own files, which may have grown.
fn objects(host: &Host) -> netengine_tests::Snapshot {
    host.snapshot().without(&["files", "processes"])
}

#[test]
fn a_full_disk_under_the_state_is_told_and_everything_is_undone() {
    let mut host = Host::bare();
    host.shell(
        ROOT,
        "mkdir /var/lib/netengine && mount -t tmpfs -o size=2m,mode=700,uid=802,gid=806 small /var/lib/netengine",
    );
    let units = host.copy_units(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd")));
    host.start_daemons(&units, &["netengine-rootd", "netengine-userd"]);
    let before = objects(&host);
    host.shell(ROOT, "dd if=/dev/zero of=/var/lib/netengine/filler bs=4k 2>/dev/null; true");
    let [_, cause, help] = run(&host, ALICE, &["up", &minimal()]).exits(1).three_lines();
    assert!(cause.contains("full") || cause.contains("space"), "{cause}; {help}");
    until("everything is undone", || before.difference(&objects(&host)), Vec::is_empty);
    host.shell(ROOT, "rm /var/lib/netengine/filler");
    until("it comes up", || run(&host, ALICE, &["up", &minimal()]), |ran| ran.code == 0);
    inside(&host, ALICE, "minimal", "/usr/sbin/ntpdate -q 10.0.0.254").ok();
    run(&host, ALICE, &["down", "minimal"]).ok();
    before.assert_unchanged(&objects(&host));
}

#[test]
fn a_full_disk_under_the_journal_is_told_and_everything_is_undone() {
    let host = Host::new();
    // Large enough not to fit in what is left of the journal's last page.
    let networks =
        "  networks:\n    platform: {subnet: 172.28.0.0/16}\n    core: {subnet: 10.0.0.0/24, vantage_hosts: 60}\n";
    let large = judge::spec(&host, "large", &format!("{networks}{}", judge::GATEWAY));
    // rootd's own empty namespace is another one after each of its restarts, so they are counted.
    let kept = |host: &Host| {
        let seen = objects(host);
        (seen.section("held namespaces").len(), seen.without(&["namespaces", "held namespaces"]))
    };
    let before = kept(&host);
    // What is there is copied into a small file system, laid over it, and the daemon started again on it.
    host.shell(
        ROOT,
        "cp -a /run/netengine-rootd /run/copy && mount -t tmpfs -o size=64k,mode=700,uid=801,gid=801 small /run/netengine-rootd && \
         cp -a /run/copy/journal* /run/netengine-rootd/ && rm -r /run/copy",
    );
    host.restart("netengine-rootd", Signal::SIGKILL);
    let standing = kept(&host);
    host.shell(ROOT, "dd if=/dev/zero of=/run/netengine-rootd/filler bs=1k 2>/dev/null; true");
    let ran = until("rootd is reached", || run(&host, ALICE, &["up", &large]), |ran| !ran.err.contains("reach"));
    let [_, cause, _] = ran.exits(1).three_lines();
    assert!(cause.contains("full") || cause.contains("space") || cause.contains("journal"), "{cause}");
    host.shell(ROOT, "rm /run/netengine-rootd/filler");
    until(
        "everything is undone",
        || (kept(&host).0, standing.1.difference(&kept(&host).1)),
        |(held, other)| *held == standing.0 && other.is_empty(),
    );
    until("it comes up", || run(&host, ALICE, &["up", &large]), |ran| ran.code == 0);
    run(&host, ALICE, &["down", "large"]).ok();
    host.shell(ROOT, "umount -l /run/netengine-rootd");
    let after = kept(&host);
    before.1.assert_unchanged(&after.1);
    assert_eq!(before.0, after.0, "namespaces held");
}

#[test]
fn a_database_locked_by_another_program_is_told_in_bounded_time() {
    let host = Host::new();
    let before = objects(&host);
    let locker = "import sqlite3, sys\nc = sqlite3.connect('/var/lib/netengine/state.db', isolation_level=None)\nc.execute('BEGIN EXCLUSIVE')\n\
         print('locked', flush=True)\nsys.stdin.readline()";
    let mut command = host.command(ROOT, "/usr/bin/python3");
    let command = command.args(["-c", locker]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut holder = command.spawn().expect("python3 starts");
    let mut word = [0; 7];
    std::io::Read::read_exact(holder.stdout.as_mut().expect("piped"), &mut word).expect("locked");
    let begun = Instant::now();
    let [_, cause, help] = run(&host, ALICE, &["up", &minimal()]).exits(1).three_lines();
    assert!(cause.contains("lock") || cause.contains("database"), "{cause}; {help}");
    assert!(begun.elapsed().as_secs() < 40, "{:?}", begun.elapsed());
    drop(holder.stdin.take());
    holder.wait().expect("ends");
    until("everything is undone", || before.difference(&objects(&host)), Vec::is_empty);
    up(&host, &minimal());
    run(&host, ALICE, &["down", "minimal"]).ok();
}

#[test]
fn a_corrupt_database_is_told_at_once_and_running_worlds_go_on() {
    let host = Host::new();
    up(&host, &minimal());
    let worldd = pids(&host, "netengine-world");
    let state = "/var/lib/netengine/state.db";
    host.shell(
        ROOT,
        &format!(
            "python3 -c \"import sqlite3; sqlite3.connect('{state}').execute(\\\"VACUUM INTO '/run/backup.db'\\\")\""
        ),
    );
    host.kill("netengine-userd", Signal::SIGSTOP);
    host.shell(ROOT, &format!("rm -f {state}-*; dd if=/dev/urandom of={state} bs=4k count=8 conv=notrunc 2>/dev/null"));
    host.restart("netengine-userd", Signal::SIGKILL);
    let spec = minimal();
    for args in [&["up", &spec][..], &["status", "minimal"], &["list"], &["down", "minimal"], &["events"]] {
        let begun = Instant::now();
        let [_, cause, help] = run(&host, ALICE, args).exits(1).three_lines();
        assert!(cause.contains("damaged") && help.contains("backup"), "{args:?}: {cause}; {help}");
        assert!(begun.elapsed().as_secs() < 5, "{args:?}: {:?}", begun.elapsed());
    }
    let doctor = run(&host, ALICE, &["doctor", "--json"]).json();
    let checks = doctor["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == "database").expect("a check");
    assert_eq!((&check["passed"], &doctor["healthy"]), (&json!(false), &json!(false)), "{doctor}");
    let asked = "curl -sf --unix-socket /run/netengine/user.sock http://x/api/v1/version";
    assert!(sh(&host, ALICE, asked).ok().out.contains("release"), "what needs no database is answered");
    let log = host.shell(ROOT, "cat /var/log/netengine/netengine-userd.log");
    assert!(log.contains("database") && !log.contains("panicked"), "{log}");
    assert_eq!(pids(&host, "netengine-world"), worldd, "a world is not removed because a file is broken");
    let daemon = pids(&host, "netengine-userd");
    host.shell(
        ROOT,
        &format!("cp /run/backup.db {state}.new && chown --reference={state} {state}.new && chmod --reference={state} {state}.new && \
         rm -f {state}-* && mv {state}.new {state} && rm /run/backup.db"),
    );
    until("it serves again", || run(&host, ALICE, &["status", "minimal"]), |ran| ran.code == 0);
    assert_eq!(pids(&host, "netengine-userd"), daemon, "without a restart");
    inside(&host, ALICE, "minimal", "/usr/sbin/ntpdate -q 10.0.0.254").ok();
    assert_eq!(up(&host, &minimal())["changes"], 0);
    assert_eq!(pids(&host, "netengine-world"), worldd, "the world stood all the time");
}

#[test]
fn a_refusing_kernel_is_told_and_everything_is_undone() {
    let host = Host::new();
    let before = objects(&host);
    // The refused call becomes another that the worker's filter allows: strace's own choice would be the end of it.
    let worker = pids(&host, "ne-rootd-net");
    let mut command = host.command(ROOT, "/usr/bin/strace");
    let command = command.args([
        "-f",
        "-p",
        &worker[0].to_string(),
        "-e",
        "trace=sendto,sendmsg,sendmmsg",
        "-e",
        "inject=sendto:error=EOPNOTSUPP:syscall=gettid:when=5+",
    ]);
    let mut tracer = command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("strace starts");
    let attached = sh(
        &host,
        ROOT,
        &format!(
            "for i in $(seq 500); do grep -q 'TracerPid:.0$' /proc/{}/status || exit 0; sleep 0.01; done; exit 1",
            worker[0]
        ),
    );
    if attached.code != 0 {
        netengine_tests::signal(&tracer, Signal::SIGKILL);
        panic!("strace did not attach: {attached:?}");
    }
    let ran = run(&host, ALICE, &["up", &minimal()]);
    // It may have ended with the worker.
    if tracer.try_wait().expect("waited").is_none() {
        netengine_tests::signal(&tracer, Signal::SIGTERM);
    }
    let traced = tracer.wait_with_output().expect("ends");
    let traced = String::from_utf8_lossy(&traced.stderr);
    assert!(traced.contains("(INJECTED)"), "the fault happened: {traced}");
    assert_eq!(ran.code, 1, "{ran:?}");
    let [_, cause, help] = ran.three_lines();
    assert!(cause.contains("not supported") || cause.contains("EOPNOTSUPP"), "{cause}; {help}");
    until("everything is undone", || before.difference(&objects(&host)), Vec::is_empty);
    assert!(
        run(&host, ALICE, &["list", "--json"]).ok().json() == json!([])
            || run(&host, ALICE, &["list"]).ok().out.contains("failed")
    );
    until("it comes up", || run(&host, ALICE, &["up", &minimal()]), |ran| ran.code == 0);
    run(&host, ALICE, &["down", "minimal"]).ok();
    before.assert_unchanged(&objects(&host));
}

#[test]
fn a_quota_refuses_before_anything_is_made() {
    let drop_in = "[Service]\nEnvironment=NETENGINE_QUOTA_WORLDS=1\n";
    let host = Host::with_drop_ins(&[("netengine-userd.service", drop_in)]);
    up(&host, &minimal());
    let spec = judge::spec(&host, "second", judge::GATEWAY);
    let before = objects(&host);
    let [_, cause, help] = run(&host, ALICE, &["up", &spec]).exits(3).three_lines();
    assert!(cause.contains('1') && !help.is_empty(), "{cause}; {help}");
    before.assert_unchanged(&objects(&host));
    assert_eq!(run(&host, ALICE, &["list", "--json"]).ok().json().as_array().map(Vec::len), Some(1));
}

#[test]
fn postgresql_serves_alike_and_its_death_is_an_engine_fault() {
    let drop_in =
        format!("[Service]\nEnvironment=NETENGINE_DB_URL=postgres:///netengine?host={SCRATCH}/pg&user=netengine\n");
    let mut host = Host::bare();
    let units = host.copy_units(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd")));
    host.file("units/netengine-userd.service.d/test.conf", &drop_in);
    let bin = "/usr/lib/postgresql/15/bin";
    let server = format!(
        "{bin}/pg_ctl -D {SCRATCH}/pg/data -w -o \"-k {SCRATCH}/pg -c listen_addresses= -c fsync=off\" -l {SCRATCH}/pg/log"
    );
    let as_postgres =
        |command: &str| format!("setpriv --reuid postgres --regid postgres --clear-groups sh -c '{command}'");
    host.shell(ROOT, &format!("install -d -o postgres -g postgres -m 755 {SCRATCH}/pg; {}", as_postgres(&format!("{bin}/initdb -A trust -U netengine {SCRATCH}/pg/data >/dev/null && {server} start >/dev/null && {bin}/createdb -h {SCRATCH}/pg -U netengine netengine"))));
    host.start_daemons(&units, &["netengine-rootd", "netengine-userd"]);
    let before = objects(&host);
    assert!(up(&host, &minimal())["changes"].as_u64().is_some_and(|changes| changes > 20));
    assert_eq!(up(&host, &minimal())["changes"], 0);
    assert_eq!(run(&host, ALICE, &["status", "--json"]).ok().json()["state"], "ready");
    assert!(!run(&host, ALICE, &["events", "minimal", "--json"]).ok().json().as_array().expect("events").is_empty());
    let tables = host.shell(
        ROOT,
        &format!("{bin}/psql -h {SCRATCH}/pg -U netengine -Atc \"select count(*) from worlds\" netengine"),
    );
    assert_eq!(tables.trim(), "1", "the state is really there");
    assert!(sh(&host, ROOT, "ls /var/lib/netengine/state.db").code != 0, "and not in SQLite");
    host.shell(ROOT, &as_postgres(&format!("{server} -m immediate stop >/dev/null")));
    let [_, cause, _] =
        until("it is told", || run(&host, ALICE, &["status", "minimal"]), |ran| ran.code != 0).exits(4).three_lines();
    assert!(cause.contains("database"), "{cause}");
    inside_goes_on(&host);
    host.shell(ROOT, &as_postgres(&format!("{server} start >/dev/null")));
    until("it recovers", || run(&host, ALICE, &["status", "minimal"]), |ran| ran.code == 0);
    run(&host, ALICE, &["down", "minimal"]).ok();
    before.assert_unchanged(&objects(&host));
}

/// Without its database userd cannot grant, but the world serves on, as root sees from within.
fn inside_goes_on(host: &Host) {
    judge::in_namespace_of(host, "10.0.0.253", "/usr/sbin/ntpdate -q 10.0.0.254");
}
