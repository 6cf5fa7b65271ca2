//! Keys of the moment put into the zones: DNSKEY at each apex, DS above it.

use std::sync::Arc;

use super::{
    key::{KeyError, Role, Secret, ZoneKey},
    schedule::Schedule,
    sign::ZoneKeys,
};
use crate::{
    name::{LookupKey, Name},
    record::{Rdata, Record, Rtype},
    zone::{Catalog, Draft, Store, StoreError, View, ZoneError},
};

/// Time to live of DNSKEY and DS sets, seconds; the schedule counts on it.
const KEY_TTL: u32 = 3600;

/// A trust anchor: a key of the root that is or will be in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The zone, most often the root.
    pub zone: Name,
    /// Data of its DNSKEY record.
    pub dnskey: Rdata,
    /// Data of its DS record.
    pub ds: Rdata,
}

impl Anchor {
    /// An anchor of which the digest alone is known, which is all that a resolver needs; the DNSKEY data is empty.
    pub fn of_digest(zone: Name, ds: Rdata) -> Self {
        Self { zone, dnskey: Rdata::from_wire(Vec::new()), ds }
    }
}

/// Why zones were not signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ZoneError> for SigningError {
    fn from(error: ZoneError) -> Self {
        Self::Store(error.into())
    }
}

/// Signs the zones of a world.
#[derive(Debug)]
pub struct Signing {
    secret: Secret,
    schedule: Schedule,
}

impl Signing {
    /// Keys follow from `secret` and come and go by `schedule`.
    pub fn new(secret: Secret, schedule: Schedule) -> Self {
        Self { secret, schedule }
    }

    /// Gives every zone of the store the keys of `now` (seconds since 1970) and puts their DS records above. Zones that have
    /// them are left alone. To be called after zones were added and at the returned time, seconds since 1970.
    ///
    /// # Errors
    /// [`SigningError`]; calling again goes on.
    pub fn refresh(&self, store: &Store, now: u64) -> Result<u64, SigningError> {
        let catalog = store.snapshot();
        // Keys first: a DS record must never be seen before its key.
        for zone in catalog.zones() {
            let (apex, wanted) = (zone.apex(), self.keys(zone.apex(), now)?);
            let _ = store.change_planned(apex, now as u32, |draft| {
                set(draft, apex, Rtype::DNSKEY, &wanted.1)?;
                draft.set_keys(Arc::new(wanted.0));
                Ok::<_, SigningError>(())
            })?;
        }
        let all = View::new(catalog.zones().map(|zone| zone.apex()));
        for zone in catalog.zones() {
            let Some(parent) = parent(&catalog, &all, zone.apex()) else { continue };
            let active = self.secret.key(zone.apex(), Role::KeySigning, self.schedule.ksk(now).active)?;
            let _ = store.change_planned(&parent, now as u32, |draft| {
                set(draft, zone.apex(), Rtype::DS, &[active.ds(zone.apex())]).map_err(SigningError::from)
            })?;
        }
        Ok(self.schedule.next_event(now))
    }

    /// The trust anchors of a zone that has none above it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn anchors(&self, zone: &Name, now: u64) -> Result<Vec<Anchor>, KeyError> {
        let of = |generation| {
            let key = self.secret.key(zone, Role::KeySigning, generation)?;
            Ok(Anchor { zone: zone.clone(), dnskey: key.dnskey().clone(), ds: key.ds(zone) })
        };
        self.schedule.ksk(now).published.map(of).collect()
    }

    fn keys(&self, zone: &Name, now: u64) -> Result<(ZoneKeys, Vec<Rdata>), KeyError> {
        let (ksk, zsk) = (self.schedule.ksk(now), self.schedule.zsk(now));
        let make = |role| move |generation| self.secret.key(zone, role, generation).map(Arc::new);
        let key_signing: Vec<Arc<ZoneKey>> = ksk.published.map(make(Role::KeySigning)).collect::<Result<_, _>>()?;
        let zone_keys: Vec<Arc<ZoneKey>> =
            zsk.published.clone().map(make(Role::ZoneSigning)).collect::<Result<_, _>>()?;
        let active = zone_keys.iter().zip(zsk.published).find(|(_, generation)| *generation == zsk.active);
        let zone_signing = active.map(|(key, _)| key.clone()).ok_or(KeyError)?;
        let records = key_signing.iter().chain(&zone_keys).map(|key| key.dnskey().clone()).collect();
        Ok((ZoneKeys { key_signing, zone_signing }, records))
    }
}

/// Makes a set be exactly this.
fn set(draft: &mut Draft, owner: &Name, rtype: Rtype, wanted: &[Rdata]) -> Result<(), ZoneError> {
    let old: Vec<Rdata> =
        draft.zone().node(owner).and_then(|node| node.get(rtype)).map_or_else(Vec::new, |set| set.data.to_vec());
    let record = |data: &Rdata| Record { owner: owner.clone(), rtype, ttl: KEY_TTL, data: data.clone() };
    for data in wanted {
        let _ = draft.add(record(data))?;
    }
    for data in old.iter().filter(|data| !wanted.contains(data)) {
        let _ = draft.remove(&record(data))?;
    }
    Ok(())
}

/// The zone that delegates to this one, if the world has it.
fn parent(catalog: &Catalog, all: &View, apex: &Name) -> Option<Name> {
    let above = apex.parent()?;
    let zone = catalog.find_zone(all, &LookupKey::of(above.as_wire()), false)?;
    zone.node(apex).and_then(|node| node.get(Rtype::NS)).map(|_| zone.apex().clone())
}
