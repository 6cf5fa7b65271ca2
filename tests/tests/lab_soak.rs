//! The firewall lab says the same every time: again and again, beside others, on a loaded machine, in bursts. Where it could not look it says
//! INCONCLUSIVE; it is never wrong. `NETENGINE_SOAK=1000` runs the first of these tests so often, and the one that shrinks the host's receive
//! buffers, which nothing else on the machine may run beside.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use netengine_lab::client::Rootless;
use netengine_lab_proto::{
    CaseLimits, CaseRequest, CaseResult, Content, InjectedPacket, NodeName, PacketSpec, RulesetText, Topology,
    Transport, Verdict,
};
use netengine_proto::bounded::Bounded;
use netengine_tests::{ALICE, Host, report::report};
use serde_json::Value;

/// What depends on order, state, answers and translation.
const SUITE: &str = "
- name: the n-th packet
  rules: |
    table inet t { chain i { type filter hook input priority 0; policy drop
      tcp dport 80 limit rate 1/hour burst 3 packets accept
      udp dport 53 quota until 100 bytes accept
      udp dport 54 numgen inc mod 2 1 drop
      udp dport 54 accept
    } }
  packets:
    - {dst_port: 80, count: 3, sport_step: 1, expect: {verdict: accept, reply: synack}}
    - {dst_port: 80, count: 20, expect: {verdict: drop}}
    - {protocol: udp, dst_port: 53, payload: abcdefghij, count: 2, expect: {verdict: accept, reply: udp}}
    - {protocol: udp, dst_port: 53, payload: abcdefghij, count: 2, expect: {verdict: drop}}
    - {protocol: udp, dst_port: 54, expect: {verdict: accept}}
    - {protocol: udp, dst_port: 54, expect: {verdict: drop}}
- name: connections through a gateway
  topology: gateway
  listeners: [tcp:80, udp:53]
  rules: |
    table ip n {
      chain p { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 10.0.2.2:80; }
      chain s { type nat hook postrouting priority srcnat; oifname eth1 masquerade; }
    }
    table inet f { chain f { type filter hook forward priority 0; policy drop
      ct state established,related accept
      ct state new iifname eth0 meta l4proto { tcp, udp } th dport { 53, 80 } accept
      reject with icmpx type admin-prohibited
    } }
  packets:
    - {dst_ip: 10.0.1.2, dst_port: 8080, expect: {verdict: accept, delivered_to: server, src: 10.0.2.1, dport: 80, reply: synack}}
    - {protocol: udp, src_port: 1053, dst_port: 53, expect: {verdict: accept, ct_state: new, reply: udp}}
    - {protocol: udp, src_port: 1053, dst_port: 53, expect: {verdict: accept, ct_state: established}}
    - {dst_port: 22, expect: {verdict: reject, reply: icmp}}
- name: fourteen refusals and as many silences
  rules: |
    table inet t { chain i { type filter hook input priority 0; policy accept
      tcp dport 1 reject with tcp reset
      tcp dport 2 drop
    } }
  packets:
    - {dst_port: 1, count: 14, expect: {verdict: reject, reply: reset}}
    - {dst_port: 2, count: 14, expect: {verdict: drop, reply: none}}
    - {src_ip: fd00::1, dst_port: 3, count: 14, sport_step: 1, expect: {verdict: accept, reply: synack}}
";

fn run(host: &Host, file: &str) -> Value {
    report(&host.cli(ALICE, &["test", file, "--json"]))
}

/// How often; none when only the short form is asked for.
fn soak() -> Option<usize> {
    std::env::var("NETENGINE_SOAK").ok().map(|text| text.parse().expect("NETENGINE_SOAK is a number"))
}

/// The packets that were told otherwise than in `first`, and how many could not be told.
fn wrong(first: &Value, other: &Value) -> (Vec<String>, usize) {
    let (mut wrong, mut unseen) = (Vec::new(), 0);
    let tests = |value: &Value| value["tests"].as_array().expect("cases").clone();
    for (a, b) in tests(first).iter().zip(&tests(other)) {
        if b["packets"].as_array().is_some_and(Vec::is_empty) && b["outcome"] == "inconclusive" {
            unseen += 1;
            continue;
        }
        for (a, b) in a["packets"].as_array().expect("packets").iter().zip(b["packets"].as_array().expect("packets")) {
            if b["verdict"] == "INCONCLUSIVE" {
                unseen += 1;
            } else if a != b {
                wrong.push(format!("{a}\n{b}"));
            }
        }
    }
    (wrong, unseen)
}

#[test]
fn the_same_suite_ends_the_same_every_time() {
    let host = Host::bare();
    let file = host.file("soak.yaml", SUITE);
    let first = run(&host, &file);
    assert_eq!(first["summary"]["passed"], 3, "{first:#}");
    for number in 1..soak().unwrap_or(50) {
        assert_eq!(run(&host, &file), first, "run {number}");
    }
}

#[test]
fn twenty_suites_at_once_end_as_one_alone() {
    let host = Host::bare();
    let file = host.file("soak.yaml", SUITE);
    let first = run(&host, &file);
    let all = thread::scope(|scope| {
        let runs: Vec<_> = (0..20).map(|_| scope.spawn(|| run(&host, &file))).collect();
        runs.into_iter().map(|run| run.join().expect("ends")).collect::<Vec<_>>()
    });
    assert!(all.iter().all(|report| *report == first), "{:#?}", all.iter().find(|report| **report != first));
}

/// A program that ends with the test.
struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        // stress-ng ends its children when it is told to end.
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_loaded_machine_makes_verdicts_late_but_not_wrong() {
    let host = Host::bare();
    let file = host.file("soak.yaml", SUITE);
    let first = run(&host, &file);
    let mut command = Command::new("stress-ng");
    command.args(["--cpu", "4", "--switch", "4", "--udp", "2", "--timeout", "50s", "--quiet"]);
    let _load = Load(
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("packaging/deps test installs stress-ng"),
    );
    let mut unseen = 0;
    for _ in 0..10 {
        let (wrong, inconclusive) = wrong(&first, &run(&host, &file));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        unseen += inconclusive;
    }
    println!("{unseen} verdicts inconclusive of 10 runs");
}

/// Ten thousand packets, every third dropped; how many were inconclusive.
fn burst(processor: usize) -> usize {
    let bin = Path::new(env!("CARGO_BIN_EXE_host-init")).parent().expect("a directory");
    let mut worker =
        Rootless::start(&bin.join("netengine-lab"), &bin.join("netengine-nft"), processor).expect("starts");
    let port = |number: u16| 1_000 + number % 3;
    let packet = |number: u16| {
        let transport = Transport::Udp { src_port: 10_000 + number, dst_port: port(number) };
        let spec = PacketSpec::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), transport);
        InjectedPacket::new(NodeName::parse("client").expect("a name"), Content::Typed(Box::new(spec)))
    };
    let rules = "table inet t { chain i { type filter hook input priority 0; udp dport 1001 drop; } }";
    let request = CaseRequest {
        topology: Topology::simple(),
        ruleset: RulesetText::new(rules.to_owned()).expect("fits"),
        beside: Bounded::default(),
        packets: Bounded::new((0..10_000).map(packet).collect()).expect("fits"),
        limits: CaseLimits { timeout_ms: 120_000, ..CaseLimits::default() },
    };
    let CaseResult::Judged(answer) = worker.run(&request).expect("answers") else { panic!("not judged") };
    assert_eq!(answer.packets.len(), 10_000);
    let mut unseen = 0;
    for (number, outcome) in (0..).zip(answer.packets.iter()) {
        let wanted = if port(number) == 1_001 { Verdict::Drop } else { Verdict::Accept };
        match outcome.verdict {
            Verdict::Inconclusive => unseen += 1,
            verdict => assert_eq!(verdict, wanted, "packet {number}: {outcome:?}"),
        }
    }
    unseen
}

#[test]
fn twenty_thousand_packets_are_all_told() {
    let unseen: Vec<usize> = thread::scope(|scope| {
        let bursts: Vec<_> = (0..2).map(|processor| scope.spawn(move || burst(processor))).collect();
        bursts.into_iter().map(|burst| burst.join().expect("ends")).collect()
    });
    println!("inconclusive: {unseen:?}");
    assert_eq!(unseen, [0, 0], "windows are as small as the buffers ask");
}

/// The host's bound of receive buffers, put back when dropped.
struct Bound(String);

const BOUND: &str = "/proc/sys/net/core/rmem_max";

impl Drop for Bound {
    fn drop(&mut self) {
        fs::write(BOUND, &self.0).expect("root may");
    }
}

#[test]
fn small_receive_buffers_make_no_verdict_wrong() {
    if soak().is_none() {
        println!("SKIPPED: net.core.rmem_max is the whole machine's; NETENGINE_SOAK=1000 tries it small");
        return;
    }
    let host = Host::bare();
    let file = host.file("soak.yaml", SUITE);
    let first = run(&host, &file);
    let _bound = Bound(fs::read_to_string(BOUND).expect("readable"));
    for bytes in [2_304, 16_384, 65_536] {
        fs::write(BOUND, bytes.to_string()).expect("root may");
        let (wrong, unseen) = wrong(&first, &run(&host, &file));
        assert!(wrong.is_empty(), "{bytes}: {}", wrong.join("\n"));
        println!("{bytes} bytes: {unseen} verdicts inconclusive, {} of a burst", burst(0));
    }
}
