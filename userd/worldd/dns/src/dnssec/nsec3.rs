//! What NSEC3 records prove (RFC 5155, section 8): for zones of others, ours have NSEC.

use aws_lc_rs::digest;

use super::{
    denial::{Gap, Shown, Types},
    verify::{ancestor, wildcard},
};
use crate::{
    name::Name,
    record::{RrSet, Rtype},
};

/// Rounds of hashing above which a zone is taken for unsigned (RFC 9276, section 3.2; CVE-2023-50868).
const ROUNDS: u16 = 50;

type Hash = [u8; 20];

#[derive(Debug)]
struct Nsec3<'d> {
    hash: Hash,
    next: Hash,
    opt_out: bool,
    types: Types<'d>,
}

/// NSEC3 records of one zone that hash alike.
#[derive(Debug)]
pub(crate) struct Hashed<'d> {
    zone: Name,
    rounds: u16,
    salt: &'d [u8],
    all: Vec<Nsec3<'d>>,
}

impl<'d> Hashed<'d> {
    /// Takes the NSEC3 sets of `zone`; those that hash otherwise than the first are left out.
    pub(super) fn read(zone: &Name, sets: &[(&'d Name, &'d RrSet)]) -> Self {
        let mut read = Self { zone: zone.clone(), rounds: 0, salt: &[], all: Vec::new() };
        for (owner, set) in sets.iter().filter(|(_, set)| set.rtype == Rtype::NSEC3) {
            let Some((rounds, salt, record)) = set.data.first().and_then(|data| one(owner, zone, data.as_wire()))
            else {
                continue;
            };
            if read.all.is_empty() {
                (read.rounds, read.salt) = (rounds, salt);
            }
            if (rounds, salt) == (read.rounds, read.salt) {
                read.all.push(record);
            }
        }
        read
    }

    fn hash(&self, name: &Name) -> Hash {
        let mut hash = Hash::default();
        let mut input = name.to_lowercase().as_wire().to_vec();
        for _ in 0..=self.rounds {
            input.extend_from_slice(self.salt);
            hash.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &input).as_ref());
            input = hash.to_vec();
        }
        hash
    }

    /// Records that cost too much to check are believed to say nothing that is safe.
    fn is_costly(&self) -> bool {
        self.rounds > ROUNDS
    }

    fn matching(&self, name: &Name) -> Option<&Nsec3<'d>> {
        let hash = self.hash(name);
        self.all.iter().find(|record| record.hash == hash)
    }

    fn covering(&self, name: &Name) -> Option<&Nsec3<'d>> {
        let hash = self.hash(name);
        self.all.iter().find(|record| match record.hash < record.next {
            true => record.hash < hash && hash < record.next,
            false => record.hash < hash || hash < record.next,
        })
    }

    /// That nothing has this name.
    pub(super) fn covers(&self, name: &Name) -> Shown {
        if self.is_costly() {
            return Shown::Unsigned;
        }
        self.covering(name).map_or(Shown::No, said)
    }

    /// The labels of the nearest existing ancestor, and how the name below it towards `name` is denied (section 8.3).
    fn encloser(&self, name: &Name) -> Option<(usize, Shown)> {
        for labels in (self.zone.label_count()..name.label_count()).rev() {
            let Some(found) = ancestor(name, labels).and_then(|above| self.matching(&above)) else { continue };
            if found.types.is_cut() || found.types.has(Rtype::DNAME) {
                return None;
            }
            let nearer = self.covering(&ancestor(name, labels + 1)?)?;
            return Some((labels, said(nearer)));
        }
        None
    }

    /// Sections 8.5 to 8.7.
    pub(super) fn no_type(&self, name: &Name, rtype: Rtype) -> Shown {
        if self.is_costly() {
            return Shown::Unsigned;
        }
        if let Some(own) = self.matching(name) {
            return if own.types.lacks(rtype, name) { Shown::Yes } else { Shown::No };
        }
        let Some((labels, denied)) = self.encloser(name) else { return Shown::No };
        if rtype == Rtype::DS && denied == Shown::Unsigned {
            return Shown::Unsigned;
        }
        let wild = wildcard(name, labels);
        let lacks = wild.is_some_and(|wild| self.matching(&wild).is_some_and(|own| own.types.lacks(rtype, &wild)));
        if lacks { denied } else { Shown::No }
    }

    /// Section 8.4.
    pub(super) fn no_name(&self, name: &Name) -> Shown {
        if self.is_costly() {
            return Shown::Unsigned;
        }
        let Some((labels, denied)) = self.encloser(name) else { return Shown::No };
        if wildcard(name, labels).is_some_and(|wild| self.covering(&wild).is_some()) { denied } else { Shown::No }
    }

    /// Sections 8.6 and 8.9.
    pub(super) fn gap(&self, name: &Name) -> Option<Gap> {
        if self.is_costly() && !self.all.is_empty() {
            return Some(Gap::Unsigned);
        }
        if let Some(own) = self.matching(name) {
            return own.types.gap(name);
        }
        let (_, denied) = self.encloser(name)?;
        Some(if denied == Shown::Unsigned { Gap::Unsigned } else { Gap::Absent })
    }
}

fn said(record: &Nsec3<'_>) -> Shown {
    if record.opt_out { Shown::Unsigned } else { Shown::Yes }
}

/// Rounds, salt and record from data: algorithm 1, flags, rounds, salt, next hash, types (section 3.2).
fn one<'d>(owner: &Name, zone: &Name, data: &'d [u8]) -> Option<(u16, &'d [u8], Nsec3<'d>)> {
    let ([algorithm, flags, high, low, salt], rest) = data.split_first_chunk::<5>()?;
    let (salt, rest) = rest.split_at_checked(usize::from(*salt))?;
    let (length, rest) = rest.split_first()?;
    let (next, types) = rest.split_at_checked(usize::from(*length))?;
    let hash = base32(owner.labels().next()?)?;
    // Flags that are not known make a record useless (section 8.2).
    if *algorithm != 1 || *flags > 1 || owner.parent().as_ref() != Some(zone) {
        return None;
    }
    let record = Nsec3 { hash, next: next.try_into().ok()?, opt_out: *flags == 1, types: Types(types) };
    Some((u16::from_be_bytes([*high, *low]), salt, record))
}

/// 32 digits of base32 with the extended hex alphabet, in any case (RFC 4648, section 7).
fn base32(label: &[u8]) -> Option<Hash> {
    let digits: &[u8; 32] = label.try_into().ok()?;
    let mut hash = Hash::default();
    for (five, eight) in hash.chunks_exact_mut(5).zip(digits.chunks_exact(8)) {
        let mut value = 0_u64;
        for digit in eight {
            value = value << 5 | u64::from(char::from(*digit).to_digit(32)?);
        }
        five.copy_from_slice(&value.to_be_bytes()[3..]);
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::denial::Denials, *};
    use crate::record::Rdata;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    /// The zone of RFC 5155, appendix A.
    const RECORDS: [(&str, &str); 6] = [
        ("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom", "2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA NSEC3PARAM RRSIG"),
        ("2vptu5timamqttgl4luu9kg21e0aor3s", "35mthgpgcu1qg68fab165klnsnk3dpvl MX RRSIG"),
        ("35mthgpgcu1qg68fab165klnsnk3dpvl", "b4um86eghhds6nea196smvmlo4ors995 NS DS RRSIG"),
        ("b4um86eghhds6nea196smvmlo4ors995", "gjeqe526plbf1g8mklp59enfd789njgi MX RRSIG"),
        ("k8udemvp1j2f7eg6jebps17vp3n8i58h", "kohar7mbb8dc2ce8a9qvl8hon4k53uhi"),
        ("q04jkcevqvmu85r014c7dkba38o0ji5r", "r53bq7cc2uvmubfu5ocmm6pers9tk9en A RRSIG"),
    ];

    fn with<T>(flags: u8, rounds: u16, judge: impl FnOnce(&Denials<'_>) -> T) -> T {
        let sets: Vec<(Name, RrSet)> = RECORDS
            .iter()
            .map(|(owner, rest)| {
                let data = Rdata::parse(Rtype::NSEC3, &format!("1 {flags} {rounds} aabbccdd {rest}")).expect("data");
                (name(&format!("{owner}.example")), RrSet { rtype: Rtype::NSEC3, ttl: 5, data: Arc::new([data]) })
            })
            .collect();
        let sets: Vec<_> = sets.iter().map(|(owner, set)| (owner, set)).collect();
        judge(&Denials::read(&name("example"), &sets))
    }

    #[test]
    fn the_examples_of_the_rfc_prove_what_it_says() {
        with(1, 12, |all| {
            // Appendices B.1 to B.5; with opt-out a delegation that is not signed may be there.
            assert_eq!(all.no_name(&name("a.c.x.w.example")), Shown::Unsigned);
            assert_eq!(all.no_type(&name("ns1.example"), Rtype::MX), Shown::No, "its record is not among these");
            assert_eq!(all.no_type(&name("example"), Rtype::A), Shown::Yes);
            assert_eq!(all.no_type(&name("y.w.example"), Rtype::A), Shown::No, "nor this one's");
            assert_eq!(all.gap(&name("c.example")), Some(Gap::Unsigned));
        });
        with(0, 12, |all| {
            assert_eq!(all.no_name(&name("a.c.x.w.example")), Shown::Yes);
            assert_eq!(all.no_name(&name("example")), Shown::No);
            assert_eq!(all.gap(&name("c.example")), Some(Gap::Absent));
        });
    }

    #[test]
    fn a_zone_that_hashes_without_end_is_taken_for_unsigned() {
        with(0, 51, |all| {
            assert_eq!(all.no_name(&name("a.c.x.w.example")), Shown::Unsigned);
            assert_eq!(all.gap(&name("c.example")), Some(Gap::Unsigned));
        });
    }
}
