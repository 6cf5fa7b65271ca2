//! docs/suites.md says of the loader what is so: each key that is documented is taken, and no other.

use std::collections::BTreeSet;

use netengine_suite::{
    Mistake,
    case::{CT_STATES, ReplyKind},
    load, verdict,
};

const DOCS: &str = include_str!("../../../docs/suites.md");

fn section(title: &str) -> &'static str {
    let (_, rest) = DOCS.split_once(&format!("## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

fn is_key(word: &&str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// What stands in backquotes and looks like a key.
fn quoted(text: &'static str) -> BTreeSet<&'static str> {
    text.split('`').skip(1).step_by(2).filter(is_key).collect()
}

/// The keys in the first column of a section's table.
fn table(title: &str) -> BTreeSet<&'static str> {
    let rows = section(title).lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| quoted(row.split('|').nth(1).unwrap_or_default())).collect()
}

/// Words that look like keys, whatever stands around them.
fn words(text: &'static str) -> BTreeSet<&'static str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_key).collect()
}

fn mistakes(text: &str) -> Vec<Mistake> {
    load("s.yaml", text, &mut |_| Ok("table ip t {}".to_owned())).err().unwrap_or_default()
}

/// The keys that the loader takes where `text` has the key `bogus`, by its own message.
fn taken(text: &str) -> BTreeSet<String> {
    let wrong = mistakes(text);
    let message = wrong.first().map_or("", |mistake| &mistake.message);
    let (_, list) = message.split_once("expected one of ").unwrap_or_else(|| panic!("{text} gave {wrong:?}"));
    list.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
}

fn owned(keys: BTreeSet<&str>) -> BTreeSet<String> {
    keys.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_documented_keys_are_those_that_are_taken() {
    assert_eq!(taken("- {bogus: 1}"), owned(table("A case")));
    assert_eq!(taken("- {packets: [{bogus: 1}]}"), owned(table("A packet")));
    let (_, expect) = section("A packet").split_once("`expect` of a packet:").expect("a paragraph");
    let expect = expect.split("\n\n").next().expect("a paragraph");
    assert_eq!(taken("- {packets: [{expect: {bogus: 1}}]}"), owned(quoted(expect)));
    let (of_file, _) = section("The file").split_once(". A file named by").expect("a sentence");
    assert_eq!(taken("{tests: [], bogus: 1}"), owned(quoted(of_file)));
    let defaults = of_file.split_once("`defaults` {").and_then(|(_, rest)| rest.split_once('}')).expect("a list").0;
    assert_eq!(taken("{tests: [], defaults: {bogus: 1}}"), owned(words(defaults)));
    let whole = section("A case").lines().find(|line| line.starts_with("| `expect`")).expect("a row");
    for key in taken("- {expect: {bogus: 1}}") {
        assert!(whole.contains(&format!("`{{{key}")), "{key}: {whole}");
    }
    let row = |key: &str| {
        section("A packet").lines().find(|line| line.starts_with("| ") && quoted_row(line, key)).expect("a row")
    };
    for key in taken("- {packets: [{fragment: {bogus: 1}}]}") {
        assert!(words(row("fragment")).contains(key.as_str()), "{key}");
    }
    for key in taken("- {packets: [{extension_headers: [{bogus: 1}]}]}") {
        assert!(words(row("extension_headers")).contains(key.as_str()), "{key}");
    }
    let topology = section("Topologies");
    for text in ["- {topology: {bogus: 1}}", "- {topology: {nodes: {fw: {bogus: 1}}}}"] {
        for key in taken(text) {
            assert!(words(topology).contains(key.as_str()), "{key} of a topology is not documented");
        }
    }
}

fn quoted_row(line: &'static str, key: &str) -> bool {
    quoted(line.split('|').nth(1).unwrap_or_default()).contains(key)
}

#[test]
fn every_documented_key_is_taken_with_a_value_of_its_kind() {
    let values = [
        ("protocol", "udp"),
        ("src_ip", "10.0.0.9"),
        ("dst_ip", "10.0.0.2"),
        ("src_port", "1"),
        ("dst_port", "65535"),
        ("tcp_flags", "[F, S, R, P, A, U, E, C]"),
        ("expected_verdict", "drop"),
        ("from", "fw"),
        ("payload", "{hex: 00ff}"),
        ("ip_options", "{hex: '01010101'}"),
        ("tcp_options", "{hex: '01010101'}"),
        ("extension_headers", "[{protocol: 60, content: {hex: '00'}}], dst_ip: 'fd00::2'"),
        ("ttl", "1"),
        ("dscp", "63"),
        ("mark", "7, from: fw"),
        ("vlan", "4095"),
        ("icmp_type", "3, protocol: icmp"),
        ("icmp_code", "1, protocol: icmp"),
        ("fragment", "{size: 8}, protocol: udp"),
        ("frame", "'0200000000f0 02000000000c 0800', protocol: raw"),
        ("count", "10000"),
        ("gap_ms", "1, count: 2"),
        ("sport_step", "1, count: 2"),
        ("after_ms", "60000"),
        ("flow", "handshake"),
        ("expect", "{verdict: drop}"),
    ];
    let documented = table("A packet");
    assert_eq!(values.iter().map(|(key, _)| *key).collect::<BTreeSet<_>>(), documented);
    for (key, value) in values {
        let text = format!("- {{rules: x, packets: [{{{key}: {value}}}]}}");
        assert_eq!(mistakes(&text), [], "{text}");
    }
    for (key, value) in [
        ("verdict", "reject"),
        ("rule", "x"),
        ("chain", "c"),
        ("delivered_to", "fw"),
        ("src", "::1"),
        ("counter", "{n: 1}"),
    ] {
        assert_eq!(mistakes(&format!("- {{rules: x, packets: [{{expect: {{{key}: {value}}}}}]}}")), [], "{key}");
    }
    for case in [
        "rules_file: r",
        "topology: bridge, rules: x",
        "expect: {load_error: x}, rules: x",
        "listeners: [tcp:22, udp:53], rules: x",
        "peers: silent, rules: x",
        "tags: [a], rules: x",
        "timeout_ms: 1, rules: x",
        "sysctls: {net.ipv4.ip_forward: 1}, rules: x",
    ] {
        assert_eq!(mistakes(&format!("- {{packets: [{{}}], {case}}}")), [], "{case}");
    }
}

#[test]
fn every_word_that_is_taken_is_documented() {
    let verdicts: BTreeSet<_> = section("Verdicts")
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
        .filter(|word| word.chars().all(|c| c.is_ascii_uppercase()))
        .collect();
    assert_eq!(verdicts, verdict::WORDS.iter().map(|(word, _)| *word).collect());
    let packet = words(section("A packet"));
    for word in CT_STATES.iter().map(|(word, _)| *word).chain(ReplyKind::WORDS.iter().map(|(word, _)| *word)) {
        assert!(packet.contains(word), "{word}");
    }
}
