//! Specs as the API takes them: what is taken is taken again, and gives the same.

use netengine_spec::{immutable_violations, load_json};

/// One input.
pub fn target(input: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(input) else { return };
    match load_json(&value) {
        Ok(loaded) => {
            let again = load_json(&loaded.value).expect("what was taken is taken again");
            assert_eq!((&again.spec, &again.value), (&loaded.spec, &loaded.value));
            assert!(immutable_violations(&loaded.spec, &again.spec).is_empty(), "a spec differs from itself");
        }
        Err(found) => assert!(!found.is_empty() && found.len() <= 300, "{} findings", found.len()),
    }
}
