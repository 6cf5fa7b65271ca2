//! How objects look to clients.

use serde_json::{Value, json};

use super::{
    Account, Authorization, AuthorizationStatus, Certificate, ChallengeKind, ChallengeStatus, Id, Order, OrderStatus,
    Policy, Reply, State,
};
use crate::{
    ca::{Serial, authority::renewal_id},
    clock::{UnixSeconds, rfc3339},
    jose,
};

/// How many orders one page of an account's list has.
const PAGE: usize = 500;

/// Where things are. Everything begins with one configured URL: what a client writes into `Host` is never used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    base: String,
    /// The key identifier of the issuer, for renewal information.
    issuer_key: Vec<u8>,
}

impl Urls {
    /// The paths below the base URL that the directory is at.
    pub const PREFIX: &'static str = "/acme/acme";

    /// For a server at this origin, `https://NAME` or `https://NAME:PORT`, with an issuer of this key identifier.
    pub fn new(origin: &str, issuer_key: &[u8]) -> Self {
        Self { base: format!("{origin}{}", Self::PREFIX), issuer_key: issuer_key.to_vec() }
    }

    /// The URL of a path below the prefix, `/new-order` for example.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The directory.
    pub fn directory(&self) -> String {
        self.at("/directory")
    }

    /// An account: the `kid` of its requests.
    pub fn account(&self, id: &Id) -> String {
        self.at(&format!("/account/{id}"))
    }

    /// The account at this URL.
    pub fn account_id(&self, url: &str) -> Option<Id> {
        Id::parse(url.strip_prefix(&self.base)?.strip_prefix("/account/")?)
    }

    fn order(&self, id: &Id) -> String {
        self.at(&format!("/order/{id}"))
    }

    fn authorization(&self, id: &Id) -> String {
        self.at(&format!("/authz/{id}"))
    }

    fn challenge(&self, id: &Id, kind: ChallengeKind) -> String {
        self.at(&format!("/challenge/{id}/{}", kind.name()))
    }

    fn certificate(&self, serial: Serial) -> String {
        self.at(&format!("/certificate/{serial}"))
    }

    /// The serial number in a certificate's renewal identifier, when the identifier is one of this issuer's
    /// (RFC 9773, section 4.1).
    pub fn renewal_serial(&self, text: &str) -> Option<Serial> {
        let (key, serial) = text.split_once('.')?;
        let serial = Serial::from_bytes(&jose::decode(serial)?)?;
        (jose::decode(key)? == self.issuer_key).then_some(serial)
    }

    /// The renewal identifier of a certificate.
    pub fn renewal_id(&self, serial: Serial) -> String {
        renewal_id(&self.issuer_key, serial)
    }
}

/// A reply without the nonce and the link to the directory, which every reply has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rendered {
    /// The HTTP status.
    pub status: u16,
    /// The object's own URL.
    pub location: Option<String>,
    /// Links: relation and URL.
    pub links: Vec<(&'static str, String)>,
    /// Seconds until asking again makes sense.
    pub retry_after_secs: Option<u32>,
    /// The object.
    pub body: Option<Value>,
}

/// The directory (RFC 8555, section 7.1.1).
pub fn directory(urls: &Urls, policy: &Policy) -> Value {
    let mut meta = json!({
        "caaIdentities": [policy.caa_identity],
        "externalAccountRequired": policy.external.required,
        "profiles": policy
            .profiles
            .iter()
            .map(|(name, profile)| (name.to_owned(), json!(profile.description)))
            .collect::<serde_json::Map<_, _>>(),
    });
    if let Some(website) = &policy.website {
        meta["website"] = json!(website);
    }
    json!({
        "newNonce": urls.at("/new-nonce"),
        "newAccount": urls.at("/new-account"),
        "newOrder": urls.at("/new-order"),
        "revokeCert": urls.at("/revoke-cert"),
        "keyChange": urls.at("/key-change"),
        "renewalInfo": urls.at("/renewal-info"),
        "meta": meta,
    })
}

/// The reply. A certificate is not rendered here: it is not in the state. Absent objects, which cannot be, give an
/// empty reply.
pub fn render(state: &State, urls: &Urls, reply: &Reply, now: UnixSeconds) -> Rendered {
    let created = |created| if created { 201 } else { 200 };
    let shown = |status, location, body| Rendered { status, location: Some(location), body, ..Rendered::default() };
    match reply {
        Reply::Nothing | Reply::Certificate(_) => Rendered { status: 200, ..Rendered::default() },
        Reply::Account { id, created: new } => {
            shown(created(*new), urls.account(id), state.account(id).map(|account| account_json(urls, account)))
        }
        Reply::Orders(id, after) => orders(state, urls, id, after.as_ref()),
        Reply::Order { id, created: new } => {
            shown(created(*new), urls.order(id), state.order(id).map(|order| order_json(urls, order, now)))
        }
        Reply::Authorization(id) => {
            let authorization = state.authorization(id);
            let mut out =
                shown(200, urls.authorization(id), authorization.map(|one| authorization_json(urls, one, now)));
            out.retry_after_secs = authorization.and_then(retry);
            out
        }
        Reply::Challenge(id, kind) => {
            let authorization = state.authorization(id);
            let body = authorization.and_then(|one| challenge_json(urls, one, *kind));
            let mut out = shown(200, urls.challenge(id, *kind), body);
            out.links.push(("up", urls.authorization(id)));
            out.retry_after_secs = authorization.and_then(retry);
            out
        }
    }
}

fn retry(authorization: &Authorization) -> Option<u32> {
    let is_processing = authorization.status == AuthorizationStatus::Pending
        && authorization.challenges.iter().any(|challenge| challenge.status == ChallengeStatus::Processing);
    is_processing.then_some(1)
}

fn account_json(urls: &Urls, account: &Account) -> Value {
    json!({
        "status": account.status,
        "contact": account.contact,
        "orders": urls.at(&format!("/account/{}/orders", account.id)),
    })
}

fn orders(state: &State, urls: &Urls, account: &Id, after: Option<&Id>) -> Rendered {
    let mut rest = state.orders_of(account).map(|order| &order.id).filter(|id| after.is_none_or(|after| *id > after));
    let page: Vec<&Id> = rest.by_ref().take(PAGE).collect();
    let mut links = Vec::new();
    if let (Some(_), Some(last)) = (rest.next(), page.last()) {
        links.push(("next", urls.at(&format!("/account/{account}/orders?after={last}"))));
    }
    let body = json!({ "orders": page.iter().map(|id| urls.order(id)).collect::<Vec<_>>() });
    Rendered { status: 200, links, body: Some(body), ..Rendered::default() }
}

fn order_json(urls: &Urls, order: &Order, now: UnixSeconds) -> Value {
    let status = order.status_at(now);
    let mut out = json!({
        "status": status,
        "expires": rfc3339(order.expires),
        "identifiers": order.identifiers,
        "authorizations": order.authorizations.iter().map(|id| urls.authorization(id)).collect::<Vec<_>>(),
        "finalize": urls.at(&format!("/order/{}/finalize", order.id)),
    });
    if order.profile_was_named {
        out["profile"] = json!(order.profile);
    }
    if let Some(serial) = order.replaces {
        out["replaces"] = json!(urls.renewal_id(serial));
    }
    if let Some(serial) = order.certificate.filter(|_| status == OrderStatus::Valid) {
        out["certificate"] = json!(urls.certificate(serial));
    }
    if let Some(error) = &order.error {
        out["error"] = error.to_json();
    }
    out
}

fn authorization_json(urls: &Urls, authorization: &Authorization, now: UnixSeconds) -> Value {
    let all = authorization.challenges.iter();
    // Once it is decided, only the challenge that decided it is of interest (RFC 8555, section 7.1.4).
    let of_interest = all.filter(|challenge| match authorization.status {
        AuthorizationStatus::Valid => challenge.status == ChallengeStatus::Valid,
        AuthorizationStatus::Invalid => challenge.error.is_some(),
        _ => true,
    });
    let mut out = json!({
        "status": authorization.status_at(now),
        "expires": rfc3339(authorization.expires),
        "identifier": authorization.identifier,
        "challenges": of_interest
            .filter_map(|challenge| challenge_json(urls, authorization, challenge.kind))
            .collect::<Vec<_>>(),
    });
    if authorization.wildcard {
        out["wildcard"] = json!(true);
    }
    out
}

fn challenge_json(urls: &Urls, authorization: &Authorization, kind: ChallengeKind) -> Option<Value> {
    let challenge = authorization.challenge(kind)?;
    let mut out = json!({
        "type": kind,
        "url": urls.challenge(&authorization.id, kind),
        "status": challenge.status,
        "token": authorization.token,
    });
    if let Some(validated) = challenge.validated {
        out["validated"] = json!(rfc3339(validated));
    }
    if let Some(error) = &challenge.error {
        out["error"] = error.to_json();
    }
    Some(out)
}

/// When to renew (RFC 9773, section 4.2): in the last third of the lifetime, at once when it is revoked.
pub fn renewal_info(certificate: &Certificate, now: UnixSeconds) -> Rendered {
    let lifetime = certificate.not_after.saturating_sub(certificate.not_before).max(1);
    let (start, end) = match certificate.revoked {
        Some(revocation) => (revocation.at.saturating_sub(60), revocation.at.min(now)),
        None => {
            let start = certificate.not_before.saturating_add(lifetime / 3 * 2);
            (start, start.saturating_add(lifetime / 10))
        }
    };
    let body = json!({ "suggestedWindow": { "start": rfc3339(start), "end": rfc3339(end) } });
    // Often enough to hear of a revocation before half the remaining third has passed.
    let again = (lifetime / 20).clamp(60, 6 * 3600);
    Rendered { status: 200, retry_after_secs: u32::try_from(again).ok(), body: Some(body), ..Rendered::default() }
}
