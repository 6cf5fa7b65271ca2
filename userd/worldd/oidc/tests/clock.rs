//! A wall clock that jumps.

mod support;

use support::{now, site};

const TEN_YEARS_S: u64 = 10 * 365 * 86_400;
/// Longer than any clock of the world may differ from another.
const PAST_SKEW_S: u64 = 120;

#[tokio::test]
async fn a_token_is_good_within_its_life_and_not_ten_years_away() {
    let site = site().await;
    let now = now();
    let answer = site.token(&[("grant_type", "client_credentials"), ("scope", "openid")], now).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let token = answer.json()["access_token"].as_str().expect("a token").to_owned();
    let introspect = "/realms/acme/protocol/openid-connect/token/introspect";
    let fields = [("client_id", "web"), ("client_secret", support::SECRET), ("token", token.as_str())];
    for (at, is_active) in [
        (now, true),
        (now + TEN_YEARS_S, false),
        (now - TEN_YEARS_S, false),
        (now - PAST_SKEW_S, false),
        // Nothing was spoilt by having been looked at out of its time.
        (now + 1, true),
    ] {
        let seen = site.post(introspect, "", &fields, at).await.json();
        assert_eq!(seen["active"], is_active, "{} s away: {seen}", at.cast_signed() - now.cast_signed());
    }
}
