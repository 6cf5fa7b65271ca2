//! Which network each AND of a world has: pure. What was chosen is kept by [`crate::store`].

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ipnet::Ipv4Net;
use netengine_proto::names::AndName;
use netengine_spec::Spec;

/// The prefix of a lease, where its pool is not smaller.
const PREFIX: u8 = 24;
/// The longest prefix that holds a router and a host.
const LONGEST: u8 = 30;
/// Leases of one world, those of ANDs that its spec has no more included; numbers are below it.
pub const NUMBERS: u16 = 4096;

/// The network of an AND.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    /// Its links and addresses are numbered by it; below [`NUMBERS`], unique within the world.
    pub number: u16,
    /// A /24, or the whole pool where that is smaller.
    pub network: Ipv4Net,
}

/// The networks of a world's ANDs.
pub type Leases = BTreeMap<AndName, Lease>;

/// A lease that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose it is.
    pub and: AndName,
    /// What it is.
    pub lease: Lease,
    /// Since when the AND is in no spec of the world, milliseconds since 1970.
    pub released_at: Option<i64>,
}

/// What follows for a spec from the leases that are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// One for each AND of the spec.
    pub leases: Leases,
    /// The ANDs among them that had none.
    pub new: BTreeSet<AndName>,
    /// Leases to forget: no pool holds their network, or it was needed for another AND.
    pub forgotten: BTreeSet<AndName>,
}

/// Why an AND gets no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// No pool is for its profile.
    #[error("cannot lease a network to ands.instances[{index}] ({and}): no pool serves the profile {profile}")]
    NoPool {
        /// Its place in the spec.
        index: usize,
        /// The AND.
        and: AndName,
        /// Its profile.
        profile: String,
    },
    /// Every network of the pools belongs to another AND.
    #[error(
        "cannot lease a network to ands.instances[{index}] ({and}): the pools of the profile {profile} are used up"
    )]
    UsedUp {
        /// Its place in the spec.
        index: usize,
        /// The AND.
        and: AndName,
        /// Its profile.
        profile: String,
    },
    /// More ANDs than a world can number.
    #[error("cannot lease a network to ands.instances[{index}] ({and}): a world has at most {NUMBERS} leases")]
    TooMany {
        /// Its place in the spec.
        index: usize,
        /// The AND.
        and: AndName,
    },
}

impl LeaseError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::NoPool { profile, .. } | Self::UsedUp { profile, .. } => {
                format!("append a pool with `label: {profile}-pool` to `domain_registry.address_space`")
            }
            Self::TooMany { .. } => "remove ANDs from the spec".to_owned(),
        }
    }
}

/// The networks of the ANDs of `spec`. An AND that had one keeps it, whatever became of its profile, as long as a pool holds it.
/// Another gets the first network of the first pool of its profile that is nobody's; when there is none, that of the AND which is
/// longest in no spec. An AND of `in_force`, the spec that the world is up with, keeps its network in any case: the world
/// may have to be brought back to it.
///
/// # Errors
/// [`LeaseError`] with the first AND of the spec that gets none.
pub fn choose(spec: &Spec, in_force: Option<&Spec>, held: &[Held]) -> Result<Choice, LeaseError> {
    let instances = &spec.ands.instances;
    let pools: Vec<Ipv4Net> = spec.domain_registry.address_space.iter().map(|pool| pool.cidr).collect();
    let is_held = |held: &&Held| pools.iter().any(|pool| gives(*pool, held.lease.network));
    let (valid, stale): (Vec<&Held>, Vec<&Held>) = held.iter().partition(is_held);
    let mut choice =
        Choice { forgotten: stale.into_iter().map(|held| held.and.clone()).collect(), ..Choice::default() };
    let known: BTreeMap<&AndName, Lease> = valid.iter().map(|held| (&held.and, held.lease)).collect();
    let in_force = in_force.map(|spec| spec.ands.instances.as_slice()).unwrap_or_default();
    let needed: HashSet<&AndName> = instances.iter().chain(in_force).map(|and| &and.name).collect();
    let mut free = Free::new(&pools, &valid, &needed);
    for (index, and) in instances.iter().enumerate() {
        let (name, profile) = (and.name.clone(), and.profile.to_string());
        if let Some(lease) = known.get(&name) {
            choice.leases.insert(name, *lease);
            continue;
        }
        let serves = |at: &usize| spec.domain_registry.address_space[*at].serves(&profile);
        let serving: Vec<usize> = (0..pools.len()).filter(serves).collect();
        if serving.iter().all(|at| pools[*at].prefix_len() > LONGEST) {
            return Err(LeaseError::NoPool { index, and: name, profile });
        }
        let Some(network) = free.network(&serving) else {
            return Err(LeaseError::UsedUp { index, and: name, profile });
        };
        let Some(number) = free.number() else { return Err(LeaseError::TooMany { index, and: name }) };
        choice.new.insert(name.clone());
        choice.leases.insert(name, Lease { number, network });
    }
    choice.forgotten.extend(free.forgotten);
    Ok(choice)
}

/// Whether a pool gives exactly this network.
fn gives(pool: Ipv4Net, network: Ipv4Net) -> bool {
    pool.contains(&network) && network.prefix_len() == pool.prefix_len().max(PREFIX)
}

/// What can still be given.
struct Free<'a> {
    pools: &'a [Ipv4Net],
    /// The rest of each pool: nothing that was passed over becomes free.
    rest: Vec<std::iter::Flatten<std::result::IntoIter<ipnet::Ipv4Subnets>>>,
    taken: HashSet<Ipv4Net>,
    numbers: BTreeSet<u16>,
    /// What can be taken away, the longest released first.
    spare: Vec<&'a Held>,
    forgotten: BTreeSet<AndName>,
}

impl<'a> Free<'a> {
    fn new(pools: &'a [Ipv4Net], held: &[&'a Held], needed: &HashSet<&AndName>) -> Self {
        let mut spare: Vec<&Held> = held.iter().copied().filter(|held| !needed.contains(&held.and)).collect();
        // What was released just now has no time yet and comes last.
        spare.sort_by_key(|held| (held.released_at.unwrap_or(i64::MAX), held.lease.number));
        let networks = |pool: &Ipv4Net| pool.subnets(pool.prefix_len().max(PREFIX)).into_iter().flatten();
        Self {
            pools,
            rest: pools.iter().map(networks).collect(),
            taken: held.iter().map(|held| held.lease.network).collect(),
            numbers: held.iter().map(|held| held.lease.number).collect(),
            spare,
            forgotten: BTreeSet::new(),
        }
    }

    /// A network of one of these pools.
    fn network(&mut self, serving: &[usize]) -> Option<Ipv4Net> {
        let Self { rest, taken, .. } = self;
        let found = serving.iter().find_map(|at| rest[*at].find(|network| !taken.contains(network)));
        let fits = |held: &&Held| serving.iter().any(|at| gives(self.pools[*at], held.lease.network));
        let found = match found {
            Some(found) => found,
            None => self.forget(self.spare.iter().position(fits)?).network,
        };
        self.taken.insert(found);
        Some(found)
    }

    /// The lowest number.
    fn number(&mut self) -> Option<u16> {
        if self.numbers.len() >= usize::from(NUMBERS) && !self.spare.is_empty() {
            self.forget(0);
        }
        let number = (0..NUMBERS).find(|number| !self.numbers.contains(number))?;
        self.numbers.insert(number);
        Some(number)
    }

    fn forget(&mut self, at: usize) -> Lease {
        let gone = self.spare.remove(at);
        self.numbers.remove(&gone.lease.number);
        self.forgotten.insert(gone.and.clone());
        gone.lease
    }
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
