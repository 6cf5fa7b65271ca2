//! Who bears a token.

mod oidc;

use std::{collections::BTreeSet, future::Future};

pub use self::oidc::OidcAuthenticate;

/// The realm that gave a token out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RealmKind {
    /// The platform's: its bearers are operators.
    Platform,
    /// An organisation's.
    Organisation(String),
}

/// Who bears a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The subject of the token.
    pub subject: String,
    /// The account's name; absent for a program's own token.
    pub username: Option<String>,
    /// The realm that gave it out.
    pub realm: RealmKind,
    /// Roles in that realm.
    pub roles: BTreeSet<String>,
}

/// The token does not hold here. Why is nobody's business: the same for every reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot accept the token")]
pub struct Refusal;

/// Tells who bears a token.
pub trait Authenticate: Send + Sync + 'static {
    /// Verifies issuer, signature, lifetime and audience of a bearer token.
    ///
    /// # Errors
    /// [`Refusal`].
    fn verify(&self, token: &str) -> impl Future<Output = Result<Principal, Refusal>> + Send;
}
