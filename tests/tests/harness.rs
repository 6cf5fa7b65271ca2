//! The harness itself: what the other tests rely on must be seen to fail when it should.

use std::{
    fs,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::Stdio,
    thread,
};

use netengine_tests::{Host, people};
use nix::sys::signal::Signal;

const TOY: &str =
    "[Service]\nType=simple\nExecStart=/bin/sleep infinity\nUser=netengine\nRestart=always\nRestartSec=1ms\n";

fn host_with_toy() -> Host {
    let mut host = Host::bare();
    host.file("toy/netengine-toy.service", TOY);
    host.start_daemons(&format!("{}/toy", netengine_tests::SCRATCH), &["netengine-toy"]);
    host
}

#[test]
fn two_hosts_at_the_same_time_do_not_see_each_other() {
    let (one, two) = (Host::bare(), Host::bare());
    let untouched = two.snapshot();
    one.foreign();
    one.file("only-here", "x");
    let mut sleeper = one.command(people::ALICE, "sleep").arg("infinity").spawn().expect("started");
    one.shell(people::ROOT, "mkdir /var/lib/netengine /run/netengine; mount -t tmpfs x /run/netengine");
    untouched.assert_unchanged(&two.snapshot());
    assert!(one.snapshot().section("links").iter().any(|line| line.contains("foreign0")));
    drop(one);
    assert!(!sleeper.wait().expect("ended with its host").success());
}

#[test]
fn nothing_reaches_this_machine() {
    let links = || fs::read_to_string("/proc/self/net/dev").expect("links").lines().count();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let accounts = || fs::read_to_string("/etc/passwd").expect("accounts");
    let before = (links(), mounts(), accounts());
    let host = host_with_toy();
    host.foreign();
    host.shell(people::ROOT, "mount -t tmpfs x /mnt");
    assert_eq!((links(), mounts(), accounts()), before);
}

#[test]
fn each_planted_change_is_seen() {
    let host = Host::bare();
    let before = host.foreign();
    before.assert_unchanged(&host.snapshot());
    for (section, plant, take_away) in [
        ("links", "ip link add planted0 type veth peer name planted1", "ip link delete planted0"),
        ("addresses", "ip address add 192.0.2.1/32 dev lo", "ip address delete 192.0.2.1/32 dev lo"),
        ("routes", "ip route add 192.0.2.0/24 dev foreign0", "ip route delete 192.0.2.0/24 dev foreign0"),
        ("rules", "ip -6 rule add from 2001:db8::1 lookup 9", "ip -6 rule delete from 2001:db8::1 lookup 9"),
        ("firewall", "nft add table ip planted", "nft delete table ip planted"),
        ("sysctls", "sysctl -q net.ipv4.ip_forward=1", "sysctl -q net.ipv4.ip_forward=0"),
        ("mounts", "mount -t tmpfs planted /mnt", "umount /mnt; rm -rf /run/mount"),
        ("files", "touch /var/lib/planted", "rm /var/lib/planted"),
    ] {
        host.shell(people::ROOT, plant);
        let difference = before.difference(&host.snapshot());
        let seen = difference.iter().any(|line| line[2..].starts_with(&format!("{section}: ")));
        assert!(seen, "{plant}: not seen under {section}: {difference:?}");
        host.shell(people::ROOT, take_away);
        before.assert_unchanged(&host.snapshot());
    }
}

#[test]
fn planted_processes_and_namespaces_are_seen() {
    let host = Host::bare();
    let before = host.snapshot();
    // A namespace of a process; and one that nothing but a descriptor of another process holds.
    let script = "unshare --net sleep 1000 & p=$!
        until [ \"$(readlink /proc/$p/ns/net)\" != \"$(readlink /proc/$$/ns/net)\" ]; do :; done
        echo here; read go; exec 9</proc/$p/ns/net; kill $p; wait $p; echo held; exec sleep 1000";
    let mut shell = host.command(people::ROOT, "/bin/sh");
    let mut shell = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    let mut stdout = shell.stdout.take().expect("piped");
    let mut word = [0; 5];
    stdout.read_exact(&mut word).expect("said");
    assert!(before.difference(&host.snapshot()).iter().any(|line| line.starts_with("+ namespaces: net")));
    shell.stdin.take().expect("piped").write_all(b"go\n").expect("told");
    stdout.read_exact(&mut word).expect("said");
    let difference = before.difference(&host.snapshot());
    assert!(difference.iter().any(|line| line.starts_with("+ held namespaces: net:")), "{difference:?}");
    assert!(difference.iter().any(|line| line.starts_with("+ processes: root")), "{difference:?}");
    netengine_tests::signal(&shell, Signal::SIGKILL);
    assert_eq!(shell.wait().expect("waited").signal(), Some(Signal::SIGKILL as i32), "the end is passed on");
    before.assert_unchanged(&host.snapshot());
}

#[test]
fn commands_run_as_the_person_and_no_one_else() {
    let host = Host::bare();
    let script = "id -un; id -G; grep CapEff /proc/self/status; env | sort | cut -d= -f1 | tr '\\n' ' '";
    let alice = host.shell(people::ALICE, script);
    assert_eq!(alice, "alice\n2001 804\nCapEff:\t0000000000000000\nHOME LANG LOGNAME PATH PWD USER ");
    assert_eq!(host.shell(people::CAROL, "id -Gn"), "carol\n");
    assert_eq!(host.shell(people::DANA, "id -Gn"), "dana netengine-admin\n");
    assert_eq!(host.shell(people::USERD, "id -Gn"), "netengine-daemon\n");
    let failure = host.command(people::BOB, "/bin/sh").args(["-c", "exit 7"]).status().expect("started");
    assert_eq!(failure.code(), Some(7));
    assert!(host.command(people::BOB, "/no/such/program").status().is_err());
}

#[test]
fn daemons_are_found_killed_and_come_back() {
    let mut host = host_with_toy();
    let first = host.daemon_pid("netengine-toy");
    let status = fs::read_to_string(format!("/proc/{first}/status")).expect("running");
    assert!(status.contains("\nUid:\t802\t802\t802\t802\n"), "{status}");
    host.restart("netengine-toy", Signal::SIGKILL);
    assert_ne!(host.daemon_pid("netengine-toy"), first);
    host.stop_daemons();
    assert_eq!(host.processes().len(), 1, "only the first process is left");
}

#[test]
fn a_dropped_host_ends_what_hides_in_namespaces_of_its_own() {
    let host = Host::bare();
    let script = "unshare --net --mount --pid --fork --mount-proc setsid sleep 1000 & echo on; wait";
    let mut shell = host.command(people::ROOT, "/bin/sh");
    let mut shell = shell.args(["-c", script]).stdout(Stdio::piped()).spawn().expect("started");
    shell.stdout.take().expect("piped").read_exact(&mut [0; 3]).expect("said");
    let deadline = std::time::Instant::now() + netengine_tests::DEADLINE;
    while !host.processes().iter().any(|(pid, _)| nested(*pid)) {
        assert!(std::time::Instant::now() < deadline, "no nested process appeared");
        thread::yield_now();
    }
    let all = host.processes();
    drop(host); // asserts that nothing is left
    shell.wait().expect("waited");
    assert!(all.iter().all(|(pid, _)| !nested(*pid)));
}

fn nested(pid: nix::unistd::Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("NSpid:")).is_some_and(|pids| pids.split_whitespace().count() == 3)
}
