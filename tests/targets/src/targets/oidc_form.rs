//! Queries and forms, redirect addresses, client metadata: what is taken means the same when it is written again.

use netengine_oidc::{
    client::{check_uri, is_plain_name},
    exchange::credentials,
    form::{Params, with_query},
    registration::Metadata,
};

/// One input.
pub fn target(input: &[u8]) {
    let form = Params::parse(input);
    if let Ok(form) = &form {
        assert_eq!(Params::parse(form.to_query().as_bytes()).as_ref(), Ok(form));
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = credentials(Some(text), &form.unwrap_or_default());
    let _ = serde_json::from_str::<Metadata>(text);
    assert!(!is_plain_name(text) || !text.contains(['/', '%', ' ', '"', '<', '\n']), "{text:?} is no plain name");
    if check_uri(text).is_ok() {
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['#', '"', '<', '\\']), "{text:?}");
        let sent = with_query(text, &[("code", "a&b=c"), ("state", text)]);
        let (before, after) = (url::Url::parse(text).expect("an address"), url::Url::parse(&sent).expect("an address"));
        assert_eq!((before.scheme(), before.host(), before.port()), (after.scheme(), after.host(), after.port()));
        assert_eq!((before.path(), before.username()), (after.path(), after.username()), "{text}");
        assert!(after.query_pairs().any(|(name, value)| name == "state" && value == text), "{sent}");
    }
}
