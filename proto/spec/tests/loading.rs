//! Overlays, `--set`, `${env:NAME}` and the lenient readings of scalars.

use std::path::Path;

use netengine_spec::{Diagnostic, Loaded, Source, Sources, load, load_json, model, overlay_path};
use proptest::prelude::*;

const BASE: &str = include_str!("../../../examples/minimal.yaml");

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn environment(name: &str) -> Option<String> {
    match name {
        "NAME" => Some("from-env".to_owned()),
        "PORT" => Some("8081".to_owned()),
        "OFF" => Some("off".to_owned()),
        "VERSION" => Some("2.0".to_owned()),
        "NESTED" => Some("${env:NAME}".to_owned()),
        _ => None,
    }
}

fn with(overlay: &str, sets: &[&str]) -> Result<Loaded, Vec<Diagnostic>> {
    let overlay = (!overlay.is_empty()).then(|| source("over.yaml", overlay));
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    load(&Sources { base: source("base.yaml", BASE), overlay, sets }, &environment)
}

fn loaded(overlay: &str, sets: &[&str]) -> model::Spec {
    with(overlay, sets).unwrap_or_else(|found| panic!("{}", found[0])).spec
}

fn refused(overlay: &str, sets: &[&str]) -> Vec<String> {
    let found = with(overlay, sets).expect_err("it is refused");
    found.iter().map(|found| format!("{}:{}:{}: {}", found.file, found.line, found.column, found.message)).collect()
}

#[test]
fn overlay_paths_lie_beside_the_base() {
    for (base, environment, wanted) in [
        ("examples/spec.base.yaml", "dev", "examples/spec.base.dev.yaml"),
        ("world.yml", "prod", "world.prod.yaml"),
        ("/a/world", "x", "/a/world.x.yaml"),
        ("/a/.yaml", "x", "/a/spec.x.yaml"),
        ("", "x", "spec.x.yaml"),
    ] {
        assert_eq!(overlay_path(Path::new(base), environment), Path::new(wanted), "{base}");
    }
}

#[test]
fn later_sources_win_and_maps_merge() {
    let spec = loaded("operator: {api: {port: 9000}}", &[]);
    assert_eq!(spec.operator.api.port, 9000);
    let spec = loaded("operator: {api: {port: 9000}}", &["operator.api.port=9001", "operator.api.port=9002"]);
    assert_eq!(spec.operator.api.port, 9002);
    assert_eq!(spec.name().as_str(), "minimal", "what the overlay does not name stays");
    let spec =
        loaded("dns: {tlds: [{name: a, listen_ip: 10.0.0.20}]}", &["dns.tlds=[{name: b, listen_ip: 10.0.0.21}]"]);
    assert_eq!(spec.dns.tlds.len(), 1, "lists are replaced");
    assert_eq!(spec.dns.tlds[0].name.as_str(), "b");
}

#[test]
fn set_reaches_into_lists_and_makes_what_is_missing() {
    let spec = loaded("dns: {tlds: [{name: a, listen_ip: 10.0.0.20}]}", &["dns.tlds.0.name=x"]);
    assert_eq!(spec.dns.tlds[0].name.as_str(), "x");
    let spec = loaded(
        "",
        &["dns.tlds.0.name=x", "dns.tlds.0.listen_ip=10.0.0.20", "dns.tlds.1={name: y, listen_ip: 10.0.0.21}"],
    );
    assert_eq!(spec.dns.tlds.len(), 2);
    let spec = loaded("", &["metadata.name=a-b", "metadata.version='1.0'", "pki.acme={}", "metadata.organization=a=b"]);
    assert_eq!((spec.name().as_str(), spec.metadata.version.as_str()), ("a-b", "1.0"));
    assert_eq!(spec.metadata.organization.expect("set").as_str(), "a=b");
}

#[test]
fn errors_of_set_are_told_at_the_argument() {
    assert_eq!(refused("", &["nothing"]), ["--set:1:1: \"nothing\" has no '='"]);
    assert_eq!(refused("", &["a..b=1"]), ["--set:1:1: \"a..b\" is not a path"]);
    assert_eq!(refused("", &["metadata.name.x=1"]), ["--set:1:1: `metadata.name` is neither a map nor a list"]);
    assert_eq!(
        refused("", &["dns.tlds=[]", "dns.tlds.1.name=x"]),
        ["--set:1:1: `dns.tlds` has 0 entries; there is no entry 1"]
    );
    assert_eq!(
        refused("", &["dns.tlds=[]", "dns.tlds.x=1"]),
        ["--set:1:1: `dns.tlds` is a list; \"x\" is not an index"]
    );
    assert_eq!(refused("", &["metadata.version=1.0"]), ["--set:1:18: `version` must be a text, not the number 1.0"]);
    assert_eq!(refused("", &["metadata.nmae=x"]), ["--set:1:1: unknown key \"nmae\" in `metadata`"]);
    assert_eq!(refused("", &["metadata.name="]), ["--set:1:1: `name` is empty; it must be a name"]);
    assert!(refused("", &["metadata.name=[x"])[0].starts_with("--set:1:"));
}

#[test]
fn errors_of_an_overlay_are_told_in_the_overlay() {
    assert_eq!(
        refused("# a comment\noperator: {api: {listen_ip: 10.0.0.2}}", &[]),
        ["over.yaml:2:29: 10.0.0.2 is used twice; `dns.root.listen_ip` has it too (its default)"]
    );
    assert_eq!(
        refused("operator: {api: 1}", &["metadata.lifecycle=x"]),
        [
            "over.yaml:1:17: `api` must be a map, not the number 1",
            "--set:1:20: `lifecycle`: \"x\" is not one of ephemeral, persistent",
        ]
    );
    assert_eq!(refused("a: [", &[]).len(), 1, "what cannot be parsed is not merged");
}

#[test]
fn variables_are_replaced_everywhere() {
    let spec = loaded(
        "metadata:\n  name: ${env:NAME}\n  version: ${env:VERSION}\n  organization: <${env:NOTHING:-none}${env:NAME}>\n\
         operator: {api: {port: \"${env:PORT}\"}}\nworld_services: {mail: {enabled: \"${env:OFF}\"}}",
        &["metadata.environment=${env:NESTED}"],
    );
    assert_eq!(spec.name().as_str(), "from-env");
    assert_eq!(spec.metadata.version.as_str(), "2.0", "a variable's value is a text, not a number");
    assert_eq!(spec.metadata.organization.expect("set").as_str(), "<nonefrom-env>");
    assert_eq!(
        spec.metadata.environment.expect("set").as_str(),
        "${env:NESTED}".replace("NESTED", "NAME"),
        "values are not read again"
    );
    assert_eq!((spec.operator.api.port, spec.world_services.mail.enabled), (8081, false));
    assert_eq!(
        loaded("metadata: {organization: \"${env:NOTHING:-}\"}", &[]).metadata.organization.expect("set").as_str(),
        ""
    );
}

#[test]
fn an_unset_variable_is_named_at_its_place() {
    assert_eq!(
        refused("metadata: {organization: \"a ${env:NOTHING} b ${env:OTHER}\"}", &[]),
        [
            "over.yaml:1:29: the environment variable NOTHING is not set",
            "over.yaml:1:46: the environment variable OTHER is not set"
        ]
    );
    assert_eq!(
        refused("metadata: {organization: \"${env:A\"}", &[]),
        ["over.yaml:1:27: `${env:` has no closing brace"]
    );
    assert_eq!(
        refused("metadata: {organization: \"${env:a-b}\"}", &[]),
        ["over.yaml:1:27: \"${env:a-b}\" names no variable"]
    );
    assert_eq!(
        refused("metadata: {organization: \"${env:1}\"}", &[]),
        ["over.yaml:1:27: \"${env:1}\" names no variable"]
    );
}

#[test]
fn scalars_are_read_leniently_by_the_wanted_type_only() {
    for (written, wanted) in [
        ("yes", true),
        ("Yes", true),
        ("on", true),
        ("TRUE", true),
        ("\"true\"", true),
        ("no", false),
        ("off", false),
        ("False", false),
    ] {
        let spec = loaded(&format!("pki: {{crl_enabled: {written}}}"), &[]);
        assert_eq!(spec.pki.crl_enabled, wanted, "{written}");
    }
    for written in ["8081", "\"8081\"", "'8081'", "+8081", "08081"] {
        assert_eq!(
            loaded(&format!("operator: {{api: {{port: {written}}}}}"), &[]).operator.api.port,
            8081,
            "{written}"
        );
    }
    for (written, wanted) in
        [("no", "no"), ("\"1.0\"", "1.0"), ("!!str 1.0", "1.0"), ("|\n    a\n", "a"), (">-\n    a\n    b\n", "a b")]
    {
        let spec = loaded(&format!("metadata:\n  organization: {written}"), &[]);
        assert_eq!(spec.metadata.organization.expect("set").as_str(), wanted, "{written}");
    }
    for empty in ["", "~", "null"] {
        assert_eq!(loaded(&format!("metadata:\n  organization: {empty}"), &[]).metadata.organization, None);
    }
}

#[test]
fn anchors_aliases_and_merge_keys_are_followed() {
    let text = "ands:\n  profiles:\n    a: &a {dhcp: no, nat: no}\n    b: {<<: *a, nat: yes}\n    c: *a\n    d: {<<: [*a, {reverse_dns: yes}]}";
    let spec = loaded(text, &[]);
    let read = |name: &str| {
        let (_, profile) = spec.ands.profiles.iter().find(|(key, _)| key.as_str() == name).expect("declared");
        (profile.dhcp, profile.nat, profile.reverse_dns)
    };
    assert_eq!(read("a"), (false, false, false));
    assert_eq!(read("b"), (false, true, false), "explicit keys win");
    assert_eq!(read("c"), read("a"));
    assert_eq!(read("d"), (false, false, true));
    assert_eq!(
        refused("ands: {profiles: {<<: x}}", &[]),
        ["over.yaml:1:23: a merge key (<<) needs a map or a list of maps"]
    );
}

#[test]
fn a_json_value_is_checked_like_a_file() {
    let mut value = with("", &[]).expect("the base loads").value;
    value["operator"] = serde_json::json!({"api": {"port": "8081"}});
    assert_eq!(load_json(&value).expect("loads").spec.operator.api.port, 8081);
    value["operator"] = serde_json::json!({"api": {"listen_ip": "10.0.0.2"}});
    let found = load_json(&value).expect_err("used twice");
    assert_eq!((found[0].line, found[0].path.as_str()), (0, "operator.api.listen_ip"));
    assert_eq!(
        found[0].to_string(),
        "spec: operator.api.listen_ip: error: 10.0.0.2 is used twice; `dns.root.listen_ip` has it too (its default)"
    );
}

#[test]
fn a_json_value_sees_no_environment() {
    let mut value = with("", &[]).expect("the base loads").value;
    value["metadata"]["organization"] = "${env:HOME}".into();
    let spec = load_json(&value).expect("loads").spec;
    assert_eq!(spec.metadata.organization.expect("set").as_str(), "${env:HOME}");
}

#[test]
fn an_empty_overlay_changes_nothing() {
    let base = with("", &[]).expect("the base loads").value;
    for overlay in ["{}", "# nothing\n", "---\n", "~"] {
        assert_eq!(with(overlay, &[]).expect("it loads").value, base, "{overlay:?}");
    }
}

/// Small overlays over the scalars of the spec.
fn overlays() -> impl Strategy<Value = String> {
    let port = (1u16..).prop_map(|port| format!("operator: {{api: {{port: {port}}}}}"));
    let quota =
        (1u32..1000).prop_map(|quota| format!("world_services: {{mail: {{mailbox_policy: {{quota_mb: {quota}}}}}}}"));
    let label = "[a-z ]{1,9}".prop_map(|label| format!("metadata: {{organization: \"{label}\"}}"));
    let tld = "[a-z]{1,9}".prop_map(|name| format!("dns: {{tlds: [{{name: \"{name}\", listen_ip: 10.0.0.77}}]}}"));
    prop_oneof![port, quota, label, tld]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn laying_an_overlay_twice_is_laying_it_once(overlay in overlays()) {
        let once = with(&overlay, &[]).expect("it loads");
        let merged = serde_json::to_string(&once.value).expect("JSON is YAML");
        let sources = Sources { base: source("base.yaml", &merged), overlay: Some(source("over.yaml", &overlay)), sets: Vec::new() };
        let twice = load(&sources, &environment).expect("it loads");
        prop_assert_eq!(&twice.spec, &once.spec);
        prop_assert_eq!(load_json(&once.value).expect("it loads").spec, once.spec);
    }

    #[test]
    fn a_spec_survives_json(overlay in overlays()) {
        let spec = loaded(&overlay, &[]);
        let value = serde_json::to_value(&spec).expect("a spec is JSON");
        prop_assert_eq!(load_json(&value).expect("it loads").spec, spec);
    }
}
