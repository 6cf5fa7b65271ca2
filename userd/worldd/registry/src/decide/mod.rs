//! What becomes of a request: refused with a problem, or changes. Pure: time and secrets are arguments.

mod change;
mod register;
mod rights;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::{
    change::{
        PatchDomain, PatchOrganisation, delete, patch_organisation, renew, replace_secret, sweep, transfer, update,
    },
    register::{Availability, Registration, check, register},
    rights::{Right, right_of},
};
use crate::{
    model::{Contact, Domain, Moment},
    name,
    problem::{Kind, Problem},
    state::{Change, State},
};

/// Longest registration from now, in years; also the spec's domains have it.
pub const MAX_YEARS: u32 = 10;
/// Days of a year of registration.
pub const YEAR_DAYS: u64 = 365;
/// Days that an expired domain waits for its holder (RFC 3915, section 2).
pub const REDEMPTION_DAYS: u64 = 30;
/// Most contacts of one domain.
pub const MAX_CONTACTS: usize = 8;

/// How much one organisation may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Domains of one organisation.
    pub domains_per_organisation: usize,
    /// Domains of the world.
    pub domains: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { domains_per_organisation: 10_000, domains: 100_000 }
    }
}

/// What a request leads to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What is to be kept, all or nothing.
    pub changes: Vec<Change>,
    /// The domain before.
    pub before: Option<Arc<Domain>>,
    /// The domain after.
    pub after: Option<Arc<Domain>>,
}

impl Outcome {
    /// One domain is put in the place of another, or of none.
    fn put(before: Option<&Arc<Domain>>, after: Domain) -> Self {
        let changes = vec![Change::domain(after.clone())];
        Self { changes, before: before.cloned(), after: Some(Arc::new(after)) }
    }
}

/// The domain that a bearer may change.
fn held<'s>(state: &'s State, right: &Right, text: &str) -> Result<&'s Arc<Domain>, Problem> {
    let domain = find(state, text)?;
    match right {
        Right::Superadmin => Ok(domain),
        Right::Organisation(organisation) if domain.organisation == *organisation => Ok(domain),
        Right::Organisation(_) => {
            let detail = format!("cannot change `{}`: another organisation holds it", domain.name);
            Err(Problem::new(Kind::NotHolder, detail))
        }
        Right::Readonly | Right::Nobody => Err(forbidden("change domains")),
    }
}

/// The domain of this name.
///
/// # Errors
/// [`Kind::NotFound`], also for what is no name.
pub fn find<'s>(state: &'s State, text: &str) -> Result<&'s Arc<Domain>, Problem> {
    let known = name::parse(text).ok().and_then(|name| state.domain(name.as_str()));
    known.ok_or_else(|| {
        Problem::new(Kind::NotFound, format!("cannot find the domain `{}`: it is not registered", shown(text)))
    })
}

/// A text of a peer as it may be shown back: short, and without anything that a terminal obeys.
pub fn shown(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}

fn forbidden(what: &str) -> Problem {
    Problem::new(Kind::Forbidden, format!("cannot {what}: the bearer of this token may not"))
}

fn check_contacts(contacts: &[Contact]) -> Result<(), Problem> {
    if contacts.len() > MAX_CONTACTS {
        return Err(Problem::new(Kind::Invalid, format!("at most {MAX_CONTACTS} contacts")).at("/contacts"));
    }
    for (index, contact) in contacts.iter().enumerate() {
        let at = |field: &str| format!("/contacts/{index}/{field}");
        if contact.name.is_empty()
            || contact.name.len() > 255
            || netengine_spec::text::Text::parse(&contact.name).is_err()
        {
            return Err(Problem::new(Kind::Invalid, "a contact's name has 1 to 255 bytes and no control characters")
                .at(at("name")));
        }
        if let Err(error) = netengine_spec::text::Email::parse(&contact.email) {
            return Err(Problem::new(Kind::Invalid, format!("`{}` {error}", shown(&contact.email))).at(at("email")));
        }
    }
    Ok(())
}

/// The end of `years` years after `from`.
fn years_after(from: Moment, years: u32) -> Moment {
    from.plus_days(u64::from(years) * YEAR_DAYS)
}
