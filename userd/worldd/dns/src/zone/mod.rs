//! Zones as immutable values: a snapshot shares everything with its successor but the path to what changed.

mod draft;
mod find;
mod store;

use std::{net::IpAddr, sync::Arc};

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

pub use self::{
    draft::{Change, Draft, Edited, ZoneError},
    find::Found,
    store::{Delta, Journal, JournalError, NoJournal, Store, StoreError},
};
use crate::{
    dnssec::ZoneKeys,
    name::{Key, LookupKey, Name},
    record::{Record, RrSet, Rtype, Soa},
};

/// All records of one owner.
#[derive(Debug, Clone)]
pub struct Node {
    /// The owner, with its case.
    pub name: Name,
    /// Its sets, sorted by type.
    pub sets: Arc<[RrSet]>,
}

impl Node {
    /// The set of a type.
    pub fn get(&self, rtype: Rtype) -> Option<&RrSet> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }
}

/// How the serial number of a zone rises (`dns.root.serial_policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SerialPolicy {
    /// The time of the change in seconds since 1970, or one more than before where that is later.
    #[default]
    Timestamp,
    /// 1 at first, then one more with each change: the same changes make the same zone.
    Counted,
}

impl SerialPolicy {
    /// The serial of a new zone.
    pub fn first(self, now: u32) -> u32 {
        match self {
            Self::Timestamp => now.max(1),
            Self::Counted => 1,
        }
    }

    /// The serial after `last`; greater by serial arithmetic (RFC 1982), never 0.
    pub fn next(self, last: u32, now: u32) -> u32 {
        let one_more = last.wrapping_add(1).max(1);
        let later = |serial: u32| serial.wrapping_sub(last).cast_signed() > 0;
        if self == Self::Timestamp && later(now) && now != 0 { now } else { one_more }
    }
}

/// One zone at one moment.
#[derive(Debug, Clone)]
pub struct Zone {
    apex: Name,
    apex_labels: usize,
    nodes: RedBlackTreeMapSync<Key, Arc<Node>>,
    /// How many delegations it has; a zone without any need not look for them.
    cuts: usize,
    soa: Soa,
    /// The keys that sign it; none for an unsigned zone.
    keys: Option<Arc<ZoneKeys>>,
}

impl Zone {
    /// A zone with its SOA record only; [`Zone::edit`] fills it. `ttl` is the SOA record's.
    pub fn new(apex: Name, soa: Soa, ttl: u32) -> Self {
        let set = RrSet { rtype: Rtype::SOA, ttl, data: Arc::new([soa.to_data()]) };
        let node = Node { name: apex.clone(), sets: Arc::new([set]) };
        let nodes = RedBlackTreeMapSync::new_sync().insert(apex.key(), Arc::new(node));
        Self { apex_labels: apex.label_count(), apex, nodes, cuts: 0, soa, keys: None }
    }

    /// The zone's name.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// What its SOA record says.
    pub fn soa(&self) -> &Soa {
        &self.soa
    }

    /// The keys that sign it; none for an unsigned zone.
    pub fn keys(&self) -> Option<&ZoneKeys> {
        self.keys.as_deref()
    }

    /// How long a denial may be believed, seconds (RFC 2308, section 3; RFC 9077).
    pub fn denial_ttl(&self) -> u32 {
        let soa = self.apex_node().and_then(|node| node.get(Rtype::SOA));
        soa.map_or(0, |soa| soa.ttl).min(self.soa.minimum)
    }

    /// The node of the apex.
    pub fn apex_node(&self) -> Option<&Node> {
        self.nodes.get(self.apex.key().as_bytes()).map(Arc::as_ref)
    }

    /// The node of exactly this name.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(LookupKey::of(name.as_wire()).as_bytes()).map(Arc::as_ref)
    }

    /// All nodes in canonical order.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().map(Arc::as_ref)
    }

    /// How many names own records.
    pub fn size(&self) -> usize {
        self.nodes.size()
    }

    /// All records in canonical order of their owners.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.nodes().flat_map(|node| {
            node.sets.iter().flat_map(|set| {
                set.data.iter().map(|data| Record {
                    owner: node.name.clone(),
                    rtype: set.rtype,
                    ttl: set.ttl,
                    data: data.clone(),
                })
            })
        })
    }

    /// Begins a change.
    pub fn edit(&self) -> Draft {
        Draft::new(self)
    }
}

/// Which zones the server at an address answers for.
#[derive(Debug, Clone, Default)]
pub struct View {
    zones: HashTrieMapSync<Key, ()>,
}

impl View {
    /// A view of these zones.
    pub fn new<'a>(zones: impl IntoIterator<Item = &'a Name>) -> Self {
        Self { zones: zones.into_iter().map(|name| (name.key(), ())).collect() }
    }

    /// The view with one zone more.
    #[must_use]
    pub fn with(&self, zone: &Name) -> Self {
        Self { zones: self.zones.insert(zone.key(), ()) }
    }

    /// The view with one zone less.
    #[must_use]
    pub fn without(&self, zone: &Name) -> Self {
        Self { zones: self.zones.remove(&zone.key()) }
    }

    /// True when it has no zone.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// How many zones it has.
    pub fn len(&self) -> usize {
        self.zones.size()
    }

    /// True when the zone is one of them.
    pub fn holds(&self, zone: &Name) -> bool {
        self.zones.contains_key(&zone.key())
    }
}

/// Everything that answers are made from, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    zones: HashTrieMapSync<Key, Arc<Zone>>,
    views: HashTrieMapSync<IpAddr, View>,
    /// Zones inserted or deleted since the journal was last told.
    touched: Vec<Name>,
}

impl Catalog {
    /// The zone of exactly this name.
    pub fn zone(&self, apex: &Name) -> Option<&Arc<Zone>> {
        self.zones.get(&apex.key())
    }

    /// All zones, in no order.
    pub fn zones(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.zones.values()
    }

    /// What the server at an address answers for.
    pub fn view(&self, address: IpAddr) -> Option<&View> {
        self.views.get(&address)
    }

    /// The addresses that answer, in no order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.views.keys().copied()
    }

    /// The addresses whose servers answer for a zone.
    pub fn servers_of(&self, zone: &Name) -> impl Iterator<Item = IpAddr> {
        let key = zone.key();
        self.views.iter().filter(move |(_, view)| view.zones.contains_key(&key)).map(|(address, _)| *address)
    }

    /// Adds or replaces a zone.
    pub fn insert_zone(&mut self, zone: Zone) {
        self.touched.push(zone.apex.clone());
        self.zones.insert_mut(zone.apex.key(), Arc::new(zone));
    }

    /// Removes a zone; views may still name it and then refuse.
    pub fn delete_zone(&mut self, apex: &Name) -> bool {
        self.touched.push(apex.clone());
        self.zones.remove_mut(&apex.key())
    }

    /// Sets what the server at an address answers for.
    pub fn insert_view(&mut self, address: IpAddr, view: View) {
        self.views.insert_mut(address, view);
    }

    /// Forgets the server at an address.
    pub fn delete_view(&mut self, address: IpAddr) -> bool {
        self.views.remove_mut(&address)
    }

    /// The deepest zone of a view that holds a name. With `parent_side` (for DS) a zone whose apex is the name itself is
    /// passed over when the view has one above it (RFC 4035, section 3.1.4.1).
    pub fn find_zone(&self, view: &View, name: &LookupKey, parent_side: bool) -> Option<&Arc<Zone>> {
        let zone = |labels: usize| {
            let key = name.ancestor(labels);
            view.zones.get(key).and_then(|()| self.zones.get(key))
        };
        let top = name.labels();
        let mut passed = None;
        for labels in (0..=top).rev() {
            if let Some(found) = zone(labels) {
                if parent_side && labels == top && top > 0 {
                    passed = Some(found);
                } else {
                    return Some(found);
                }
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_always_rise() {
        for policy in [SerialPolicy::Timestamp, SerialPolicy::Counted] {
            for (last, now) in [(1, 100), (100, 100), (100, 50), (u32::MAX, 5), (0, 0), (u32::MAX - 1, u32::MAX - 1)] {
                let next = policy.next(last, now);
                assert!(next.wrapping_sub(last).cast_signed() > 0 && next != 0, "{policy:?} {last} {now}: {next}");
            }
        }
        assert_eq!(SerialPolicy::Timestamp.next(1, 100), 100);
        assert_eq!(SerialPolicy::Counted.next(1, 100), 2);
    }
}
