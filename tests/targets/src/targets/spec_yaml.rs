//! Specs as people write them: every finding has a place in the file, and what is taken survives as JSON.
//!
//! The input is a file, and behind a byte 0 its overlay, and behind further ones the arguments of `--set`.

use netengine_spec::{Source, Sources, load, load_json};

/// One input.
pub fn target(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut parts = text.split('\0').map(str::to_owned);
    let source = |name: &str, text: String| Source { name: name.to_owned(), text };
    let base = source("w.yaml", parts.next().unwrap_or_default());
    let overlay = parts.next().map(|text| source("o.yaml", text));
    let sources = Sources { base, overlay, sets: parts.take(8).collect() };
    let environment = |name: &str| (name == "HOME").then(|| "/home/alice".to_owned());
    let told = match load(&sources, &environment) {
        Ok(loaded) => {
            let again = load_json(&loaded.value).expect("what was taken as YAML is taken as JSON");
            assert_eq!(again.spec, loaded.spec, "YAML and JSON give different specs");
            loaded.warnings
        }
        Err(found) => {
            assert!(!found.is_empty(), "refused without a reason");
            found
        }
    };
    assert!(told.len() <= 300, "{} findings", told.len());
    for one in told {
        let shown = one.to_string();
        assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
        // An argument of `--set` that has line breaks, which no file has, is told with its first line only.
        let is_file = one.file != "--set";
        if let Some(line) = one.source_line.as_ref().filter(|_| is_file) {
            assert!(one.line > 0 && one.column > 0, "{shown}");
            let end = one.column - 1 + one.length;
            assert!(end <= line.chars().count() + 1, "{shown}");
        }
    }
}
