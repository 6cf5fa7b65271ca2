//! What NSEC and NSEC3 records prove (RFC 4035, section 5.4; RFC 6840, section 4): pure. All records given were proven to be
//! of one zone before.

use super::{
    nsec3::Hashed,
    verify::{ancestor, wildcard},
};
use crate::{
    name::Name,
    record::{RrSet, Rtype},
};

/// How far a denial is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Shown {
    /// The records do not say so.
    No,
    /// They say so.
    Yes,
    /// They say so but for unsigned delegations, which they leave out (RFC 5155, section 6), or in a way that costs more to
    /// check than it is worth (RFC 9276, section 3.2).
    Unsigned,
}

/// What records say of a name that has no DS record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    /// A delegation to a zone that is not signed.
    Unsigned,
    /// No delegation: the name is in the zone of the records.
    SameZone,
    /// The name does not exist, so nothing below it does.
    Absent,
}

/// The types of a bitmap (RFC 4034, section 4.1.2).
#[derive(Debug)]
pub(super) struct Types<'d>(pub(super) &'d [u8]);

impl Types<'_> {
    pub(super) fn has(&self, rtype: Rtype) -> bool {
        let (window, at) = ((rtype.to_int() >> 8) as u8, usize::from(rtype.to_int() & 255));
        let mut rest = self.0;
        while let [number, length, tail @ ..] = rest {
            let Some((bits, tail)) = tail.split_at_checked(usize::from(*length)) else { return false };
            if *number == window {
                return bits.get(at / 8).is_some_and(|byte| byte & (0x80 >> (at % 8)) != 0);
            }
            rest = tail;
        }
        false
    }

    /// The parent's side of a delegation: it knows nothing of what is below.
    pub(super) fn is_cut(&self) -> bool {
        self.has(Rtype::NS) && !self.has(Rtype::SOA)
    }

    /// The name that owns these types has no record of `rtype`, and whoever wrote this knows.
    pub(super) fn lacks(&self, rtype: Rtype, name: &Name) -> bool {
        let speaks = if rtype == Rtype::DS { !self.has(Rtype::SOA) || name.is_root() } else { !self.is_cut() };
        speaks && !self.has(rtype) && !self.has(Rtype::CNAME)
    }

    /// What a record that has the very name says of a delegation there.
    pub(super) fn gap(&self, name: &Name) -> Option<Gap> {
        if self.has(Rtype::DS) || (self.has(Rtype::SOA) && !name.is_root()) {
            return None;
        }
        Some(if self.has(Rtype::NS) { Gap::Unsigned } else { Gap::SameZone })
    }
}

/// The denial records of one zone.
#[derive(Debug)]
pub(crate) enum Denials<'d> {
    /// By name.
    Plain(Vec<Nsec<'d>>),
    /// By hash of the name.
    Hashed(Hashed<'d>),
}

/// One NSEC record.
#[derive(Debug)]
pub(crate) struct Nsec<'d> {
    owner: &'d Name,
    next: Name,
    types: Types<'d>,
}

impl<'d> Denials<'d> {
    /// Takes the NSEC sets among proven sets of `zone`, or the NSEC3 sets where there are none.
    pub(crate) fn read(zone: &Name, sets: &[(&'d Name, &'d RrSet)]) -> Self {
        let plain = sets.iter().filter(|(_, set)| set.rtype == Rtype::NSEC).filter_map(|(owner, set)| {
            let data = set.data.first()?;
            let next = data.name_at(0)?;
            let types = Types(&data.as_wire()[next.as_wire().len()..]);
            Some(Nsec { owner, next, types })
        });
        let plain: Vec<_> = plain.collect();
        if plain.is_empty() { Self::Hashed(Hashed::read(zone, sets)) } else { Self::Plain(plain) }
    }

    /// That `name` has no records of this type.
    pub(crate) fn no_type(&self, name: &Name, rtype: Rtype) -> Shown {
        let all = match self {
            Self::Plain(all) => all,
            Self::Hashed(hashed) => return hashed.no_type(name, rtype),
        };
        if let Some(own) = all.iter().find(|nsec| nsec.owner == name) {
            return shown(own.types.lacks(rtype, name));
        }
        // It has no records at all, but names below it have.
        if all.iter().any(|nsec| nsec.spans(name) && nsec.next.is_under(name)) {
            return Shown::Yes;
        }
        // A wildcard answers for it, and has none of this type.
        let wild = enclosers(all, name).filter_map(|labels| wildcard(name, labels));
        shown(wild.into_iter().any(|wild| all.iter().any(|nsec| *nsec.owner == wild && nsec.types.lacks(rtype, &wild))))
    }

    /// That neither `name` nor a wildcard for it exists.
    pub(crate) fn no_name(&self, name: &Name) -> Shown {
        let all = match self {
            Self::Plain(all) => all,
            Self::Hashed(hashed) => return hashed.no_name(name),
        };
        let wild = enclosers(all, name).filter_map(|labels| wildcard(name, labels));
        shown(wild.into_iter().any(|wild| all.iter().any(|nsec| nsec.denies(&wild))))
    }

    /// That a wildcard was right to answer for `name`: below the wildcard's parent, which has `labels`, nothing is nearer.
    pub(crate) fn nothing_nearer(&self, name: &Name, labels: usize) -> Shown {
        let Some(nearer) = ancestor(name, labels + 1) else { return Shown::No };
        match self {
            Self::Plain(all) => shown(all.iter().any(|nsec| nsec.denies(&nearer))),
            Self::Hashed(hashed) => hashed.covers(&nearer),
        }
    }

    /// What they say of a name that has no DS record; `None` when they do not say that.
    pub(crate) fn gap(&self, name: &Name) -> Option<Gap> {
        let all = match self {
            Self::Plain(all) => all,
            Self::Hashed(hashed) => return hashed.gap(name),
        };
        if let Some(own) = all.iter().find(|nsec| nsec.owner == name) {
            return own.types.gap(name);
        }
        if all.iter().any(|nsec| nsec.spans(name) && nsec.next.is_under(name)) {
            return Some(Gap::SameZone);
        }
        // With or without a wildcard for it: no zone begins there.
        all.iter().any(|nsec| nsec.denies(name)).then_some(Gap::Absent)
    }
}

fn shown(yes: bool) -> Shown {
    if yes { Shown::Yes } else { Shown::No }
}

/// How many labels the nearest existing ancestor of `name` has, for each record that denies the name.
fn enclosers<'n>(all: &'n [Nsec<'_>], name: &'n Name) -> impl Iterator<Item = usize> {
    all.iter().filter(|nsec| nsec.denies(name)).map(|nsec| common(name, nsec.owner).max(common(name, &nsec.next)))
}

/// How many labels two names share from the root on.
fn common(a: &Name, b: &Name) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.labels().collect(), b.labels().collect());
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
}

impl Nsec<'_> {
    /// True when `name` lies between the owner and the next; the last record leads back to the apex.
    fn spans(&self, name: &Name) -> bool {
        self.owner < name && (name < &self.next || &self.next <= self.owner)
    }

    /// True when `name` is in the gap, owns nothing and has nothing below it, and the owner is not a delegation or an alias of
    /// a tree above it: such a record knows nothing of what is below (RFC 6840, section 4.1).
    fn denies(&self, name: &Name) -> bool {
        let elsewhere = name.is_under(self.owner) && (self.types.is_cut() || self.types.has(Rtype::DNAME));
        self.spans(name) && !self.next.is_under(name) && !elsewhere
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::Rdata;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    fn nsec(owner: &str, next: &str, types: &str) -> (Name, RrSet) {
        let data = Rdata::parse(Rtype::NSEC, &format!("{next} {types}")).expect("data");
        (name(owner), RrSet { rtype: Rtype::NSEC, ttl: 5, data: Arc::new([data]) })
    }

    fn with<T>(sets: &[(Name, RrSet)], judge: impl FnOnce(&Denials<'_>) -> T) -> T {
        let sets: Vec<_> = sets.iter().map(|(owner, set)| (owner, set)).collect();
        judge(&Denials::read(&name("x"), &sets))
    }

    /// x; a.x; *.c.x; e.d.x; sub.x, a delegation; z.x.
    fn chain() -> Vec<(Name, RrSet)> {
        vec![
            nsec("x", "a.x", "NS SOA RRSIG NSEC DNSKEY"),
            nsec("a.x", "*.c.x", "A RRSIG NSEC"),
            nsec("*.c.x", "e.d.x", "TXT RRSIG NSEC"),
            nsec("e.d.x", "sub.x", "A RRSIG NSEC"),
            nsec("sub.x", "z.x", "NS RRSIG NSEC"),
            nsec("z.x", "x", "CNAME RRSIG NSEC"),
        ]
    }

    #[test]
    fn the_whole_chain_denies_exactly_what_is_not_there() {
        let chain = chain();
        with(&chain, |all| {
            for (owner, rtype, yes) in [
                ("a.x", Rtype::TXT, true),
                ("a.x", Rtype::A, false),
                ("d.x", Rtype::A, true),
                ("q.c.x", Rtype::A, true),
                ("q.c.x", Rtype::TXT, false),
                ("sub.x", Rtype::DS, true),
                ("sub.x", Rtype::A, false),
                ("z.x", Rtype::A, false),
                ("x", Rtype::DS, false),
                ("x", Rtype::MX, true),
                ("b.x", Rtype::A, false),
            ] {
                assert_eq!(all.no_type(&name(owner), rtype), shown(yes), "{owner} {rtype}");
            }
            for (owner, yes) in [
                ("b.x", true),
                ("a.a.x", true),
                ("zz.x", true),
                ("a.x", false),
                ("d.x", false),
                ("q.c.x", false),
                ("www.sub.x", false),
                ("x", false),
            ] {
                assert_eq!(all.no_name(&name(owner)), shown(yes), "{owner}");
            }
            for (owner, gap) in [
                ("sub.x", Some(Gap::Unsigned)),
                ("a.x", Some(Gap::SameZone)),
                ("d.x", Some(Gap::SameZone)),
                ("b.x", Some(Gap::Absent)),
                ("q.c.x", Some(Gap::Absent)),
                ("www.sub.x", None),
                ("x", None),
            ] {
                assert_eq!(all.gap(&name(owner)), gap, "{owner}");
            }
            assert_eq!(all.nothing_nearer(&name("p.q.c.x"), 2), Shown::Yes);
            assert_eq!(all.nothing_nearer(&name("p.d.x"), 1), Shown::No, "d.x exists");
        });
    }

    #[test]
    fn one_record_proves_no_more_than_its_gap() {
        with(&chain()[1..2], |all| {
            assert_eq!(all.no_name(&name("b.x")), Shown::No, "a wildcard may exist");
            assert_eq!(all.gap(&name("b.x")), Some(Gap::Absent));
            assert_eq!(all.gap(&name("d.x")), None);
            assert_eq!(all.no_type(&name("q.c.x"), Rtype::A), Shown::No);
        });
        with(&[], |all| {
            assert_eq!(all.no_name(&name("b.x")), Shown::No);
            assert_eq!(all.no_type(&name("a.x"), Rtype::TXT), Shown::No);
            assert_eq!(all.gap(&name("sub.x")), None);
        });
    }
}
