use std::collections::BTreeSet;

use netengine_lab_proto::{NodeName, RuleRef, Verdict};

use super::*;
use crate::load;

fn rule(family: Family, text: &str) -> RuleInfo {
    let node = NodeName::parse("fw").expect("a name");
    let rule = RuleRef { node, family, table: "t".into(), chain: "c".into(), handle: Some(1) };
    RuleInfo { rule, text: text.into(), line: Some(3), column: None }
}

const INPUT: Hooks = Hooks { forward: false, output: false, bridge: false };

/// What one rule gives, without what every ruleset has.
fn of(family: Family, text: &str, ruleset: &str, hooks: Hooks) -> Vec<Proposed> {
    let rules = [rule(family, text)];
    let proposals = propose(&rules, ruleset, hooks);
    proposals.into_iter().filter(|proposal| proposal.rule.is_some()).flat_map(|proposal| proposal.packets).collect()
}

fn ports(packets: &[Proposed]) -> BTreeSet<u16> {
    packets.iter().filter_map(|packet| packet.dport).collect()
}

fn sources(packets: &[Proposed]) -> BTreeSet<String> {
    packets.iter().filter_map(|packet| packet.src).map(|address| address.to_string()).collect()
}

fn words<const N: usize>(words: [&str; N]) -> BTreeSet<String> {
    words.map(String::from).into()
}

#[test]
fn ports_and_addresses_come_with_their_neighbours() {
    let packets = of(Family::Ip, "ip saddr 192.168.1.0/24 tcp dport { 80, 8000-8010 } accept", "", INPUT);
    assert_eq!(ports(&packets), [79, 80, 81, 7999, 8000, 8010, 8011].into());
    assert_eq!(sources(&packets), words(["192.168.0.255", "192.168.1.0", "192.168.1.255", "192.168.2.0"]));
    // Every edge of the one is seen with a value of the other that the rule names.
    for packet in packets {
        let inside = packet.src.is_some_and(|src| src.to_string().starts_with("192.168.1."));
        let named = packet.dport.is_some_and(|port| port == 80 || (8000..=8010).contains(&port));
        assert!(inside || named, "{packet:?}");
    }
}

#[test]
fn elements_of_sets_maps_and_definitions_are_known() {
    let ruleset = "define web = { 80, https }
table inet t {
  set ports { type inet_service; flags interval; elements = { 1000-1003, $web, ssh comment \"x\" } }
  set pairs { type ipv4_addr . inet_service; elements = { 10.9.0.1 . 53 timeout 1h, 10.9.0.5-10.9.0.9 . 123 } }
  map way { type inet_service : verdict; elements = { 7 : accept, 9 : jump x } }
}
add element inet t ports { 2000 }";
    let packets = of(Family::Ip, "tcp dport @ports accept", ruleset, INPUT);
    // That of SSH comes with what every ruleset has.
    let wanted = [21, 23, 79, 80, 81, 442, 443, 444, 999, 1000, 1003, 1004, 1999, 2000, 2001];
    assert_eq!(ports(&packets), wanted.into());
    assert!(packets.iter().all(|packet| packet.protocol == "tcp"));
    let packets = of(Family::Ip, "ip saddr . udp dport @pairs accept", ruleset, INPUT);
    let inside = |src: &str, port| {
        let src = src.parse().ok();
        packets.iter().any(|packet| (packet.protocol, packet.src, packet.dport) == ("udp", src, Some(port)))
    };
    for (src, port, is_there) in [
        ("10.9.0.1", 53, true),
        ("10.9.0.1", 54, true),
        ("10.9.0.2", 53, true),
        ("10.9.0.9", 123, true),
        ("10.9.0.10", 123, true),
        ("10.9.0.1", 123, false),
    ] {
        assert_eq!(inside(src, port), is_there, "{src} {port}: {packets:?}");
    }
    assert_eq!(ports(&of(Family::Ip, "tcp dport vmap @way", ruleset, INPUT)), [6, 7, 8, 9, 10].into());
    let inline = of(Family::Ip, "udp dport vmap { 5 : accept, 6-7 : goto x }", "", INPUT);
    assert_eq!(ports(&inline), [4, 5, 6, 7, 8].into());
}

#[test]
fn families_types_flags_states_and_interfaces_give_packets_of_their_own() {
    let is_v6 = |packet: &Proposed| packet.dst.or(packet.src).is_some_and(|address| address.is_ipv6());
    let v6 = of(Family::Ip6, "tcp dport 443 accept", "", INPUT);
    assert!(!v6.is_empty() && v6.iter().all(is_v6), "{v6:?}");
    let both = of(Family::Inet, "tcp dport 443 accept", "", INPUT);
    assert!(both.iter().any(is_v6) && !both.iter().all(is_v6));
    let icmp = of(Family::Inet, "icmp type { echo-request, time-exceeded } accept", "", INPUT);
    let kinds: Vec<_> = icmp.iter().map(|packet| (packet.protocol, packet.icmp)).collect();
    assert_eq!(kinds, [("icmp", Some(8)), ("icmp", Some(11))]);
    let flags = of(Family::Ip, "tcp flags & (fin | syn) == fin | syn drop", "", INPUT);
    assert!(flags.iter().any(|packet| packet.flags == Some("S, F")), "{flags:?}");
    let state = of(Family::Ip, "ct state new tcp dport 25 accept", "", INPUT);
    assert!(state.iter().any(|packet| packet.then == Then::Data && packet.dport == Some(25)), "{state:?}");
    let gateway = Hooks { forward: true, ..INPUT };
    let back = of(Family::Ip, "iifname \"eth1\" tcp dport 25 accept", "", gateway);
    assert!(back.iter().any(|packet| packet.from == Some("server")), "{back:?}");
    let protocols = of(Family::Ip, "meta l4proto { gre, 50 } accept", "", INPUT);
    assert_eq!(protocols.iter().map(|packet| packet.protocol).collect::<Vec<_>>(), ["47", "50"]);
    // Where a rule translates to, and what it adds to a set, is nothing that it matches.
    let dnat = of(Family::Ip, "tcp dport 8080 dnat to 10.0.2.2:80", "", INPUT);
    assert_eq!(ports(&dnat), [8079, 8080, 8081].into());
    let dynamic = of(Family::Ip, "add @seen { ip saddr timeout 1m } tcp dport 5 accept", "", INPUT);
    assert_eq!((ports(&dynamic), sources(&dynamic)), ([4, 5, 6].into(), BTreeSet::new()));
}

#[test]
fn a_rule_of_a_chain_further_on_gets_packets_that_come_there() {
    let of_chain = |chain: &str, text: &str| {
        let mut rule = rule(Family::Ip, text);
        rule.rule.chain = chain.to_owned();
        rule
    };
    let rules = [
        of_chain("sub", "ip saddr 10.7.0.0/16 goto deep"),
        of_chain("deep", "icmp type echo-request accept"),
        of_chain("udp", "ip saddr 10.8.0.1 drop"),
        of_chain("base", "tcp dport 99 counter jump sub"),
        of_chain("base", "ip protocol . th dport vmap { tcp . 5 : accept, udp . 6 : jump udp }"),
        of_chain("base", "meta mark vmap @ways"),
        of_chain("loop", "jump loop"),
    ];
    let proposals = propose(&rules, "", INPUT);
    let of = |chain: &str| {
        let of_chain = proposals.iter().filter(|proposal| proposal.rule.is_some_and(|rule| rule.rule.chain == chain));
        of_chain.flat_map(|proposal| &proposal.packets).collect::<Vec<_>>()
    };
    let is = |packet: &&Proposed, src: &str, dport| packet.src == src.parse().ok() && packet.dport == Some(dport);
    assert!(of("sub").iter().any(|packet| is(packet, "10.7.0.0", 99)), "{proposals:?}");
    assert!(of("udp").iter().any(|packet| is(packet, "10.8.0.1", 6)), "{proposals:?}");
    assert!(of("deep").iter().any(|packet| packet.src == "10.7.0.0".parse().ok()), "{proposals:?}");
}

#[test]
fn what_is_not_understood_gives_no_packet_of_its_own() {
    for text in ["ct state vmap { new : drop }", "meta mark 5 accept", "tcp dport @nowhere accept", "counter", ""] {
        let packets = of(Family::Ip, text, "", INPUT);
        assert!(packets.len() <= 2, "{text}: {packets:?}");
    }
}

#[test]
fn a_derived_suite_is_a_suite_wherever_its_packets_go() {
    let texts = [
        "table inet t { chain f { type filter hook forward priority 0; } chain o { type filter hook output priority 0; } }",
        "table inet t { chain i { type filter hook input priority 0; } }",
        "table bridge t { chain f { type filter hook forward priority 0; } }",
    ];
    for (text, topology) in texts.into_iter().zip(["gateway", "simple", "bridge"]) {
        let hooks = Hooks::of(text);
        assert_eq!(hooks.topology(), topology);
        let family = if topology == "bridge" { Family::Bridge } else { Family::Inet };
        let rules = [
            rule(family, "ip6 saddr fd00::/8 udp sport 53 accept"),
            rule(family, "icmp type echo-request drop"),
            rule(family, "ct state established tcp dport 22 accept"),
            rule(family, "tcp flags syn accept\n- {evil: true}"),
        ];
        let proposals = propose(&rules, text, hooks);
        let name = "it's \"a\" \\.nft";
        let written = suite(name, hooks, &proposals, None, &[]);
        let mut named = Vec::new();
        let mut read = |file: &str| {
            named.push(file.to_owned());
            Ok(String::new())
        };
        let loaded = load("d.yaml", &written, &mut read).unwrap_or_else(|wrong| panic!("{wrong:?}\n{written}"));
        let packets: Vec<_> = proposals.iter().flat_map(|proposal| &proposal.packets).collect();
        assert_eq!(loaded.cases.len(), packets.len());
        for (case, packet) in loaded.cases.iter().zip(&packets) {
            assert_eq!(case.packets.len(), packets_of(packet));
        }
        assert_eq!(named[0], name);
        let one = |verdict| Found { verdict, doubt: None, src: None, dst: "10.0.2.2".parse().ok(), dport: Some(80) };
        let found: Vec<Vec<Found>> =
            packets.iter().map(|packet| vec![one(Verdict::Drop); packets_of(packet)]).collect();
        let told = suite(name, hooks, &proposals, Some(&found), &[&rules[3]]);
        let loaded =
            load("d.yaml", &told, &mut |_| Ok(String::new())).unwrap_or_else(|wrong| panic!("{wrong:?}\n{told}"));
        assert_eq!(loaded.cases.len(), packets.len());
        assert!(told.contains("# no packet here matches: line 3: tcp flags syn accept - {evil: true}\n"), "{told}");
    }
}
