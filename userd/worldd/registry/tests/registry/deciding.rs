//! Rights, transfers, locks, expiry: what becomes of requests.

use netengine_registry::{
    authenticate::{Principal, RealmKind},
    decide::{self, Limits, PatchDomain, Right, right_of},
    from_spec::{Wanted, fill},
    model::{Moment, Status},
    problem::{Kind, Problem},
    secret::TransferSecret,
    state::{Object, State},
};

use crate::world::{SPEC, of, spec, wish};

const NOW: Moment = Moment(1_800_000_000);

fn filled() -> State {
    State::default().after(&fill(&State::default(), &Wanted::of(&spec(SPEC, &[])), NOW))
}

/// A state in which `rival` holds shop.corp, and its secret.
fn with_shop() -> (State, String) {
    let state = filled();
    let secret = TransferSecret::generate().expect("random");
    let wanted = wish(r#"{"name": "Shop.Corp.", "years": 2}"#);
    let outcome = decide::register(&state, &of("rival"), &wanted, Limits::default(), secret.digest(), NOW);
    (state.after(&outcome.expect("registered").changes), secret.expose().to_owned())
}

fn patch(json: &str) -> PatchDomain {
    serde_json::from_str(json).expect("a patch")
}

#[test]
fn only_the_holder_and_operators_with_all_rights_change_a_domain() {
    let (state, _) = with_shop();
    let wanted = patch(r#"{"records": [{"type": "A", "value": "10.20.0.1"}]}"#);
    for (right, allowed) in [
        (of("rival"), None),
        (Right::Superadmin, None),
        (of("acme-corp"), Some(Kind::NotHolder)),
        (Right::Readonly, Some(Kind::Forbidden)),
        (Right::Nobody, Some(Kind::Forbidden)),
    ] {
        let kind = |result: Result<decide::Outcome, Problem>| result.err().map(|problem| problem.kind);
        assert_eq!(kind(decide::update(&state, &right, "shop.corp", &wanted, NOW)), allowed, "{right:?}");
        assert_eq!(kind(decide::renew(&state, &right, "shop.corp", 1, NOW)), allowed, "{right:?}");
        assert_eq!(kind(decide::delete(&state, &right, "shop.corp")), allowed, "{right:?}");
        assert_eq!(kind(decide::replace_secret(&state, &right, "shop.corp", String::new(), NOW)), allowed, "{right:?}");
    }
    assert_eq!(decide::delete(&state, &of("rival"), "none.corp").expect_err("absent").kind, Kind::NotFound);
}

#[test]
fn a_transfer_needs_the_secret_which_opens_once() {
    let (state, secret) = with_shop();
    let take = |state: &State, right: Right, secret: Option<&str>, to: Option<&str>| {
        decide::transfer(state, &right, "shop.corp", secret, to, Limits::default(), "new".to_owned(), NOW)
    };
    let kind = |result: Result<decide::Outcome, Problem>| result.expect_err("refused").kind;
    assert_eq!(kind(take(&state, of("acme-corp"), Some("wrong"), None)), Kind::WrongSecret);
    assert_eq!(kind(take(&state, of("acme-corp"), None, None)), Kind::WrongSecret);
    assert_eq!(kind(take(&state, of("acme-corp"), Some(&secret), Some("rival"))), Kind::Forbidden);
    assert_eq!(kind(take(&state, of("lurker"), Some(&secret), None)), Kind::NotCapable);
    let locked =
        decide::update(&state, &of("rival"), "shop.corp", &patch(r#"{"status": ["clientTransferProhibited"]}"#), NOW);
    let locked = state.after(&locked.expect("locked").changes);
    assert_eq!(kind(take(&locked, of("acme-corp"), Some(&secret), None)), Kind::Prohibited);
    assert_eq!(kind(take(&locked, Right::Superadmin, None, Some("acme-corp"))), Kind::Prohibited);
    let taken = state.after(&take(&state, of("acme-corp"), Some(&secret), None).expect("transferred").changes);
    assert_eq!(taken.domain("shop.corp").expect("there").organisation, "acme-corp");
    assert_eq!(kind(take(&taken, of("rival"), Some(&secret), None)), Kind::WrongSecret, "the old secret opens nothing");
    assert!(take(&state, Right::Superadmin, None, Some("acme-corp")).is_ok(), "an operator needs none");
}

#[test]
fn holders_set_their_own_words_and_operators_all() {
    let (state, _) = with_shop();
    let set = |state: &State, right: Right, json: &str| decide::update(state, &right, "shop.corp", &patch(json), NOW);
    assert_eq!(set(&state, of("rival"), r#"{"status": ["serverHold"]}"#).expect_err("refused").kind, Kind::Forbidden);
    assert_eq!(
        set(&state, Right::Superadmin, r#"{"status": ["redemptionPeriod"]}"#).expect_err("refused").kind,
        Kind::Forbidden
    );
    let held =
        state.after(&set(&state, Right::Superadmin, r#"{"status": ["serverUpdateProhibited"]}"#).expect("set").changes);
    assert_eq!(set(&held, of("rival"), r#"{"contacts": []}"#).expect_err("refused").kind, Kind::Prohibited);
    assert_eq!(set(&held, of("rival"), r#"{"status": []}"#).expect_err("refused").kind, Kind::Forbidden);
    assert!(
        set(&held, Right::Superadmin, r#"{"contacts": [{"role": "abuse", "name": "X", "email": "x@shop.corp"}]}"#)
            .is_ok()
    );
    let locked =
        state.after(&set(&state, of("rival"), r#"{"status": ["clientUpdateProhibited"]}"#).expect("set").changes);
    let records = r#"{"records": [{"type": "A", "value": "10.20.0.1"}]}"#;
    assert_eq!(set(&locked, of("rival"), records).expect_err("refused").kind, Kind::Prohibited);
    assert!(set(&locked, of("rival"), r#"{"status": []}"#).is_ok(), "the lock itself can be taken away");
}

#[test]
fn an_expired_domain_leaves_dns_comes_back_when_renewed_and_is_deleted_after_thirty_days() {
    let (state, _) = with_shop();
    let end = state.domain("shop.corp").expect("there").expires;
    assert_eq!(end, NOW.plus_days(730));
    assert!(decide::sweep(&state, Moment(end.0 - 1)).is_empty());
    let apply = |state: &State, now: Moment| {
        decide::sweep(state, now).into_iter().fold(state.clone(), |state, outcome| state.after(&outcome.changes))
    };
    let expired = apply(&state, end);
    let domain = expired.domain("shop.corp").expect("there");
    assert!(domain.status.contains(&Status::RedemptionPeriod) && !domain.is_served());
    assert!(decide::sweep(&expired, end).is_empty(), "once");
    let renewed = decide::renew(&expired, &of("rival"), "shop.corp", 1, end).expect("renewed");
    assert!(renewed.after.as_ref().is_some_and(|domain| domain.is_served() && domain.expires == end.plus_days(365)));
    assert!(decide::renew(&expired, &of("rival"), "shop.corp", 11, end).is_err());
    assert!(decide::renew(&expired, &of("rival"), "shop.corp", u32::MAX, end).is_err());
    assert!(apply(&expired, end.plus_days(30)).domain("shop.corp").is_none());
    let late = NOW.plus_days(4000);
    assert!(
        apply(&state, late).domain("acme.corp").is_some_and(|domain| domain.expires > late),
        "the spec's are renewed"
    );
}

#[test]
fn operators_are_who_the_registry_says() {
    let state = filled();
    let platform = |username: Option<&str>, role: &str| Principal {
        subject: "s".to_owned(),
        username: username.map(str::to_owned),
        realm: RealmKind::Platform,
        roles: [role.to_owned()].into(),
    };
    assert_eq!(right_of(&state, &platform(Some("admin"), "")), Right::Superadmin);
    assert_eq!(
        right_of(&state, &platform(Some("eve"), "registry-superadmin")),
        Right::Readonly,
        "an old token does not count"
    );
    assert_eq!(right_of(&state, &platform(Some("mallory"), "registry-superadmin")), Right::Nobody);
    assert_eq!(right_of(&state, &platform(None, "admin")), Right::Superadmin, "the platform's own program");
    let org =
        |name: &str| Principal { realm: RealmKind::Organisation(name.to_owned()), ..platform(Some("admin"), "admin") };
    assert_eq!(right_of(&state, &org("rival")), of("rival"));
    assert_eq!(right_of(&state, &org("absent")), Right::Nobody);
}

#[test]
fn bounds_on_domains_are_told() {
    let state = filled();
    let limits = Limits { domains_per_organisation: 1, domains: 100 };
    let wanted = wish(r#"{"name": "shop.corp"}"#);
    let refused = decide::register(&state, &of("acme-corp"), &wanted, limits, String::new(), NOW).expect_err("refused");
    assert_eq!(refused.kind, Kind::Exhausted);
}

#[test]
fn a_spec_is_filled_once_and_changes_only_what_it_changes() {
    let state = filled();
    let again = |sets: &[&str], state: &State| fill(state, &Wanted::of(&spec(SPEC, sets)), Moment(NOW.0 + 9));
    assert_eq!(again(&[], &state), Vec::new(), "the same spec changes nothing");

    let (state, _) = with_shop();
    let narrowed = decide::patch_organisation(
        &state,
        &Right::Superadmin,
        "rival",
        &serde_json::from_str(r#"{"capabilities": []}"#).expect("a patch"),
        NOW,
    );
    let state = state.after(&narrowed.expect("patched").1);
    assert_eq!(again(&[], &state), Vec::new(), "what was changed in the world stays");
    let described = state.after(&again(&["world_registry.organizations.1.description=New"], &state));
    let rival = described.organisation("rival").expect("there");
    assert_eq!((rival.description.as_deref(), rival.capabilities.len()), (Some("New"), 0));

    let moved = "domain_registry.initial_domains=[{domain: acme.corp, org: rival, records: [{name: api, type: A, value: 10.20.0.9}]}]";
    let added = patch(
        r#"{"records": [{"name": "www", "type": "A", "value": "10.20.0.9"}, {"name": "x", "type": "A", "value": "10.20.0.1"}]}"#,
    );
    let added = decide::update(&state, &of("acme-corp"), "acme.corp", &added, NOW).expect("changed");
    let state = state.after(&added.changes);
    let after = state.after(&again(&[moved], &state));
    let acme = after.domain("acme.corp").expect("there");
    let names: Vec<_> = acme.records.iter().map(|record| record.name.as_str()).collect();
    assert_eq!((acme.organisation.as_str(), names), ("rival", vec!["x", "api"]), "its own change and the spec's");

    let without = "domain_registry.initial_domains=[]";
    let after = state.after(&again(&[without], &state));
    assert!(after.domain("acme.corp").is_none() && after.domain("shop.corp").is_some());
    let gone = ["world_registry.organizations=[]", without, "identity_inworld={}", "ands={}"];
    let after = state.after(&again(&gone, &state));
    assert!(after.organisation("acme-corp").is_none());
    let rival = after.organisation("rival").expect("it holds a domain");
    assert!(!rival.active && after.domain("shop.corp").is_some());
    assert_eq!(again(&gone, &after), Vec::new());
}

#[test]
fn what_is_stored_reads_back_as_itself() {
    let (state, _) = with_shop();
    for domain in state.domains() {
        let object = Object::Domain(Box::new((**domain).clone()));
        let text = serde_json::to_string(&object).expect("text");
        assert_eq!(serde_json::from_str::<Object>(&text).expect("an object"), object);
    }
}
