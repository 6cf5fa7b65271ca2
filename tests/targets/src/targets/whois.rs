//! Lines of WHOIS clients: the answer is text in lines, bounded, and says nothing that ends a line or steers a terminal.

use std::sync::LazyLock;

use netengine_registry::{
    from_spec::{Wanted, fill},
    model::Moment,
    name,
    state::State,
    whois,
};
use netengine_spec::{Source, Sources, load};

const NOW: Moment = Moment(1_800_000_000);

static STATE: LazyLock<State> = LazyLock::new(|| {
    let text = include_str!("../../../../examples/dev-sandbox.yaml").to_owned();
    let base = Source { name: "w.yaml".to_owned(), text };
    let loaded = load(&Sources { base, overlay: None, sets: Vec::new() }, &|_| None).expect("an example is a spec");
    let state = State::default();
    let changes = fill(&state, &Wanted::of(&loaded.spec), NOW);
    state.after(&changes)
});

/// One input.
pub fn target(line: &[u8]) {
    let answer = whois::answer(&STATE, line, NOW);
    assert!(answer.ends_with("\r\n") && answer.len() < 32 * 1024, "{} bytes", answer.len());
    for text in answer.split("\r\n") {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let Ok(text) = std::str::from_utf8(line) else { return };
    if let Ok(name) = name::parse(text) {
        assert_eq!(name::parse(name.as_str()).as_ref(), Ok(&name), "{text:?}");
        assert!(name.as_str().len() <= 253 && name.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    }
}
