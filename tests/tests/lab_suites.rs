//! `netengine test` by an ordinary user, without any daemon: verdicts, formats, exit codes, and what hostile rulesets get.

use std::{
    io::{BufRead, BufReader},
    process::{Output, Stdio},
};

#[path = "lab_suites/kills.rs"]
mod kills;
#[path = "lab_suites/readers.rs"]
mod readers;
#[path = "lab_suites/tools.rs"]
mod tools;

use netengine_tests::{ALICE, BIN, Host, crash::eventually, report::report, signal};
use serde_json::Value;

/// What the README shows.
const FIRST: &str = "tests:
  - name: only SSH is let in
    tags: [quick]
    rules: |
      table inet filter {
        chain input {
          type filter hook input priority 0; policy drop;
          tcp dport 22 accept
        }
      }
    packets:
      - {dst_port: 22, expected_verdict: ACCEPT}
      - {dst_port: 80, expected_verdict: DROP}
";

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Runs `netengine test` on a suite with these words, as alice.
fn test(host: &Host, suite: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let file = host.file("suite.yaml", suite);
    text(&host.cli(ALICE, &[&["test", file.as_str()], words].concat()))
}

fn json(host: &Host, suite: &str) -> (Option<i32>, Value) {
    let (code, out, error) = test(host, suite, &["--json"]);
    (code, serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out}{error}")))
}

#[test]
fn the_first_suite_is_green_and_a_wrong_one_red_with_the_deciding_rule() {
    let host = Host::bare();
    let (code, out, error) = test(&host, FIRST, &[]);
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("ok only SSH is let in") && out.contains("1 passed, 0 failed"), "{out}");
    let (code, out, _) = test(&host, &FIRST.replace("{dst_port: 80", "{dst_port: 22"), &[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("expected DROP, got ACCEPT"), "{out}");
    assert!(out.contains("decided by `tcp dport 22 accept`") && out.contains("suite.yaml:8:11"), "{out}");
}

#[test]
fn every_format_tells_the_same() {
    let host = Host::bare();
    let suite = FIRST.replace("expected_verdict: DROP", "expected_verdict: ACCEPT");
    let (code, out) = json(&host, &suite);
    assert_eq!(code, Some(1));
    let packet = &out["tests"][0]["packets"][1];
    assert_eq!((packet["expected"].as_str(), packet["verdict"].as_str()), (Some("ACCEPT"), Some("DROP")), "{out}");
    assert_eq!(packet["rule"]["chain"], "input");
    assert_eq!(packet["rule"]["handle"], Value::Null, "the policy decided: {packet}");
    let accepted = &out["tests"][0]["packets"][0];
    assert_eq!(accepted["delivered"]["node"], "fw");
    assert_eq!(accepted["rule"]["text"], "tcp dport 22 accept");
    let (code, out, _) = test(&host, &suite, &["--format", "junit"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("failures=\"1\"") && out.contains("expected ACCEPT, got DROP"), "{out}");
    let (code, out, _) = test(&host, &suite, &["--format", "tap"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("1..1\nnot ok 1 - only SSH is let in"), "{out}");
}

#[test]
fn a_bad_suite_or_command_is_told_with_its_place_and_nothing_runs() {
    let host = Host::bare();
    let (code, out, error) = test(&host, &FIRST.replace("dst_port: 80", "dst_prot: 80"), &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{error}");
    assert!(error.contains("suite.yaml:13:") && error.contains("dst_prot"), "{error}");
    let (code, _, error) = test(&host, FIRST, &["--filter", "tag:quick and"]);
    assert_eq!(code, Some(2), "{error}");
    let missing = text(&host.cli(ALICE, &["test", "/nowhere.yaml"]));
    assert_eq!(missing.0, Some(2), "{}", missing.2);
}

#[test]
fn a_filter_chooses_and_fail_fast_stops() {
    let host = Host::bare();
    let red = FIRST.replace("expected_verdict: DROP", "expected_verdict: ACCEPT");
    let more = FIRST.lines().skip(1).map(|line| format!("{line}\n")).collect::<String>().replace("only", "again only");
    let suite = format!("{red}{more}");
    let (code, out, _) = test(&host, &suite, &["--filter", "again"]);
    assert_eq!(code, Some(0), "{out}");
    let (code, out, error) = test(&host, &suite, &["--fail-fast", "--jobs", "1"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("0 passed, 1 failed") && error.contains("1 of 2 cases"), "{out}{error}");
}

#[test]
fn the_kernel_judges_what_the_other_tool_gets_wrong() {
    let host = Host::bare();
    let suite = "
- name: dropped at raw priority, though a later chain accepts
  rules: |
    table ip t {
      chain early { type filter hook prerouting priority raw; tcp dport 22 drop; }
      chain late { type filter hook input priority 0; policy drop; tcp dport 22 accept; }
    }
  packets: [{dst_port: 22, expect: {verdict: drop, chain: early}}]
- name: IPv6 is left open by rules for IPv4
  rules: |
    table ip t { chain c { type filter hook input priority 0; policy drop; } }
  packets:
    - {dst_port: 22, expect: {verdict: drop}}
    - {src_ip: fd00::1, dst_ip: fd00::2, dst_port: 22, expect: {verdict: accept, delivered_to: fw}}
- name: an answered SYN is one packet
  rules: |
    table inet t { chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; } }
  packets: [{dst_port: 22, expect: {verdict: accept, reply: synack, delivered_to: fw}}]
- name: a closed port is accepted and reset by the host, not rejected by a rule
  listeners: none
  rules: |
    table inet t { chain c { type filter hook input priority 0; policy accept; } }
  packets: [{dst_port: 22, expect: {verdict: accept, reply: reset}}]
- name: rejected
  rules: |
    table inet t { chain c { type filter hook input priority 0; tcp dport 22 reject with tcp reset; } }
  packets: [{dst_port: 22, expect: {verdict: reject, reply: reset}}]
- name: 120 packets, 20 of them alike
  rules: |
    table inet t { chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; } }
  packets:
    - {dst_port: 22, count: 100, sport_step: 1, expect: {verdict: accept}}
    - {dst_port: 23, count: 20, expect: {verdict: drop}}
- name: the third of each packet within a limit is dropped
  rules: |
    table inet t {
      chain c { type filter hook input priority 0; policy drop; udp dport 53 limit rate 1/hour burst 2 packets accept; }
    }
  packets:
    - {protocol: udp, dst_port: 53, count: 2, expect: {verdict: accept}}
    - {protocol: udp, dst_port: 53, count: 3, expect: {verdict: drop}}
- name: through the gateway with its destination translated
  topology: gateway
  rules: |
    table ip t {
      chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 10.0.2.2:80; }
      chain f { type filter hook forward priority 0; policy drop; ip daddr 10.0.2.2 tcp dport 80 accept; }
    }
  packets:
    - {dst_ip: 10.0.1.2, dst_port: 8080, expect: {verdict: accept, delivered_to: server, dst: 10.0.2.2, dport: 80}}
    - {dst_port: 22, expect: {verdict: drop, chain: f}}
- name: a rule may name the interfaces
  topology: gateway
  rules: |
    table inet t { chain f { type filter hook forward priority 0; policy drop; iifname eth0 oifname eth1 accept; } }
  packets:
    - {dst_port: 80, expect: {verdict: accept, delivered_to: server}}
    - {from: server, dst_ip: 10.0.1.1, tcp_flags: [S], expect: {verdict: drop}}
";
    let (code, out) = json(&host, suite);
    assert_eq!(code, Some(0), "{out:#}");
}

#[test]
fn a_hostile_ruleset_reads_nothing_and_hurts_nobody() {
    let host = Host::bare();
    // The suite's file is part of the host, and the last one is as the first.
    test(&host, FIRST, &[]);
    // A worker is gone some milliseconds after the program that started it.
    eventually("the worker is gone", || host.snapshot().section("processes").len() == 1);
    let before = host.snapshot();
    for rules in [
        "include \\\"/etc/shadow\\\"",
        "include \\\"/etc/passwd\\\"",
        "include \\\"/proc/self/environ\\\"",
        "define x = \\\"y\\\"\\ninclude \\\"/etc/*\\\"",
    ] {
        let suite = format!("- {{rules: \"{rules}\", packets: [{{}}]}}");
        let (code, out, error) = test(&host, &suite, &[]);
        assert_eq!(code, Some(1), "{rules}: {out}{error}");
        assert!(!out.contains("root:") && !out.contains("PATH="), "{out}");
        assert!(out.contains("cannot load the ruleset"), "{out}");
    }
    let nul = "- {rules: \"table ip t {\\0}\", packets: [{}]}";
    let deep = format!("- {{rules: \"{}\", packets: [{{}}]}}", "table ip t { chain c { ".repeat(5000));
    let flush = "- {rules: \"flush ruleset\\ntable ip t { chain c { type filter hook input priority 0; policy drop; } }\",\
                 packets: [{expect: {verdict: drop}}]}";
    for (suite, wanted) in [(nul, 1), (deep.as_str(), 1), (flush, 0)] {
        let (code, out, error) = test(&host, suite, &[]);
        assert_eq!(code, Some(wanted), "{out}{error}");
    }
    let (code, out, _) = test(&host, FIRST, &[]);
    assert_eq!(code, Some(0), "{out}");
    eventually("nothing is left", || before.difference(&host.snapshot()).is_empty());
}

#[test]
fn the_same_suite_says_the_same_every_time_and_beside_others() {
    let host = Host::bare();
    let file = host.file("suite.yaml", FIRST);
    let first = report(&host.cli(ALICE, &["test", &file, "--json"]));
    let results = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..20).map(|_| scope.spawn(|| host.cli(ALICE, &["test", &file, "--json"]))).collect();
        runs.into_iter().map(|run| report(&run.join().expect("ends"))).collect::<Vec<_>>()
    });
    assert!(results.iter().all(|result| *result == first), "{first:#}\n{results:#?}");
}

const TWO_RULES: &str = "- name: web
  rules: |
    table inet filter {
      chain input {
        type filter hook input priority 0; policy drop;
        tcp dport 80 accept
        tcp dport 443 accept
      }
    }
  packets:
    - {dst_port: 80, expected_verdict: ACCEPT}
    - {dst_port: 81, expected_verdict: DROP}
";

#[test]
fn coverage_names_the_rule_that_no_packet_reached() {
    let host = Host::bare();
    let (code, out, error) = test(&host, TWO_RULES, &["--coverage"]);
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("1 of 2 rules") && out.contains("suite.yaml:7:9: no packet reached `tcp dport 443"), "{out}");
    let (code, out, _) = test(&host, TWO_RULES, &["--coverage", "--coverage-min", "51"]);
    assert_eq!(code, Some(1), "{out}");
    let (code, _, _) = test(&host, TWO_RULES, &["--coverage", "--coverage-min", "50"]);
    assert_eq!(code, Some(0));
}

#[test]
fn mutants_that_no_case_notices_are_told() {
    let host = Host::bare();
    let (code, out, error) = test(&host, TWO_RULES, &["--mutate"]);
    assert_eq!(code, Some(1), "{out}{error}");
    assert!(out.contains("5 mutants, 2 unnoticed"), "{out}");
    assert!(out.contains("suite.yaml:7:9: no case notices that `tcp dport 443 accept` is removed"), "{out}");
    let more = format!("{TWO_RULES}    - {{dst_port: 443, expected_verdict: ACCEPT}}\n");
    let (code, out, _) = test(&host, &more, &["--mutate"]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn two_rulesets_are_compared_packet_by_packet() {
    let host = Host::bare();
    let other =
        "table inet filter { chain input { type filter hook input priority 0; policy drop; tcp dport 81 accept; } }";
    let other = host.file("other.nft", other);
    let (code, out, error) = test(&host, TWO_RULES, &["--diff", &other]);
    assert_eq!(code, Some(1), "{out}{error}");
    assert!(
        out.contains("ACCEPT became DROP") && out.contains("DROP became ACCEPT  by `tcp dport 81 accept`"),
        "{out}"
    );
    let same = "table inet filter { chain input { type filter hook input priority 0; policy drop
        tcp dport { 80, 443 } accept; } }";
    let same = host.file("same.nft", same);
    let (code, out, _) = test(&host, TWO_RULES, &["--diff", &same]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn a_watched_suite_runs_again_when_it_changes() {
    let host = Host::bare();
    let file = host.file("watched/suite.yaml", FIRST);
    let mut command = host.command(ALICE, &format!("{BIN}/netengine"));
    let mut child = command.args(["test", "--watch", &file]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut until = |wanted: &str| {
        let found = lines.by_ref().map(|line| line.expect("readable")).find(|line| line.contains(wanted));
        found.unwrap_or_else(|| panic!("it ended before it said {wanted:?}"));
    };
    until("1 passed, 0 failed");
    host.file("watched/suite.yaml", &FIRST.replace("expected_verdict: DROP", "expected_verdict: ACCEPT"));
    until("0 passed, 1 failed");
    signal(&child, nix::sys::signal::Signal::SIGKILL);
    child.wait().expect("waited for");
}

#[test]
fn a_derived_suite_holds_for_its_ruleset_and_sees_a_change() {
    let host = Host::bare();
    let rules = "table inet filter {
  set ports { type inet_service; flags interval; elements = { 8000-8010 } }
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    ip saddr 192.168.7.0/24 tcp dport { 22, 80 } accept
    tcp dport @ports accept
    meta l4proto ipv6-icmp accept
    udp dport 53 reject
  }
}
";
    let path = host.file("derived/rules.nft", rules);
    let derived = host.cli(ALICE, &["test", "--derive", &path]);
    let (code, out, error) = text(&derived);
    assert_eq!(code, Some(0), "{out}{error}");
    for wanted in ["dst_port: 81", "192.168.8.0", "verdict: accept", "verdict: drop", "verdict: reject"] {
        assert!(out.contains(wanted), "{wanted} is missing in {out}");
    }
    let suite = host.file("derived/suite.yaml", &out);
    let (code, report, error) = text(&host.cli(ALICE, &["test", &suite]));
    assert_eq!(code, Some(0), "{report}{error}");
    host.file("derived/rules.nft", &rules.replace("22, 80", "22, 81"));
    let (code, report, _) = text(&host.cli(ALICE, &["test", &suite]));
    assert_eq!(code, Some(1), "{report}");
}

/// Flows, handshakes, errors about them; counters and logs.
const FLOWS: &str = include_str!("../data/flows.yaml");

#[test]
fn flows_go_on_where_they_were_both_ways_and_through_translation() {
    let host = Host::bare();
    let (code, out) = json(&host, FLOWS);
    assert_eq!(code, Some(0), "{out:#}");
    let translated = &out["tests"][1]["packets"][0]["connection"];
    assert_eq!(translated["original"]["dport"], 8080, "{translated}");
    assert_eq!(translated["reply"]["sport"], 80, "{translated}");
    // What the case says is looked at: other states, logs and counters are not met.
    for (right, wrong, told) in [
        ("ct_state: related", "ct_state: established", "expected conntrack state established, got related"),
        ("log: known", "log: unknown", "expected a log with \"unknown\", got [\"known: \"]"),
        ("{hits: 5}", "{hits: 4}", "expected counter \"hits\" at 4 packets, got 5"),
        ("counter: 2", "counter: 3", "expected the rule's counter at 3 packets, got 2"),
        ("reply: synack", "reply: none", "expected reply none, got synack"),
    ] {
        let (code, out) = json(&host, &FLOWS.replace(right, wrong));
        assert_eq!(code, Some(1), "{wrong}");
        assert!(out.to_string().contains(&told.replace('"', "\\\"")), "{told}: {out:#}");
    }
}

#[test]
fn captures_say_what_became_of_each_packet() {
    let host = Host::bare();
    let suite = host.file("captured/suite.yaml", FIRST);
    let dir = host.shell(ALICE, "mktemp -d");
    let (code, out, error) =
        text(&host.cli(ALICE, &["test", &suite, "--pcap", &format!("{}/new", dir.trim()), "--seed", "5"]));
    assert_eq!(code, Some(0), "{out}{error}");
    let file = format!("{}/new/0001-only_SSH_is_let_in.pcapng", dir.trim());
    let bytes = std::fs::read(host.path(&file)).expect("written");
    let text = String::from_utf8_lossy(&bytes);
    for wanted in [
        "only SSH is let in: passed",
        "[S]: ACCEPT, expected ACCEPT",
        "decided by `tcp dport 22 accept` at",
        "an answer to packet 1",
        "decided by the policy of chain input",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
}

#[test]
fn recorded_tables_are_loaded_beside_the_ruleset() {
    let host = Host::bare();
    for name in ["docker", "firewalld", "ufw", "wireguard"] {
        // What passes a fresh ufw and firewalld is SSH; a `flush ruleset` of the case's own does not remove them.
        let suite = FIRST.replace("      table inet filter {", "      flush ruleset\n      table inet filter {");
        let (code, out, error) = test(&host, &suite, &["--beside", name, "--trace"]);
        assert_eq!(code, Some(0), "{name}: {out}{error}");
        let table = match name {
            "docker" => "ip nat PREROUTING",
            "firewalld" => "inet firewalld",
            "ufw" => "ufw-user-input",
            _ => "wg-quick-wg0",
        };
        assert!(out.contains(table), "{name}: {out}");
    }
    // Behind ufw nothing but SSH gets through, whatever the ruleset says.
    let open = FIRST.replace("tcp dport 22 accept", "tcp dport { 22, 80 } accept");
    let (code, out, _) = test(&host, &open, &[]);
    assert_eq!(code, Some(1), "{out}");
    let (code, out, _) = test(&host, &open, &["--beside", "ufw"]);
    assert_eq!(code, Some(0), "{out}");
    let broken = host.file("beside.nft", "table inet t { chain c { bogus } }");
    let (code, out, _) = test(&host, FIRST, &["--beside", &broken]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("the tables beside the ruleset: syntax error"), "{out}");
    let (code, _, error) = test(&host, FIRST, &["--beside", "/nowhere.nft"]);
    assert_eq!(code, Some(2), "{error}");
}

#[test]
fn what_a_sender_did_not_list_spends_no_limit() {
    let host = Host::bare();
    let suite = "- name: answers meet no socket where the packets came from, and yet nothing answers them
  rules: |
    table inet t {
      chain i { type filter hook input priority 0; policy drop
        tcp dport 22 limit rate 1/hour burst 5 packets counter accept
        udp dport 53 limit rate 1/hour burst 5 packets accept
        icmp type destination-unreachable limit rate 1/hour burst 1 packets accept
      }
    }
  packets:
    - {dst_port: 22, count: 5, expect: {verdict: accept}}
    - {dst_port: 22, count: 15, expect: {verdict: drop}}
    - {protocol: udp, dst_port: 53, count: 5, expect: {verdict: accept, reply: udp}}
    - {protocol: udp, dst_port: 53, expect: {verdict: drop}}
";
    let (code, out) = json(&host, suite);
    assert_eq!(code, Some(0), "{out:#}");
}
