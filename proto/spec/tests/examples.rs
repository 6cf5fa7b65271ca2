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
    load(&sources, &|_| None).unwrap_or_else(|found| {
        panic!("{}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
    })
}

#[test]
fn every_example_loads_without_a_warning() {
    for (base, environment) in [
        ("minimal.yaml", None),
    ] {
        let loaded = loaded(base, environment);
        assert_eq!(loaded.warnings, [], "{base} {environment:?}");
        let again = load_json(&loaded.value).expect("the merged value loads");
        assert_eq!(again.spec, loaded.spec, "{base} {environment:?}");
        let whole = serde_json::to_value(&loaded.spec).expect("a spec is JSON");
        assert_eq!(load_json(&whole).expect("a spec with its defaults loads").spec, loaded.spec, "{base}");
    }
}
