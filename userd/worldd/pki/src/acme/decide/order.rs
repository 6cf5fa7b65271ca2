//! Orders (RFC 8555, section 7.4), with what RFC 9773 and profiles add to them.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{
        Authorization, AuthorizationStatus, Certificate, Challenge, ChallengeKind, ChallengeStatus, Change, Id, Kind,
        Order, OrderStatus, Problem, Signed,
    },
    Context, Effect, Outcome, Reply, account, expect_post_as_get, list, payload,
};
use crate::{
    ca::{CertifiedPublicKey, Leaf, Request, Serial},
    jose,
    name::{Identifier, IdentifierError, Wire},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder {
    identifiers: Vec<Wire>,
    #[serde(default)]
    not_before: Option<Value>,
    #[serde(default)]
    not_after: Option<Value>,
    #[serde(default)]
    profile: Option<String>,
    #[serde(default)]
    replaces: Option<String>,
}

pub(super) fn new(context: &mut Context<'_>, signed: &Signed) -> Result<Outcome, Problem> {
    let owner = account(context, signed)?.id.clone();
    let wanted: NewOrder = payload(signed)?;
    if wanted.not_before.is_some() || wanted.not_after.is_some() {
        return Err(Problem::malformed("`notBefore` and `notAfter` are not supported; profiles have lifetimes"));
    }
    let identifiers = identifiers(context, wanted.identifiers)?;
    let profile = context.policy.profile(wanted.profile.as_deref())?.to_owned();
    let replaces = wanted.replaces.map(|text| replaced(context, &owner, &identifiers, &text)).transpose()?;

    let now = context.now.wall;
    let waiting = context.state.orders_of(&owner).filter(|order| order.status_at(now) == OrderStatus::Pending).count();
    if waiting >= context.policy.pending_orders_per_account {
        let mut problem = Problem::new(Kind::RateLimited, "too many orders of this account are pending");
        problem.retry_after_secs = Some(60);
        return Err(problem);
    }
    if context.state.certificate_count() >= context.policy.certificates {
        return Err(Problem::new(Kind::RateLimited, "there are as many certificates as this server may have"));
    }
    context.limits.count("new orders of this account", owner.as_str(), context.policy.orders_per_hour, context.now)?;

    let expires = now.saturating_add(i64::from(context.policy.order_lifetime_secs));
    let id = context.entropy.id();
    let authorizations: Vec<_> =
        identifiers.iter().map(|identifier| authorization(context, &owner, &id, identifier, expires)).collect();
    let order = Order {
        id: id.clone(),
        account: owner,
        status: OrderStatus::Pending,
        identifiers,
        profile,
        profile_was_named: wanted.profile.is_some(),
        replaces,
        authorizations: authorizations.iter().map(|one| one.id.clone()).collect(),
        expires,
        error: None,
        certificate: None,
    };
    let mut changes: Vec<_> = authorizations.into_iter().map(Change::Authorization).collect();
    changes.push(Change::Order(order));
    // At the limit only: looking for old ones costs a walk over all.
    if context.state.order_count() >= context.policy.orders {
        let Some(stale) = context.state.stale(context.policy.orders - 1, now) else {
            let mut problem = Problem::new(Kind::RateLimited, "too many orders are pending on this server");
            problem.retry_after_secs = Some(600);
            return Err(problem);
        };
        changes.push(stale);
    }
    Ok(Outcome { changes, effects: Vec::new(), reply: Reply::Order { id, created: true } })
}

fn identifiers(context: &Context<'_>, wanted: Vec<Wire>) -> Result<BTreeSet<Identifier>, Problem> {
    if wanted.is_empty() {
        return Err(Problem::malformed("an order names at least one identifier"));
    }
    let most = context.policy.identifiers_per_order;
    if wanted.len() > most {
        return Err(Problem::malformed(format!("an order names at most {most} identifiers")));
    }
    let mut good = BTreeSet::new();
    let mut refused = Vec::new();
    for one in wanted {
        match Identifier::try_from(one) {
            Ok(identifier) => match context.policy.scope.check(&identifier) {
                Ok(()) => drop(good.insert(identifier)),
                Err(why) => {
                    refused.push(Problem::new(Kind::RejectedIdentifier, why.to_string()).about(identifier));
                }
            },
            Err(why @ IdentifierError::Type(_)) => {
                refused.push(Problem::new(Kind::UnsupportedIdentifier, why.to_string()));
            }
            Err(why) => refused.push(Problem::new(Kind::RejectedIdentifier, why.to_string())),
        }
    }
    match Problem::join(refused) {
        Some(problem) => Err(problem),
        None => Ok(good),
    }
}

/// The certificate that an order replaces (RFC 9773, section 5).
fn replaced(
    context: &Context<'_>,
    owner: &Id,
    identifiers: &BTreeSet<Identifier>,
    text: &str,
) -> Result<Serial, Problem> {
    let absent = || Problem::malformed("`replaces` names no certificate of this account with one of these identifiers");
    let serial = context.urls.renewal_serial(text).ok_or_else(absent)?;
    let certificate = context.state.certificate(serial).ok_or_else(absent)?;
    if certificate.account.as_ref() != Some(owner) || certificate.identifiers.is_disjoint(identifiers) {
        return Err(absent());
    }
    let now = context.now.wall;
    let is_being_replaced = context
        .state
        .orders_of(owner)
        .any(|order| order.replaces == Some(serial) && order.status_at(now) != OrderStatus::Invalid);
    match certificate.replaced_by.is_some() || is_being_replaced {
        true => Err(Problem::new(Kind::AlreadyReplaced, "another order replaces this certificate already")),
        false => Ok(serial),
    }
}

fn authorization(
    context: &mut Context<'_>,
    owner: &Id,
    order: &Id,
    identifier: &Identifier,
    expires: i64,
) -> Authorization {
    let mut token = [0; 32];
    context.entropy.fill(&mut token);
    let challenge =
        |&kind: &ChallengeKind| Challenge { kind, status: ChallengeStatus::Pending, validated: None, error: None };
    Authorization {
        id: context.entropy.id(),
        account: owner.clone(),
        order: order.clone(),
        identifier: identifier.base(),
        wildcard: matches!(identifier, Identifier::Wildcard(_)),
        status: AuthorizationStatus::Pending,
        expires,
        token: jose::encode(token),
        challenges: ChallengeKind::for_identifier(identifier).iter().map(challenge).collect(),
    }
}

pub(super) fn show(context: &Context<'_>, id: &Id, signed: &Signed) -> Result<Outcome, Problem> {
    own(context, id, signed)?;
    expect_post_as_get(signed)?;
    Ok(Outcome::show(Reply::Order { id: id.clone(), created: false }))
}

#[derive(Deserialize)]
struct Finalize {
    csr: String,
}

pub(super) fn finalize(context: &Context<'_>, id: &Id, signed: &Signed) -> Result<Outcome, Problem> {
    let order = own(context, id, signed)?;
    let owner = account(context, signed)?;
    let wanted: Finalize = payload(signed)?;
    match order.status_at(context.now.wall) {
        OrderStatus::Ready => {}
        OrderStatus::Pending => {
            return Err(Problem::new(Kind::OrderNotReady, "some authorizations of the order are not valid yet"));
        }
        OrderStatus::Valid | OrderStatus::Invalid => {
            return Err(Problem::new(Kind::OrderNotReady, "the order is finished"));
        }
    }
    let bad = |why: String| Problem::new(Kind::BadCsr, why);
    let der = jose::decode(&wanted.csr).ok_or_else(|| bad("the request is not base64url".to_owned()))?;
    let request = Request::parse(&der).map_err(|error| bad(error.to_string()))?;
    if request.identifiers != order.identifiers {
        let (has, wants) = (list(&request.identifiers), list(&order.identifiers));
        return Err(bad(format!("the request names {has}, the order {wants}; they must name the same")));
    }
    if owner.key.matches_public_key(&request.key.raw) {
        return Err(bad("the key of the account must not be certified".to_owned()));
    }
    let still_valid = order.authorizations.iter().all(|id| {
        context.state.authorization(id).is_some_and(|one| one.status_at(context.now.wall) == AuthorizationStatus::Valid)
    });
    if !still_valid {
        return Err(Problem::unauthorized("an authorization of the order is no longer valid"));
    }
    let effect = Effect::Issue { order: id.clone(), request: Box::new(request) };
    Ok(Outcome { changes: Vec::new(), effects: vec![effect], reply: Reply::Order { id: id.clone(), created: false } })
}

/// What follows from a certificate that was signed for an order.
///
/// # Errors
/// When the order is gone.
pub fn issued(state: &super::State, order: &Id, leaf: &Leaf, key: &CertifiedPublicKey) -> Result<Vec<Change>, Problem> {
    let mut order = state.order(order).cloned().ok_or_else(|| Problem::absent("order"))?;
    let mut changes = vec![Change::Issued {
        certificate: Certificate::of(
            leaf,
            key,
            Some(order.account.clone()),
            order.identifiers.clone(),
            order.profile.clone(),
        ),
        der: leaf.der.clone(),
    }];
    if let Some(old) = order.replaces {
        changes.push(Change::Replaced { serial: old, by: leaf.serial });
    }
    order.status = OrderStatus::Valid;
    order.certificate = Some(leaf.serial);
    changes.push(Change::Order(order));
    Ok(changes)
}

impl Certificate {
    /// What is to be known of a certificate that was just signed.
    pub fn of(
        leaf: &Leaf,
        key: &CertifiedPublicKey,
        account: Option<Id>,
        identifiers: BTreeSet<Identifier>,
        profile: String,
    ) -> Self {
        Self {
            serial: leaf.serial,
            account,
            identifiers,
            profile,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            fingerprint: jose::encode(jose::sha256(&leaf.der)),
            public_key: jose::encode(&key.raw),
            revoked: None,
            replaced_by: None,
        }
    }
}

pub(super) fn certificate(context: &Context<'_>, serial: Serial, signed: &Signed) -> Result<Outcome, Problem> {
    let owner = account(context, signed)?;
    expect_post_as_get(signed)?;
    let certificate = context.state.certificate(serial);
    match certificate.is_some_and(|one| one.account.as_ref() == Some(&owner.id)) {
        true => Ok(Outcome::show(Reply::Certificate(serial))),
        false => Err(Problem::absent("certificate")),
    }
}

/// The order, when it is the signer's.
fn own<'a>(context: &Context<'a>, id: &Id, signed: &Signed) -> Result<&'a Order, Problem> {
    let owner = account(context, signed)?;
    let order = context.state.order(id).filter(|order| order.account == owner.id);
    order.ok_or_else(|| Problem::absent("order"))
}
