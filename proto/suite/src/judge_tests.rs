use netengine_lab_proto::{Delivery, Family, LoadError, NodeName, RuleRef};
use netengine_proto::bounded::Bounded;

use super::*;
use crate::{Suite, load};

const SUITE: &str = "- name: two
  rules: |
    table ip t { chain c { type filter hook input priority 0; tcp dport 22 accept; drop; } }
  packets:
    - {dst_port: 22, expect: {verdict: accept, delivered_to: fw, reply: synack, chain: c, rule: dport 22}}
    - {dst_port: 23, expected_verdict: DROP}
";

fn suite(text: &str) -> Suite {
    load("s.yaml", text, &mut |_| Err(String::new())).expect("sound")
}

fn outcome(verdict: Verdict) -> PacketOutcome {
    PacketOutcome { untraced: false, millis: 1, ..PacketOutcome::new(verdict, None) }
}

fn fw() -> NodeName {
    NodeName::parse("fw").expect("a name")
}

fn answer(packets: Vec<PacketOutcome>) -> CaseResult {
    let handle = Some(4);
    let rule = RuleRef { node: fw(), family: Family::Ip, table: "t".into(), chain: "c".into(), handle };
    let info = RuleInfo { rule, text: "tcp dport 22 accept".into(), line: Some(1), column: Some(59) };
    let rules = Bounded::new(vec![info]).expect("one");
    let packets = Bounded::new(packets).expect("few");
    CaseResult::Judged(Box::new(CaseAnswer { packets, rules, ..CaseAnswer::default() }))
}

fn accepted() -> PacketOutcome {
    let handle = Some(4);
    PacketOutcome {
        deciding: Some(RuleRef { node: fw(), family: Family::Ip, table: "t".into(), chain: "c".into(), handle }),
        delivered: Some(Delivery { node: fw(), interface: None, src: None, dst: None, sport: None, dport: None }),
        reply: Some(Reply::SynAck),
        ..outcome(Verdict::Accept)
    }
}

#[test]
fn all_as_expected_passes_and_names_the_rule_with_its_place() {
    let suite = suite(SUITE);
    let judged = judge(&suite.cases[0], answer(vec![accepted(), outcome(Verdict::Reject)]));
    assert_eq!((judged.outcome, judged.message), (Outcome::Passed, None));
    assert_eq!(judged.packets[0].place, Some((3, 63)));
}

#[test]
fn each_thing_that_differs_is_told() {
    let suite = suite(SUITE);
    let judged = judge(&suite.cases[0], answer(vec![outcome(Verdict::Drop), outcome(Verdict::Accept)]));
    assert_eq!(judged.outcome, Outcome::Failed);
    assert_eq!(judged.packets[0].differences.len(), 5, "{:?}", judged.packets[0].differences);
    assert_eq!(judged.packets[1].differences, ["expected DROP, got ACCEPT"]);
}

#[test]
fn what_was_not_observed_never_passes() {
    let suite = suite(SUITE);
    let case = &suite.cases[0];
    let doubt = judge(case, answer(vec![accepted(), outcome(Verdict::Inconclusive)]));
    assert_eq!(doubt.outcome, Outcome::Inconclusive);
    let too_few = judge(case, answer(vec![accepted()]));
    assert_eq!(too_few.outcome, Outcome::Inconclusive);
    let failed = judge(case, CaseResult::Failed { message: "the worker ended".into() });
    assert_eq!(failed.outcome, Outcome::Inconclusive);
    let worse = judge(case, answer(vec![outcome(Verdict::Drop), outcome(Verdict::Inconclusive)]));
    assert_eq!(worse.outcome, Outcome::Failed);
}

#[test]
fn a_load_error_is_met_by_its_text_alone() {
    let error = |message: &str| {
        let error = LoadError { node: fw(), message: message.into(), line: Some(1), column: Some(7) };
        CaseResult::LoadFailed(Bounded::new(vec![error]).expect("one"))
    };
    let plain = suite(SUITE);
    let judged = judge(&plain.cases[0], error("syntax error, unexpected drop"));
    assert_eq!(judged.outcome, Outcome::Failed);
    assert!(judged.message.expect("told").contains("s.yaml:3:11: syntax error"));
    let wants = suite("- {rules: bad, expect: {load_error: syntax error}}");
    assert_eq!(judge(&wants.cases[0], error("syntax error, unexpected drop")).outcome, Outcome::Passed);
    assert_eq!(judge(&wants.cases[0], error("No such file")).outcome, Outcome::Failed);
    assert_eq!(judge(&wants.cases[0], answer(vec![])).outcome, Outcome::Failed);
}
