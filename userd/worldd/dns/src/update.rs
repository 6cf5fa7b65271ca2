//! Dynamic updates (RFC 2136): all prerequisites hold and every step is made, or nothing is.

use crate::{
    name::Name,
    record::{Rdata, Record, Rtype},
    wire::{
        CLASS_ANY, CLASS_IN, CLASS_NONE, Rcode,
        read::{Parsed, expand},
    },
    zone::{Draft, StoreError, Zone, ZoneError},
};

/// Most records of one update; with each a lookup and a path of the tree this bounds the work.
const RECORDS: usize = 2000;

/// The outcome that the asker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub Rcode);

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoZone(_) => Self(Rcode::NOTAUTH),
            StoreError::Zone(_) => Self(Rcode::REFUSED),
            StoreError::Journal(error) => {
                tracing::error!(service = "dns", "{error}: {}", error.source);
                Self(Rcode::SERVFAIL)
            }
        }
    }
}

/// One record of the prerequisite or update section.
#[derive(Debug)]
struct Item {
    owner: Name,
    rtype: Rtype,
    class: u16,
    ttl: u32,
    data: Option<Rdata>,
}

/// An update that was understood; its sections are not yet judged against the zone.
#[derive(Debug)]
pub struct Request {
    zone: Name,
    prerequisites: Vec<Item>,
    updates: Vec<Item>,
}

impl Request {
    /// Reads an update from a message.
    ///
    /// # Errors
    /// FORMERR, or NOTZONE for a name outside the zone (sections 3.1, 3.2 and 3.4.1).
    pub fn read(message: &[u8], parsed: &Parsed<'_>) -> Result<Self, Rcode> {
        let zone = parsed.question.as_ref().filter(|zone| zone.rtype == Rtype::SOA && zone.class == CLASS_IN);
        let zone = zone.ok_or(Rcode::FORMERR)?.name.clone();
        if parsed.records.len() > RECORDS {
            return Err(Rcode::REFUSED);
        }
        let data = expand(message).map_err(|_| Rcode::FORMERR)?;
        let mut request = Self { zone, prerequisites: Vec::new(), updates: Vec::new() };
        for (record, data) in parsed.records.iter().zip(data) {
            let item =
                Item { owner: record.owner.clone(), rtype: record.rtype, class: record.class, ttl: record.ttl, data };
            match record.section {
                1 => request.prerequisites.push(item),
                2 => request.updates.push(item),
                _ => continue,
            }
            if !record.owner.is_under(&request.zone) {
                return Err(Rcode::NOTZONE);
            }
        }
        let sound = request.prerequisites.iter().all(is_prerequisite) && request.updates.iter().all(is_update);
        if sound { Ok(request) } else { Err(Rcode::FORMERR) }
    }

    /// The zone to change.
    pub fn zone(&self) -> &Name {
        &self.zone
    }

    /// Judges the prerequisites and makes the steps.
    ///
    /// # Errors
    /// [`Refusal`] with the outcome; the draft is then to be dropped.
    pub fn apply(&self, draft: &mut Draft) -> Result<(), Refusal> {
        self.check(draft.zone()).map_err(Refusal)?;
        for item in &self.updates {
            match step(draft, item) {
                // What these would break is kept silently (sections 3.4.2.2 and 3.4.2.4).
                Ok(()) | Err(ZoneError::Alias { .. } | ZoneError::Apex { .. } | ZoneError::Soa(_)) => {}
                Err(ZoneError::Outside { .. }) => return Err(Refusal(Rcode::NOTZONE)),
                Err(_) => return Err(Refusal(Rcode::REFUSED)),
            }
        }
        Ok(())
    }

    /// Section 3.2.
    fn check(&self, zone: &Zone) -> Result<(), Rcode> {
        let mut whole: Vec<(&Name, Rtype, Vec<&Rdata>)> = Vec::new();
        for item in &self.prerequisites {
            let node = zone.node(&item.owner);
            let has_set = || node.is_some_and(|node| node.get(item.rtype).is_some());
            match (item.class, item.rtype) {
                (CLASS_ANY, Rtype::ANY) if node.is_none() => return Err(Rcode::NXDOMAIN),
                (CLASS_NONE, Rtype::ANY) if node.is_some() => return Err(Rcode::YXDOMAIN),
                (_, Rtype::ANY) => {}
                (CLASS_ANY, _) if !has_set() => return Err(Rcode::NXRRSET),
                (CLASS_NONE, _) if has_set() => return Err(Rcode::YXRRSET),
                (CLASS_IN, rtype) => {
                    let data = item.data.as_ref().ok_or(Rcode::FORMERR)?;
                    match whole.iter_mut().find(|(owner, known, _)| **owner == item.owner && *known == rtype) {
                        Some((_, _, all)) => all.push(data),
                        None => whole.push((&item.owner, rtype, vec![data])),
                    }
                }
                _ => {}
            }
        }
        for (owner, rtype, mut wanted) in whole {
            let set = zone.node(owner).and_then(|node| node.get(rtype)).ok_or(Rcode::NXRRSET)?;
            wanted.sort();
            wanted.dedup();
            if !set.data.iter().eq(wanted) {
                return Err(Rcode::NXRRSET);
            }
        }
        Ok(())
    }
}

/// Section 3.2: TTL 0; with the classes ANY and NONE no data.
fn is_prerequisite(item: &Item) -> bool {
    let class = match item.class {
        CLASS_ANY | CLASS_NONE => item.data.is_none(),
        CLASS_IN => item.data.is_some() && !is_meta(item.rtype),
        _ => false,
    };
    class && item.ttl == 0 && (item.rtype == Rtype::ANY || !is_meta(item.rtype))
}

/// Section 3.4.1.
fn is_update(item: &Item) -> bool {
    match item.class {
        CLASS_IN => item.data.is_some() && !is_meta(item.rtype),
        CLASS_ANY => item.ttl == 0 && item.data.is_none() && (item.rtype == Rtype::ANY || !is_meta(item.rtype)),
        CLASS_NONE => item.ttl == 0 && item.data.is_some() && !is_meta(item.rtype),
        _ => false,
    }
}

fn is_meta(rtype: Rtype) -> bool {
    rtype == Rtype::OPT || rtype.to_int() == 0 || (128..=255).contains(&rtype.to_int())
}

/// Section 3.4.2.
fn step(draft: &mut Draft, item: &Item) -> Result<(), ZoneError> {
    let record =
        |data: &Rdata| Record { owner: item.owner.clone(), rtype: item.rtype, ttl: item.ttl, data: data.clone() };
    let edited = match (item.class, &item.data) {
        (CLASS_IN, Some(data)) => draft.add(record(data)),
        (CLASS_NONE, Some(data)) => draft.remove(&record(data)),
        (_, _) if item.rtype == Rtype::ANY => draft.remove_name(&item.owner),
        _ => draft.remove_set(&item.owner, item.rtype),
    };
    edited.map(|_| ())
}
