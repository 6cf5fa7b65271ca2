//! What others' programs read of a run: JUnit, TAP and captures. And what the README says of a first run.
//!
//! Needs Debian's perl (TAP::Parser), python3-junitparser, tshark and tcpdump.

use std::process::Command;

use netengine_tests::{ALICE, Host};
use serde_json::{Value, json};

use super::{FIRST, test, text};

/// A case of each outcome, with names and rules that a careless writer would break on.
const ODD: &str = r#"
- name: "passes <&> \"'' ]]> # TODO \\ é"
  rules: 'table inet t { chain c { type filter hook input priority 0; policy drop; tcp dport 22 counter accept comment "<b> & ]]> # skip"; } }'
  packets: [{dst_port: 22}]
- name: "fails # SKIP me"
  rules: 'table inet t { chain c { type filter hook input priority 0; log prefix "<b> & ]]>" drop; } }'
  packets: [{dst_port: 22}, {dst_port: 23}]
- name: "not observed\n  ok 7 - forged"
  rules: 'table inet t { chain c { type filter hook input priority 0; meta nftrace set 0 drop; } }'
  packets: [{dst_port: 22, expected_verdict: DROP}]
- name: does not load
  rules: 'table inet t { chain c { bogus; } }'
  packets: [{dst_port: 22}]
"#;

/// Runs a program on what it reads as its first argument after these; gives what it printed.
fn read(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let (_, out, error) = text(&output);
    assert!(output.status.success(), "{program} {words:?}: {out}{error}");
    out
}

fn python(script: &str, file: &str) -> Value {
    let out = read("/usr/bin/python3", &["-c", script, file]);
    serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out}"))
}

/// The file of a report in this format, outside of the host.
fn report(host: &Host, format: &str) -> String {
    let (code, out, error) = test(host, ODD, &["--format", format]);
    assert_eq!(code, Some(1), "{out}{error}");
    host.path(&host.file(format, &out)).display().to_string()
}

#[test]
fn junitparser_reads_the_report() {
    let host = Host::bare();
    let script = "
import json, sys
from junitparser import JUnitXml
xml = JUnitXml.fromfile(sys.argv[1])
cases = [case for suite in xml for case in suite]
print(json.dumps({
    'counts': [xml.tests, xml.failures, xml.errors],
    'cases': [[case.name, [type(result).__name__ for result in case.result]] for case in cases],
    'texts': [case.result[0].text if case.result else None for case in cases],
}))";
    let seen = python(script, &report(&host, "junit"));
    assert_eq!(seen["counts"], json!([4, 2, 1]), "{seen}");
    let wanted = json!([
        ["passes <&> \"'' ]]> # TODO \\ é", []],
        ["fails # SKIP me", ["Failure"]],
        ["not observed\n  ok 7 - forged", ["Error"]],
        ["does not load", ["Failure"]],
    ]);
    assert_eq!(seen["cases"], wanted);
    let failed = seen["texts"][1].as_str().expect("a text");
    assert!(failed.contains("packet 2 (line 7)") && failed.contains("log prefix \"<b> & ]]>\" drop at "), "{failed}");
    assert!(seen["texts"][3].as_str().is_some_and(|text| text.contains("syntax error")), "{seen}");
}

#[test]
fn perls_tap_parser_reads_the_report() {
    let host = Host::bare();
    let script = "
use JSON::PP; use TAP::Parser;
my $tap = do { local (@ARGV, $/) = ($ARGV[0]); <> };
my $parser = TAP::Parser->new({tap => $tap});
my @tests; my @yaml; my @unknown;
while (my $result = $parser->next) {
    push @tests, [$result->number, $result->is_ok ? 1 : 0, $result->has_skip ? 1 : 0, $result->has_todo ? 1 : 0, $result->description] if $result->is_test;
    push @yaml, $result->data->{outcome} if $result->is_yaml;
    push @unknown, $result->as_string if $result->is_unknown;
}
print JSON::PP->new->encode({tests => \\@tests, errors => [$parser->parse_errors], yaml => \\@yaml, unknown => \\@unknown, planned => $parser->tests_planned});";
    let file = report(&host, "tap");
    let out = read("/usr/bin/perl", &["-e", script, &file]);
    let seen: Value = serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out}"));
    assert_eq!((&seen["errors"], &seen["unknown"], &seen["planned"]), (&json!([]), &json!([]), &json!(4)), "{seen}");
    let tests: Vec<_> =
        seen["tests"].as_array().expect("a list").iter().map(|test| (&test[0], &test[1], &test[2], &test[3])).collect();
    let (yes, no) = (json!(1), json!(0));
    for (number, (seen, is_ok)) in tests.iter().zip([&yes, &no, &no, &no]).enumerate() {
        assert_eq!(*seen, (&json!(number + 1), is_ok, &no, &no));
    }
    assert_eq!(tests.len(), 4);
    assert_eq!(seen["yaml"], json!(["failed", "inconclusive", "failed"]), "{seen}");
}

#[test]
fn tshark_and_tcpdump_read_the_captures() {
    let host = Host::bare();
    let suite = host.file("captured/suite.yaml", &FIRST.replace("expected_verdict: DROP", "expected_verdict: ACCEPT"));
    let dir = format!("{}/new", host.shell(ALICE, "mktemp -d").trim());
    let (code, out, error) = text(&host.cli(ALICE, &["test", &suite, "--pcap", &dir]));
    assert_eq!(code, Some(1), "{out}{error}");
    let file = host.path(&format!("{dir}/0001-only_SSH_is_let_in.pcapng")).display().to_string();
    let fields = ["-n", "-r", &file, "-T", "fields", "-e", "tcp.dstport", "-e", "tcp.flags", "-e", "frame.comment"];
    let seen = read("/usr/bin/tshark", &fields);
    let of = |port: &str, flags: &str| {
        let found: Vec<_> = seen.lines().filter_map(|line| line.strip_prefix(&format!("{port}\t{flags}\t"))).collect();
        assert!(!found.is_empty(), "{port}: {seen}");
        found.join("\n")
    };
    let accepted = of("22", "0x0002");
    assert!(accepted.contains("ACCEPT, expected ACCEPT: passed; decided by `tcp dport 22 accept` at "), "{accepted}");
    let dropped = of("80", "0x0002");
    assert!(dropped.contains("DROP, expected ACCEPT: failed; decided by the policy of chain input"), "{dropped}");
    let lines = read("/usr/bin/tcpdump", &["-n", "-r", &file]);
    assert!(
        lines.contains("10.0.0.1.12345 > 10.0.0.2.22: Flags [S]") && lines.contains("10.0.0.2.22 > 10.0.0.1"),
        "{lines}"
    );
}

#[test]
fn the_readmes_first_run_is_green_and_then_red_as_it_says() {
    let readme = include_str!("../../../README.md");
    let (_, section) = readme.split_once("\n## Test your firewall\n").expect("a section");
    let section = section.split("\n## ").next().expect("a section");
    let (_, suite) = section.split_once("```yaml\n").expect("a suite");
    let (suite, after) = suite.split_once("```\n").expect("an end");
    assert!(suite.lines().count() <= 5, "five lines: {suite}");
    assert!(
        section.contains("Save this as `ssh.yaml`") && after.starts_with("`netengine test ssh.yaml` is green."),
        "{after}"
    );
    let host = Host::bare();
    host.file("ssh.yaml", suite);
    let run = || text(&host.cli(ALICE, &["test", &host.file("ssh.yaml", suite)]));
    let (code, out, error) = run();
    assert_eq!(code, Some(0), "{out}{error}");
    let (from, to) = ("80", "22");
    assert!(
        after.contains(&format!("Write {to} in place of {from}, and it is red and names the rule that decided")),
        "{after}"
    );
    let red = suite.replace(&format!("dst_port: {from}"), &format!("dst_port: {to}"));
    assert_ne!(red, suite);
    let (code, out, error) = test(&host, &red, &[]);
    assert_eq!(code, Some(1), "{out}{error}");
    let place = red.find("tcp dport 22").map(|at| at + 1).expect("there");
    assert!(
        out.contains(&format!("= decided by `tcp dport 22 accept`  (/run/netengine-test/suite.yaml:1:{place})")),
        "{out}"
    );
    // What it says of further options is so.
    for option in ["--coverage", "--mutate", "--diff OTHER.nft", "--derive RULES.nft", "--watch"] {
        let name = option.split(' ').next().unwrap_or(option);
        assert!(section.contains(option) && read_help(&host).contains(name), "{option}");
    }
}

fn read_help(host: &Host) -> String {
    text(&host.cli(ALICE, &["test", "--help"])).1
}
