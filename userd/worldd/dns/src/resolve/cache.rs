//! What a resolver knows, for as long as it may: bounded, and forgetting in two generations what nobody asks for.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use super::{
    security::Security,
    trust::{BOGUS_TTL, Delegation, Trust},
};
use crate::{
    name::Name,
    record::{RrSet, Rtype},
};

/// Longest time anything is believed, seconds (RFC 8767, section 4).
const TTL_MAX: u32 = 86_400;
/// Longest time a denial is believed, seconds (RFC 2308, section 5).
const DENIAL_MAX: u32 = 3600;

/// A set with what proves it.
#[derive(Debug, Clone)]
pub struct Link {
    /// Whose it is.
    pub owner: Name,
    /// The set.
    pub set: RrSet,
    /// Its RRSIG set, from a signed zone.
    pub signature: Option<RrSet>,
    /// NSEC sets and their signatures: that nothing is nearer than the wildcard that answered.
    pub proofs: Vec<(Name, RrSet)>,
    /// How far it is proven.
    pub security: Security,
}

/// The SOA, NSEC and RRSIG sets of a denial.
pub type Denial = Vec<(Name, RrSet)>;

/// What is known of a name and type.
#[derive(Debug, Clone)]
pub(super) enum Known {
    /// The records.
    Set(Link),
    /// There are none of this type; with the records that say so.
    NoData(Denial, Security),
}

#[derive(Debug, Clone)]
struct Timed<T> {
    until: Duration,
    value: T,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    sets: Vec<(Rtype, Timed<Known>)>,
    /// The name does not exist.
    absent: Option<Timed<(Denial, Security)>>,
    /// The servers of the zone of this name, with the addresses that came as glue.
    servers: Option<Timed<Vec<Server>>>,
    /// Its keys as a zone.
    trust: Option<Timed<(u64, Trust)>>,
    /// What the zone above says of it.
    delegation: Option<Timed<(u64, Delegation)>>,
}

/// A name server of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) name: Name,
    pub(super) addresses: Vec<IpAddr>,
}

/// The cache. Times are since the clock's fixed instant.
#[derive(Debug)]
pub struct Cache {
    young: HashMap<Name, Entry>,
    old: HashMap<Name, Entry>,
    generation: usize,
    /// Chains of trust followed before this number rose are followed again.
    chains: u64,
    /// What was asked for before this number rose is not remembered.
    forgets: u64,
}

impl Cache {
    /// Remembers at most `names`.
    pub fn new(names: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation: (names / 2).max(1), chains: 0, forgets: 0 }
    }

    /// Names remembered now.
    pub fn names(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.forgets += 1;
        self.forget_trust();
    }

    /// Rises when something is forgotten: an answer that was on its way meanwhile may be older than that.
    pub(super) fn forgets(&self) -> u64 {
        self.forgets
    }

    /// Rises when chains of trust followed so far no longer count.
    pub(super) fn chains(&self) -> u64 {
        self.chains
    }

    /// Has all chains of trust followed anew.
    pub(super) fn forget_trust(&mut self) {
        self.chains += 1;
    }

    /// Forgets a name and, as they may exist now or no longer, the names between it and its zone.
    pub(super) fn forget(&mut self, name: &Name, zone: &Name) {
        self.forgets += 1;
        let mut next = Some(name.clone());
        while let Some(name) = next.filter(|name| name.is_under(zone)) {
            self.young.remove(&name);
            self.old.remove(&name);
            next = name.parent();
        }
    }

    /// Forgets a zone and everything below it, with all chains of trust.
    pub(super) fn forget_zone(&mut self, zone: &Name) {
        self.forgets += 1;
        self.forget_trust();
        self.young.retain(|name, _| !name.is_under(zone));
        self.old.retain(|name, _| !name.is_under(zone));
    }

    fn get(&mut self, name: &Name) -> Option<&Entry> {
        if !self.young.contains_key(name) {
            let entry = self.old.remove(name)?;
            self.make_room();
            self.young.insert(name.clone(), entry);
        }
        self.young.get(name)
    }

    fn entry(&mut self, name: &Name) -> &mut Entry {
        if self.get(name).is_none() {
            self.make_room();
        }
        self.young.entry(name.clone()).or_default()
    }

    fn make_room(&mut self) {
        if self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// What is known of a name and type; sets and denials carry their remaining time to live.
    pub(super) fn find(&mut self, name: &Name, rtype: Rtype, now: Duration) -> Option<Known> {
        let entry = self.get(name)?;
        let (_, timed) = entry.sets.iter().find(|(known, timed)| *known == rtype && timed.until > now)?;
        let left = remaining(timed.until, now);
        Some(match &timed.value {
            Known::Set(link) => Known::Set(Link {
                owner: link.owner.clone(),
                set: RrSet { ttl: left, ..link.set.clone() },
                signature: link.signature.as_ref().map(|set| RrSet { ttl: left, ..set.clone() }),
                proofs: aged(&link.proofs, left),
                security: link.security,
            }),
            Known::NoData(denial, security) => Known::NoData(aged(denial, left), *security),
        })
    }

    /// The denial of a name, if it is known not to exist, itself or an ancestor (RFC 8020); what is wrong with the denial of
    /// an ancestor is not held against the name.
    pub(super) fn find_absent(&mut self, name: &Name, now: Duration) -> Option<(Denial, Security)> {
        let own = name;
        let mut next = Some(name.clone());
        while let Some(name) = next {
            if let Some(timed) =
                self.get(&name).and_then(|entry| entry.absent.as_ref()).filter(|timed| timed.until > now)
                && (name == *own || timed.value.1.error().is_none())
            {
                let (denial, security) = &timed.value;
                return Some((aged(denial, remaining(timed.until, now)), *security));
            }
            next = name.parent();
        }
        None
    }

    /// The deepest known zone that holds a name, and its servers. For DS the zone of the name itself does not count.
    pub(super) fn find_servers(&mut self, name: &Name, rtype: Rtype, now: Duration) -> Option<(Name, Vec<Server>)> {
        let mut next = if rtype == Rtype::DS { name.parent() } else { Some(name.clone()) };
        while let Some(name) = next {
            if let Some(timed) =
                self.get(&name).and_then(|entry| entry.servers.as_ref()).filter(|timed| timed.until > now)
            {
                return Some((name, timed.value.clone()));
            }
            next = name.parent();
        }
        None
    }

    pub(super) fn insert_set(&mut self, link: &Link, now: Duration) {
        let ttl = believed(link.set.ttl.min(TTL_MAX), link.security);
        self.put(&link.owner, link.set.rtype, Known::Set(link.clone()), ttl, now);
    }

    pub(super) fn insert_no_data(&mut self, name: &Name, rtype: Rtype, denial: (Denial, Security), now: Duration) {
        let ttl = believed(denial_ttl(&denial.0), denial.1);
        self.put(name, rtype, Known::NoData(denial.0, denial.1), ttl, now);
    }

    pub(super) fn insert_absent(&mut self, name: &Name, denial: (Denial, Security), now: Duration) {
        let ttl = believed(denial_ttl(&denial.0), denial.1);
        if ttl > 0 {
            self.entry(name).absent = Some(Timed { until: later(now, ttl), value: denial });
        }
    }

    pub(super) fn find_trust(&mut self, zone: &Name, now: Duration) -> Option<Trust> {
        let chains = self.chains;
        let timed = self.get(zone)?.trust.as_ref()?;
        (timed.until > now && timed.value.0 == chains).then(|| timed.value.1.clone())
    }

    /// `chains` is what [`Cache::chains`] was when the chain was begun to be followed.
    pub(super) fn insert_trust(&mut self, zone: &Name, trust: Trust, ttl: u32, now: Duration, chains: u64) {
        let until = later(now, ttl.clamp(BOGUS_TTL, TTL_MAX));
        self.entry(zone).trust = Some(Timed { until, value: (chains, trust) });
    }

    /// What the zone above says of a name, and how long yet, seconds.
    pub(super) fn find_delegation(&mut self, name: &Name, now: Duration) -> Option<(Delegation, u32)> {
        let chains = self.chains;
        let timed = self.get(name)?.delegation.as_ref()?;
        let known = timed.until > now && timed.value.0 == chains;
        known.then(|| (timed.value.1.clone(), remaining(timed.until, now)))
    }

    /// As [`Cache::insert_trust`].
    pub(super) fn insert_delegation(
        &mut self,
        name: &Name,
        delegation: Delegation,
        ttl: u32,
        now: Duration,
        chains: u64,
    ) {
        let until = later(now, ttl.clamp(BOGUS_TTL, TTL_MAX));
        self.entry(name).delegation = Some(Timed { until, value: (chains, delegation) });
    }

    pub(super) fn insert_servers(&mut self, zone: &Name, servers: Vec<Server>, ttl: u32, now: Duration) {
        // A delegation is believed for some seconds at least, or a TTL of 0 would make each step forget the one before.
        let until = later(now, ttl.clamp(5, TTL_MAX));
        self.entry(zone).servers = Some(Timed { until, value: servers });
    }

    fn put(&mut self, name: &Name, rtype: Rtype, value: Known, ttl: u32, now: Duration) {
        if ttl == 0 {
            return;
        }
        let entry = self.entry(name);
        entry.absent = None;
        entry.sets.retain(|(known, timed)| *known != rtype && timed.until > now);
        entry.sets.push((rtype, Timed { until: later(now, ttl), value }));
    }
}

/// What is bogus may be right soon: nobody waits long for it (RFC 9520, section 3.2).
fn believed(ttl: u32, security: Security) -> u32 {
    if security.error().is_some() { ttl.min(BOGUS_TTL) } else { ttl }
}

fn later(now: Duration, ttl: u32) -> Duration {
    now.saturating_add(Duration::from_secs(u64::from(ttl)))
}

fn remaining(until: Duration, now: Duration) -> u32 {
    // What is left of the last second still counts: an answer of TTL 0 would not be cached by the client at all.
    u32::try_from(until.saturating_sub(now).as_millis().div_ceil(1000)).unwrap_or(TTL_MAX)
}

fn aged(sets: &[(Name, RrSet)], left: u32) -> Vec<(Name, RrSet)> {
    sets.iter().map(|(name, set)| (name.clone(), RrSet { ttl: left, ..set.clone() })).collect()
}

/// How long a denial is believed: the SOA record's TTL, at most its minimum field.
pub(super) fn denial_ttl(denial: &Denial) -> u32 {
    let soa = denial.iter().find(|(_, set)| set.rtype == Rtype::SOA);
    let minimum = |set: &RrSet| set.data.first().and_then(crate::record::Soa::read).map_or(0, |soa| soa.minimum);
    soa.map_or(0, |(_, set)| set.ttl.min(minimum(set)).min(DENIAL_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Rdata;

    fn link(owner: &Name, ttl: u32) -> Link {
        let set = RrSet { rtype: Rtype::A, ttl, data: [Rdata::address([10, 0, 0, 1].into())].into() };
        Link { owner: owner.clone(), set, signature: None, proofs: Vec::new(), security: Security::Secure }
    }

    #[test]
    fn a_set_is_known_for_its_time_to_live_and_not_longer() {
        let mut cache = Cache::new(10);
        let name = Name::parse("a.b").expect("a name");
        cache.insert_set(&link(&name, 10), Duration::from_secs(100));
        let at = |cache: &mut Cache, seconds| cache.find(&name, Rtype::A, Duration::from_secs(seconds));
        assert!(matches!(at(&mut cache, 104), Some(Known::Set(link)) if link.set.ttl == 6));
        assert!(at(&mut cache, 110).is_none());
        cache.insert_set(&link(&name, 0), Duration::from_secs(200));
        assert!(at(&mut cache, 200).is_none(), "a TTL of 0 is for one answer only");
    }

    #[test]
    fn a_zone_is_forgotten_with_all_below_and_nothing_else() {
        let mut cache = Cache::new(100);
        let names = ["a.b", "x.a.b", "xa.b", "b"].map(|text| Name::parse(text).expect("a name"));
        names.iter().for_each(|name| cache.insert_set(&link(name, 1000), Duration::ZERO));
        let before = cache.forgets();
        cache.forget_zone(&names[0]);
        let known = names.clone().map(|name| cache.find(&name, Rtype::A, Duration::ZERO).is_some());
        assert_eq!(known, [false, false, true, true]);
        assert!(cache.forgets() > before);
        cache.forget_zone(&Name::root());
        assert_eq!(cache.names(), 0);
    }

    #[test]
    fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
        let mut cache = Cache::new(100);
        let kept = Name::parse("kept").expect("a name");
        cache.insert_set(&link(&kept, 1000), Duration::ZERO);
        for n in 0..10_000 {
            let name = Name::parse(&format!("n{n}")).expect("a name");
            cache.insert_set(&link(&name, 1000), Duration::ZERO);
            assert!(cache.names() <= 100);
            assert!(cache.find(&kept, Rtype::A, Duration::ZERO).is_some(), "forgotten at {n}");
        }
    }
}
