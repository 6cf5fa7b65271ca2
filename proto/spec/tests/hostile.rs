//! Hostile input ends with one clear message and never in a panic (row 74 of the attack table). What bounds the work is what
//! is counted while reading: bytes, values, aliases, depth, findings. A bomb that none of them stops takes minutes or all
//! memory, and the test runner's own limit ends it.

use std::time::Instant;

use netengine_spec::{Diagnostic, Source, Sources, load, load_json};
use proptest::prelude::*;

/// Findings that are told of one file, and the line that more are not shown.
const FINDINGS: usize = 256 + 1;

fn refused(text: String) -> Vec<Diagnostic> {
    let sources = Sources { base: Source { name: "w.yaml".to_owned(), text }, overlay: None, sets: Vec::new() };
    let start = Instant::now();
    let found = load(&sources, &|_| None).expect_err("hostile input is refused");
    println!("{:?} {}:{} {}", start.elapsed(), found[0].line, found[0].column, found[0].message);
    assert!(found.len() <= FINDINGS, "{} findings", found.len());
    found
}

fn first(text: String) -> String {
    let found = refused(text);
    format!("{}:{}: {}", found[0].line, found[0].column, found[0].message)
}

/// Nine levels of nine aliases each: 450 bytes that expand to 400 million nodes.
fn laughs(open: &str, close: &str, item: &str) -> String {
    let mut text = format!("a0: &a0 {item}\n");
    for level in 1..10 {
        let names = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} {open}{names}{close}\n"));
    }
    text
}

#[test]
fn alias_bombs_are_refused() {
    assert_eq!(first(laughs("[", "]", "lol")), "7:10: the file holds more than 100000 values, aliases expanded");
    let big = "x".repeat(100_000);
    let text = format!("a: &a {big}\nb: [{}]", vec!["*a"; 900].join(", "));
    assert_eq!(first(text), "2:41: the file holds more than 1048576 bytes, aliases expanded");
    let text = format!("a: &a x\nb: [{}]", vec!["*a"; 1001].join(", "));
    assert_eq!(first(text), "2:4005: the file holds more than 1000 aliases");
    assert_eq!(first("a: &a [*a]".to_owned()), "1:8: the alias stands inside what it names");
    assert_eq!(first("a: *b".to_owned()), "1:4: cannot parse YAML: the alias names no anchor above it");
    // Merge keys cost what they copy.
    let mut text = "m0: &m0 {k: v}\n".to_owned();
    for level in 1..40 {
        text.push_str(&format!("m{level}: &m{level} {{<<: [*m{0}, *m{0}, *m{0}], k{level}: v}}\n", level - 1));
    }
    assert!(first(text).ends_with("values, aliases expanded"));
}

#[test]
fn depth_is_bounded() {
    assert_eq!(first("[".repeat(100_000)), "1:34: the file is nested deeper than 32 levels");
    assert_eq!(first("{a: ".repeat(100_000)), "1:133: the file is nested deeper than 32 levels");
    assert_eq!(first("- ".repeat(100_000)), "1:65: the file is nested deeper than 32 levels");
    let mut block = String::new();
    for depth in 0..1000 {
        block.push_str(&format!("{}a:\n", " ".repeat(depth)));
    }
    assert_eq!(first(block), "33:33: the file is nested deeper than 32 levels");
    // Aliases do not hide depth.
    let text = format!("a: &a {}{}\nb: {}*a{}", "[".repeat(20), "]".repeat(20), "[".repeat(20), "]".repeat(20));
    assert_eq!(first(text), "2:24: the file is nested deeper than 32 levels");
    let deep = (0..100).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    assert_eq!(load_json(&deep).expect_err("too deep")[0].message, "the spec is nested deeper than 32 levels");
}

#[test]
fn a_json_value_is_bounded_like_a_file() {
    let wide = serde_json::json!(vec![1; 200_000]);
    assert_eq!(load_json(&wide).expect_err("too wide")[0].message, "the spec holds more than 100000 values");
}

#[test]
fn size_is_bounded() {
    assert_eq!(first("a".repeat(10 << 20)), "1:1: the file holds 10485760 bytes; at most 1048576 are allowed");
    assert!(first(format!("a: [{}]", "1,".repeat(400_000))).ends_with("values, aliases expanded"));
    let keys: String = (0..45_000).map(|key| format!("k{key}:\n")).collect();
    assert!(refused(keys).last().expect("something is told").message.ends_with("more findings are not shown"));
    let networks: String = (0..20_000).map(|index| format!("n{index}: {{}}, ")).collect();
    refused(format!("substrate: {{networks: {{{networks}}}}}"));
    refused(format!("a: '{}", "x".repeat(1_000_000)));
    refused(format!("{}: x", "k".repeat(1_000_000)));
    refused("? ".repeat(500_000));
    refused("a: b: ".repeat(100_000));
    refused("&a ".repeat(300_000));
    refused("!!".repeat(500_000));
    refused("\n#".repeat(500_000));
    refused("{a,".repeat(300_000));
    refused("[a]: ".repeat(200_000));
    refused(format!("a: \"{}\"", "\\n".repeat(500_000)));
    refused(format!("dns: {{root: {{listen_ip: \"{}\"}}}}", "${env:X}".repeat(100_000)));
}

#[test]
fn one_document_of_plain_text_is_read() {
    assert_eq!(
        first("a: 1\n---\nb: 2\n".to_owned()),
        "2:1: a spec file holds one YAML document; a second one begins here"
    );
    assert_eq!(
        first("a: 1\nb: x\0y\n".to_owned()),
        "2:5: the file holds the character U+0000; control characters are not allowed"
    );
    assert_eq!(
        first("a: 1\r\nb: \u{1b}[31m\n".to_owned()),
        "2:4: the file holds the character U+001B; control characters are not allowed"
    );
    assert_eq!(first("a:\n\tb: 1\n".to_owned()), "2:2: cannot parse YAML: a tab is used for indentation");
    assert!(first("a: [1, 2\nb: 3\n".to_owned()).contains("cannot parse YAML: "));
}

#[test]
fn many_lists_that_refer_to_each_other_are_checked_and_a_bounded_number_of_findings_told() {
    let list = |count: usize, entry: &dyn Fn(usize) -> String| (0..count).map(entry).collect::<Vec<_>>().join(",");
    let orgs = list(2000, &|index| format!("{{name: o{index}}}"));
    let ands = list(2000, &|index| format!("{{name: a{index}, org: x{index}, profile: p{index}}}"));
    let profiles = list(2000, &|index| format!("p{index}: {{bgp: required}}"));
    let pools =
        list(2000, &|index| format!("{{cidr: 11.0.{}.{}/30, label: p{index}}}", index / 64 % 256, index % 64 * 4));
    let found = refused(format!(
        "world_registry: {{organizations: [{orgs}]}}\nands: {{instances: [{ands}], profiles: {{{profiles}}}}}\n\
         domain_registry: {{address_space: [{pools}]}}"
    ));
    let (last, told) = found.split_last().expect("something is told");
    assert_eq!(told.len(), FINDINGS - 1);
    assert!(last.message.ends_with("more findings are not shown"), "{last}");
    // Each of them is one that its list has: an AND whose organisation or profile is not declared.
    assert!(told.iter().any(|one| one.message.contains("x0")), "{}", told[0]);
}

/// An example with some of its characters removed, doubled or replaced.
fn damaged() -> impl Strategy<Value = String> {
    let text: Vec<char> = include_str!("../../../examples/dev-sandbox.yaml").chars().collect();
    let edit = (0..text.len(), 0..3usize, prop::sample::select(" \n:{}[]'\"&*-x1.é\t\r#|".chars().collect::<Vec<_>>()));
    prop::collection::vec(edit, 1..6).prop_map(move |edits| {
        let mut text: Vec<String> = text.iter().map(char::to_string).collect();
        for (at, kind, new) in edits {
            match kind {
                0 => text[at].clear(),
                1 => text[at].push(new),
                _ => text[at] = new.to_string(),
            }
        }
        text.concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn every_place_lies_in_the_file_and_names_its_own_line(text in damaged()) {
        let base = Source { name: "w.yaml".to_owned(), text: text.clone() };
        let found = match load(&Sources { base, overlay: None, sets: Vec::new() }, &|_| None) {
            Ok(loaded) => loaded.warnings,
            Err(found) => found,
        };
        let lines: Vec<&str> = text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r')).collect();
        for one in found {
            let line = lines.get(one.line.wrapping_sub(1)).copied();
            prop_assert_eq!(one.source_line.as_deref(), line, "{}", one);
            let end = one.column - 1 + one.length;
            prop_assert!(end <= line.unwrap_or_default().chars().count() + 1, "{}", one);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_text_makes_the_loader_panic(text in "\\PC{0,200}|[a-c:{}\\[\\]&*<!|>'\"#%@`,\\- \n\t?~0-9.$]{0,200}") {
        let base = Source { name: "w.yaml".to_owned(), text: text.clone() };
        let set = text.lines().next().unwrap_or_default().to_owned();
        let overlay = Some(Source { name: "o.yaml".to_owned(), text });
        let found = load(&Sources { base, overlay, sets: vec![set] }, &|_| None).expect_err("no such text is a spec");
        for one in found {
            prop_assert!(!one.to_string().chars().any(|c| c.is_control() && c != '\n'));
        }
    }
}
