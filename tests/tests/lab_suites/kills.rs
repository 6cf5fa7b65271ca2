//! Processes of a run without daemons are killed, one by one: the run goes on right or says why it could not, and nothing of it is left.

use std::{
    io::{BufRead, BufReader},
    os::fd::AsRawFd,
    process::{Child, Stdio},
    thread,
    time::Instant,
};

use netengine_tests::{ALICE, BIN, Host, Snapshot, attack::until, signal};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{FIRST, report, text};

/// A case that is at work for a while, since its second packet waits, and one for a worker that was used.
const LONG: &str = "- name: long
  timeout_ms: 60000
  rules: 'table inet t { chain i { type filter hook input priority 0; policy drop; tcp dport 22 accept; } }'
  packets:
    - {dst_port: 22, expected_verdict: ACCEPT}
    - {dst_port: 80, after_ms: 6000, expected_verdict: DROP}
- name: after it
  rules: 'table inet t { chain i { type filter hook input priority 0; tcp dport 22 reject; } }'
  packets: [{dst_port: 22, expect: {verdict: reject}}, {dst_port: 23, expect: {verdict: accept}}]
";

/// What a run could leave: the host, its processes, and the sockets of its network namespace.
#[derive(Debug, PartialEq)]
struct State(Snapshot, usize, String);

impl State {
    fn of(host: &Host) -> Self {
        let sockets =
            "cat /proc/net/unix /proc/net/netlink /proc/net/packet | wc -l; ss --no-header --all --tcp --udp --raw";
        Self(host.snapshot(), host.processes().len(), host.shell(netengine_tests::ROOT, sockets))
    }

    /// Waits until the host is so again, and prints how long that took.
    fn comes_back(&self, host: &Host, what: &str) {
        let begun = Instant::now();
        until(&format!("nothing is left after {what}"), || (Self::of(host) == *self).then_some(()));
        println!("{what}: nothing left after {} ms, looking included", begun.elapsed().as_millis());
    }
}

/// The processes of a run without daemons that are no `netengine`: the worker's starter, the worker, the reader of rulesets, its child.
fn sandbox(host: &Host) -> Vec<(Pid, String)> {
    let name = |pid: Pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let all = host.processes().into_iter().filter_map(|(pid, _)| Some((pid, name(pid)?.trim().to_owned())));
    let mut found: Vec<_> = all.filter(|(_, name)| name.starts_with("netengine-")).collect();
    found.sort_unstable();
    found
}

/// The four of them, once none is of those.
fn four(host: &Host, others: &[(Pid, String)]) -> Vec<(Pid, String)> {
    until("a worker with its reader", || {
        Some(sandbox(host)).filter(|found| found.len() == 4 && found.iter().all(|one| !others.contains(one)))
    })
}

fn begin(host: &Host, file: &str, words: &[&str]) -> Child {
    let mut command = host.command(ALICE, &format!("{BIN}/netengine"));
    let command = command.args(["test", file, "--rootless", "--jobs", "1"]).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
}

#[test]
fn whichever_process_of_a_sandbox_is_killed_the_run_goes_on_right_and_nothing_is_left() {
    let killed = |which: Option<usize>| {
        let host = Host::bare();
        let file = host.file("suite.yaml", LONG);
        let before = State::of(&host);
        let run = begin(&host, &file, &["--json"]);
        let all = four(&host, &[]);
        let name = which.map(|which| {
            kill(all[which].0, Signal::SIGKILL).expect("it is at work");
            format!("{} {which}", all[which].1)
        });
        let output = run.wait_with_output().expect("ends");
        let (code, out, error) = text(&output);
        assert_eq!(code, Some(0), "{name:?}: {out}{error}");
        before.comes_back(&host, &format!("a run of which {name:?} was killed"));
        report(&output)
    };
    let reports = thread::scope(|scope| {
        let runs: Vec<_> =
            [None, Some(0), Some(1), Some(2), Some(3)].map(|which| scope.spawn(move || killed(which))).into();
        runs.into_iter().map(|run| run.join().expect("ends")).collect::<Vec<_>>()
    });
    assert!(reports.iter().all(|report| *report == reports[0]), "{reports:#?}");
}

#[test]
fn a_case_whose_worker_is_killed_twice_is_inconclusive_and_the_next_one_is_judged() {
    let host = Host::bare();
    let file = host.file("suite.yaml", LONG);
    let before = State::of(&host);
    let run = begin(&host, &file, &[]);
    let first = four(&host, &[]);
    kill(first[1].0, Signal::SIGKILL).expect("it is at work");
    let second = four(&host, &first);
    kill(second[1].0, Signal::SIGKILL).expect("it is at work");
    let (code, out, error) = text(&run.wait_with_output().expect("ends"));
    assert_eq!(code, Some(3), "{out}{error}");
    assert!(out.contains("?? long") && out.contains("the worker ended"), "{out}{error}");
    assert!(out.contains("ok after it") && out.contains("1 passed, 0 failed, 1 inconclusive"), "{out}{error}");
    before.comes_back(&host, "a run whose worker was killed twice");
}

#[test]
fn a_killed_run_leaves_nothing() {
    let host = Host::bare();
    // One case that is told of, and one that is at work for longer than this test.
    let first: String = FIRST.lines().skip(1).map(|line| format!("{}\n", line.get(2..).unwrap_or_default())).collect();
    let long = LONG.replace("after_ms: 6000", "after_ms: 60000").replace("timeout_ms: 60000", "timeout_ms: 120000");
    let file = host.file("suite.yaml", &format!("{first}{long}"));
    let before = State::of(&host);
    let mut child = begin(&host, &file, &[]);
    // It is at work: it has told of a case.
    let mut line = String::new();
    let mut told = BufReader::new(child.stdout.take().expect("piped"));
    told.read_line(&mut line).expect("readable");
    assert!(line.starts_with("ok "), "{line}");
    // Whoever reads to the end what a run says waits for the run, and not for what the kernel takes down after it.
    let said = child.stderr.as_ref().expect("piped").as_raw_fd();
    let said = std::fs::read_link(format!("/proc/self/fd/{said}")).expect("a pipe");
    for (pid, name) in four(&host, &[]) {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let kept = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|to| to == said);
        assert!(!kept, "{name} holds what the run writes to");
    }
    signal(&child, Signal::SIGKILL);
    child.wait().expect("waited for");
    before.comes_back(&host, "a run that was killed");
}
