//! Everything that is known, and how changes are applied to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Account, Authorization, AuthorizationStatus, Certificate, Id, Order, OrderStatus};
use crate::{
    ca::{Revocation, Revoked, Secret, Serial},
    clock::UnixSeconds,
};

/// How long a certificate is known after it has expired.
const KEPT_AFTER_EXPIRY_SECS: i64 = 30 * 24 * 3600;

/// One change. Applying it twice is the same as once; a store that has kept it can make the same state again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The account is now like this.
    Account(Account),
    /// The order is now like this.
    Order(Order),
    /// The authorization is now like this.
    Authorization(Authorization),
    /// A certificate was issued.
    Issued {
        /// What is known of it.
        certificate: Certificate,
        /// It.
        der: Vec<u8>,
    },
    /// The key of a certificate for one of the world's own services, in place of the one before for the same names.
    Own(Own),
    /// A certificate was revoked.
    Revoked {
        /// Which.
        serial: Serial,
        /// When and why.
        revocation: Revocation,
    },
    /// A certificate was replaced.
    Replaced {
        /// Which.
        serial: Serial,
        /// By which.
        by: Serial,
    },
    /// These orders, and their authorizations, are no longer of interest.
    Forgotten {
        /// Which.
        orders: Vec<Id>,
        /// Their authorizations.
        authorizations: Vec<Id>,
    },
}

/// A service's own key, kept so that a restart need not issue anew. Only the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// What its certificate names.
    pub names: String,
    /// A digest of everything else that the certificate came of: issuer, settings, profile.
    pub circumstances: String,
    /// The certificate.
    pub serial: Serial,
    /// The key.
    pub key: Secret,
}

/// Everything that is known. Certificates themselves (their DER) are in the store only.
#[derive(Debug, Default)]
pub struct State {
    accounts: HashMap<Id, Account>,
    by_thumbprint: HashMap<String, Id>,
    external_used: BTreeSet<String>,
    orders: HashMap<Id, Order>,
    orders_of: HashMap<Id, BTreeSet<Id>>,
    by_expiry: BTreeSet<(UnixSeconds, Id)>,
    authorizations: HashMap<Id, Authorization>,
    certificates: BTreeMap<Serial, Certificate>,
    revoked: BTreeMap<Serial, Revocation>,
}

impl State {
    /// From what a store has kept, in any order.
    pub fn from_changes(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut state = Self::default();
        changes.into_iter().for_each(|change| state.apply(&change));
        state
    }

    /// Makes the change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Account(account) => {
                if let Some(old) = self.accounts.insert(account.id.clone(), account.clone()) {
                    self.by_thumbprint.remove(&old.key.thumbprint());
                }
                self.by_thumbprint.insert(account.key.thumbprint(), account.id.clone());
                self.external_used.extend(account.external.clone());
            }
            Change::Order(order) => {
                self.by_expiry.insert((order.expires, order.id.clone()));
                self.orders_of.entry(order.account.clone()).or_default().insert(order.id.clone());
                self.orders.insert(order.id.clone(), order.clone());
            }
            Change::Authorization(authorization) => {
                self.authorizations.insert(authorization.id.clone(), authorization.clone());
            }
            Change::Issued { certificate, .. } => {
                self.certificates.insert(certificate.serial, certificate.clone());
                if let Some(revocation) = certificate.revoked {
                    self.revoked.insert(certificate.serial, revocation);
                }
            }
            Change::Own(_) => {}
            Change::Revoked { serial, revocation } => {
                if let Some(certificate) = self.certificates.get_mut(serial) {
                    certificate.revoked = Some(*revocation);
                    self.revoked.insert(*serial, *revocation);
                }
            }
            Change::Replaced { serial, by } => {
                if let Some(certificate) = self.certificates.get_mut(serial) {
                    certificate.replaced_by = Some(*by);
                }
            }
            Change::Forgotten { orders, authorizations } => {
                for id in orders {
                    let Some(order) = self.orders.remove(id) else { continue };
                    self.by_expiry.remove(&(order.expires, order.id.clone()));
                    if let Some(of) = self.orders_of.get_mut(&order.account) {
                        of.remove(id);
                        if of.is_empty() {
                            self.orders_of.remove(&order.account);
                        }
                    }
                }
                authorizations.iter().for_each(|id| drop(self.authorizations.remove(id)));
            }
        }
    }

    /// The account of that name.
    pub fn account(&self, id: &Id) -> Option<&Account> {
        self.accounts.get(id)
    }

    /// The account with the key of this thumbprint.
    pub fn account_of_key(&self, thumbprint: &str) -> Option<&Account> {
        self.by_thumbprint.get(thumbprint).and_then(|id| self.accounts.get(id))
    }

    /// How many accounts there are.
    pub fn account_count(&self) -> usize {
        self.accounts.len()
    }

    /// Whether an account was bound with this external key already.
    pub fn is_external_used(&self, name: &str) -> bool {
        self.external_used.contains(name)
    }

    /// The order of that name.
    pub fn order(&self, id: &Id) -> Option<&Order> {
        self.orders.get(id)
    }

    /// How many orders are in memory.
    pub fn order_count(&self) -> usize {
        self.orders.len()
    }

    /// The orders of an account by name.
    pub fn orders_of(&self, account: &Id) -> impl Iterator<Item = &Order> {
        self.orders_of.get(account).into_iter().flatten().filter_map(|id| self.orders.get(id))
    }

    /// The authorization of that name.
    pub fn authorization(&self, id: &Id) -> Option<&Authorization> {
        self.authorizations.get(id)
    }

    /// All authorizations, in no order.
    pub fn authorizations(&self) -> impl Iterator<Item = &Authorization> {
        self.authorizations.values()
    }

    /// What is known of the certificate with this number.
    pub fn certificate(&self, serial: Serial) -> Option<&Certificate> {
        self.certificates.get(&serial)
    }

    /// All certificates by number.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates.values()
    }

    /// How many certificates are known.
    pub fn certificate_count(&self) -> usize {
        self.certificates.len()
    }

    /// Forgets certificates that have expired so long ago that no list names them. The store keeps them.
    pub fn forget_expired(&mut self, now: UnixSeconds) {
        let is_of_interest = |one: &Certificate| one.not_after.saturating_add(KEPT_AFTER_EXPIRY_SECS) > now;
        self.certificates.retain(|_, one| is_of_interest(one));
        self.revoked.retain(|serial, _| self.certificates.contains_key(serial));
    }

    /// What a revocation list says: revoked, and not expired since long.
    pub fn revoked(&self, now: UnixSeconds) -> impl Iterator<Item = Revoked> {
        let listed = move |serial: &Serial| {
            // One list after the expiry still names it (RFC 5280, section 3.3).
            self.certificates.get(serial).is_some_and(|one| one.not_after + crate::ca::LIST_LIFETIME_SECS > now)
        };
        self.revoked
            .iter()
            .filter(move |(serial, _)| listed(serial))
            .map(|(&serial, &revocation)| Revoked { serial, revocation })
    }

    /// The orders that may go: expired since an hour, or finished while there are more than `limit`, oldest first.
    pub fn stale(&self, limit: usize, now: UnixSeconds) -> Option<Change> {
        let mut excess = self.orders.len().saturating_sub(limit);
        let mut orders = Vec::new();
        for (expires, id) in &self.by_expiry {
            let is_old = expires.saturating_add(3600) <= now;
            let is_finished = self
                .orders
                .get(id)
                .is_none_or(|order| matches!(order.status_at(now), OrderStatus::Valid | OrderStatus::Invalid));
            if is_old || (excess > 0 && is_finished) {
                excess = excess.saturating_sub(1);
                orders.push(id.clone());
            } else if excess == 0 {
                break;
            }
        }
        if orders.is_empty() {
            return None;
        }
        let authorizations =
            orders.iter().filter_map(|id| self.orders.get(id)).flat_map(|order| order.authorizations.clone()).collect();
        Some(Change::Forgotten { orders, authorizations })
    }

    /// Whether the account may speak for this identifier now: it has a valid authorization.
    pub fn is_authorized(&self, account: &Id, identifier: &crate::name::Identifier, now: UnixSeconds) -> bool {
        let wildcard = matches!(identifier, crate::name::Identifier::Wildcard(_));
        self.orders_of(account).flat_map(|order| &order.authorizations).filter_map(|id| self.authorization(id)).any(
            |one| {
                one.wildcard == wildcard
                    && one.identifier == identifier.base()
                    && one.status_at(now) == AuthorizationStatus::Valid
            },
        )
    }
}
