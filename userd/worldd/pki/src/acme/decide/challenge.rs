//! Authorizations and challenges (RFC 8555, section 7.5).

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    super::{
        Authorization, AuthorizationStatus, ChallengeKind, ChallengeStatus, Change, Id, OrderStatus, Problem, Signed,
        State, Urls,
    },
    Context, Effect, Outcome, Probe, Reply, Verdict, account, payload,
};

#[derive(Deserialize)]
struct Update {
    status: String,
}

pub(super) fn show_or_deactivate(context: &Context<'_>, id: &Id, signed: &Signed) -> Result<Outcome, Problem> {
    let have = own(context, id, signed)?;
    let reply = Reply::Authorization(id.clone());
    if signed.payload.is_empty() {
        return Ok(Outcome::show(reply));
    }
    let wanted: Update = payload(signed)?;
    if wanted.status != "deactivated" {
        return Err(Problem::malformed("an authorization can only become `deactivated`"));
    }
    let is_alive = |status| matches!(status, AuthorizationStatus::Pending | AuthorizationStatus::Valid);
    if !is_alive(have.status_at(context.now.wall)) {
        return Err(Problem::malformed("the authorization is over"));
    }
    let mut new = have.clone();
    new.status = AuthorizationStatus::Deactivated;
    let mut changes = vec![Change::Authorization(new)];
    changes.extend(end_order(context.state, &have.order, Problem::unauthorized("an authorization was deactivated")));
    Ok(Outcome { changes, effects: Vec::new(), reply })
}

pub(super) fn respond(
    context: &mut Context<'_>,
    id: &Id,
    kind: ChallengeKind,
    signed: &Signed,
) -> Result<Outcome, Problem> {
    let have = own(context, id, signed)?;
    let challenge = have.challenge(kind).ok_or_else(|| Problem::absent("challenge"))?;
    let shown = Outcome::show(Reply::Challenge(id.clone(), kind));
    if signed.payload.is_empty() {
        return Ok(shown);
    }
    let _: Map<String, Value> = payload(signed)?;
    let is_waiting = have.status_at(context.now.wall) == AuthorizationStatus::Pending
        && challenge.status == ChallengeStatus::Pending;
    // Asking twice is not wrong; it changes nothing.
    if !is_waiting {
        return Ok(shown);
    }
    let limit = context.policy.failures_per_hour;
    context.limits.check("failed authorizations", &whose(have), limit, context.now)?;
    let mut new = have.clone();
    for challenge in new.challenges.iter_mut().filter(|challenge| challenge.kind == kind) {
        challenge.status = ChallengeStatus::Processing;
    }
    let probe = probe(context.state, context.urls, &new, kind).ok_or_else(|| Problem::absent("account"))?;
    Ok(Outcome { changes: vec![Change::Authorization(new)], effects: vec![Effect::Validate(probe)], ..shown })
}

fn whose(authorization: &Authorization) -> String {
    format!("{} {}", authorization.account, authorization.identifier)
}

fn probe(state: &State, urls: &Urls, authorization: &Authorization, kind: ChallengeKind) -> Option<Probe> {
    let account = state.account(&authorization.account)?;
    Some(Probe {
        authorization: authorization.id.clone(),
        kind,
        identifier: authorization.identifier.clone(),
        wildcard: authorization.wildcard,
        token: authorization.token.clone(),
        key_authorization: format!("{}.{}", authorization.token, account.key.thumbprint()),
        account_url: urls.account(&account.id),
    })
}

/// What was being looked at when the process ended: to be looked at again.
pub fn resume(state: &State, urls: &Urls) -> Vec<Probe> {
    let waiting = state.authorizations().filter(|one| one.status == AuthorizationStatus::Pending);
    waiting
        .flat_map(|one| {
            let processing = one.challenges.iter().filter(|challenge| challenge.status == ChallengeStatus::Processing);
            processing.filter_map(|challenge| probe(state, urls, one, challenge.kind))
        })
        .collect()
}

/// What follows from having looked at a challenge. Nothing, when the authorization is over or gone by now.
pub fn validated(context: &mut Context<'_>, probe: &Probe, verdict: Verdict) -> Vec<Change> {
    let state = context.state;
    let Some(have) = state.authorization(&probe.authorization) else { return Vec::new() };
    if have.status_at(context.now.wall) != AuthorizationStatus::Pending {
        return Vec::new();
    }
    let mut new = have.clone();
    // Once it is decided, only the challenge that decided it is of interest (RFC 8555, section 7.1.4).
    new.challenges.retain(|challenge| challenge.kind == probe.kind);
    new.challenges.shrink_to_fit();
    let Some(challenge) = new.challenges.first_mut() else { return Vec::new() };
    match verdict {
        Ok(()) => {
            challenge.status = ChallengeStatus::Valid;
            challenge.validated = Some(context.now.wall);
            new.status = AuthorizationStatus::Valid;
            let order = state.order(&new.order).filter(|order| {
                order.status_at(context.now.wall) == OrderStatus::Pending
                    && order.authorizations.iter().filter(|id| **id != new.id).all(|id| {
                        state
                            .authorization(id)
                            .is_some_and(|other| other.status_at(context.now.wall) == AuthorizationStatus::Valid)
                    })
            });
            let ready = order.map(|order| {
                let mut order = order.clone();
                order.status = OrderStatus::Ready;
                Change::Order(order)
            });
            std::iter::once(Change::Authorization(new)).chain(ready).collect()
        }
        Err(problem) => {
            let limit = context.policy.failures_per_hour;
            // Beyond the limit the next one is refused; this one has failed all the same.
            let _ = context.limits.count("failed authorizations", &whose(have), limit, context.now);
            challenge.status = ChallengeStatus::Invalid;
            challenge.error = Some(problem.clone());
            new.status = AuthorizationStatus::Invalid;
            let mut why = problem.clone();
            if why.identifier.is_none() {
                why = why.about(have.identifier.clone());
            }
            let order = new.order.clone();
            let changes = std::iter::once(Change::Authorization(new));
            changes.chain(end_order(state, &order, why)).collect()
        }
    }
}

/// The order of an authorization that is over can never be finalized (RFC 8555, section 7.1.6).
fn end_order(state: &State, order: &Id, why: Problem) -> Option<Change> {
    let order = state.order(order)?;
    matches!(order.status, OrderStatus::Pending | OrderStatus::Ready).then(|| {
        let mut order = order.clone();
        order.status = OrderStatus::Invalid;
        order.error = Some(why);
        Change::Order(order)
    })
}

/// The authorization, when it is the signer's.
fn own<'a>(context: &Context<'a>, id: &Id, signed: &Signed) -> Result<&'a Authorization, Problem> {
    let owner = account(context, signed)?;
    let have = context.state.authorization(id).filter(|one| one.account == owner.id);
    have.ok_or_else(|| Problem::absent("authorization"))
}
