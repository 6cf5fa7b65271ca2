//! A change to a zone: made apart from what is served, all or nothing.

use std::sync::Arc;

use super::{Node, SerialPolicy, Zone};
use crate::{
    dnssec::ZoneKeys,
    name::{Name, NameError},
    record::{Rdata, Record, RrSet, Rtype, Soa},
};

/// Longest time to live (RFC 2181, section 8).
const TTL_MAX: u32 = i32::MAX as u32;

/// Why a zone cannot be what a change would make it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// The owner lies outside the zone.
    #[error("cannot change {owner} in the zone {zone}: it lies outside")]
    Outside {
        /// The owner.
        owner: Name,
        /// The zone.
        zone: Name,
    },
    /// An alias and other data would share a name (RFC 1034, section 3.6.2).
    #[error("cannot add {rtype} to {owner}: an alias has no other data")]
    Alias {
        /// The owner.
        owner: Name,
        /// What was to be added.
        rtype: Rtype,
    },
    /// The type exists in messages only, or the zone makes it itself.
    #[error("cannot add {rtype} to {owner}: records of this type are not kept in zones")]
    Type {
        /// The owner.
        owner: Name,
        /// The type.
        rtype: Rtype,
    },
    /// The apex would lose its SOA or its last NS record (RFC 2136, section 7.13).
    #[error("cannot take the last {rtype} from the apex of {zone}")]
    Apex {
        /// The zone.
        zone: Name,
        /// The type.
        rtype: Rtype,
    },
    /// The SOA data is broken or its serial does not rise.
    #[error("cannot set the SOA record of {0}: its data is broken or its serial does not rise")]
    Soa(Name),
    /// A name would be too long.
    #[error("cannot make a name below {0}")]
    Name(Name, #[source] NameError),
}

/// One step of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Adds a record; its TTL becomes that of the whole set (RFC 2181, section 5.2).
    Add(Record),
    /// Removes one record, whatever its TTL.
    Remove(Record),
    /// Removes all records of a type.
    RemoveSet(Name, Rtype),
    /// Removes all records of a name.
    RemoveName(Name),
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Edited {
    /// The zone is different now.
    Changed,
    /// The zone was so already.
    Same,
}

/// A zone being changed. Dropping it changes nothing.
#[derive(Debug)]
pub struct Draft {
    zone: Zone,
    added: Vec<Record>,
    removed: Vec<Record>,
    /// A serial set by the change itself.
    own_serial: bool,
    /// The keys were set.
    rekeyed: bool,
}

impl Draft {
    pub(super) fn new(zone: &Zone) -> Self {
        Self { zone: zone.clone(), added: Vec::new(), removed: Vec::new(), own_serial: false, rekeyed: false }
    }

    /// The zone as it would become.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Makes one step.
    ///
    /// # Errors
    /// [`ZoneError`]; the draft is as before the step.
    pub fn apply(&mut self, change: Change) -> Result<Edited, ZoneError> {
        match change {
            Change::Add(record) => self.add(record),
            Change::Remove(record) => self.remove(&record),
            Change::RemoveSet(owner, rtype) => self.remove_set(&owner, rtype),
            Change::RemoveName(owner) => self.remove_name(&owner),
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`ZoneError`]; nothing is changed then.
    pub fn add(&mut self, record: Record) -> Result<Edited, ZoneError> {
        let Record { owner, rtype, ttl, data } = record;
        self.check_owner(&owner)?;
        // Types 128 to 255 are questions and message parts (RFC 6895, section 3.1); the rest is made by the signer.
        let made = matches!(rtype, Rtype::OPT | Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3 | Rtype::NSEC3PARAM);
        if made || (128..=255).contains(&rtype.to_int()) || rtype.to_int() == 0 {
            return Err(ZoneError::Type { owner, rtype });
        }
        let ttl = ttl.min(TTL_MAX);
        if rtype == Rtype::SOA {
            return self.set_soa(&owner, ttl, &data);
        }
        let node = self.zone.node(&owner).cloned();
        let node = node.unwrap_or_else(|| Node { name: owner.clone(), sets: Arc::new([]) });
        let clash = if rtype == Rtype::CNAME {
            node.sets.iter().any(|set| set.rtype != Rtype::CNAME)
        } else {
            node.get(Rtype::CNAME).is_some()
        };
        if clash {
            return Err(ZoneError::Alias { owner, rtype });
        }
        let old = node.get(rtype).cloned();
        let mut all: Vec<Rdata> = old.as_ref().map_or_else(Vec::new, |set| set.data.to_vec());
        match all.binary_search(&data) {
            Ok(_) if old.as_ref().is_some_and(|set| set.ttl == ttl) => return Ok(Edited::Same),
            Ok(_) => {}
            // An alias has one target: the new one replaces the old (RFC 2136, section 3.4.2.2).
            Err(_) if rtype == Rtype::CNAME => all = vec![data],
            Err(place) => all.insert(place, data),
        }
        self.put(&node, rtype, Some(RrSet { rtype, ttl, data: all.into() }));
        Ok(Edited::Changed)
    }

    /// Removes one record.
    ///
    /// # Errors
    /// [`ZoneError`]; nothing is changed then.
    pub fn remove(&mut self, record: &Record) -> Result<Edited, ZoneError> {
        self.check_owner(&record.owner)?;
        let Some(node) = self.zone.node(&record.owner).cloned() else { return Ok(Edited::Same) };
        let Some(set) = node.get(record.rtype) else { return Ok(Edited::Same) };
        if !set.data.contains(&record.data) {
            return Ok(Edited::Same);
        }
        let rest: Vec<_> = set.data.iter().filter(|data| **data != record.data).cloned().collect();
        let vital = record.rtype == Rtype::SOA || (record.rtype == Rtype::NS && rest.is_empty());
        if vital && record.owner == self.zone.apex {
            return Err(ZoneError::Apex { zone: self.zone.apex.clone(), rtype: record.rtype });
        }
        let set = (!rest.is_empty()).then(|| RrSet { data: rest.into(), ..set.clone() });
        let is_last = set.is_none();
        self.put(&node, record.rtype, set);
        if is_last && record.rtype == Rtype::NS {
            // Without the delegation the digest of its key means nothing.
            let _ = self.remove_set(&record.owner, Rtype::DS)?;
        }
        Ok(Edited::Changed)
    }

    /// Removes all records of a type; SOA and NS of the apex stay (RFC 2136, section 3.4.2.3).
    ///
    /// # Errors
    /// [`ZoneError::Outside`].
    pub fn remove_set(&mut self, owner: &Name, rtype: Rtype) -> Result<Edited, ZoneError> {
        self.check_owner(owner)?;
        let vital = *owner == self.zone.apex && matches!(rtype, Rtype::SOA | Rtype::NS);
        let Some(node) = self.zone.node(owner).cloned().filter(|_| !vital) else { return Ok(Edited::Same) };
        if node.get(rtype).is_none() {
            return Ok(Edited::Same);
        }
        self.put(&node, rtype, None);
        if rtype == Rtype::NS {
            let _ = self.remove_set(owner, Rtype::DS)?;
        }
        Ok(Edited::Changed)
    }

    /// Removes all records of a name; SOA and NS of the apex stay.
    ///
    /// # Errors
    /// [`ZoneError::Outside`].
    pub fn remove_name(&mut self, owner: &Name) -> Result<Edited, ZoneError> {
        self.check_owner(owner)?;
        let types: Vec<_> =
            self.zone.node(owner).map_or_else(Vec::new, |node| node.sets.iter().map(|set| set.rtype).collect());
        let mut edited = Edited::Same;
        for rtype in types {
            if self.remove_set(owner, rtype)? == Edited::Changed {
                edited = Edited::Changed;
            }
        }
        Ok(edited)
    }

    /// Sets the keys that sign the zone. Other keys are a change even where no record is: signatures become others.
    pub(crate) fn set_keys(&mut self, keys: Arc<ZoneKeys>) {
        if self.zone.keys.as_ref().is_none_or(|old| !old.same(&keys)) {
            self.zone.keys = Some(keys);
            self.rekeyed = true;
        }
    }

    fn check_owner(&self, owner: &Name) -> Result<(), ZoneError> {
        if owner.is_under(&self.zone.apex) {
            return Ok(());
        }
        Err(ZoneError::Outside { owner: owner.clone(), zone: self.zone.apex.clone() })
    }

    fn set_soa(&mut self, owner: &Name, ttl: u32, data: &Rdata) -> Result<Edited, ZoneError> {
        let soa = Soa::read(data).filter(|_| *owner == self.zone.apex);
        let soa = soa.ok_or_else(|| ZoneError::Soa(self.zone.apex.clone()))?;
        if soa.serial.wrapping_sub(self.zone.soa.serial).cast_signed() <= 0 {
            return Err(ZoneError::Soa(self.zone.apex.clone()));
        }
        self.own_serial = true;
        self.put_soa(soa, Some(ttl));
        Ok(Edited::Changed)
    }

    fn put_soa(&mut self, soa: Soa, ttl: Option<u32>) {
        let Some(node) = self.zone.node(&self.zone.apex).cloned() else { return };
        let ttl = ttl.or_else(|| node.get(Rtype::SOA).map(|set| set.ttl)).unwrap_or(soa.minimum);
        self.put(&node, Rtype::SOA, Some(RrSet { rtype: Rtype::SOA, ttl, data: Arc::new([soa.to_data()]) }));
        self.zone.soa = soa;
    }

    /// Replaces a node's set of a type and notes what became different.
    fn put(&mut self, node: &Node, rtype: Rtype, set: Option<RrSet>) {
        let old = node.get(rtype);
        self.note(&node.name, old, set.as_ref());
        if rtype == Rtype::NS && node.name != self.zone.apex {
            match (old.is_some(), set.is_some()) {
                (false, true) => self.zone.cuts += 1,
                (true, false) => self.zone.cuts -= 1,
                _ => {}
            }
        }
        let mut sets: Vec<_> = node.sets.iter().filter(|set| set.rtype != rtype).cloned().collect();
        sets.extend(set);
        sets.sort_by_key(|set| set.rtype.to_int());
        let key = node.name.key();
        if sets.is_empty() {
            self.zone.nodes.remove_mut(key.as_bytes());
        } else {
            self.zone.nodes.insert_mut(key, Arc::new(Node { name: node.name.clone(), sets: sets.into() }));
        }
    }

    fn note(&mut self, owner: &Name, old: Option<&RrSet>, new: Option<&RrSet>) {
        let only_in = |this: Option<&RrSet>, other: Option<&RrSet>| -> Vec<Record> {
            let Some(set) = this else { return Vec::new() };
            let other = other.filter(|other| other.ttl == set.ttl);
            let data = set.data.iter().filter(|data| !other.is_some_and(|other| other.data.contains(data)));
            data.map(|data| Record { owner: owner.clone(), rtype: set.rtype, ttl: set.ttl, data: data.clone() })
                .collect()
        };
        self.removed.extend(only_in(old, new));
        self.added.extend(only_in(new, old));
    }

    /// Ends the change: the new zone with a risen serial, the records removed and the records added, SOA records included
    /// (as IXFR tells them, RFC 1995). `None` when nothing is different.
    pub fn finish(mut self, policy: SerialPolicy, now: u32) -> Option<(Zone, Vec<Record>, Vec<Record>)> {
        if self.added.is_empty() && self.removed.is_empty() && !self.rekeyed {
            return None;
        }
        if !self.own_serial {
            let serial = policy.next(self.zone.soa.serial, now);
            self.put_soa(Soa { serial, ..self.zone.soa.clone() }, None);
        }
        Some((self.zone, self.removed, self.added))
    }

    /// Gives a zone that was never served the serial it is to be served with.
    pub(crate) fn set_serial(&mut self, serial: u32) {
        self.put_soa(Soa { serial, ..self.zone.soa.clone() }, None);
    }

    /// Ends the filling of a zone that was never served: its serial stays.
    pub fn into_zone(self) -> Zone {
        self.zone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    fn record(owner: &str, rtype: Rtype, data: &str) -> Record {
        Record::parse(owner, 60, rtype, data).expect("a record")
    }

    fn zone() -> Zone {
        let (primary, mailbox) = (name("ns.x"), name("admin.x"));
        let soa = Soa { primary, mailbox, serial: 5, refresh: 1, retry: 1, expire: 1, minimum: 1 };
        let mut draft = Zone::new(name("x"), soa, 60).edit();
        for (owner, rtype, data) in [
            ("x", Rtype::NS, "ns.x"),
            ("sub.x", Rtype::NS, "ns.x"),
            ("sub.x", Rtype::DS, "1 13 2 AABB"),
            ("www.x", Rtype::A, "10.0.0.1"),
        ] {
            assert_eq!(draft.add(record(owner, rtype, data)), Ok(Edited::Changed));
        }
        draft.into_zone()
    }

    #[test]
    fn a_change_tells_exactly_what_became_different_and_leaves_the_old_zone_alone() {
        let old = zone();
        let mut draft = old.edit();
        assert_eq!(draft.add(record("www.x", Rtype::A, "10.0.0.2")), Ok(Edited::Changed));
        assert_eq!(draft.add(record("www.x", Rtype::A, "10.0.0.2")), Ok(Edited::Same));
        let (new, removed, added) = draft.finish(SerialPolicy::Counted, 0).expect("a change");
        assert_eq!((old.soa().serial, new.soa().serial), (5, 6));
        let types = |records: &[Record]| records.iter().map(|record| record.rtype).collect::<Vec<_>>();
        assert_eq!((types(&removed), types(&added)), (vec![Rtype::SOA], vec![Rtype::A, Rtype::SOA]));
        assert_eq!(old.node(&name("www.x")).and_then(|node| node.get(Rtype::A)).map(|set| set.data.len()), Some(1));
        assert!(new.edit().finish(SerialPolicy::Counted, 0).is_none(), "no change, no serial");
    }

    #[test]
    fn a_digest_goes_with_its_delegation_and_an_apex_keeps_what_it_needs() {
        let mut draft = zone().edit();
        assert_eq!(draft.remove(&record("sub.x", Rtype::NS, "ns.x")), Ok(Edited::Changed));
        assert!(draft.zone().node(&name("sub.x")).is_none());
        assert!(matches!(draft.remove(&record("x", Rtype::NS, "ns.x")), Err(ZoneError::Apex { .. })));
        assert_eq!(draft.remove_name(&name("x")), Ok(Edited::Same));
    }

    #[test]
    fn what_no_zone_may_hold_is_refused() {
        let mut draft = zone().edit();
        assert!(matches!(draft.add(record("www.x", Rtype::CNAME, "x")), Err(ZoneError::Alias { .. })));
        assert!(matches!(draft.add(record("www.y", Rtype::A, "10.0.0.1")), Err(ZoneError::Outside { .. })));
        let nsec = Record { rtype: Rtype::NSEC, ..record("www.x", Rtype::A, "10.0.0.1") };
        assert!(matches!(draft.add(nsec), Err(ZoneError::Type { .. })));
        let soa = record("x", Rtype::SOA, "ns.x. admin.x. 5 1 1 1 1");
        assert!(matches!(draft.add(soa), Err(ZoneError::Soa(_))), "the serial does not rise");
    }
}
