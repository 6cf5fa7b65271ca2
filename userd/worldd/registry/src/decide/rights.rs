//! What a bearer may do.

use netengine_oidc::realm::ADMIN_ROLE;
use netengine_spec::model::RegistryRole;

use crate::{
    authenticate::{Principal, RealmKind},
    state::State,
};

/// What a bearer may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Right {
    /// Everything.
    Superadmin,
    /// See everything, change nothing.
    Readonly,
    /// Speak for this organisation.
    Organisation(String),
    /// Nothing.
    Nobody,
}

impl Right {
    /// True when it may see everything.
    pub fn sees_all(&self) -> bool {
        matches!(self, Self::Superadmin | Self::Readonly)
    }
}

/// What a bearer may do now. Operators are who the registry says, whatever their tokens say: a change of the spec counts
/// at once. Beside them the platform realm's administrators and its own program (role `admin`) may do everything.
pub fn right_of(state: &State, principal: &Principal) -> Right {
    match &principal.realm {
        RealmKind::Organisation(name) => match state.organisation(name) {
            Some(_) => Right::Organisation(name.clone()),
            None => Right::Nobody,
        },
        RealmKind::Platform => {
            let operator = principal.username.as_deref().and_then(|name| state.operator(name));
            match operator.map(|operator| operator.role) {
                Some(RegistryRole::Superadmin) => Right::Superadmin,
                _ if principal.roles.contains(ADMIN_ROLE) => Right::Superadmin,
                Some(RegistryRole::Readonly) => Right::Readonly,
                None => Right::Nobody,
            }
        }
    }
}
