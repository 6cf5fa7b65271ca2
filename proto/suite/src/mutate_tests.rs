use netengine_lab_proto::{Family, NodeName, RuleRef};

use super::*;

fn rule(line: u32, column: u32) -> RuleInfo {
    let node = NodeName::parse("fw").expect("a name");
    let rule = RuleRef { node, family: Family::Ip, table: "t".into(), chain: "c".into(), handle: Some(1) };
    RuleInfo { rule, text: "r".into(), line: Some(line), column: Some(column) }
}

/// What was done, and the changed lines without blanks.
fn shown(text: &str, rules: &[RuleInfo]) -> Vec<(String, (u32, u32), String)> {
    let mutants = mutants(text, rules);
    let of = |mutant: &Mutant| {
        let changed = mutant.of(text);
        assert_eq!(changed.lines().count(), text.lines().count());
        let lines = changed.lines().zip(text.lines()).filter(|(new, old)| new != old);
        let lines: Vec<_> = lines.map(|(new, _)| new.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        (format!("{} {}", mutant.what, mutant.change), mutant.place, lines.join(" / "))
    };
    mutants.made.iter().map(of).collect()
}

fn wanted(all: &[(&str, (u32, u32), &str)]) -> Vec<(String, (u32, u32), String)> {
    all.iter().map(|(what, place, lines)| ((*what).to_owned(), *place, (*lines).to_owned())).collect()
}

#[test]
fn each_rule_and_each_of_its_elements_is_removed_and_turned_at_its_place() {
    let text =
        "table ip t {\n  chain c {\n    tcp dport { 22, 80 } accept # web, { drop }\n    counter; drop\n  }\n}\n";
    let found = shown(text, &[rule(3, 5), rule(4, 14)]);
    let wanted = wanted(&[
        ("r is removed", (3, 5), "# web, { drop }"),
        ("r is turned (accept became drop)", (3, 26), "tcp dport { 22, 80 } drop # web, { drop }"),
        ("22 in r is removed", (3, 17), "tcp dport { 80 } accept # web, { drop }"),
        ("80 in r is removed", (3, 21), "tcp dport { 22 } accept # web, { drop }"),
        ("r is removed", (4, 14), "counter;"),
        ("r is turned (drop became accept)", (4, 14), "counter; accept"),
    ]);
    assert_eq!(found, wanted);
}

#[test]
fn verdict_maps_policies_and_named_sets_have_mutants() {
    let text = "define p = { 1, 2 }\ntable ip t {
  set one { type inet_service; elements = { 22 } }
  map m { type inet_service : verdict; elements = { 22 : accept,
    80 : jump x } }
  chain c { type filter hook input priority 0; policy drop; tcp dport vmap @m
    tcp dport vmap { 1 : drop, 2 : jump x }; tcp dport @one add @seen { ip saddr, tcp dport } reject with tcp reset comment \"a, accept\"; }\n}\n";
    let found = shown(text, &[rule(6, 61), rule(7, 5), rule(7, 46)]);
    let rest = "reject with tcp reset comment \"a, accept\"; }";
    let third = format!("tcp dport @one add @seen {{ ip saddr, tcp dport }} {rest}");
    let line = |first: &str, third: &str| format!("{first}; {third}");
    let second = "tcp dport vmap { 1 : drop, 2 : jump x }";
    let turned = "tcp dport @one add @seen { ip saddr, tcp dport } accept comment \"a, accept\"; }";
    let chain = "chain c { type filter hook input priority 0; policy";
    let wanted = wanted(&[
        ("r is removed", (6, 61), &format!("{chain} drop;")),
        ("r is removed", (7, 5), &format!("; {third}")),
        ("r is turned (drop became accept)", (7, 26), &line("tcp dport vmap { 1 : accept, 2 : jump x }", &third)),
        ("1 : drop in r is removed", (7, 22), &line("tcp dport vmap { 2 : jump x }", &third)),
        ("2 : jump x in r is removed", (7, 32), &line("tcp dport vmap { 1 : drop }", &third)),
        ("r is removed", (7, 46), &line(second, "; }")),
        ("r is turned (reject became accept)", (7, 95), &line(second, turned)),
        ("1 in define p is removed", (1, 14), "define p = { 2 }"),
        ("2 in define p is removed", (1, 17), "define p = { 1 }"),
        ("policy drop is turned (drop became accept)", (6, 55), &format!("{chain} accept; tcp dport vmap @m")),
        (
            "22 : accept of m is turned (accept became drop)",
            (4, 58),
            "map m { type inet_service : verdict; elements = { 22 : drop ,",
        ),
        ("22 : accept of m is removed", (4, 53), "map m { type inet_service : verdict; elements = {"),
        ("80 : jump x of m is removed", (5, 5), "map m { type inet_service : verdict; elements = { 22 : accept / } }"),
    ]);
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|(a, b, c)| (a, b, c.split_whitespace().collect::<Vec<_>>().join(" ").replace("drop ,", "drop,")))
        .collect();
    let found: Vec<_> = found.into_iter().map(|(a, b, c)| (a, b, c.replace("drop ,", "drop,"))).collect();
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.len(), wanted.len());
}

#[test]
fn what_has_no_place_is_counted_and_large_sets_are_bounded() {
    let mut lost = rule(1, 1);
    lost.line = None;
    assert_eq!(mutants("x comment \"a;b}\" accept }", &[lost, rule(9, 9)]).without_place, 2);
    let many = (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let large = mutants(&format!("set s {{ elements = {{ {many} }} }}"), &[]);
    assert_eq!((large.made.len(), large.kept_elements), (64, 36));
}
