//! Daemons die while a world runs: it goes on forwarding, its programs live on, and it is adopted.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use netengine_proto::{
    ids::{ProcessId, WorldId},
    root::ProcessKind,
};
use netengine_tests::{
    ALICE, BIN, Host,
    crash::{Rest, WORLDD, cli, eventually, is_complete, minimal, settled, takes_down},
    root::{self, patient},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const ROOTD: &str = "netengine-rootd";

struct Running {
    host: Host,
    rest: Rest,
}

impl Running {
    fn new() -> Self {
        let host = Host::new();
        host.foreign();
        let rest = Rest::of(&host);
        let up = cli(&host, ALICE, &["up", &minimal()]).expect("ends");
        assert_eq!(up.code, Some(0), "{up:?}");
        Self { host, rest }
    }

    /// Address of a network's first vantage host.
    fn address(&self, network: &str) -> String {
        let status = cli(&self.host, ALICE, &["status", "minimal", "--json"]).expect("ends");
        let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
        let networks = status["networks"].as_array().expect("networks");
        let found = networks.iter().find(|found| found["name"] == network).expect("the network");
        found["hosts"][0]["addresses"][0].as_str().expect("an address").to_owned()
    }

    fn exec(&self, place: &str, command: &[&str]) -> (Child, ChildStdin, BufReader<ChildStdout>) {
        let mut cli = self.host.command(ALICE, &format!("{BIN}/netengine"));
        cli.args(["exec", place, "--"]).args(command).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = cli.spawn().expect("the CLI starts");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        (child, stdin, BufReader::new(stdout))
    }

    /// Ends a process of the daemons and waits until rootd and userd have come to rest.
    fn end(&self, comm: &str, restarts: &str) {
        let pid = self.one(comm);
        let before = self.starts(restarts);
        kill(pid, Signal::SIGKILL).expect("signalled");
        eventually(&format!("{restarts} is started anew"), || self.starts(restarts) > before);
        eventually(&format!("another {comm}"), || self.host.named(comm).first().is_some_and(|now| *now != pid));
        self.adopted();
    }

    fn one(&self, comm: &str) -> Pid {
        *self.host.named(comm).first().unwrap_or_else(|| panic!("no process {comm}"))
    }

    /// The process of the world's services; probers have the same name.
    fn worldd(&self) -> Option<Pid> {
        let is_worldd = |pid: &Pid| {
            let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            arguments.split(|byte| *byte == 0).any(|argument| argument == b"worldd")
        };
        self.host.named(WORLDD).into_iter().find(is_worldd)
    }

    /// How often the supervisor has made a service ready.
    fn starts(&self, service: &str) -> usize {
        let ready = format!("{service}.service: ready");
        self.host.supervisor_lines().iter().filter(|line| line.starts_with(&ready)).count()
    }

    fn adopted(&self) {
        let worlds = settled(&self.host, ALICE).expect("comes to rest");
        assert_eq!(worlds.get("minimal").map(String::as_str), Some("ready"));
        is_complete(&self.host, ALICE).expect("complete");
    }

    async fn programs(&self) -> Vec<(WorldId, ProcessKind, ProcessId)> {
        let client = root::client(&self.host).await;
        let mut found = Vec::new();
        for world in client.list_worlds(patient()).await.expect("answers").expect("lists") {
            let listed = client.list_processes(patient(), world.world, world.owner).await.expect("answers");
            // Probers come and go with the checks.
            let lasting = listed.expect("lists").into_iter().filter(|process| process.kind != ProcessKind::Prober);
            let alive = lasting.filter(|process| process.ended.is_none());
            found.extend(alive.map(|process| (world.world, process.kind, process.id)));
        }
        found.sort_by_key(|(_, _, id)| id.to_string());
        found
    }

    fn leaves_nothing(&self) {
        takes_down(&self.host, ALICE).expect("down");
        self.rest.wait(&self.host, Duration::from_secs(5)).expect("as before");
    }
}

#[tokio::test]
async fn worlds_forward_without_loss_while_each_daemon_dies_and_are_adopted() {
    let running = Running::new();
    let target = format!("{}:7777", running.address("platform"));
    let flow = format!("{BIN}/udp-flow");
    let (mut answers, answer_input, mut answer_says) = running.exec("minimal/platform", &[&flow, "answer", &target]);
    let mut line = String::new();
    answer_says.read_line(&mut line).expect("readable");
    assert_eq!(line, "listening\n");
    let (mut asks, input, mut says) = running.exec("minimal", &[&flow, "ask", &target]);
    line.clear();
    says.read_line(&mut line).expect("readable");
    assert_eq!(line, "flowing\n");
    let (worldd, programs) = (running.worldd(), running.programs().await);
    assert_eq!(programs.len(), 4, "worldd, the resolver and two commands: {programs:?}");

    for (comm, restarts) in [
        (ROOTD, ROOTD),
        ("ne-rootd-net", ROOTD),
        ("ne-rootd-ns", ROOTD),
        ("ne-rootd-watch", ROOTD),
        ("ne-rootd-spawn", "netengine-spawn"),
        ("netengine-userd", "netengine-userd"),
    ] {
        running.end(comm, restarts);
        assert_eq!(running.worldd(), worldd, "worldd lives on when {comm} dies");
        // A command of this check itself may still be in the list.
        let now = running.programs().await;
        assert!(programs.iter().all(|program| now.contains(program)), "{comm} died: {programs:?}, now {now:?}");
    }

    drop(input);
    line.clear();
    says.read_to_string(&mut line).expect("readable");
    let (sent, lost) = line.trim().strip_prefix("sent ").and_then(|rest| rest.split_once(" lost ")).expect("a sum");
    assert!(sent.parse::<u64>().expect("a number") > 100, "a flow all the time: {line}");
    assert_eq!(lost, "0", "no packet is lost: {line}");
    assert!(asks.wait().expect("ends").success(), "the session survives");
    running.leaves_nothing();
    assert!(!answers.wait().expect("ends").success(), "down ends what runs in the world");
    drop(answer_input);
}

#[tokio::test]
async fn a_holder_that_dies_is_replaced_and_given_everything() {
    let running = Running::new();
    let (worldd, programs) = (running.worldd(), running.programs().await);
    let holder = running.one("ne-holder");
    kill(holder, Signal::SIGKILL).expect("signalled");
    eventually("another holder", || running.host.named("ne-holder").first().is_some_and(|now| *now != holder));
    // Any call behind the replacement is answered after everything was handed over.
    assert_eq!(running.programs().await, programs);
    running.end(ROOTD, ROOTD);
    assert_eq!(running.worldd(), worldd, "the new holder kept its leash");
    assert_eq!(running.programs().await, programs);
    running.leaves_nothing();
}

#[test]
fn holder_and_rootd_dead_together_end_all_programs_and_the_world_comes_back() {
    let running = Running::new();
    let worldd = running.worldd();
    let (mut session, input, _says) = running.exec("minimal", &["sleep", "infinity"]);
    eventually("the session runs", || running.host.named("sleep").len() == 1);
    let before = running.starts(ROOTD);
    let both = [running.one(ROOTD), running.one("ne-holder")];
    // Stopped first, so that neither sees the other die.
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        for pid in both {
            kill(pid, signal).expect("signalled");
        }
    }
    eventually("rootd is started anew", || running.starts(ROOTD) > before);
    assert!(!session.wait().expect("ends").success(), "an attendant ends what it attends");
    drop(input);
    eventually("worldd is another", || running.worldd().is_some_and(|now| Some(now) != worldd));
    eventually("userd has repaired it", || {
        settled(&running.host, ALICE).is_ok_and(|worlds| worlds["minimal"] == "ready")
            && is_complete(&running.host, ALICE).is_ok()
    });
    running.leaves_nothing();
}
