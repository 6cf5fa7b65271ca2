//! Certificate requests: what is taken can be certified, for names that are names.
//!
//! Half of the inputs are edits of a request that is signed rightly: pairs of offset and byte.

use std::sync::LazyLock;

use crate::acme::{AUTHORITY, NOW, request_for, scope};
use netengine_pki::{
    ca::{Profiles, Request},
    name::Identifier,
};

static SIGNED: LazyLock<Vec<u8>> = LazyLock::new(|| request_for(&["www.acme.test", "10.0.0.1"]));

/// One input.
pub fn target(input: &[u8]) {
    let Some((&mode, rest)) = input.split_first() else { return };
    let mut der = rest.to_vec();
    let is_edited = mode & 1 == 1;
    if is_edited {
        der = SIGNED.clone();
        for edit in rest.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % der.len();
            der[at] = edit[2];
        }
    }
    let Ok(request) = Request::parse(&der) else {
        return assert_ne!(der, *SIGNED, "a good request is refused");
    };
    assert!(!request.identifiers.is_empty());
    if is_edited {
        let original = Request::parse(&SIGNED).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(request.identifiers, original.identifiers, "other names under the same signature");
        assert_eq!(request.key.hash, original.key.hash, "another key under the same signature");
    }
    for name in &request.identifiers {
        let text = name.to_string();
        let again = if matches!(name, Identifier::Ip(_)) { Identifier::ip(&text) } else { Identifier::dns(&text) };
        assert_eq!(again.as_ref(), Ok(name), "{text}");
    }
    let is_inside = request.identifiers.iter().all(|name| scope().check(name).is_ok());
    let profiles = Profiles::default();
    let profile = profiles.get(profiles.default_name()).expect("the default");
    let issued = AUTHORITY.issue(&request.identifiers, &request.key, profile, NOW.wall);
    assert_eq!(issued.is_ok(), is_inside, "{:?}", issued.err());
}
