//! Long rulesets, of which only the rules that a trace names are listed: the answer is what it is when all of them are.

use std::fmt::Write as _;

use netengine_lab_proto::{CaseRequest, InjectedPacket, RuleInfo, Topology, Transport, Verdict};

use crate::case::{case, from, judged, spec, tcp, udp, worker};

/// More rules than are listed at once without need, none of which matches anything.
fn padding(table: &str, hook: &str) -> String {
    let mut text = format!("table {table} padding {{\n chain c {{\n  type filter hook {hook} priority 300;\n");
    for number in 0..700 {
        let _ = writeln!(text, "  ether type 0x88b5 meta mark {number} drop");
    }
    text + " }\n}\n"
}

/// Runs a case as it is, and again with every rule listed; both tell the same. The rules that the first answer names.
fn both(request: &CaseRequest) -> Vec<RuleInfo> {
    let few = judged(&mut worker(), request);
    let mut whole = request.clone();
    whole.limits.all_rules = true;
    let all = judged(&mut worker(), &whole);
    for (few, all) in few.packets.iter().zip(all.packets.iter()) {
        let told = |outcome: &netengine_lab_proto::PacketOutcome| {
            let path: Vec<_> =
                outcome.path.iter().map(|hop| (hop.chain.clone(), hop.rule, hop.verdict.clone())).collect();
            (outcome.verdict, outcome.reason.clone(), outcome.deciding.clone(), path, outcome.ct_state, outcome.reply)
        };
        assert_eq!(told(few), told(all));
        assert!(!matches!(few.verdict, Verdict::Inconclusive), "{few:#?}");
    }
    for rule in few.rules.iter() {
        let same = all.rules.iter().find(|other| other.rule == rule.rule).expect("it is among all");
        assert_eq!(rule, same);
    }
    assert!(few.rules.len() < 30 && all.rules.len() > 700);
    few.rules.into_inner()
}

fn client(packets: impl IntoIterator<Item = netengine_lab_proto::PacketSpec>) -> Vec<InjectedPacket> {
    packets.into_iter().map(|spec| from("client", spec)).collect()
}

/// Text and line of the rule that has this in its text.
fn rule<'a>(rules: &'a [RuleInfo], part: &str) -> (&'a str, Option<u32>) {
    let found = rules.iter().find(|rule| rule.text.contains(part)).unwrap_or_else(|| panic!("no {part}: {rules:#?}"));
    (&found.text, found.line)
}

#[test]
fn rules_that_a_trace_names_have_their_texts_and_lines() {
    let text = "table inet t {
 set open { type inet_service; elements = { 80, 81 }; }
 map where { type inet_service : verdict; elements = { 90 : jump later, 91 : drop }; }
 chain i {
  type filter hook input priority 0; policy drop;
  ct state established accept
  tcp dport @open counter accept comment \"web # open\"
  tcp dport vmap { 22 : accept, 23 : goto later }
  tcp dport vmap @where; udp dport { 53,
   54 } limit rate 100/second accept
 }
 chain later {
  ip saddr 10.0.0.1 tcp dport 23 reject with tcp reset
  ip6 saddr fd00::1 counter
 }
}
add rule inet t later counter drop
insert rule inet t i tcp dport 7 drop
add rule inet t i index 1 tcp dport 8 drop
"
    .to_owned()
        + &padding("inet", "input");
    let ports = [7, 8, 22, 23, 80, 81, 90, 91, 92];
    let packets = ports.into_iter().flat_map(|port| {
        [tcp("10.0.0.1", "10.0.0.2", port), tcp("fd00::1", "fd00::2", port), udp("10.0.0.1", "10.0.0.2", port)]
    });
    let more = [udp("10.0.0.1", "10.0.0.2", 54)];
    let rules = both(&case(Topology::simple(), &text, client(packets.chain(more))));
    assert_eq!(rule(&rules, "web"), ("tcp dport @open counter accept comment \"web # open\"", Some(7)));
    assert_eq!(rule(&rules, "22"), ("tcp dport vmap { 22 : accept, 23 : goto later }", Some(8)));
    assert_eq!(rule(&rules, "@where").1, Some(9));
    assert_eq!(rule(&rules, "53").1, Some(9));
    assert_eq!(rule(&rules, "reject"), ("ip saddr 10.0.0.1 tcp dport 23 reject with tcp reset", Some(13)));
    assert_eq!(rule(&rules, "fd00::1").1, Some(14));
    assert_eq!(rule(&rules, "counter drop").1, Some(17));
    assert_eq!((rule(&rules, "dport 7 ").1, rule(&rules, "dport 8 ").1), (Some(18), Some(19)));
}

#[test]
fn every_family_tells_its_rules_late() {
    let ingress =
        "table netdev n { chain i { type filter hook ingress device \"eth0\" priority 0; tcp dport 80 drop; }; }\n";
    let rules = both(&case(
        Topology::simple(),
        &(ingress.to_owned() + &padding("inet", "input")),
        client([80, 81].map(|port| tcp("10.0.0.1", "10.0.0.2", port))),
    ));
    assert_eq!(rule(&rules, "80").1, Some(1));
    let bridge = "table bridge b { chain f { type filter hook forward priority 0; tcp dport 80 drop; }; }\n";
    let rules = both(&case(
        Topology::bridge(),
        &(bridge.to_owned() + &padding("bridge", "forward")),
        client([80, 81].map(|port| tcp("10.0.3.1", "10.0.3.2", port))),
    ));
    assert_eq!(rule(&rules, "80").1, Some(1));
    let arp = "table arp a { chain i { type filter hook input priority 0; arp operation request counter; }; }\n";
    let rules = both(&case(
        Topology::simple(),
        &(arp.to_owned() + &padding("inet", "input")),
        client([spec("10.0.0.1", "10.0.0.2", Transport::Arp { operation: 1 })]),
    ));
    assert_eq!(rule(&rules, "request"), ("arp operation request counter", Some(1)));
    let nat = "table ip n { chain p { type nat hook prerouting priority dstnat; tcp dport 80 redirect to :8080; }; }\n\
               table ip6 n { chain i { type filter hook input priority 0; ct state invalid drop; tcp dport 81 drop; }; }\n";
    let rules = both(&case(
        Topology::simple(),
        &(nat.to_owned() + &padding("inet", "input")),
        client(
            [80, 81].into_iter().flat_map(|port| [tcp("10.0.0.1", "10.0.0.2", port), tcp("fd00::1", "fd00::2", port)]),
        ),
    ));
    assert_eq!((rule(&rules, "redirect").1, rule(&rules, "81").1), (Some(1), Some(2)));
}

#[test]
fn what_must_be_known_beforehand_is_listed_at_once() {
    let nested =
        "table inet t { chain i { type filter hook input priority 0; tcp dport 80 jump { ip ttl 64 drop; }; }; }\n";
    let text = nested.to_owned() + &padding("inet", "input");
    let answer = judged(
        &mut worker(),
        &case(Topology::simple(), &text, client([80, 81].map(|port| tcp("10.0.0.1", "10.0.0.2", port)))),
    );
    assert_eq!([answer.packets[0].verdict, answer.packets[1].verdict], [Verdict::Drop, Verdict::Accept]);
    assert!(rule(&answer.rules, "jump").0.contains("ttl 64"), "{:?}", answer.rules);
}
