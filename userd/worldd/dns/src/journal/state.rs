//! What all entries come to: for each zone the records that are not as the plan makes them. Pure.

use std::collections::{BTreeMap, HashMap};

use super::entry::{Entry, Kind};
use crate::{
    name::Name,
    record::{Rdata, Record, Rtype},
    zone::{Catalog, SerialPolicy},
};

/// Records of one entry of a file written anew.
const RECORDS: usize = 500;

/// Owner, type and data: a record without its TTL.
type Which = (Name, u16, Rdata);

/// Run-time changes of one zone.
#[derive(Debug, Clone, Default)]
struct Changes {
    serial: u32,
    /// Records that are there beside the plan's, and their TTL; or are not there though the plan has them.
    records: HashMap<Which, Option<u32>>,
}

/// Run-time changes of all zones.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    zones: BTreeMap<Name, Changes>,
}

fn which(record: &Record) -> Which {
    (record.owner.clone(), record.rtype.to_int(), record.data.clone())
}

impl State {
    /// Takes one entry.
    pub(super) fn take(&mut self, entry: &Entry) {
        if entry.kind == Kind::Gone {
            self.zones.remove(&entry.zone);
            return;
        }
        let changes = self.zones.entry(entry.zone.clone()).or_default();
        changes.serial = entry.serial;
        // The SOA record is the zone's own: of it only the serial is kept.
        let own = |record: &&Record| record.rtype != Rtype::SOA;
        for record in entry.removed.iter().filter(own) {
            match entry.kind {
                Kind::Planned => drop(changes.records.remove(&which(record))),
                _ => drop(changes.records.insert(which(record), None)),
            }
        }
        for record in entry.added.iter().filter(own) {
            match entry.kind {
                Kind::Planned => drop(changes.records.remove(&which(record))),
                _ => drop(changes.records.insert(which(record), Some(record.ttl))),
            }
        }
    }

    /// Few entries that say the same: one for each zone, and one more for every so many records.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.zones.iter().flat_map(|(zone, changes)| {
            let empty = || Entry {
                kind: Kind::Changed,
                zone: zone.clone(),
                serial: changes.serial,
                removed: Vec::new(),
                added: Vec::new(),
            };
            let mut entries = vec![empty()];
            for ((owner, rtype, data), ttl) in &changes.records {
                let (owner, rtype, data) = (owner.clone(), Rtype::from_int(*rtype), data.clone());
                let Some(last) = entries.last_mut() else { break };
                match ttl {
                    Some(ttl) => last.added.push(Record { owner, rtype, ttl: *ttl, data }),
                    None => last.removed.push(Record { owner, rtype, ttl: 0, data }),
                }
                if last.added.len() + last.removed.len() >= RECORDS {
                    entries.push(empty());
                }
            }
            entries
        })
    }

    /// Puts the changes of a zone back into it and makes its serial greater than any served before. Returns how many records
    /// were put back and how many no longer fit (the plan has an alias there now, or the like).
    pub(super) fn replay(
        &mut self,
        zone: &Name,
        catalog: &mut Catalog,
        policy: SerialPolicy,
        now: u32,
    ) -> (usize, usize) {
        let (mut done, mut dropped) = (0, 0);
        let Some(old) = catalog.zone(zone) else { return (0, 0) };
        let planned = old.soa().serial;
        let Some(changes) = self.zones.get_mut(zone) else {
            self.zones.insert(zone.clone(), Changes { serial: planned, records: HashMap::new() });
            return (0, 0);
        };
        let mut draft = old.edit();
        let record = |(owner, rtype, data): &Which, ttl| Record {
            owner: owner.clone(),
            rtype: Rtype::from_int(*rtype),
            ttl,
            data: data.clone(),
        };
        // Added first: an apex must not lack its last name server in between; an alias's place is made free before.
        let is_alias = |which: &Which| which.1 == Rtype::CNAME.to_int();
        let gone = |alias| move |(which, ttl): &(&Which, &Option<u32>)| ttl.is_none() && is_alias(which) == alias;
        let all: Vec<_> = changes.records.iter().collect();
        for (which, _) in all.iter().copied().filter(gone(true)) {
            let _ = draft.remove(&record(which, 0));
        }
        let mut added: Vec<_> = all.iter().filter_map(|(which, ttl)| Some((*which, (**ttl)?))).collect();
        added.sort_by_key(|(which, _)| is_alias(which));
        let (rest, aliases): (Vec<_>, Vec<_>) = added.into_iter().partition(|(which, _)| !is_alias(which));
        for (which, ttl) in rest {
            *if draft.add(record(which, ttl)).is_ok() { &mut done } else { &mut dropped } += 1;
        }
        for (which, _) in all.iter().copied().filter(gone(false)) {
            *if draft.remove(&record(which, 0)).is_ok() { &mut done } else { &mut dropped } += 1;
        }
        for (which, ttl) in aliases {
            *if draft.add(record(which, ttl)).is_ok() { &mut done } else { &mut dropped } += 1;
        }
        // The zone may be another than when it was last served, whatever was put back.
        let serial = if is_later(planned, changes.serial) { planned } else { policy.next(changes.serial, now) };
        changes.serial = serial;
        draft.set_serial(serial);
        catalog.insert_zone(draft.into_zone());
        (done, dropped)
    }
}

fn is_later(serial: u32, last: u32) -> bool {
    serial.wrapping_sub(last).cast_signed() > 0
}
