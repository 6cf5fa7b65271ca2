//! Nothing a peer sends breaks a parser, and what parsers let through is what they promise.

use netengine_oidc::{
    authorize,
    client::{check_uri, is_plain_name},
    exchange::credentials,
    form::{Params, with_query},
    grant::{find_device, find_refresh},
    jose::{Algorithm, Key, KeySet},
    realm::{Realm, RealmConfig},
    registration::Metadata,
    session,
    throttle::{Rate, Throttle},
    token,
};
use proptest::prelude::*;

fn realm() -> Realm {
    let mut realm = Realm::new("https://auth.internal", RealmConfig::new("acme"));
    realm.keys.0.push(Key::generate(Algorithm::Es256, 0).expect("a key"));
    realm
}

proptest! {
    #[test]
    fn parameters_survive_being_written_again(pairs in prop::collection::btree_map("[^\\pC\\x{FFFD}]{1,12}", "[^\\pC\\x{FFFD}]{1,24}", 0..20)) {
        let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
        let read = Params::parse(text.as_bytes()).expect("well-formed");
        for (name, value) in &pairs {
            prop_assert_eq!(read.get(name), Some(value.as_str()));
        }
        prop_assert_eq!(Params::parse(read.to_query().as_bytes()).expect("well-formed"), read);
    }

    #[test]
    fn any_bytes_are_parameters_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Params::parse(&bytes);
    }

    #[test]
    fn a_name_stands_once(name in "[a-z]{1,8}", a in "[a-z]{1,8}", b in "[a-z]{1,8}") {
        let text = format!("{name}={a}&x=1&{name}={b}");
        prop_assert_eq!(Params::parse(text.as_bytes()).is_err(), true);
    }

    #[test]
    fn a_registered_address_has_no_characters_that_end_a_header(text in "\\PC{0,40}|[ -~]{0,40}|https?://[ -~\\r\\n]{0,40}") {
        if check_uri(&text).is_ok() {
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains(['#', '"', '<', '\\']));
            let scheme = text.split(':').next().unwrap_or("");
            let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
            prop_assert!(is_web || scheme.contains('.'));
        }
    }

    #[test]
    fn an_answer_goes_to_the_same_host_and_path(path in "/[a-z/]{0,12}", query in "(\\?[a-z=&]{0,12})?", value in "\\PC{0,24}") {
        let to = format!("https://app.acme.corp{path}{query}");
        let sent = with_query(&to, &[("code", "c"), ("state", &value)]);
        let (before, after) = (url::Url::parse(&to).expect("an address"), url::Url::parse(&sent).expect("an address"));
        prop_assert_eq!(before.origin(), after.origin());
        prop_assert_eq!(before.path(), after.path());
        prop_assert!(after.query_pairs().any(|(name, found)| name == "state" && found == value));
    }

    #[test]
    fn no_text_is_a_token(text in "\\PC{0,80}|[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}") {
        let realm = realm();
        prop_assert!(token::open_access(&realm, &text, 0).is_none());
        prop_assert!(token::open_hint(&realm, &text).is_none());
        prop_assert!(find_refresh(&realm, &text).is_none());
        prop_assert!(session::find(&realm, &text, 0).is_none());
        prop_assert!(find_device(&realm, &text, 0).is_none());
    }

    #[test]
    fn a_changed_token_does_not_open(at in 0_usize..400, bit in 0_u8..7) {
        let key = Key::generate(Algorithm::Es256, 0).expect("a key");
        let claims = serde_json::Map::from_iter([("sub".to_owned(), "x".into())]);
        let token = key.sign("JWT", &claims).expect("signed");
        let mut bytes = token.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            prop_assert!(KeySet(vec![key]).open("JWT", &changed).is_none(), "{} {}", token, changed);
        }
    }

    #[test]
    fn any_header_is_credentials_or_refused(header in "\\PC{0,60}|Basic [A-Za-z0-9+/=]{0,60}", body in "\\PC{0,60}") {
        let form = Params::parse(body.as_bytes()).unwrap_or_default();
        let _ = credentials(Some(&header), &form);
        let _ = credentials(None, &form);
        let _ = authorize::check(&realm(), &form);
        let _ = serde_json::from_str::<Metadata>(&body);
        prop_assert!(!is_plain_name(&header) || !header.contains(['/', '%', ' ']));
    }

    #[test]
    fn a_throttle_lets_through_what_its_rate_says(steps in prop::collection::vec(0_u64..3_000, 1..200)) {
        let rate = Rate { burst: 5, refill_ms: 1_000 };
        let mut throttle = Throttle::new(rate, 10);
        let (mut now, mut passed) = (0, 0_u64);
        for step in steps {
            now += step;
            passed += u64::from(throttle.take(&"key", now).is_ok());
            prop_assert!(passed <= 5 + now / 1_000, "{} by {}", passed, now);
        }
        prop_assert!(throttle.take(&"key", now + 1_000).is_ok(), "it opens again");
    }
}
