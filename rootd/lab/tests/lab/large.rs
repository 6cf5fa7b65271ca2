//! Texts at the bounds, in a worker of the caller's own: loaded, or refused with what is too large, and the next case is judged.

use std::fmt::Write as _;

use netengine_lab::client::Rootless;
use netengine_lab_proto::{CaseResult, Topology, Verdict, limits::RULESET_BYTES};

use crate::case::{case, from, judged, simple, tcp, worker};

const CHAIN: &str = "table inet t {\n chain i {\n  type filter hook input priority 0;\n";

/// As many addresses, the first of them that of the client.
fn addresses(count: u32) -> String {
    let mut text = String::new();
    for number in 1..=count {
        let [_, b, c, d] = number.to_be_bytes();
        let _ = write!(text, "10.{b}.{c}.{d}, ");
    }
    text
}

fn verdict(worker: &mut Rootless, rules: &str) -> Verdict {
    simple(worker, rules, vec![tcp("10.0.0.1", "10.0.0.2", 80)])[0].verdict
}

#[test]
fn ten_thousand_rules_are_loaded_and_the_deciding_one_is_told_with_its_line() {
    let mut rules = String::from(CHAIN);
    for number in 0..10_000_u32 {
        let [_, b, c, d] = number.to_be_bytes();
        // The kernel looks through all sets for the place of one without a name.
        let ports = if number % 20 == 0 { format!("{{ 1, {} }}", number + 2) } else { (number + 1).to_string() };
        let _ = writeln!(rules, "  ip saddr 172.{}.{c}.{d} tcp dport {ports} drop", 16 + b);
    }
    rules += "  tcp dport 80 drop\n }\n}\n";
    let mut worker = worker();
    let packets =
        vec![from("client", tcp("10.0.0.1", "10.0.0.2", 80)), from("client", tcp("10.0.0.1", "10.0.0.2", 81))];
    let answer = judged(&mut worker, &case(Topology::simple(), &rules, packets));
    assert_eq!([answer.packets[0].verdict, answer.packets[1].verdict], [Verdict::Drop, Verdict::Accept]);
    let lines: Vec<_> = answer.rules.iter().map(|rule| rule.line).collect();
    assert!(lines.contains(&Some(10_004)), "{lines:?}");
}

#[test]
fn a_set_of_a_hundred_thousand_elements_is_loaded() {
    let set = format!("table inet t {{\n set s {{ type ipv4_addr; elements = {{ {}}}; }}\n}}\n", addresses(100_000));
    let rules = format!("{set}{CHAIN}  ip saddr @s drop\n }}\n}}\n");
    let mut worker = worker();
    assert_eq!(verdict(&mut worker, &rules), Verdict::Drop);
    assert_eq!(verdict(&mut worker, &rules.replace("{ 10.0.0.1, ", "{ ")), Verdict::Accept);
}

#[test]
fn a_large_set_inside_a_rule_is_loaded_or_told_to_be_too_large() {
    let rules = format!("{CHAIN}  ip saddr {{ {}}} drop\n }}\n}}\n", addresses(100_000));
    let mut worker = worker();
    // The set and its rule are one transaction, which the host's net.core.wmem_max bounds.
    let request = case(Topology::simple(), &rules, vec![from("client", tcp("10.0.0.1", "10.0.0.2", 80))]);
    match worker.run(&request).expect("answers") {
        CaseResult::Judged(answer) => assert_eq!(answer.packets[0].verdict, Verdict::Drop),
        CaseResult::LoadFailed(errors) => assert!(errors[0].message.contains("wmem_max"), "{errors:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(verdict(&mut worker, &format!("{CHAIN}  drop\n }}\n}}\n")), Verdict::Drop);
}

#[test]
fn a_text_as_long_as_texts_may_be_is_read_and_a_longer_one_is_none() {
    let rule = "table ip t { chain i { type filter hook input priority 0; tcp dport 80 drop; } }\n";
    let line = format!("# {}\n", "x".repeat(1_021));
    let mut rules = line.repeat((RULESET_BYTES - rule.len()) / line.len());
    rules += rule;
    rules += &"#".repeat(RULESET_BYTES - rules.len());
    assert_eq!(verdict(&mut worker(), &rules), Verdict::Drop);
    rules.push('#');
    assert!(netengine_lab_proto::RulesetText::new(rules).is_err());
}
