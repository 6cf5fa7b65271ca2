//! Answers and denials, judged by the chain of trust to their zones.

use super::{
    ask::Upstream,
    cache::{Denial, Link},
    iterate::{Found, Work},
    message::signature_of,
    security::{ExtendedError, Security},
    trust::{Trust, anchored, denying_zone},
};
use crate::{
    authority::Clock,
    dnssec::{
        denial::{Denials, Shown},
        verify::{Flaw, check_set, signer},
    },
    name::Name,
    record::Rtype,
};

/// The sets that a zone signed, and the signatures.
fn of_zone(proofs: &Denial, zone: &Name) -> Denial {
    let mut ours = Denial::new();
    for (owner, set) in proofs.iter().filter(|(_, set)| set.rtype != Rtype::RRSIG) {
        let signatures = signature_of(proofs, owner, set.rtype);
        if signer(owner, set.rtype, signatures).as_ref() == Some(zone) {
            ours.push((owner.clone(), set.clone()));
            ours.extend(signatures.map(|signatures| (owner.clone(), signatures.clone())));
        }
    }
    ours
}

impl<U: Upstream, C: Clock> Work<'_, U, C> {
    /// Judges what was found; sets of an answer get their own judgement and the time that they may be believed.
    pub(super) async fn validate(&mut self, name: &Name, rtype: Rtype, found: &mut Found, depth: u32) -> Security {
        if self.shared.anchors.load().is_empty() {
            return Security::Indeterminate;
        }
        match found {
            Found::Answer(links) => {
                let mut worst = Security::Secure;
                for link in links {
                    link.security = self.check_link(link, depth).await;
                    worst = worst.max(link.security);
                }
                worst
            }
            Found::NoData(denial) => self.check_denial(name, Some(rtype), denial, depth).await,
            Found::Absent(denial) => self.check_denial(name, None, denial, depth).await,
            Found::Failure(_) => Security::Indeterminate,
        }
    }

    async fn check_link(&mut self, link: &mut Link, depth: u32) -> Security {
        // Signatures are not signed (RFC 4035, section 2.2).
        if link.set.rtype == Rtype::RRSIG || anchored(self.shared, &link.owner).is_none() {
            return Security::Indeterminate;
        }
        let Some(zone) = signer(&link.owner, link.set.rtype, link.signature.as_ref()) else {
            let holder = if link.set.rtype == Rtype::DS { link.owner.parent() } else { Some(link.owner.clone()) };
            return match holder {
                Some(holder) => self.without_signature(&holder, depth).await,
                None => Security::Bogus(ExtendedError::RRSIGS_MISSING),
            };
        };
        let keys = match self.trust(zone.clone(), depth).await {
            Trust::Keys(keys) => keys,
            other => return other.security(),
        };
        let now = self.shared.clock.unix() as u32;
        let signature = link.signature.as_ref();
        let proven = match check_set((&link.owner, &link.set), signature, &zone, &keys, now, &mut self.effort) {
            Ok(proven) => proven,
            Err(flaw) => return Security::Bogus(flaw.into()),
        };
        link.set.ttl = proven.ttl;
        let Some(labels) = proven.encloser else {
            link.proofs.clear();
            return Security::Secure;
        };
        // Proofs of other links of the same response may be of other zones.
        let proofs = of_zone(&link.proofs, &zone);
        link.proofs = proofs.clone();
        match self.proven(&proofs, &zone, &keys) {
            Ok((sets, _)) => match Denials::read(&zone, &sets).nothing_nearer(&link.owner, labels) {
                Shown::Yes => Security::Secure,
                Shown::Unsigned => Security::Insecure,
                Shown::No => Security::Bogus(ExtendedError::NSEC_MISSING),
            },
            Err(Flaw::Missing) => Security::Bogus(ExtendedError::NSEC_MISSING),
            Err(flaw) => Security::Bogus(flaw.into()),
        }
    }

    /// Judges a denial of a type, or of the whole name.
    async fn check_denial(&mut self, name: &Name, rtype: Option<Rtype>, denial: &mut Denial, depth: u32) -> Security {
        if anchored(self.shared, name).is_none() {
            return Security::Indeterminate;
        }
        let for_ds = rtype == Some(Rtype::DS) && !name.is_root();
        let fits = |zone: &Name| name.is_under(zone) && !(for_ds && zone == name);
        let Some(zone) = denying_zone(denial).filter(fits) else {
            let holder = if for_ds { name.parent() } else { Some(name.clone()) };
            let security = match holder {
                Some(holder) => self.without_signature(&holder, depth).await,
                None => Security::Bogus(ExtendedError::NSEC_MISSING),
            };
            return match security {
                Security::Bogus(ExtendedError::RRSIGS_MISSING) => Security::Bogus(ExtendedError::NSEC_MISSING),
                other => other,
            };
        };
        let keys = match self.trust(zone.clone(), depth).await {
            Trust::Keys(keys) => keys,
            other => return other.security(),
        };
        let (shown, ttl) = match self.proven(denial, &zone, &keys) {
            Ok((sets, ttl)) => {
                let denials = Denials::read(&zone, &sets);
                (rtype.map_or_else(|| denials.no_name(name), |rtype| denials.no_type(name, rtype)), ttl)
            }
            Err(flaw) => return Security::Bogus(flaw.into()),
        };
        for (_, set) in denial.iter_mut() {
            set.ttl = set.ttl.min(ttl);
        }
        match shown {
            Shown::Yes => Security::Secure,
            Shown::Unsigned => Security::Insecure,
            Shown::No => Security::Bogus(ExtendedError::NSEC_MISSING),
        }
    }
}
