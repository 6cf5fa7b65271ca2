//! The chain of trust: which keys a zone has, proven from a trust anchor down (RFC 4035, section 5).

use std::{future::Future, pin::Pin, sync::Arc};

use super::{
    Shared,
    ask::Upstream,
    cache::{Denial, Link},
    iterate::{Found, Work},
    security::{ExtendedError, Security},
};
use crate::{
    authority::Clock,
    dnssec::{
        denial::{Denials, Gap},
        verify::{Flaw, Proven, PublicKey, ancestor, check_set, knows_ds, signer},
    },
    name::Name,
    record::{Rdata, RrSet, Rtype},
    wire::Rcode,
};

/// How long a chain that is broken is believed to be, seconds (RFC 9520, section 3.2).
pub(super) const BOGUS_TTL: u32 = 5;
/// Keys of one zone that are looked at.
const KEYS: usize = 32;
/// DS records of one zone that are looked at.
const DIGESTS: usize = 16;

/// What is known of the keys of a zone.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// These are its keys.
    Keys(Arc<[PublicKey]>),
    /// It is not signed, or by nothing that is known here.
    Unsigned,
    /// No trust anchor is above it.
    Unanchored,
    /// The chain to it is broken.
    Broken(ExtendedError),
}

impl Trust {
    /// What this makes of data that has nothing else against it.
    pub(super) fn security(&self) -> Security {
        match self {
            Self::Keys(_) => Security::Secure,
            Self::Unsigned => Security::Insecure,
            Self::Unanchored => Security::Indeterminate,
            Self::Broken(error) => Security::Bogus(*error),
        }
    }
}

/// What the zone above says of a name.
#[derive(Debug, Clone)]
pub(super) enum Delegation {
    /// A zone with these DS records.
    Signed(Arc<[Rdata]>),
    /// A zone that is not signed; or everything from here on is not.
    Unsigned,
    /// No zone begins there.
    SameZone,
    /// Neither it nor anything below it exists.
    Absent,
    /// It says so without proof.
    Unproven,
    /// What it says is broken.
    Broken(ExtendedError),
}

/// Sets that are proven, and their owners.
type Proofs<'d> = Vec<(&'d Name, &'d RrSet)>;
type Trusting<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

impl<U: Upstream, C: Clock> Work<'_, U, C> {
    fn unix(&self) -> u32 {
        // 32 bits, compared by RFC 1982.
        self.shared.clock.unix() as u32
    }

    /// The keys of a zone.
    pub(super) fn trust(&mut self, zone: Name, depth: u32) -> Trusting<'_, Trust> {
        Box::pin(async move {
            let now = self.shared.clock.monotonic();
            if self.is_spent() {
                return Trust::Broken(ExtendedError::BOGUS);
            }
            if let Some(known) = self.shared.cache().find_trust(&zone, now) {
                return known;
            }
            let own: Arc<[Rdata]> = own_anchors(self.shared, &zone).into();
            let (trust, ttl) = if own.is_empty() {
                self.trust_from_above(&zone, depth).await
            } else {
                self.keys(&zone, &own, depth).await
            };
            let ttl = if matches!(trust, Trust::Broken(_)) { BOGUS_TTL } else { ttl };
            if !self.is_spent() {
                self.shared.cache().insert_trust(&zone, trust.clone(), ttl, now, self.chains);
            }
            trust
        })
    }

    async fn trust_from_above(&mut self, zone: &Name, depth: u32) -> (Trust, u32) {
        if anchored(self.shared, zone).is_none_or(|anchor| anchor == *zone) {
            return (Trust::Unanchored, BOGUS_TTL);
        }
        let (delegation, ttl) = self.delegation(zone.clone(), depth).await;
        match delegation {
            Delegation::Signed(digests) => {
                let (trust, own) = self.keys(zone, &digests, depth).await;
                (trust, own.min(ttl))
            }
            Delegation::Unsigned => (Trust::Unsigned, ttl),
            // Somebody signs as a zone that is none.
            Delegation::SameZone | Delegation::Absent => (Trust::Broken(ExtendedError::DNSKEY_MISSING), ttl),
            Delegation::Broken(error) => (Trust::Broken(error), ttl),
            Delegation::Unproven => {
                let security = match zone.parent() {
                    Some(above) => self.without_signature(&above, depth).await,
                    None => Security::Bogus(ExtendedError::RRSIGS_MISSING),
                };
                match security {
                    Security::Insecure => (Trust::Unsigned, BOGUS_TTL),
                    Security::Bogus(error) => (Trust::Broken(error), BOGUS_TTL),
                    Security::Secure | Security::Indeterminate => (Trust::Unanchored, BOGUS_TTL),
                }
            }
        }
    }

    /// Takes the DNSKEY set of a zone if one of these digests leads to it (section 5.2).
    async fn keys(&mut self, zone: &Name, digests: &[Rdata], depth: u32) -> (Trust, u32) {
        if !digests.iter().any(knows_ds) {
            return (Trust::Unsigned, BOGUS_TTL);
        }
        let link = match self.raw(zone, Rtype::DNSKEY, depth).await {
            Found::Answer(links) => links.into_iter().next().filter(|link| link.set.rtype == Rtype::DNSKEY),
            Found::Failure(_) => return (Trust::Broken(ExtendedError::NO_REACHABLE_AUTHORITY), BOGUS_TTL),
            Found::NoData(_) | Found::Absent(_) => None,
        };
        let Some(link) = link.filter(|link| link.owner == *zone) else {
            return (Trust::Broken(ExtendedError::DNSKEY_MISSING), BOGUS_TTL);
        };
        match self.check_keys(zone, digests, &link) {
            Ok((keys, ttl)) => (Trust::Keys(keys), ttl),
            Err(flaw) => (Trust::Broken(flaw.into()), BOGUS_TTL),
        }
    }

    fn check_keys(&mut self, zone: &Name, digests: &[Rdata], link: &Link) -> Result<(Arc<[PublicKey]>, u32), Flaw> {
        let keys: Vec<PublicKey> = link.set.data.iter().take(KEYS).filter_map(PublicKey::read).collect();
        let (now, mut worst) = (self.unix(), Flaw::NoKey);
        for digest in digests.iter().take(DIGESTS) {
            for key in &keys {
                if !key.is_digested_by(zone, digest, &mut self.effort)? {
                    continue;
                }
                let entry = std::slice::from_ref(key);
                match check_set((zone, &link.set), link.signature.as_ref(), zone, entry, now, &mut self.effort) {
                    Ok(Proven { ttl, encloser: None }) => return Ok((keys.into(), ttl)),
                    Ok(_) => worst = Flaw::Wrong,
                    Err(flaw) => worst = flaw,
                }
            }
        }
        Err(worst)
    }

    /// What the zone above `name` says of it, with proof. The number is how long, seconds.
    fn delegation(&mut self, name: Name, depth: u32) -> Trusting<'_, (Delegation, u32)> {
        Box::pin(async move {
            let now = self.shared.clock.monotonic();
            if self.is_spent() {
                return (Delegation::Broken(ExtendedError::BOGUS), 0);
            }
            if let Some(known) = self.shared.cache().find_delegation(&name, now) {
                return known;
            }
            let (delegation, ttl) = match self.raw(&name, Rtype::DS, depth).await {
                Found::Answer(links) => match links.into_iter().next() {
                    Some(link) => self.signed_delegation(&name, &link, depth).await,
                    None => (Delegation::Unproven, BOGUS_TTL),
                },
                Found::NoData(denial) | Found::Absent(denial) => self.gap(&name, &denial, depth).await,
                // Nobody here knows anything above the name.
                Found::Failure(rcode) if rcode == Rcode::NXDOMAIN => (Delegation::Unproven, BOGUS_TTL),
                Found::Failure(_) => (Delegation::Broken(ExtendedError::NO_REACHABLE_AUTHORITY), BOGUS_TTL),
            };
            if !self.is_spent() {
                self.shared.cache().insert_delegation(&name, delegation.clone(), ttl, now, self.chains);
            }
            (delegation, ttl)
        })
    }

    /// A DS set; or an alias, which is no delegation.
    async fn signed_delegation(&mut self, name: &Name, link: &Link, depth: u32) -> (Delegation, u32) {
        // An alias is no apex, so it lies in a zone above as well.
        let above = signer(name, link.set.rtype, link.signature.as_ref()).filter(|above| above != name);
        let Some(above) = above else {
            return (Delegation::Unproven, BOGUS_TTL);
        };
        let keys = match self.trust(above.clone(), depth).await {
            Trust::Keys(keys) => keys,
            Trust::Unsigned => return (Delegation::Unsigned, link.set.ttl),
            Trust::Unanchored => return (Delegation::Unproven, BOGUS_TTL),
            Trust::Broken(error) => return (Delegation::Broken(error), BOGUS_TTL),
        };
        let now = self.unix();
        match check_set((name, &link.set), link.signature.as_ref(), &above, &keys, now, &mut self.effort) {
            Ok(proven) if link.set.rtype != Rtype::DS => (Delegation::SameZone, proven.ttl),
            Ok(Proven { ttl, encloser: None }) if link.set.data.iter().any(knows_ds) => {
                (Delegation::Signed(link.set.data.clone()), ttl)
            }
            Ok(Proven { ttl, encloser: None }) => (Delegation::Unsigned, ttl),
            Ok(_) => (Delegation::Broken(ExtendedError::BOGUS), BOGUS_TTL),
            Err(flaw) => (Delegation::Broken(flaw.into()), BOGUS_TTL),
        }
    }

    async fn gap(&mut self, name: &Name, denial: &Denial, depth: u32) -> (Delegation, u32) {
        let Some(above) = denying_zone(denial).filter(|above| name.is_under(above) && above != name) else {
            return (Delegation::Unproven, BOGUS_TTL);
        };
        let keys = match self.trust(above.clone(), depth).await {
            Trust::Keys(keys) => keys,
            Trust::Unsigned => return (Delegation::Unsigned, super::cache::denial_ttl(denial)),
            Trust::Unanchored => return (Delegation::Unproven, BOGUS_TTL),
            Trust::Broken(error) => return (Delegation::Broken(error), BOGUS_TTL),
        };
        match self.proven(denial, &above, &keys) {
            Ok((sets, ttl)) => match Denials::read(&above, &sets).gap(name) {
                Some(Gap::Unsigned) => (Delegation::Unsigned, ttl),
                Some(Gap::SameZone) => (Delegation::SameZone, ttl),
                Some(Gap::Absent) => (Delegation::Absent, ttl),
                None => (Delegation::Broken(ExtendedError::NSEC_MISSING), BOGUS_TTL),
            },
            Err(flaw) => (Delegation::Broken(flaw.into()), BOGUS_TTL),
        }
    }

    /// Nothing is left of what one question may cost: what is not known now is not known to be wrong.
    pub(super) fn is_spent(&self) -> bool {
        self.questions == 0 || self.effort.is_spent()
    }

    /// The sets of a denial, each proven to be the zone's, and the shortest time that one may be believed.
    pub(super) fn proven<'d>(
        &mut self,
        denial: &'d [(Name, RrSet)],
        zone: &Name,
        keys: &[PublicKey],
    ) -> Result<(Proofs<'d>, u32), Flaw> {
        let (mut sets, mut ttl, now) = (Vec::new(), u32::MAX, self.unix());
        for (owner, set) in denial.iter().filter(|(_, set)| set.rtype != Rtype::RRSIG) {
            let signatures = super::message::signature_of(denial, owner, set.rtype);
            let proven = check_set((owner, set), signatures, zone, keys, now, &mut self.effort)?;
            // A record that says what is not there is never made from a wildcard.
            if proven.encloser.is_some() {
                return Err(Flaw::Wrong);
            }
            sets.push((owner, set));
            ttl = ttl.min(proven.ttl);
        }
        if sets.is_empty() { Err(Flaw::Missing) } else { Ok((sets, ttl)) }
    }

    /// What becomes of data without a signature at `name`: it is proven that no signed zone holds the name, or it is bogus.
    pub(super) async fn without_signature(&mut self, name: &Name, depth: u32) -> Security {
        let Some(anchor) = anchored(self.shared, name) else { return Security::Indeterminate };
        let top = self.trust(anchor.clone(), depth).await;
        if !matches!(top, Trust::Keys(_)) {
            return top.security();
        }
        for labels in anchor.label_count() + 1..=name.label_count() {
            let Some(at) = ancestor(name, labels) else { break };
            match self.delegation(at.clone(), depth).await.0 {
                Delegation::Unsigned => return Security::Insecure,
                Delegation::Broken(error) => return Security::Bogus(error),
                Delegation::Unproven => return Security::Bogus(ExtendedError::RRSIGS_MISSING),
                Delegation::Absent => break,
                Delegation::SameZone => {}
                Delegation::Signed(_) => match self.trust(at, depth).await {
                    Trust::Keys(_) => {}
                    other => return other.security(),
                },
            }
        }
        Security::Bogus(ExtendedError::RRSIGS_MISSING)
    }
}

/// The zone whose denial it is, as its signatures say.
pub(super) fn denying_zone(denial: &Denial) -> Option<Name> {
    let sets = denial.iter().filter(|(_, set)| set.rtype != Rtype::RRSIG);
    sets.filter_map(|(owner, set)| {
        let signatures = super::message::signature_of(denial, owner, set.rtype);
        signer(owner, set.rtype, signatures)
    })
    .next()
}

/// Data of the DS records of the anchors that are exactly for a zone.
fn own_anchors<U, C>(shared: &Shared<U, C>, zone: &Name) -> Vec<Rdata> {
    shared.anchors.load().iter().filter(|anchor| anchor.zone == *zone).map(|anchor| anchor.ds.clone()).collect()
}

/// The deepest zone with an anchor that holds a name.
pub(super) fn anchored<U, C>(shared: &Shared<U, C>, name: &Name) -> Option<Name> {
    let anchors = shared.anchors.load();
    let above = anchors.iter().map(|anchor| &anchor.zone).filter(|zone| name.is_under(zone));
    above.max_by_key(|zone| zone.label_count()).cloned()
}
