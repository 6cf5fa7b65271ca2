//! Tokens: none opens that the realm's own key did not sign.
//!
//! Half of the inputs are edits of a good token: pairs of offset and byte.

use std::sync::LazyLock;

use netengine_oidc::{
    grant::{find_device, find_refresh},
    jose::{Algorithm, Key, KeySet},
    realm::{Realm, RealmConfig},
    session, token,
};

static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    KeySet([Algorithm::Es256, Algorithm::Rs256].map(|algorithm| Key::generate(algorithm, 0).expect("a key")).into())
});
static TOKENS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let claims = serde_json::Map::from_iter([("sub".to_owned(), "x".into()), ("iss".to_owned(), "y".into())]);
    KEYS.0.iter().map(|key| key.sign("at+jwt", &claims).expect("signed")).collect()
});
static REALM: LazyLock<Realm> = LazyLock::new(|| {
    let mut realm = Realm::new("https://auth.internal", RealmConfig::new("acme"));
    realm.keys.0.push(Key::generate(Algorithm::Es256, 0).expect("a key"));
    realm
});

/// One input.
pub fn target(input: &[u8]) {
    let Some((&mode, rest)) = input.split_first() else { return };
    let good = &TOKENS[usize::from(mode >> 1 & 1)];
    let mut text = String::from_utf8_lossy(rest).into_owned();
    if mode & 1 == 1 {
        let mut token = good.clone().into_bytes();
        for edit in rest.chunks_exact(3) {
            let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % token.len();
            token[at] = edit[2];
        }
        text = String::from_utf8_lossy(&token).into_owned();
    }
    assert_eq!(KEYS.open("at+jwt", &text).is_some(), TOKENS.contains(&text), "{text}");
    assert!(KEYS.open("JWT", &text).is_none(), "a token of another type opens: {text}");
    assert!(token::open_access(&REALM, &text, 0).is_none() && token::open_hint(&REALM, &text).is_none(), "{text}");
    assert!(find_refresh(&REALM, &text).is_none() && session::find(&REALM, &text, 0).is_none(), "{text}");
    assert!(find_device(&REALM, &text, 0).is_none(), "{text}");
}
