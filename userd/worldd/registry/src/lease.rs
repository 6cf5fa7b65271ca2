//! Networks for ANDs: pure. Every AND keeps its network for ever; a network is never given to a second AND.

use ipnet::{Ipv4Net, Ipv6Net};

use crate::{
    model::{Lease, Moment},
    state::{Change, Object, State},
};

/// The prefix of a lease, where its pool is not smaller.
const PREFIX: u8 = 24;

/// The first autonomous system number for private use with four bytes (RFC 6996, section 5).
const FIRST_ASN: u32 = 4_200_000_000;
/// The last one.
const LAST_ASN: u32 = 4_294_967_294;

/// Why an AND gets no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// No pool is for its profile.
    #[error("cannot lease a network to {and}: no pool serves the profile {profile}")]
    NoPool {
        /// The AND.
        and: String,
        /// Its profile.
        profile: String,
    },
    /// Every network of the pools belongs to some AND, released or not.
    #[error("cannot lease a network to {and}: the pools of the profile {profile} are used up; append a pool")]
    UsedUp {
        /// The AND.
        and: String,
        /// Its profile.
        profile: String,
    },
    /// There is no such lease.
    #[error("cannot release the network of {and}: it has none")]
    None {
        /// The AND.
        and: String,
    },
}

/// The lease of an AND: the one it ever had, else the first free network of the first pool of its profile, in the order
/// of the spec.
///
/// # Errors
/// [`LeaseError::NoPool`], [`LeaseError::UsedUp`].
pub fn choose(state: &State, and: &str, profile: &str, now: Moment) -> Result<Lease, LeaseError> {
    if let Some(lease) = state.lease(and) {
        return Ok(Lease { released: None, ..Lease::clone(lease) });
    }
    let (and, profile) = (and.to_owned(), profile.to_owned());
    let pools: Vec<_> = state.pools_in_order().into_iter().filter(|pool| pool.profiles.contains(&profile)).collect();
    if pools.is_empty() {
        return Err(LeaseError::NoPool { and, profile });
    }
    let taken: std::collections::HashSet<Ipv4Net> = state.leases().map(|lease| lease.network).collect();
    let free = pools.iter().find_map(|pool| {
        let network = networks(pool.cidr).find(|network| !taken.contains(network))?;
        Some((pool.cidr, network))
    });
    let asn = state.leases().map(|lease| lease.asn + 1).max().unwrap_or(FIRST_ASN);
    match free {
        Some((pool, network)) if asn <= LAST_ASN => Ok(Lease {
            organisation: state.and(&and).map(|declared| declared.organisation.clone()),
            network,
            network6: None,
            pool,
            asn,
            created: now,
            released: None,
            and,
            profile,
        }),
        _ => Err(LeaseError::UsedUp { and, profile }),
    }
}

/// The lease as it is after it was given back: it still belongs to the AND.
///
/// # Errors
/// [`LeaseError::None`].
pub fn release(state: &State, and: &str, now: Moment) -> Result<Lease, LeaseError> {
    let lease = state.lease(and).ok_or_else(|| LeaseError::None { and: and.to_owned() })?;
    Ok(Lease { released: lease.released.or(Some(now)), ..Lease::clone(lease) })
}

/// A network that an AND has, as whoever built the world gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The AND.
    pub and: String,
    /// The organisation that it belongs to.
    pub organisation: String,
    /// Its profile.
    pub profile: String,
    /// Its network.
    pub network: Ipv4Net,
    /// Its IPv6 network, where the world has IPv6.
    pub network6: Option<Ipv6Net>,
}

/// The changes after which each of these ANDs has its network, and no other has one: who had one gave it back. A lease of
/// another AND within one of these networks is none.
pub fn hold(state: &State, all: &[Held], now: Moment) -> Vec<Change> {
    let mut changes = Vec::new();
    for lease in state.leases().filter(|lease| all.iter().all(|held| held.and != lease.and)) {
        let is_taken = |held: &Held| held.network.contains(&lease.network) || lease.network.contains(&held.network);
        if all.iter().any(is_taken) {
            changes.push(Change::Delete(Object::Lease(Lease::clone(lease))));
        } else if lease.released.is_none() {
            changes.push(Change::Put(Object::Lease(Lease { released: Some(now), ..Lease::clone(lease) })));
        }
    }
    let mut asn = state.leases().map(|lease| lease.asn + 1).max().unwrap_or(FIRST_ASN);
    for held in all {
        let known = state.lease(&held.and);
        let pool = state.pools_in_order().into_iter().find(|pool| pool.cidr.contains(&held.network));
        let lease = Lease {
            and: held.and.clone(),
            network: held.network,
            network6: held.network6,
            pool: pool.map_or(held.network, |pool| pool.cidr),
            profile: held.profile.clone(),
            organisation: Some(held.organisation.clone()),
            asn: known.map_or(asn, |known| known.asn),
            created: known.map_or(now, |known| known.created),
            released: None,
        };
        asn += u32::from(known.is_none());
        if known.is_none_or(|known| **known != lease) {
            changes.push(Change::Put(Object::Lease(lease)));
        }
    }
    changes
}

/// The networks that a pool can give, in order.
fn networks(pool: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
    let prefix = PREFIX.max(pool.prefix_len());
    // The prefix is at least the pool's own and at most 32, so there is always one.
    pool.subnets(prefix).into_iter().flatten()
}
