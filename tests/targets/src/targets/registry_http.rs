//! Requests to RDAP, registrar, domain registry and world registry, several in a row: no failure of the server, JSON of the
//! promised type; what was registered can be told by WHOIS and is served by the name servers as a zone.
//!
//! Requests are texts with a line `%%` between them; the first part of the path says whose they are.

use crate::registry::{Answer, Site};
use netengine_dns::name::Name;
use netengine_registry::{name, registry::now, whois};

/// Requests of one input that are looked at.
const REQUESTS: usize = 6;

fn check(request: &str, answer: &Answer) {
    let shown = || format!("{request:?}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    assert!(!answer.status.is_server_error(), "{}", shown());
    assert!(answer.body.len() < 1 << 20, "{} bytes", answer.body.len());
    for value in answer.headers.values() {
        assert!(value.to_str().is_ok(), "{}", shown());
    }
    // A client that asks with HEAD gets no body, and an answer without content has none.
    if answer.body.is_empty() {
        return;
    }
    let kind = answer.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let known = ["application/json", "application/rdap+json", "application/problem+json"];
    assert!(known.iter().any(|known| kind.starts_with(known)), "{kind}: {}", shown());
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", shown()));
    if kind.starts_with("application/problem+json") {
        assert_eq!(body["status"], answer.status.as_u16(), "{}", shown());
    }
    if kind.starts_with("application/rdap+json") && answer.status.is_client_error() {
        assert_eq!(body["errorCode"], answer.status.as_u16(), "{}", shown());
    }
}

/// One input.
pub fn target(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let site = Site::new();
    for request in text.split("\n%%\n").take(REQUESTS) {
        if let Some(answer) = site.send(request) {
            check(request, &answer);
        }
    }
    let state = site.registry.look();
    for domain in state.domains() {
        assert_eq!(name::parse(&domain.name).as_ref().map(|name| name.as_str()), Ok(domain.name.as_str()));
        let told = whois::answer(&state, domain.name.as_bytes(), now());
        assert!(told.ends_with("\r\n") && told.len() < 64 * 1024, "{}", domain.name);
        assert!(!told.split("\r\n").any(|line| line.chars().any(char::is_control)), "{told:?}");
        // Its zone, or the zone above that delegates it, has its name.
        let apex = Name::parse(&domain.name).expect("a name");
        let catalog = site.zones.snapshot();
        let mut zones = std::iter::successors(Some(apex.clone()), Name::parent);
        let zone = zones.find_map(|above| catalog.zone(&above).cloned()).expect("a zone");
        let is_held = domain.status_words().iter().any(|word| word.contains("Hold"));
        assert!(is_held || zone.node(&apex).is_some(), "{} is in no zone", domain.name);
    }
}
