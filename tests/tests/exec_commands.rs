//! `netengine exec` through pipes: identity, bytes, exit status, signals, files, limits.

mod judge;

use std::{fs, os::unix::process::ExitStatusExt, process::Stdio, time::Instant};

use judge::{Stream, feed, inside, minimal, netengine, pids, run, sh, until, up};
use netengine_tests::{ALICE, BOB, DANA, Host, ROOT, inner_pid, people, signal};
use nix::sys::signal::Signal;

fn booted() -> Host {
    let host = Host::new();
    up(&host, &minimal());
    host
}

#[test]
fn a_command_runs_as_the_caller_without_any_capability() {
    let host = booted();
    let status = inside(&host, ALICE, "minimal", "cat /proc/self/status").ok().out;
    let line = |name: &str| {
        let found =
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {status}"));
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("Uid:"), "2001 2001 2001 2001");
    assert_eq!(line("Gid:"), "2001 2001 2001 2001");
    assert_eq!(line("Groups:"), "804 2001");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(line(set), "0000000000000000", "{set}");
    }
    assert_eq!(line("NoNewPrivs:"), "1");
    // Signal masks are the caller's, not a daemon's.
    assert_eq!(line("SigBlk:"), "0000000000000000");
    // No descriptor but the three.
    assert_eq!(inside(&host, ALICE, "minimal", "ls /proc/self/fd | tr '\\n' ' '").ok().out, "0 1 2 3 ");
    // A set-uid program gives nothing.
    let su = inside(&host, ALICE, "minimal", "unshare --net true || ip link add x type dummy").exits(2);
    assert!(su.err.contains("not permitted"), "{su:?}");
}

#[test]
fn core_is_the_default_and_other_hosts_are_chosen_by_name() {
    let host = booted();
    let addresses = |target: &str| inside(&host, ALICE, target, "ip -4 -oneline address show scope global").ok().out;
    assert!(addresses("minimal").contains(" 10.0.0.") && !addresses("minimal").contains("172.28."));
    assert_eq!(addresses("minimal"), addresses("minimal/core"));
    assert!(addresses("minimal/platform").contains(" 172.28."));
    assert_eq!(run(&host, ALICE, &["exec", "--", "echo", "the only world"]).ok().out, "the only world\n");
    // The two hosts reach each other through the world's router, and nothing of the machine.
    let other =
        addresses("minimal/platform").split_whitespace().find(|word| word.contains("172.28.")).map(str::to_owned);
    let other = other.expect("an address");
    let address = other.split('/').next().expect("an address");
    inside(&host, ALICE, "minimal", &format!("python3 -c \"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('{address}', 9)); s.send(b'x')\"")).ok();
    assert!(!inside(&host, ALICE, "minimal", "ls /sys/class/net").ok().out.contains("foreign"));
}

#[test]
fn a_mebibyte_of_random_bytes_passes_unchanged() {
    let host = booted();
    let random = fs::File::open("/dev/urandom").map(|file| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(file, 1 << 20), &mut bytes).expect("random bytes");
        bytes
    });
    let random = random.expect("random bytes");
    let output = feed(&host, ALICE, &netengine(), &["exec", "minimal", "--", "cat"], &random);
    assert!(output.status.success());
    assert!(output.stdout == random, "{} bytes of {} came back", output.stdout.len(), random.len());
    assert_eq!(output.stderr, b"");
    // Another judge, and both outputs at once without mixing.
    let sums = feed(
        &host,
        ALICE,
        &netengine(),
        &["exec", "minimal", "--", "sh", "-c", "tee /dev/stderr | sha256sum"],
        &random,
    );
    assert!(sums.stderr == random, "standard error is binary-clean too: {}", sums.stderr.len());
    let here = feed(&host, ALICE, "sha256sum", &[], &random);
    assert_eq!(sums.stdout, here.stdout);
    // A reader that goes away early, and a command that never reads.
    let head = sh(&host, ALICE, &format!("{} exec minimal -- cat /dev/zero | head -c 10 | wc -c", netengine())).ok();
    assert_eq!(head.out.trim(), "10");
    assert!(feed(&host, ALICE, &netengine(), &["exec", "minimal", "--", "true"], &random).status.success());
}

#[test]
fn the_exit_status_is_the_commands_own() {
    let host = booted();
    for status in [0, 1, 2, 3, 4, 5, 42, 125, 126, 127, 128, 200, 255] {
        let ran = inside(&host, ALICE, "minimal", &format!("exit {status}")).exits(status);
        assert_eq!(ran.err, "", "no word of ours");
    }
    for (name, number) in [("KILL", 9), ("TERM", 15), ("INT", 2), ("SEGV", 11), ("HUP", 1), ("USR1", 10), ("PIPE", 13)]
    {
        inside(&host, ALICE, "minimal", &format!("kill -{name} $$; sleep 100")).exits(128 + number);
    }
    let missing = run(&host, ALICE, &["exec", "minimal", "--", "no-such-command"]).exits(127);
    missing.three_lines();
    let home = people::home(&ALICE);
    sh(&host, ALICE, &format!("echo data > {home}/data; chmod 644 {home}/data")).ok();
    run(&host, ALICE, &["exec", "minimal", "--", &format!("{home}/data")]).exits(126).three_lines();
    run(&host, ALICE, &["exec", "minimal", "--", &home]).exits(126).three_lines();
    run(&host, ALICE, &["exec", "minimal", "--", &format!("{home}/no/such")]).exits(127).three_lines();
    run(&host, ALICE, &["exec", "minimal", "--", ""]).exits(127);
}

#[test]
fn signals_to_the_cli_reach_the_command() {
    let host = booted();
    for (sent, number) in
        [(Signal::SIGINT, 2), (Signal::SIGTERM, 15), (Signal::SIGHUP, 1), (Signal::SIGUSR1, 10), (Signal::SIGQUIT, 3)]
    {
        let script =
            format!("trap 'echo got; exit {}' {number}; echo ready; while :; do sleep 0.05; done", 50 + number);
        let mut stream = Stream::start(&host, ALICE, &["exec", "minimal", "--", "bash", "-c", &script]);
        stream.find("ready", |line| line == "ready");
        signal(&stream.child, sent);
        stream.find("got", |line| line == "got");
        assert_eq!(stream.child.wait().expect("ends").code(), Some(50 + number), "{sent}");
    }
    let mut stream = Stream::start(&host, ALICE, &["exec", "minimal", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
    stream.find("ready", |line| line == "ready");
    signal(&stream.child, Signal::SIGTERM);
    let end = stream.child.wait().expect("ends");
    assert!(end.code() == Some(143) || end.signal() == Some(15), "{end:?}");
}

#[test]
fn background_children_end_with_the_command() {
    let host = booted();
    let started = Instant::now();
    let ran = inside(&host, ALICE, "minimal", "setsid sleep 54321 >/dev/null 2>&1 & sleep 54322 & echo done").ok();
    assert_eq!(ran.out, "done\n");
    assert!(started.elapsed().as_secs() < 10, "it does not wait for what holds its output: {:?}", started.elapsed());
    until("no child is left", || sh(&host, ROOT, "pgrep -af 'sleep 5432' | grep -v pgrep").out, String::is_empty);
}

#[test]
fn a_cli_killed_takes_its_command_along() {
    let host = booted();
    let mut stream = Stream::start(
        &host,
        ALICE,
        &[
            "exec",
            "minimal",
            "--",
            "sh",
            "-c",
            "trap '' HUP TERM INT; setsid sleep 65431 & echo ready; while :; do sleep 0.1; done",
        ],
    );
    stream.find("ready", |line| line == "ready");
    let started = Instant::now();
    signal(&stream.child, Signal::SIGKILL);
    stream.child.wait().expect("ends");
    until("the command is gone", || sh(&host, ROOT, "pgrep -af 'sleep 65431' | grep -v pgrep").out, String::is_empty);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    inside(&host, ALICE, "minimal", "true").ok();
}

#[test]
fn a_command_goes_on_when_userd_dies() {
    let host = booted();
    let home = people::home(&ALICE);
    sh(&host, ALICE, &format!("mkfifo {home}/go")).ok();
    let script = format!("echo ready; read word < {home}/go; echo $word; exit 33");
    let mut stream = Stream::start(&host, ALICE, &["exec", "minimal", "--", "sh", "-c", &script]);
    stream.find("ready", |line| line == "ready");
    host.restart("netengine-userd", Signal::SIGKILL);
    sh(&host, ALICE, &format!("echo still > {home}/go")).ok();
    stream.find("still", |line| line == "still");
    assert_eq!(stream.child.wait().expect("ends").code(), Some(33));
    // And the next one is granted by its successor.
    until("exec works again", || inside(&host, ALICE, "minimal", "echo again"), |ran| ran.code == 0);
}

#[test]
fn the_callers_files_are_seen_and_written_as_the_caller() {
    let host = booted();
    let home = people::home(&ALICE);
    sh(&host, ALICE, &format!("echo mine > {home}/note; mkdir {home}/work")).ok();
    let script =
        format!("cd {home}/work && {} exec minimal -- sh -c 'pwd; cat ../note; echo made > made; umask'", netengine());
    let ran = sh(&host, ALICE, &format!("umask 027; {script}")).ok();
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((lines[0], lines[1]), (format!("{home}/work").as_str(), "mine"), "{ran:?}");
    assert_eq!(lines[2], "0027", "the umask is the caller's");
    assert_eq!(host.shell(ROOT, &format!("stat -c '%U %G' {home}/work/made")), "alice alice\n");
    // What is not the caller's stays shut.
    inside(&host, ALICE, "minimal", &format!("cat {}/x", people::home(&BOB))).exits(1);
    inside(&host, ALICE, "minimal", "cat /etc/shadow").exits(1);
    inside(&host, ALICE, "minimal", "ls /run/netengine-rootd").exits(2);
    // Neither the machine's processes nor other worlds' sockets.
    let seen = inside(&host, ALICE, "minimal", "ps -e -o args=; ls /run/netengine-worlds/*/").out;
    assert!(!seen.contains("netengine-userd") && !seen.contains("control.sock"), "{seen}");
}

#[test]
fn the_worlds_resolver_and_trust_are_seen_and_the_hosts_are_untouched() {
    let host = booted();
    let places = "md5sum /etc/resolv.conf; ls -la /etc/ssl/certs | md5sum";
    let before = host.shell(ROOT, places);
    let mounts = host.shell(ROOT, "cat /proc/1/mountinfo | wc -l");
    let resolver = inside(&host, ALICE, "minimal", "cat /etc/resolv.conf").ok().out;
    assert!(resolver.contains("nameserver 10.0.0."), "{resolver}");
    let resolver = inside(&host, ALICE, "minimal/platform", "cat /etc/resolv.conf").ok().out;
    assert!(resolver.contains("nameserver 172.28.0."), "{resolver}");
    inside(&host, ALICE, "minimal", "echo nameserver 192.0.2.1 > /etc/resolv.conf").exits(2);
    let trust = inside(&host, ALICE, "minimal", "cat /etc/ssl/certs/ca-certificates.crt | wc -c").ok().out;
    let of_host = host.shell(ROOT, "cat /etc/ssl/certs/ca-certificates.crt | wc -c");
    assert_ne!(trust, of_host, "the trust store is the world's, not the machine's");
    assert_eq!(host.shell(ROOT, places), before);
    assert_eq!(host.shell(ROOT, "cat /proc/1/mountinfo | wc -l"), mounts);
}

#[test]
fn a_caller_in_its_own_mount_namespace_sees_its_own_files() {
    let host = booted();
    let script = format!(
        "echo machine > /mnt/judge-place 2>/dev/null; exec unshare --mount sh -c 'mount -t tmpfs judge /mnt; echo private > /mnt/note; chmod 644 /mnt/note; \
         exec setpriv --reuid 2001 --regid 2001 --groups 2001,804 {} exec minimal -- cat /mnt/note'",
        netengine()
    );
    assert_eq!(sh(&host, ROOT, &script).ok().out, "private\n");
    inside(&host, ALICE, "minimal", "cat /mnt/note").exits(1);
}

#[test]
fn root_is_refused_with_help() {
    let host = booted();
    let mut command = host.command(ROOT, &netengine());
    let output =
        command.args(["--admin", "--owner", "2001", "exec", "minimal", "--", "id"]).stdin(Stdio::null()).output();
    let ran = judge::Ran::of("root$ exec".into(), &output.expect("starts")).exits(3);
    let [_, cause, help] = ran.three_lines();
    assert!(cause.contains("root") || help.contains("root"), "{cause} {help}");
    assert!(help.contains("ordinary user") || help.contains("runuser"), "{help}");
    // An administrator runs it as herself.
    let dana = run(&host, DANA, &["--admin", "--owner", "alice", "exec", "minimal", "--", "id", "-un"]);
    assert!(dana.code == 0 && dana.out == "dana\n" || dana.code == 3, "{dana:?}");
}

#[test]
fn sixty_four_commands_at_once() {
    let host = booted();
    let home = people::home(&ALICE);
    sh(&host, ALICE, &format!("mkfifo {home}/gate")).ok();
    // Each tells that it runs and waits at the gate, so all run at the same time.
    let script = format!(
        "for i in $(seq 64); do {} exec minimal -- sh -c \"echo on-$i; cat {home}/gate; exit $((i % 7))\" > {home}/out-$i 2> {home}/err-$i & pids=\"$pids $!\"; done
         n=0; until [ $(cat {home}/out-* | grep -c on-) = 64 ]; do sleep 0.05; n=$((n+1)); [ $n -lt 600 ] || {{ cat {home}/err-*; exit 8; }}; done
         {} exec minimal -- true; echo over=$?
         sleep 0 > {home}/gate; i=0; bad=0; for p in $pids; do i=$((i+1)); wait $p; [ $? = $((i % 7)) ] || bad=$((bad+1)); done; echo bad=$bad",
        netengine(), netengine()
    );
    let ran = sh(&host, ALICE, &script).ok();
    assert_eq!(ran.out, "over=3\nbad=0\n", "the sixty-fifth is refused, the others are served: {ran:?}");
    assert!(ran.err.contains("too many commands"), "{ran:?}");
    until("attendants are gone", || pids(&host, "ne-attendant").len(), |left| *left <= 2);
}

#[test]
fn environment_and_arguments_pass_exactly() {
    let host = booted();
    let mut command = host.command(ALICE, &netengine());
    command.env("JUDGE", "a b\n\u{fc}").env("EMPTY", "").args(["exec", "minimal", "--", "env", "-0"]);
    let output = command.stdin(Stdio::null()).output().expect("starts");
    let entries: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
    assert!(entries.contains(&"JUDGE=a b\n\u{fc}".as_bytes()) && entries.contains(&&b"EMPTY="[..]), "{output:?}");
    assert!(!entries.iter().any(|entry| entry.starts_with(b"NETENGINE_SECRET") || entry.starts_with(b"LISTEN_")));
    let ran = run(&host, ALICE, &["exec", "minimal", "--", "printf", "[%s]", "", "a b", "--json", "*", "-n"]).ok();
    assert_eq!(ran.out, "[][a b][--json][*][-n]");
    let long = "x".repeat(100_000);
    assert_eq!(run(&host, ALICE, &["exec", "minimal", "--", "printf", "%s", &long]).ok().out.len(), 100_000);
    let stream = Stream::start(&host, ALICE, &["exec", "minimal", "--", "sh", "-c", "echo up; cat"]);
    stream.find("up", |line| line == "up");
    assert!(inner_pid(&stream.child).as_raw() > 0);
    let mut child = stream.child;
    signal(&child, Signal::SIGTERM);
    child.wait().expect("waited");
}
