//! Whether a name is free, and taking it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Limits, MAX_YEARS, Outcome, Right, check_contacts, forbidden, shown, years_after};
use crate::{
    model::{Capability, Contact, Domain, DomainRecord, Moment, NameServer, Origin},
    name,
    problem::{Kind, Problem},
    record,
    state::State,
};

/// Whether a name can be registered (as the EPP command `check`, RFC 5731, section 3.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Availability {
    /// The name as it was asked for.
    pub name: String,
    /// True when it is free.
    pub available: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A wish to register.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// The name, directly below a delegated top-level domain.
    #[schema(example = "shop.corp")]
    pub name: String,
    /// Who is to hold it; the bearer's organisation when absent. Others only for operators.
    #[serde(default)]
    pub organisation: Option<String>,
    /// For how many years.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 10, default = 1)]
    pub years: u32,
    /// Name servers of its own; none: the top-level domain's server hosts it.
    #[serde(default)]
    pub nameservers: Vec<NameServer>,
    /// Its records.
    #[serde(default)]
    #[schema(value_type = Vec<serde_json::Value>, example = json!([{"name": "www", "type": "A", "value": "10.20.0.9", "ttl": 300}]))]
    pub records: Vec<DomainRecord>,
    /// Whom to ask.
    #[serde(default)]
    pub contacts: Vec<Contact>,
}

fn one() -> u32 {
    1
}

/// Whether a name is free; the world's own names are looked at when it is registered.
///
/// # Errors
/// [`Kind::InvalidName`], [`Kind::Taken`].
pub fn check(state: &State, text: &str) -> Result<String, Problem> {
    let bad = |detail: String| Problem::new(Kind::InvalidName, detail).at("/name");
    let name = name::parse(text).map_err(|error| bad(format!("`{}` {error}", shown(text))))?;
    let name = name.as_str();
    let Some(tld) = state.tld_of(name).filter(|tld| tld.governed_by.is_some()) else {
        return Err(bad(format!("`{name}` lies below no top-level domain that is delegated to this registry")));
    };
    let label = name.strip_suffix(&tld.tld).and_then(|rest| rest.strip_suffix('.')).unwrap_or_default();
    if label.contains('.') {
        return Err(bad(format!("`{name}` is not directly below `{}`", tld.tld)));
    }
    match state.domain(name) {
        Some(_) => Err(Problem::new(Kind::Taken, format!("cannot register `{name}`: it is registered")).at("/name")),
        None => Ok(name.to_owned()),
    }
}

/// Registers a domain. `transfer_digest` is that of its new secret.
///
/// # Errors
/// A [`Problem`] for the first thing that is wrong.
pub fn register(
    state: &State,
    right: &Right,
    wish: &Registration,
    limits: Limits,
    transfer_digest: String,
    now: Moment,
) -> Result<Outcome, Problem> {
    let holder = match (right, &wish.organisation) {
        (Right::Organisation(own), None) => own,
        (Right::Organisation(own), Some(other)) if own == other => own,
        (Right::Superadmin, Some(organisation)) => organisation,
        (Right::Superadmin, None) => {
            return Err(Problem::new(Kind::Invalid, "an operator says for which organisation").at("/organisation"));
        }
        _ => return Err(forbidden("register domains for this organisation")),
    };
    let Some(organisation) = state.organisation(holder) else {
        let detail = format!("cannot find the organisation `{}`", shown(holder));
        return Err(Problem::new(Kind::Invalid, detail).at("/organisation"));
    };
    if !organisation.may(Capability::RegisterDomains) {
        let detail = format!("cannot register for `{holder}`: it lacks the capability register_domains");
        return Err(Problem::new(Kind::NotCapable, detail));
    }
    let name = check(state, &wish.name)?;
    if !(1..=MAX_YEARS).contains(&wish.years) {
        return Err(Problem::new(Kind::Invalid, format!("a registration lasts 1 to {MAX_YEARS} years")).at("/years"));
    }
    let held = state.domains().filter(|domain| domain.organisation == *holder).count();
    if held >= limits.domains_per_organisation || state.domain_count() >= limits.domains {
        return Err(Problem::new(Kind::Exhausted, "cannot register more domains: the bound is reached"));
    }
    check_contacts(&wish.contacts)?;
    let mut records = wish.records.clone();
    if !wish.nameservers.is_empty() {
        set_servers(&name, &mut records, &wish.nameservers)?;
    }
    check_records(&name, &records)?;
    let domain = Domain {
        organisation: holder.clone(),
        origin: Origin::Registered,
        records,
        contacts: wish.contacts.clone(),
        status: BTreeSet::new(),
        created: now,
        updated: now,
        transferred: None,
        expires: years_after(now, wish.years),
        transfer_digest: Some(transfer_digest),
        name,
    };
    Ok(Outcome::put(None, domain))
}

/// Sets name servers; a problem points into `/nameservers`.
pub(super) fn set_servers(name: &str, records: &mut Vec<DomainRecord>, servers: &[NameServer]) -> Result<(), Problem> {
    record::set_name_servers(name, records, servers)
        .map_err(|error| Problem::new(Kind::Invalid, error.message).at(format!("/nameservers{}", error.at)))
}

/// Checks records; a problem points into `/records`.
pub(super) fn check_records(name: &str, records: &[DomainRecord]) -> Result<(), Problem> {
    record::check(name, records)
        .map_err(|error| Problem::new(Kind::Invalid, error.message).at(format!("/records{}", error.at)))
}
