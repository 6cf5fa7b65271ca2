//! What may become of what is registered.

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    Limits, MAX_YEARS, Outcome, REDEMPTION_DAYS, Right, check_contacts, find, forbidden, held,
    register::{check_records, set_servers},
    shown, years_after,
};
use crate::{
    model::{Capability, Contact, Domain, DomainRecord, Moment, NameServer, Organisation, Origin, Status},
    problem::{Kind, Problem},
    secret::is_secret_of,
    state::{Change, Object, State},
};

/// What is to change of a domain; what is absent stays. Lists are replaced whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchDomain {
    /// Its name servers; an empty list: the top-level domain's server hosts it.
    #[serde(default)]
    pub nameservers: Option<Vec<NameServer>>,
    /// Its records.
    #[serde(default)]
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    pub records: Option<Vec<DomainRecord>>,
    /// Whom to ask.
    #[serde(default)]
    pub contacts: Option<Vec<Contact>>,
    /// Its status: holders set the words that begin with `client`, operators those that begin with `server` too.
    #[serde(default)]
    pub status: Option<BTreeSet<Status>>,
}

/// What is to change of an organisation; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchOrganisation {
    /// What it is.
    #[serde(default)]
    pub description: Option<String>,
    /// What it may do.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub capabilities: Option<BTreeSet<Capability>>,
}

/// Refuses when one of two status words is set; what the registry sets binds the holder only.
fn allowed(domain: &Domain, right: &Right, what: &str, clients: Status, servers: Status) -> Result<(), Problem> {
    let is_bound = *right != Right::Superadmin;
    let hit = [clients, servers].into_iter().find(|status| domain.status.contains(status));
    match hit.filter(|status| status.is_clients() || is_bound) {
        Some(status) => Err(Problem::new(
            Kind::Prohibited,
            format!("cannot {what} `{}`: its status is {}", domain.name, status.word()),
        )),
        None => Ok(()),
    }
}

/// Changes name servers, records, contacts, status.
///
/// # Errors
/// A [`Problem`] for the first thing that is wrong.
pub fn update(state: &State, right: &Right, text: &str, patch: &PatchDomain, now: Moment) -> Result<Outcome, Problem> {
    let before = held(state, right, text)?;
    let mut after = Domain::clone(before);
    if let Some(status) = &patch.status {
        let changed = after.status.symmetric_difference(status);
        for status in changed {
            let may = *right == Right::Superadmin || status.is_clients();
            if *status == Status::RedemptionPeriod || !may {
                let detail = format!("cannot set or take {}: the holder may not", status.word());
                return Err(Problem::new(Kind::Forbidden, detail).at("/status"));
            }
        }
    }
    // The word that forbids changes can be taken away while it is there (RFC 5731, section 3.2.5).
    let unlocks = patch.status.as_ref().is_some_and(|status| !status.contains(&Status::ClientUpdateProhibited));
    if !unlocks || after.status.contains(&Status::ServerUpdateProhibited) {
        allowed(&after, right, "change", Status::ClientUpdateProhibited, Status::ServerUpdateProhibited)?;
    }
    if let Some(status) = &patch.status {
        after.status.clone_from(status);
    }
    if let Some(contacts) = &patch.contacts {
        check_contacts(contacts)?;
        after.contacts.clone_from(contacts);
    }
    if let Some(records) = &patch.records {
        after.records.clone_from(records);
    }
    if let Some(servers) = &patch.nameservers {
        set_servers(&before.name, &mut after.records, servers)?;
    }
    check_records(&before.name, &after.records)?;
    if after == **before {
        return Ok(Outcome { changes: Vec::new(), before: Some(before.clone()), after: Some(before.clone()) });
    }
    after.updated = now;
    Ok(Outcome::put(Some(before), after))
}

/// Makes a registration last longer, and brings an expired domain back.
///
/// # Errors
/// A [`Problem`] for the first thing that is wrong.
pub fn renew(state: &State, right: &Right, text: &str, years: u32, now: Moment) -> Result<Outcome, Problem> {
    let before = held(state, right, text)?;
    allowed(before, right, "renew", Status::ClientRenewProhibited, Status::ServerRenewProhibited)?;
    let expires = years_after(before.expires.max(now), years.min(MAX_YEARS + 1));
    if years == 0 || expires > years_after(now, MAX_YEARS) {
        let detail = format!("a registration ends at most {MAX_YEARS} years from now");
        return Err(Problem::new(Kind::Invalid, detail).at("/years"));
    }
    let mut after = Domain { expires, updated: now, ..Domain::clone(before) };
    after.status.remove(&Status::RedemptionPeriod);
    Ok(Outcome::put(Some(before), after))
}

/// Gives a domain to another organisation: to the bearer's, who knows the domain's secret, or by an operator to any.
///
/// # Errors
/// A [`Problem`] for the first thing that is wrong.
#[allow(clippy::too_many_arguments, reason = "each is one fact of the decision")]
pub fn transfer(
    state: &State,
    right: &Right,
    text: &str,
    secret: Option<&str>,
    to: Option<&str>,
    limits: Limits,
    new_digest: String,
    now: Moment,
) -> Result<Outcome, Problem> {
    let before = find(state, text)?;
    let to = match (right, to) {
        (Right::Organisation(own), None) => own.as_str(),
        (Right::Organisation(own), Some(to)) if own == to => to,
        (Right::Superadmin, Some(to)) => to,
        (Right::Superadmin, None) => {
            return Err(Problem::new(Kind::Invalid, "an operator says to which organisation").at("/organisation"));
        }
        _ => return Err(forbidden("transfer domains to this organisation")),
    };
    let opens = secret.zip(before.transfer_digest.as_deref()).is_some_and(|(text, kept)| is_secret_of(text, kept));
    if *right != Right::Superadmin && !opens {
        let detail = format!("cannot transfer `{}`: the transfer secret is wrong", before.name);
        return Err(Problem::new(Kind::WrongSecret, detail).at("/secret"));
    }
    allowed(before, right, "transfer", Status::ClientTransferProhibited, Status::ServerTransferProhibited)?;
    if before.status.contains(&Status::RedemptionPeriod) {
        return Err(Problem::new(Kind::Prohibited, format!("cannot transfer `{}`: it has expired", before.name)));
    }
    let Some(organisation) = state.organisation(to) else {
        let detail = format!("cannot find the organisation `{}`", shown(to));
        return Err(Problem::new(Kind::Invalid, detail).at("/organisation"));
    };
    if !organisation.may(Capability::RegisterDomains) {
        let detail = format!("cannot transfer to `{to}`: it lacks the capability register_domains");
        return Err(Problem::new(Kind::NotCapable, detail));
    }
    if before.organisation == to {
        return Err(Problem::new(Kind::Invalid, format!("`{to}` holds `{}` already", before.name)));
    }
    if state.domains().filter(|domain| domain.organisation == to).count() >= limits.domains_per_organisation {
        return Err(Problem::new(Kind::Exhausted, "cannot hold more domains: the bound is reached"));
    }
    let after = Domain {
        organisation: to.to_owned(),
        // From now on it is the new holder's, whatever the spec says of the old one's.
        origin: Origin::Registered,
        contacts: Vec::new(),
        updated: now,
        transferred: Some(now),
        transfer_digest: Some(new_digest),
        ..Domain::clone(before)
    };
    Ok(Outcome::put(Some(before), after))
}

/// Gives a domain a new transfer secret; the old one opens nothing any more.
///
/// # Errors
/// A [`Problem`].
pub fn replace_secret(
    state: &State,
    right: &Right,
    text: &str,
    digest: String,
    now: Moment,
) -> Result<Outcome, Problem> {
    let before = held(state, right, text)?;
    let after = Domain { transfer_digest: Some(digest), updated: now, ..Domain::clone(before) };
    Ok(Outcome::put(Some(before), after))
}

/// Ends a registration.
///
/// # Errors
/// A [`Problem`].
pub fn delete(state: &State, right: &Right, text: &str) -> Result<Outcome, Problem> {
    let before = held(state, right, text)?;
    allowed(before, right, "delete", Status::ClientDeleteProhibited, Status::ServerDeleteProhibited)?;
    let changes = vec![Change::Delete(Object::Domain(Box::new(Domain::clone(before))))];
    Ok(Outcome { changes, before: Some(before.clone()), after: None })
}

/// What time does by itself: an expired domain leaves DNS and is deleted thirty days later. The spec's domains do not
/// expire: they are renewed.
pub fn sweep(state: &State, now: Moment) -> Vec<Outcome> {
    let due = state.domains().filter(|domain| domain.expires <= now);
    due.filter_map(|before: &Arc<Domain>| match before.origin {
        Origin::Spec => {
            let after = Domain { expires: years_after(now, MAX_YEARS), ..Domain::clone(before) };
            Some(Outcome::put(Some(before), after))
        }
        Origin::Registered if before.expires.plus_days(REDEMPTION_DAYS) <= now => {
            let changes = vec![Change::Delete(Object::Domain(Box::new(Domain::clone(before))))];
            Some(Outcome { changes, before: Some(before.clone()), after: None })
        }
        Origin::Registered if !before.status.contains(&Status::RedemptionPeriod) => {
            let mut after = Domain { updated: now, ..Domain::clone(before) };
            after.status.insert(Status::RedemptionPeriod);
            Some(Outcome::put(Some(before), after))
        }
        Origin::Registered => None,
    })
    .collect()
}

/// Changes an organisation; only operators with all rights may.
///
/// # Errors
/// A [`Problem`].
pub fn patch_organisation(
    state: &State,
    right: &Right,
    name: &str,
    patch: &PatchOrganisation,
    now: Moment,
) -> Result<(Organisation, Vec<Change>), Problem> {
    if *right != Right::Superadmin {
        return Err(forbidden("change organisations"));
    }
    let absent = || Problem::new(Kind::NotFound, format!("cannot find the organisation `{}`", shown(name)));
    let before = state.organisation(name).ok_or_else(absent)?;
    let mut after = Organisation::clone(before);
    if let Some(description) = &patch.description {
        if let Err(error) = netengine_spec::text::Text::parse(description) {
            return Err(Problem::new(Kind::Invalid, format!("the description {error}")).at("/description"));
        }
        after.description = Some(description.clone());
    }
    if let Some(capabilities) = &patch.capabilities {
        after.capabilities.clone_from(capabilities);
    }
    if after == **before {
        return Ok((after, Vec::new()));
    }
    after.updated = now;
    Ok((after.clone(), vec![Change::Put(Object::Organisation(after))]))
}
