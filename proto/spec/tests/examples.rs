//! Every shipped example validates, alone and with its overlays.

use std::{fs, path::PathBuf};

use netengine_spec::{Loaded, Source, Sources, load, load_json, overlay_path};

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn source(path: &PathBuf) -> Source {
    let name = path.file_name().expect("an example has a name").to_string_lossy().into_owned();
    Source { name, text: fs::read_to_string(path).expect("an example is readable") }
}

fn loaded(base: &str, environment: Option<&str>) -> Loaded {
    let base = examples().join(base);
    let overlay = environment.map(|environment| source(&overlay_path(&base, environment)));
    let sources = Sources { base: source(&base), overlay, sets: Vec::new() };
    load(&sources, &|_| None)
        .unwrap_or_else(|found| panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")))
}

#[test]
fn every_example_loads_without_a_warning() {
    for (base, environment) in [
        ("minimal.yaml", None),
        ("single-org.yaml", None),
        ("dev-sandbox.yaml", None),
        ("spec.base.yaml", None),
        ("spec.base.yaml", Some("dev")),
        ("spec.base.yaml", Some("prod")),
    ] {
        let loaded = loaded(base, environment);
        assert_eq!(loaded.warnings, [], "{base} {environment:?}");
        let again = load_json(&loaded.value).expect("the merged value loads");
        assert_eq!(again.spec, loaded.spec, "{base} {environment:?}");
        let whole = serde_json::to_value(&loaded.spec).expect("a spec is JSON");
        assert_eq!(load_json(&whole).expect("a spec with its defaults loads").spec, loaded.spec, "{base}");
    }
}

#[test]
fn an_overlay_changes_what_it_names_and_nothing_else() {
    let (base, dev, prod) =
        (loaded("spec.base.yaml", None), loaded("spec.base.yaml", Some("dev")), loaded("spec.base.yaml", Some("prod")));
    assert_eq!(dev.spec.world_services.mail.mailbox_policy.quota_mb, 50);
    assert_eq!(dev.spec.identity_inworld.org_users[0].users.len(), 2, "lists are replaced");
    assert_eq!(prod.spec.lifecycle(), netengine_spec::model::Lifecycle::Persistent);
    assert!(prod.spec.pki.dnssec_enabled);
    for other in [&dev, &prod] {
        assert_eq!(other.spec.substrate, base.spec.substrate);
        assert_eq!(other.spec.metadata.organization, base.spec.metadata.organization, "maps merge");
    }
}

#[test]
fn examples_are_all_tested() {
    let mut found: Vec<String> = fs::read_dir(examples())
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    found.sort();
    let known = [
        "dev-sandbox.yaml",
        "minimal.yaml",
        "single-org.yaml",
        "spec.base.dev.yaml",
        "spec.base.prod.yaml",
        "spec.base.yaml",
    ];
    assert_eq!(found, known);
}
