//! What the operator of the authority may choose.

use std::{collections::BTreeMap, fmt};

use zeroize::Zeroizing;

use super::{Kind, Problem};
use crate::{ca::Profiles, name::Scope};

/// A MAC key that somebody outside ACME was given (RFC 8555, section 7.3.4). It cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalKey(Zeroizing<Vec<u8>>);

impl ExternalKey {
    /// At least 16 bytes; `None` for fewer.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() >= 16).then(|| Self(Zeroizing::new(bytes)))
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ExternalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExternalKey(..)")
    }
}

/// Who may have an account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExternalAccounts {
    /// Whether an account must be bound to one of the keys.
    pub required: bool,
    /// Whether a key may bind more than one account.
    pub is_reusable: bool,
    /// The keys by name.
    pub keys: BTreeMap<String, ExternalKey>,
}

/// What the operator chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What may be named.
    pub scope: Scope,
    /// How long certificates live.
    pub profiles: Profiles,
    /// Who may have an account.
    pub external: ExternalAccounts,
    /// The name that CAA records allow us by (RFC 8659).
    pub caa_identity: String,
    /// A page about this server, for the directory.
    pub website: Option<String>,
    /// The longest list of identifiers in one order.
    pub identifiers_per_order: usize,
    /// How long an order and its authorizations wait.
    pub order_lifetime_secs: u32,
    /// How many orders of one account may wait at the same time.
    pub pending_orders_per_account: usize,
    /// New orders of one account in an hour.
    pub orders_per_hour: u32,
    /// Failed authorizations of one account for one identifier in an hour.
    pub failures_per_hour: u32,
    /// New accounts from one address in an hour.
    pub accounts_per_hour: u32,
    /// Accounts in all.
    pub accounts: usize,
    /// Certificates that are not yet expired, in all: what is known of each is in memory, some 700 bytes.
    pub certificates: usize,
    /// Orders kept in memory in all; the oldest that are finished go first.
    pub orders: usize,
}

impl Policy {
    /// The usual values.
    pub fn new(scope: Scope, caa_identity: &str) -> Self {
        Self {
            scope,
            profiles: Profiles::default(),
            external: ExternalAccounts::default(),
            caa_identity: caa_identity.to_owned(),
            website: None,
            identifiers_per_order: 100,
            order_lifetime_secs: 24 * 3600,
            pending_orders_per_account: 300,
            orders_per_hour: 36_000,
            failures_per_hour: 30,
            accounts_per_hour: 500,
            accounts: 20_000,
            certificates: 50_000,
            orders: 20_000,
        }
    }

    /// The profile that an order gets.
    ///
    /// # Errors
    /// `invalidProfile`.
    pub(super) fn profile(&self, named: Option<&str>) -> Result<&str, Problem> {
        let name = named.unwrap_or(self.profiles.default_name());
        match self.profiles.iter().find(|(known, _)| *known == name) {
            Some((known, _)) => Ok(known),
            None => Err(Problem::new(Kind::InvalidProfile, "there is no such profile; the directory lists them")),
        }
    }
}
