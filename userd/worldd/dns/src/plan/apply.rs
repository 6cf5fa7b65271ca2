//! From a plan to zones that are served: the first time all of it, later only what differs.

use std::collections::{BTreeMap, HashSet};

use super::{DENIAL_TTL, Plan, PlannedRecord, PlannedZone, TTL};
use crate::{
    name::{Name, NameError},
    record::{Record, RecordError, Rtype, Soa},
    zone::{Catalog, Draft, Store, StoreError, View, Zone, ZoneError},
};

/// Why a plan cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A name is none.
    #[error("cannot read the name {text:?}")]
    Name {
        /// The text.
        text: String,
        /// What is wrong.
        #[source]
        source: NameError,
    },
    /// A record is none.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A type is none.
    #[error("cannot read the type {0:?}")]
    Type(String),
    /// The records do not make a zone.
    #[error("cannot make the zone {zone}")]
    Zone {
        /// The zone.
        zone: String,
        /// Why not.
        #[source]
        source: ZoneError,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What applying a plan did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Zones that are new.
    pub created: usize,
    /// Zones that are gone.
    pub deleted: usize,
    /// Zones of which records changed.
    pub changed: usize,
}

fn name(text: &str) -> Result<Name, ApplyError> {
    Name::parse(text).map_err(|source| ApplyError::Name { text: text.to_owned(), source })
}

fn record(planned: &PlannedRecord) -> Result<Record, ApplyError> {
    let rtype: Rtype = planned.rtype.parse().map_err(|_| ApplyError::Type(planned.rtype.clone()))?;
    Ok(Record::parse(&planned.owner, planned.ttl, rtype, &planned.data)?)
}

fn zone(plan: &Plan, apex: &str, planned: &PlannedZone, now: u32) -> Result<Zone, ApplyError> {
    let soa = Soa {
        primary: name(&planned.primary)?,
        mailbox: name(&plan.mailbox)?,
        serial: plan.policy().first(now),
        refresh: 3600,
        retry: 600,
        expire: 1_209_600,
        minimum: DENIAL_TTL,
    };
    let mut draft = Zone::new(name(apex)?, soa, TTL).edit();
    add(&mut draft, apex, planned.records.iter())?;
    Ok(draft.into_zone())
}

fn add<'p>(draft: &mut Draft, apex: &str, records: impl Iterator<Item = &'p PlannedRecord>) -> Result<(), ApplyError> {
    for planned in records {
        let added = draft.add(record(planned)?);
        let _ = added.map_err(|source| ApplyError::Zone { zone: apex.to_owned(), source })?;
    }
    Ok(())
}

impl Plan {
    /// Makes all zones and views. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`ApplyError`] with the first thing that cannot be.
    pub fn catalog(&self, now: u32) -> Result<Catalog, ApplyError> {
        let mut catalog = Catalog::default();
        for (apex, planned) in &self.zones {
            catalog.insert_zone(zone(self, apex, planned, now)?);
        }
        self.arrange_views(&mut catalog)?;
        Ok(catalog)
    }

    fn arrange_views(&self, catalog: &mut Catalog) -> Result<(), ApplyError> {
        let mut views: BTreeMap<_, View> = BTreeMap::new();
        for (apex, planned) in &self.zones {
            let apex = name(apex)?;
            for &address in &planned.addresses {
                let view = views.entry(address).or_default();
                *view = view.with(&apex);
            }
        }
        for (address, view) in views {
            catalog.insert_view(address, view);
        }
        Ok(())
    }

    /// Makes `store`, which serves `old`, serve this plan. What others put into the zones since (leases, updates,
    /// registrations) stays, unless the plan had and has no longer that very record. Zones and servers added beside the
    /// plan stay as well.
    ///
    /// # Errors
    /// [`ApplyError`]; zones before the failing one are changed already, and applying again goes on.
    pub fn apply(&self, old: &Plan, store: &Store, now: u32) -> Result<Applied, ApplyError> {
        let mut applied = Applied::default();
        let mut created = Vec::new();
        for (apex, planned) in self.zones.iter().filter(|(apex, _)| !old.zones.contains_key(*apex)) {
            created.push(zone(self, apex, planned, now)?);
        }
        applied.created = created.len();
        let gone: Vec<_> = old.zones.keys().filter(|apex| !self.zones.contains_key(*apex)).collect();
        let gone = gone.into_iter().map(|apex| name(apex)).collect::<Result<Vec<_>, _>>()?;
        applied.deleted = gone.len();
        let (more, less) = (servers_beyond(self, old)?, servers_beyond(old, self)?);
        // A zone must be there before it is delegated to, and its delegation be gone before it is.
        store.arrange(|catalog| {
            created.into_iter().for_each(|zone| catalog.insert_zone(zone));
            for (address, apex) in &more {
                let view = catalog.view(*address).cloned().unwrap_or_default();
                catalog.insert_view(*address, view.with(apex));
            }
        });
        for (apex, planned) in &self.zones {
            let Some(before) = old.zones.get(apex) else { continue };
            if before.records == planned.records {
                continue;
            }
            let (had, has): (HashSet<_>, HashSet<_>) =
                (before.records.iter().collect(), planned.records.iter().collect());
            let delta = store.change_planned(&name(apex)?, now, |draft| {
                // Added first, so that the apex never lacks its last name server; an alias's place is made free before.
                let (aliases, rest): (Vec<_>, Vec<_>) = had.difference(&has).partition(|gone| gone.rtype == "CNAME");
                for gone in aliases {
                    remove(draft, apex, gone)?;
                }
                add(draft, apex, has.difference(&had).copied().filter(|new| new.rtype != "CNAME"))?;
                for gone in rest {
                    remove(draft, apex, gone)?;
                }
                add(draft, apex, has.difference(&had).copied().filter(|new| new.rtype == "CNAME"))
            })?;
            applied.changed += usize::from(delta.is_some());
        }
        store.arrange(|catalog| {
            for (address, apex) in &less {
                let Some(view) = catalog.view(*address).map(|view| view.without(apex)) else { continue };
                if view.is_empty() {
                    catalog.delete_view(*address);
                } else {
                    catalog.insert_view(*address, view);
                }
            }
            for apex in &gone {
                catalog.delete_zone(apex);
            }
        });
        Ok(applied)
    }
}

/// Where `plan` serves a zone and `other` does not.
fn servers_beyond(plan: &Plan, other: &Plan) -> Result<Vec<(std::net::IpAddr, Name)>, ApplyError> {
    let mut all = Vec::new();
    for (apex, planned) in &plan.zones {
        let known = other.zones.get(apex).map_or(&[][..], |zone| &zone.addresses);
        for address in planned.addresses.iter().filter(|address| !known.contains(address)) {
            all.push((*address, name(apex)?));
        }
    }
    Ok(all)
}

fn remove(draft: &mut Draft, apex: &str, planned: &PlannedRecord) -> Result<(), ApplyError> {
    let removed = draft.remove(&record(planned)?);
    removed.map(|_| ()).map_err(|source| ApplyError::Zone { zone: apex.to_owned(), source })
}
