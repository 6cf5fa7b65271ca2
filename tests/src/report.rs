//! What `netengine test` says, as far as it is the same in every run and on every kernel.

use std::process::Output;

use serde_json::Value;

/// A JSON text without the times in it.
///
/// # Panics
/// It is no JSON.
#[track_caller]
pub fn timeless(text: &str) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("millis");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"));
    strip(&mut value);
    value
}

/// The report of a run with `--json`, without its times.
///
/// # Panics
/// It printed something other than a report on cases with packets.
#[track_caller]
pub fn report(output: &Output) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = timeless(&text(&output.stdout));
    let is_case = |case: &Value| case["packets"].is_array();
    let is_report =
        value["summary"].is_object() && value["tests"].as_array().is_some_and(|all| all.iter().all(is_case));
    assert!(is_report, "no report: {value}: {}", text(&output.stderr));
    value
}

/// nft's own words in a message of a ruleset that did not load: without what the engine knows of this kernel after them.
#[must_use]
pub fn nft_words(message: &str) -> &str {
    message.split(": this kernel has no ").next().unwrap_or(message)
}
