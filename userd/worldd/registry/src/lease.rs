//! Networks for ANDs: pure. Every AND keeps its network for ever; a network is never given to a second AND.

use ipnet::Ipv4Net;

use crate::{
    model::{Lease, Moment},
    state::State,
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

/// The networks that a pool can give, in order.
fn networks(pool: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
    let prefix = PREFIX.max(pool.prefix_len());
    // The prefix is at least the pool's own and at most 32, so there is always one.
    pool.subnets(prefix).into_iter().flatten()
}
