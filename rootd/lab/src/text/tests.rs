//! Texts as people write them, and anything.

use netengine_lab_proto::{Family, Hook};
use proptest::prelude::*;

use super::{Listing, prepare, prepare::Slot};

#[test]
fn separators_are_put_in_and_columns_mapped_back() {
    let text = "table ip t { chain a { accept } chain b { drop } }";
    let prepared = prepare(text, "x").expect("fine");
    assert_eq!(prepared.text, "table ip t { chain a { accept; }; chain b { drop; }; }");
    let at = |needle: &str, text: &str| text.find(needle).map(|at| at as u32 + 1).expect("there");
    for needle in ["accept", "chain b", "drop"] {
        assert_eq!(prepared.original(1, at(needle, &prepared.text)), (1, at(needle, text)), "{needle}");
    }
}

#[test]
fn a_text_that_has_its_separators_is_left_alone() {
    for text in [
        "table inet t {\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 1.1.1.1, 2.2.2.2 }\n\t}\n\n\tchain c {\n\t\tip saddr @s tcp dport { 22,\n 23 } accept # why\n\t}\n}\n",
        "add rule ip a b tcp dport vmap { 1 : accept, 2 : drop }\n",
        "table ip t { chain c { log prefix \"} odd {\" drop; }; }",
        "define x = { 1, 2 }\n# } comment {\n",
    ] {
        assert_eq!(prepare(text, "x").expect("fine").text, text);
    }
}

#[test]
fn rules_are_found_where_they_stand() {
    let text = "flush ruleset\ntable inet t {\n  chain c {\n    type filter hook input priority 0; policy drop;\n    \
                tcp dport 22 accept; udp dport 53 \\\n      accept\n    jump { drop; }\n  }\n}\nadd rule inet t c counter\n\
                insert rule inet t c drop\nadd rule inet t c index 0 drop\ninsert rule inet t c index 2 drop\nadd rule inet t c handle 7 drop\n";
    let rules = prepare(text, "x").expect("fine").rules;
    let places: Vec<_> = rules.iter().map(|rule| (rule.from.line, rule.from.column, rule.slot)).collect();
    let last = Slot::Last;
    assert_eq!(places[..5], [(5, 5, last), (5, 26, last), (7, 5, last), (10, 1, last), (11, 1, Slot::Before(0))]);
    assert_eq!(places[5..], [(12, 1, Slot::Before(1)), (13, 1, Slot::Before(2)), (14, 1, Slot::Unknown)]);
    assert!(
        rules.iter().all(|rule| (rule.family, rule.table.as_str(), rule.chain.as_str()) == (Family::Inet, "t", "c"))
    );
}

#[test]
fn files_and_endless_commands_are_refused_with_their_place() {
    for (text, line, column) in [
        ("include \"/etc/shadow\"", 1, 1),
        ("table ip t {\n  include \"x\"\n}", 2, 3),
        ("monitor\n", 1, 1),
        ("a\0b", 1, 2),
        ("table inet x { }", 1, 1),
    ] {
        let refused = prepare(text, "x").expect_err("refused");
        assert_eq!((refused.line, refused.column), (line, column), "{text}");
    }
    assert!(prepare("table ip t { chain c { tcp dport 1 comment \"include\"; }; }", "x").is_ok());
}

#[test]
fn a_listing_gives_hooks_handles_and_places() {
    let listing = "table netdev n { # handle 1\n\tchain i { # handle 1\n\t\ttype filter hook ingress devices = { eth0, eth1 } \
                   priority filter; policy accept;\n\t}\n}\ntable inet t { # handle 2\n\tchain c { # handle 1\n\t\ttype filter hook \
                   input priority filter; policy drop;\n\t\ttcp dport { 22,\n\t\t\t     23 } accept comment \"a # b\" # handle 4\n\t\tcounter packets \
                   0 bytes 0 # handle 5\n\t}\n}\ntable inet mine { # handle 3\n\tchain z { # handle 1\n\t\tdrop # handle 2\n\t}\n}\n";
    let mut read = Listing::read(listing, "mine");
    let devices: Vec<_> =
        read.bases.values().filter(|base| base.hook == Hook::Ingress).flat_map(|b| b.devices.iter()).collect();
    assert_eq!(devices, ["eth0", "eth1"]);
    let source = "table inet t { chain c { type filter hook input priority 0; policy drop;\n tcp dport { 22, 23 } accept\n counter\n}\n}";
    read.locate(&prepare(source, "x").expect("fine").rules);
    let key = (Family::Inet, "t".to_owned(), "c".to_owned());
    let rules: Vec<_> = read.rules[&key].iter().map(|rule| (rule.handle, rule.text.as_str(), rule.place)).collect();
    assert_eq!(
        rules,
        [
            (4, "tcp dport { 22, 23 } accept comment \"a # b\"", Some((2, 2))),
            (5, "counter packets 0 bytes 0", Some((3, 2))),
        ]
    );
    assert_eq!(read.rules.len(), 1, "the tracer's table is left out");
}

proptest! {
    #[test]
    fn any_text_is_taken(text in "(?s).{0,200}") {
        let _ = prepare(&text, "x");
        let _ = Listing::read(&text, "x");
    }

    #[test]
    fn texts_of_braces_and_words_are_taken(
        text in "(table |chain |ip |a |\\{ ?|\\} ?|; ?|\n|\"|#|accept |jump |set |\\\\\n|include ){0,60}",
    ) {
        if let Ok(prepared) = prepare(&text, "x") {
            prop_assert_eq!(prepared.text.replace(';', ""), text.replace(';', ""), "separators alone are put in");
        }
        let _ = Listing::read(&text, "x");
    }
}
