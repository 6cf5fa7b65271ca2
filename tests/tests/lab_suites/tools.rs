//! What else is made of a suite: coverage, mutants, differences, derived suites, and runs at every change.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Stdio},
    time::Instant,
};

use netengine_tests::{ALICE, BIN, DEADLINE, Host, signal};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{FIRST, json, test, text};

/// Two cases whose rulesets stand on one line, as programs write JSON.
const ONE_LINE: &str = r#"[{"name":"a","rules":"table inet t { chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; } }","packets":[{"dst_port":22}]},{"name":"b","rules":"table inet t { chain c { type filter hook input priority 0; policy drop; tcp dport 80 accept; } }","packets":[{"dst_port":80}]}]"#;

#[test]
fn rulesets_on_one_line_are_told_apart() {
    let host = Host::bare();
    let (code, out, error) = test(&host, ONE_LINE, &["--coverage"]);
    assert_eq!(code, Some(0), "{error}");
    for wanted in ["2 of 2 rules", "packet 1 of a reached `tcp dport 22", "packet 1 of b reached `tcp dport 80"] {
        assert!(out.contains(wanted), "{wanted}: {out}");
    }
    let (code, out, _) = test(&host, ONE_LINE, &["--mutate", "--json"]);
    let out: Value = serde_json::from_str(&out).expect("JSON");
    // Of each: the policy that no packet meets.
    assert_eq!((code, &out["mutants"]), (Some(1), &6.into()), "{out:#}");
    let survivors: Vec<_> = out["survivors"].as_array().expect("a list").iter().map(|one| &one["column"]).collect();
    for (survivor, nth) in survivors.iter().zip(0..) {
        let at = ONE_LINE.match_indices("drop; tcp").nth(nth).expect("there").0;
        assert_eq!(**survivor, at + 1, "{out:#}");
    }
}

#[test]
fn places_are_those_of_the_file_however_the_text_is_written() {
    let host = Host::bare();
    let suite = "
- rules: \"table inet t { chain c { type filter hook input priority 0; tcp dport 22 accept; } }\"
  packets: [{expect: {verdict: drop}, dst_port: 22}]
- rules: \"table inet t {\\n chain c {\\n type filter hook input priority 0;\\n tcp dport 22 accept\\n } }\"
  packets: [{expect: {verdict: drop}, dst_port: 22}]
- rules: |
    table inet t { chain c { type filter hook input priority 0; }; }
    add rule inet t c tcp dport 23 accept
    add rule inet t c tcp dport 25 accept
    add rule inet t c index 0 tcp dport 22 accept
    insert rule inet t c index 1 tcp dport 24 accept
  packets: [{expect: {verdict: drop}, dst_port: 22}, {expect: {verdict: drop}, dst_port: 24}, {expect: {verdict: drop}, dst_port: 25}]
- rules_file: more/rules.nft
  packets: [{expect: {verdict: drop}, dst_port: 22}]
";
    host.file(
        "more/rules.nft",
        "table inet t {\n  chain c { type filter hook input priority 0\n  tcp dport 22 accept\n }\n}\n",
    );
    let (code, out) = json(&host, suite);
    assert_eq!(code, Some(1), "{out:#}");
    let packets =
        out["tests"].as_array().expect("cases").iter().flat_map(|test| test["packets"].as_array().expect("a list"));
    let places: Vec<_> =
        packets.map(|packet| (packet["rule"]["line"].as_u64(), packet["rule"]["column"].as_u64())).collect();
    let column = suite.lines().nth(1).and_then(|line| line.find("tcp dport 22")).map(|at| at as u64 + 1);
    let wanted = [
        (Some(2), column),
        (Some(4), Some(10)),
        (Some(10), Some(5)),
        (Some(11), Some(5)),
        (Some(9), Some(5)),
        (Some(3), Some(3)),
    ];
    assert_eq!(places, wanted, "{out:#}");
    let file = out["tests"][3]["packets"][0]["rule"]["file"].as_str().expect("a file");
    assert!(file.ends_with("more/rules.nft") && file.starts_with('/'), "{file}");
}

const MUTANTS: &str = "- name: one
  rules: |
    table inet t {
      set ports { type inet_service; elements = { 1000, 1001,
        1002 } }
      map way { type inet_service : verdict; elements = { 7 : accept, 8 : jump sub } }
      chain sub {
        ip saddr 10.0.0.1 accept
        drop
      }
      chain base {
        type filter hook input priority 0; policy drop;
        tcp dport @ports accept
        tcp dport vmap @way
        udp dport { 53, 54 } \\
          accept comment \"drop; }\"
      }
    }
  packets:
    - {dst_port: 1000}
    - {dst_port: 1001}
    - {dst_port: 7}
    - {dst_port: 8}
    - {protocol: udp, dst_port: 53}
";

#[test]
fn mutants_of_elements_maps_chains_and_policies_survive_at_their_place() {
    let host = Host::bare();
    let (code, out, error) = test(&host, MUTANTS, &["--mutate"]);
    assert_eq!(code, Some(1), "{out}{error}");
    let survivors: Vec<_> =
        out.lines().filter_map(|line| line.split_once("suite.yaml:").map(|(_, rest)| rest)).collect();
    let wanted = [
        "9:9: no case notices that `drop` is removed",
        "9:9: no case notices that `drop` is turned (drop became accept)",
        "15:25: no case notices that `54 in udp dport { 53, 54 } accept comment \"drop; }\"` is removed",
        "12:51: no case notices that `policy drop` is turned (drop became accept)",
        "5:9: no case notices that `1002 of ports` is removed",
    ];
    let mut sorted = (survivors.clone(), wanted.to_vec());
    sorted.0.sort_unstable();
    sorted.1.sort_unstable();
    assert_eq!(sorted.0, sorted.1, "{out}");
    // A case that meets them notices them all.
    let more = "    - {dst_port: 1002}\n    - {protocol: udp, dst_port: 54}\n    - {dst_port: 9, expect: {verdict: drop}}\n    \
                - {src_ip: 10.0.0.9, dst_port: 8, expect: {verdict: drop, rule: drop}}\n";
    let (code, out, _) = test(&host, &format!("{MUTANTS}{more}"), &["--mutate"]);
    assert_eq!((code, out.contains(" 0 unnoticed")), (Some(0), true), "{out}");
    let (code, _, error) = test(&host, MUTANTS, &["--mutate", "--format", "junit"]);
    assert_eq!(code, Some(2), "{error}");
}

const COMPARED: &str = "- name: web
  rules: |
    table inet t { set s { type inet_service; flags interval; elements = { 100-200 } }
      chain c { type filter hook input priority 0; policy drop; tcp dport @s accept
        tcp dport 9 reject; udp dport 53 limit rate 1/hour burst 5 packets accept } }
  packets: [{dst_port: 150}, {protocol: udp, dst_port: 53, count: 4}]
";

#[test]
fn rulesets_that_differ_at_an_edge_in_order_state_family_or_rate_are_told_apart() {
    let host = Host::bare();
    let rules: String = COMPARED.lines().skip(2).take(3).map(|line| format!("{}\n", &line[4..])).collect();
    let diff = |other: &str| {
        let other = host.file("other.nft", other);
        test(&host, COMPARED, &["--diff", &other])
    };
    let same = "table inet t { chain c { type filter hook input priority filter; policy drop
      tcp dport 100-200 counter accept comment \"x\"; tcp dport { 9 } reject with icmpx type port-unreachable; jump d; }
      chain d { udp dport 53 limit rate 1/hour burst 5 packets accept; } }";
    for other in [&rules, same] {
        let (code, out, error) = diff(other);
        assert_eq!((code, out.starts_with("0 differences in ")), (Some(0), true), "{out}{error}");
    }
    for (from, to, wanted) in [
        ("100-200", "100-201", "10.0.0.2:201 [S]: DROP became ACCEPT  by `tcp dport @s accept` ("),
        ("100-200", "100-199", "10.0.0.2:200 [S]: ACCEPT became DROP  before by `tcp dport @s accept` ("),
        ("burst 5", "burst 3", "web: 2. udp 10.0.0.1:12345 > 10.0.0.2:53, 4 of 4: ACCEPT became DROP"),
        ("table inet", "table ip", "[fd00::2]:9 [S]: REJECT became ACCEPT"),
        ("9 reject", "9 reject with tcp reset", "REJECT with an ICMP error, type 3 code 3 became REJECT with a reset"),
        (
            "@s accept",
            "@s ct state new accept",
            "2. tcp 10.0.0.1:12345 > 10.0.0.2:100 [PA] of flow handshake: ACCEPT became DROP",
        ),
        ("tcp dport @s", "ct state invalid accept; tcp dport @s", "10.0.0.2:22 []: DROP became ACCEPT"),
        (
            "tcp dport @s",
            "tcp dport 150 drop; tcp dport @s",
            "web: 1. tcp 10.0.0.1:12345 > 10.0.0.2:150 [S]: ACCEPT became DROP",
        ),
    ] {
        let (code, out, error) = diff(&rules.replace(from, to));
        assert_eq!((code, out.contains(wanted)), (Some(1), true), "{wanted}: {out}{error}");
    }
    // What cannot be observed is no difference, and no equality either.
    let (code, out, _) = diff(&rules.replace("policy drop;", "policy drop; tcp dport 4000 meta nftrace set 0 drop;"));
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("could not be compared: ") && out.contains("0 differences, "), "{out}");
}

const DERIVED: &str = r#"define web = { 80, 443 }
table inet filter {
  set ports { type inet_service; flags interval; elements = { 8000-8010, ssh } }
  set pairs { type ipv4_addr . inet_service; elements = { 10.9.0.1 . 53, 10.9.0.2 . 123 } }
  map way { type inet_service : verdict; elements = { 7 : accept, 9 : drop } }
  chain sub { ip saddr 10.7.0.0/16 accept; reject }
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    ct state invalid drop
    tcp dport @ports accept
    tcp dport $web accept
    ip saddr . udp dport @pairs accept
    tcp dport vmap @way
    tcp dport 99 jump sub
    icmp type { echo-request, time-exceeded } accept
    icmpv6 type { echo-request, nd-neighbor-solicit } accept
    iifname "wan0" tcp dport 5 accept
    ip6 saddr fd00::/64 tcp dport 7777 accept
    tcp flags & (fin|syn|rst|ack) == syn tcp dport 4444 accept
    udp dport 555 limit rate 1/second accept
    meta l4proto 47 accept
  }
}
table ip nat {
  chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 dnat to 10.0.0.2:80; tcp dport 8888 redirect to :22; }
}
"#;

#[test]
fn a_derived_suite_matches_what_can_be_matched_and_notices_what_changes() {
    let host = Host::bare();
    let path = host.file("derived/rules.nft", DERIVED);
    let (code, out, error) = text(&host.cli(ALICE, &["test", "--derive", &path]));
    assert_eq!(code, Some(0), "{out}{error}");
    let unmatched: Vec<_> = out.lines().filter(|line| line.starts_with("# no packet here matches")).collect();
    assert_eq!(unmatched, ["# no packet here matches: line 18: iifname \"wan0\" tcp dport 5 accept"], "{out}");
    assert!(out.contains("dst_port: 8080, expect: {verdict: accept, dport: 80}"), "{out}");
    let suite = host.file("derived/suite.yaml", &out);
    let (code, report, error) = text(&host.cli(ALICE, &["test", &suite]));
    assert_eq!(code, Some(0), "{report}{error}");
    for (from, to) in [
        ("8000-8010", "8000-8009"),
        ("10.9.0.2 . 123", "10.9.0.2 . 124"),
        ("9 : drop", "9 : accept"),
        ("established,related", "established"),
        ("ip saddr 10.7.0.0/16", "ip saddr 10.7.0.0/17"),
        ("{ echo-request, nd", "{ nd"),
        ("fd00::/64", "fd00::/65"),
        ("to :22", "to :80"),
        ("l4proto 47", "l4proto 50"),
        ("(fin|syn|rst|ack) == syn", "(fin|syn|rst|ack) == ack"),
    ] {
        host.file("derived/rules.nft", &DERIVED.replace(from, to));
        let (code, report, _) = text(&host.cli(ALICE, &["test", &suite]));
        assert_eq!(code, Some(1), "{from} became {to}: {report}");
    }
}

#[test]
fn derived_suites_of_routers_and_bridges_hold() {
    let host = Host::bare();
    let router = "table inet t {
  chain f { type filter hook forward priority 0; policy drop
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname eth0 oifname eth1 tcp dport { 80, 443 } accept
    iifname eth1 ip saddr 10.0.2.0/24 udp dport 53 accept
  }
  chain o { type filter hook output priority 0; policy drop; icmp type echo-request accept; }
}
table ip n { chain post { type nat hook postrouting priority srcnat; oifname eth1 masquerade; } }
";
    let bridge = "table bridge t { chain f { type filter hook forward priority 0; policy drop; ether type arp accept; ip protocol tcp tcp dport 80 accept; } }";
    for (rules, wanted) in [(router, "src: '10.0.2.1'"), (bridge, "topology: bridge")] {
        let path = host.file("derived/rules.nft", rules);
        let (code, out, error) = text(&host.cli(ALICE, &["test", "--derive", &path]));
        assert_eq!(code, Some(0), "{out}{error}");
        assert!(out.contains(wanted) && out.contains("verdict: accept") && out.contains("verdict: drop"), "{out}");
        let suite = host.file("derived/suite.yaml", &out);
        let (code, report, error) = text(&host.cli(ALICE, &["test", &suite]));
        assert_eq!(code, Some(0), "{report}{error}");
    }
}

/// A watching run, and what it prints.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(host: &Host, file: &str) -> Self {
        let mut command = host.command(ALICE, &format!("{BIN}/netengine"));
        // Both streams in one, in the order they are written.
        command.args(["test", "--watch", file]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    fn until(&mut self, wanted: &str) {
        let found = self.lines.by_ref().map(|line| line.expect("readable")).find(|line| line.contains(wanted));
        found.unwrap_or_else(|| panic!("it ended before it said {wanted:?}"));
    }
}

#[test]
fn every_way_to_change_a_file_is_noticed_and_ctrl_c_leaves_nothing() {
    let host = Host::bare();
    let file = host.file(
        "watched/suite.yaml",
        "rules_file: ../rules/r.nft\ntests: [{packets: [{dst_port: 22}, {dst_port: 80, expected_verdict: DROP}]}]\n",
    );
    let rules = "table inet t { chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; } }";
    host.file("rules/r.nft", rules);
    let before = (host.snapshot(), host.processes().len());
    let mut watching = Watching::start(&host, &file);
    watching.until("1 passed, 0 failed");
    // In another directory, and in place of the old one, as editors do it.
    let new = host.path(&host.file("rules/.r.swp", &rules.replace("22", "23")));
    fs::rename(&new, new.with_file_name("r.nft")).expect("renamed");
    watching.until("0 passed, 1 failed");
    // What is broken is told, on the other stream; what is gone too; and then it goes on.
    let (suite, path) = (fs::read_to_string(host.path(&file)).expect("readable"), host.path(&file));
    host.file("watched/suite.yaml", "- nonsense: [");
    fs::remove_file(&path).expect("removed");
    host.file("rules/r.nft", rules);
    host.file("watched/suite.yaml", &suite);
    watching.until("1 passed, 0 failed");
    // The whole directory may go and come again.
    let directory = path.parent().expect("a directory");
    let aside = directory.with_file_name("aside");
    fs::rename(directory, &aside).expect("renamed");
    host.file("watched/suite.yaml", &suite.replace("DROP", "ACCEPT"));
    watching.until("0 passed, 1 failed");
    host.file("watched/suite.yaml", &suite);
    watching.until("1 passed, 0 failed");
    fs::remove_dir_all(&aside).expect("removed");
    host.file("watched/suite.yaml", FIRST);
    signal(&watching.child, Signal::SIGINT);
    watching.child.wait().expect("waited for");
    let until = Instant::now() + DEADLINE;
    let left = || (host.processes().len(), host.snapshot());
    let mut now = left();
    while now.0 != before.1 {
        assert!(Instant::now() < until, "something is left: {:?}", host.processes());
        std::thread::yield_now();
        now = left();
    }
}
