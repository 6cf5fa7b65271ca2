use netengine_lab_proto::{Content, Topology, Transport, Verdict};

use super::*;

fn read(_: &str) -> Result<String, String> {
    Err("cannot read it".to_owned())
}

fn suite(text: &str) -> Suite {
    load("s.yaml", text, &mut read).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

fn mistakes(text: &str) -> Vec<String> {
    load("s.yaml", text, &mut read).expect_err("wrong").iter().map(ToString::to_string).collect()
}

/// As the README of network-sandbox-engine shows one.
const THEIRS: &str = "tests:
  - name: SSH is open
    topology: simple
    rules: |
      table ip filter {
        chain input {
          type filter hook input priority 0; policy drop;
          tcp dport 22 accept
        }
      }
    packets:
      - protocol: tcp
        dst_port: 22
        tcp_flags: [S]
        expected_verdict: ACCEPT
      - {protocol: udp, src_ip: 192.168.1.10, dst_port: 53, expected_verdict: reject}
";

#[test]
fn both_layouts_of_the_other_tool_give_the_same_cases() {
    let mapping = suite(THEIRS);
    let list: String = THEIRS.lines().skip(1).map(|line| format!("{}\n", line.get(2..).unwrap_or_default())).collect();
    let list = suite(&list);
    assert_eq!(mapping.cases[0].request, list.cases[0].request);
    let case = &mapping.cases[0];
    assert_eq!((case.name.as_str(), case.packets.len()), ("SSH is open", 2));
    assert_eq!(case.packets[0].verdict, Expected::Exactly(Verdict::Accept));
    assert_eq!(case.packets[1].verdict, Expected::Stopped(Verdict::Reject));
    assert_eq!(case.packets[0].title, "tcp 10.0.0.1:12345 > 10.0.0.2:22 [S]");
    assert_eq!(case.packets[1].title, "udp 192.168.1.10:12345 > 10.0.0.2:53");
}

#[test]
fn what_the_other_tool_takes_in_any_letters_and_as_nothing_is_taken_so() {
    let text = "tests:
  - topology: GATEWAY
    rules: table ip t { }
    packets:
      - {protocol: icmp, tcp_flags: [], src_port: null, expected_verdict: Drop}
      - {tcp_flags: [s, a], expected_verdict: accept}
";
    let case = &suite(text).cases[0];
    assert_eq!(case.request.topology, Topology::gateway());
    assert_eq!(case.packets[0].verdict, Expected::Stopped(Verdict::Drop));
    assert_eq!(case.packets[1].title, "tcp 10.0.1.1:12345 > 10.0.2.2:80 [SA]");
    let own = "topologies: {Simple: {nodes: {fw: {addresses: {}}}}}\n";
    assert!(
        mistakes(&format!("{own}tests: [{{topology: SIMPEL, rules: '', packets: [{{}}]}}]\n"))[0]
            .contains("\"SIMPEL\"")
    );
    // Flags that mean nothing count for nothing there, and are a mistake in what only this tool reads.
    assert_eq!(suite(&text.replace("[],", "[S],")).cases[0].packets[0].title, case.packets[0].title);
    let ours = text.replace("[],", "[S],").replace("expected_verdict: Drop", "expect: {verdict: drop}");
    assert!(mistakes(&ours)[0].contains("`tcp_flags` are for tcp alone"));
}

#[test]
fn json_is_read_as_it_is() {
    let text = r#"{"tests": [{"rules": "table ip t { }", "packets": [{"tcp_flags": []}]}]}"#;
    let case = &suite(text).cases[0];
    let Content::Typed(spec) = &case.request.packets[0].content else { panic!("typed") };
    assert!(matches!(spec.transport, Transport::Tcp { flags: 0, .. }));
    assert_eq!(case.name, "case 1");
}

#[test]
fn a_place_in_the_rules_is_a_place_in_the_file() {
    let suite = suite(THEIRS);
    let origin = &suite.cases[0].rules;
    let (line, column) = origin.place(4, 5);
    let text = THEIRS.lines().nth(line as usize - 1).expect("there");
    assert!(text[column as usize - 1..].starts_with("tcp dport 22"), "{line}:{column}: {text}");
}

#[test]
fn every_mistake_has_its_place() {
    let wrong =
        mistakes("- rules: x\n  packets:\n    - {dst_port: 22, expected_verdict: MAYBE}\n    - {protocol: sctpp}\n");
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].starts_with("s.yaml:3:") && wrong[0].contains("MAYBE"), "{wrong:?}");
    assert!(wrong[1].starts_with("s.yaml:4:") && wrong[1].contains("sctpp"), "{wrong:?}");
}

#[test]
fn an_unknown_key_is_a_mistake_with_its_line() {
    let wrong = mistakes("tests:\n  - rules: x\n    packets:\n      - dst_prot: 22\n");
    assert!(wrong[0].starts_with("s.yaml:4:") && wrong[0].contains("dst_prot"), "{wrong:?}");
    assert!(mistakes("testss: []\n")[0].contains("testss"));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (text, word) in [
        ("[]", "no cases"),
        ("tests: []", "no cases"),
        ("- {rules: x}", "no packets"),
        ("- {packets: [{}]}", "no `rules`"),
        ("- {rules: x, topology: star, packets: [{}]}", "star"),
        ("- {rules: x, rules_file: y, packets: [{}]}", "one is enough"),
        ("- {rules_file: y, packets: [{}]}", "cannot read it"),
        ("- {rules: x, packets: [{src_ip: 10.0.0.1, dst_ip: fd00::2}]}", "two families"),
        ("- {rules: x, packets: [{count: 10001}]}", "count"),
        ("- {rules: x, packets: [{dst_port: 0}]}", "1 to 65535"),
        ("- {rules: x, packets: [{tcp_flags: [X]}]}", "TCP flag"),
        ("- {rules: x, packets: [{frame: 0g}]}", "hexadecimal"),
        ("- {rules: x, packets: [{}], sysctls: {kernel.core_pattern: 1}}", "core_pattern"),
        ("- {rules: x, packets: [{}], listeners: [tcp]}", "tcp:PORT"),
        ("- {rules: x, packets: [{from: moon}]}", "node"),
        ("- {rules: x, packets: [{expect: {verdict: inconclusive}}]}", "unknown verdict"),
    ] {
        let wrong = mistakes(text);
        assert!(wrong.iter().any(|mistake| mistake.contains(word)), "{text}: {wrong:?}");
    }
}

#[test]
fn a_packet_with_the_tested_nodes_address_leaves_from_it() {
    let case = &suite("- {rules: x, packets: [{src_ip: 10.0.0.2, dst_ip: 10.0.0.1}]}").cases[0];
    assert_eq!(case.request.packets[0].from.as_str(), "fw");
    let case = &suite("- {rules: x, topology: gateway, packets: [{from: server}]}").cases[0];
    assert_eq!(case.packets[0].title, "tcp 10.0.2.2:12345 > 10.0.1.2:80 [S]");
}

#[test]
fn count_makes_packets_with_one_expectation() {
    let case = &suite("- {rules: x, packets: [{count: 3, sport_step: 2, gap_ms: 5, after_ms: 9}]}").cases[0];
    let ports: Vec<_> = case.packets.iter().map(|packet| packet.title.clone()).collect();
    assert_eq!(ports.len(), 3);
    assert!(ports[2].contains(":12349 "), "{ports:?}");
    let waits: Vec<_> = case.request.packets.iter().map(|packet| packet.after_ms).collect();
    assert_eq!(waits, [9, 5, 5]);
}

#[test]
fn a_written_topology_is_built() {
    let text = "
topologies:
  dmz:
    nodes:
      client: {addresses: {eth0: [10.1.0.2/24]}, routes: {default: 10.1.0.1}}
      fw: {addresses: {eth0: [10.1.0.1/24], eth1: [10.2.0.1/24]}, forward: true}
      server: {addresses: {eth0: [10.2.0.2/24]}, routes: {default: 10.2.0.1}, listeners: [tcp:80]}
    links: [['client:eth0', 'fw:eth0'], ['fw:eth1', 'server:eth0']]
tests:
  - {topology: dmz, rules: x, packets: [{dst_ip: 10.2.0.2}]}
";
    let case = &suite(text).cases[0];
    assert_eq!(case.request.topology.nodes.len(), 3);
    assert_eq!(case.packets[0].title, "tcp 10.1.0.2:12345 > 10.2.0.2:80 [S]");
    let wrong = mistakes(&text.replace("'fw:eth1', ", "'fw:eth9', "));
    assert!(wrong[0].contains("eth1"), "{wrong:?}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "[ -~\n]{0,200}") {
        let _ = load("s.yaml", &text, &mut read);
    }
}

#[test]
fn what_is_too_long_is_told_in_bytes() {
    let mut long = |_: &str| Ok("#".repeat((16 << 20) + 1));
    let text = "- {rules_file: long.nft, packets: [{}]}\n";
    let told = load("s.yaml", text, &mut long).expect_err("too long");
    assert!(told[0].to_string().ends_with("`rules` holds more than 16777216 bytes"), "{told:?}");
    let payload = format!("- {{rules: '', packets: [{{protocol: udp, payload: {}}}]}}\n", "x".repeat(70_000));
    assert!(mistakes(&payload)[0].contains("`payload` holds more than ") && mistakes(&payload)[0].ends_with(" bytes"));
}
