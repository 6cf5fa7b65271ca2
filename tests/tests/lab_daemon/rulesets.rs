//! `netengine validate RULES.nft`, by the daemon and without it: nft's messages at their places, as `/firewall/validate` tells them.

use netengine_tests::{ALICE, Host};
use serde_json::{Value, json};

use super::{API, curl, host_with, nothing_left, request, told};

const WRONG: &str =
    "table inet filter {\n  chain input {\n    type filter hook input priority 0;\n    tcp dport 22 acept\n  }\n}\n";

fn validate(host: &Host, name: &str, text: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let file = host.file(name, text);
    told(&host.cli(ALICE, &[&["validate", file.as_str()], words].concat()))
}

/// What is said of a wrong ruleset, as JSON; and all else.
fn rulesets_are_validated(host: &Host) -> Value {
    let (code, out, _) = validate(host, "right.nft", &WRONG.replace("acept", "accept"), &[]);
    assert_eq!((code, out.contains("right.nft: the ruleset loads\n")), (Some(0), true), "{out}");
    let (code, out, error) = validate(host, "wrong.nft", WRONG, &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{error}");
    assert!(error.contains("wrong.nft:4:23: syntax error, unexpected newline"), "{error}");
    assert!(error.contains("error: cannot load the ruleset") && error.contains("  help:  mend it"), "{error}");
    let (code, out, _) = validate(host, "include.nft", "\n  include \"/etc/shadow\"\n", &["--json"]);
    let report: Value = serde_json::from_str(&out).expect("JSON");
    let place = |report: &Value| (report["diagnostics"][0]["line"].clone(), report["diagnostics"][0]["column"].clone());
    assert_eq!((code, place(&report)), (Some(2), (json!(2), json!(3))), "{report}");
    let (code, _, error) = validate(host, "right.nft", "", &["--set", "a=b"]);
    assert_eq!(code, Some(2), "{error}");
    let (code, _, error) = told(&host.cli(ALICE, &["validate", "/nowhere.nft"]));
    assert_eq!((code, error.contains("No such file")), (Some(2), true), "{error}");
    let (code, out, _) = validate(host, "wrong.nft", WRONG, &["--json"]);
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &report["valid"]), (Some(2), &json!(false)), "{report}");
    report
}

#[test]
fn a_ruleset_is_validated_with_places_by_the_daemon_and_without_it() {
    let bare = Host::bare();
    let alone = rulesets_are_validated(&bare);
    let host = host_with("");
    let by_daemon = rulesets_are_validated(&host);
    assert_eq!(alone["diagnostics"], by_daemon["diagnostics"]);
    // The API tells the same of a suite with the file.
    let suite = format!(
        "- name: x\n  packets: [{{}}]\n  rules: |\n{}",
        WRONG.replace("table", "    table").replace('\n', "\n    ")
    );
    let (status, api) = curl(&host, ALICE, &format!("-X POST {} {API}/validate", request(&host, &suite)));
    let api: Value = serde_json::from_str(&api).expect("JSON");
    assert_eq!(status, 422, "{api}");
    let (own, theirs) = (&by_daemon["diagnostics"][0], &api["diagnostics"][0]);
    assert_eq!(own["message"], theirs["message"]);
    // Three lines of the suite stand above, and four columns before.
    let moved = |of: &Value, by: i64| of.as_i64().map(|number| number + by);
    assert_eq!(moved(&own["line"], 3), theirs["line"].as_i64(), "{own} {theirs}");
    assert_eq!(moved(&own["column"], 4), theirs["column"].as_i64(), "{own} {theirs}");
    nothing_left(&host);
}
