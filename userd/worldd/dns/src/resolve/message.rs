//! What a server's response means for the one who asked (RFC 1034, section 5.3.3).

use std::{net::IpAddr, sync::Arc};

use super::{
    cache::{Denial, Link, Server},
    security::Security,
};
use crate::{
    name::Name,
    record::{Rdata, Record, RrSet, Rtype},
    wire::{
        CLASS_IN, Rcode, edns, flag,
        read::{Malformed, Parsed, expand},
        write::Writer,
    },
};

/// A response, judged. Only what lies in the zone of the server that was asked is believed.
#[derive(Debug)]
pub(super) enum Response {
    /// Sets of the answer: the name's own, or the beginning of a chain of aliases.
    Answer(Vec<Link>),
    /// The name has nothing of this type.
    NoData(Denial),
    /// The name does not exist.
    Absent(Denial),
    /// Ask the servers of this zone, which lies deeper.
    Referral(Name, Vec<Server>, u32),
    /// It is cut off: ask by TCP.
    Truncated,
    /// The server does not know or does not want.
    Lame,
}

/// A query with these flags that wants DNSSEC records.
pub(super) fn query(id: u16, name: &Name, rtype: Rtype, flags: u16) -> Vec<u8> {
    let mut writer = Writer::new(id, flags, 512);
    // A name and an OPT record fit into 512 bytes.
    let _ = writer.question(name, rtype, CLASS_IN);
    let _ = edns::Reply { dnssec_ok: true, ..edns::Reply::default() }.write(&mut writer);
    writer.finish()
}

/// Reads a response to `query`.
fn response<'m>(message: &'m [u8], id: u16, name: &Name, rtype: Rtype) -> Result<Parsed<'m>, Malformed> {
    let parsed = Parsed::read(message)?;
    let question = parsed.question.as_ref().ok_or(Malformed)?;
    let ours = question.name == *name && question.rtype == rtype && question.class == CLASS_IN;
    if parsed.header.id == id && parsed.header.is_response() && ours { Ok(parsed) } else { Err(Malformed) }
}

/// Judges the response of a resolver outside the world. Of a chain of aliases only the first is taken: where it leads may be
/// in the world again, of which that resolver knows nothing.
///
/// # Errors
/// [`Malformed`] when it is not a response to this query at all.
pub(super) fn judge_forwarded(message: &[u8], id: u16, name: &Name, rtype: Rtype) -> Result<Response, Malformed> {
    let parsed = response(message, id, name, rtype)?;
    if parsed.header.has(flag::TC) {
        return Ok(Response::Truncated);
    }
    let records = records(message, &parsed)?;
    let of = |section: usize| records.iter().filter(move |(of, _)| *of == section).map(|(_, record)| record);
    let mut chain = chain(sets(of(1)), name, rtype);
    chain.truncate(1);
    let denial = sets(of(2).filter(|record| covered(record) == Rtype::SOA && name.is_under(&record.owner)));
    Ok(match parsed.header.rcode() {
        Rcode::NOERROR | Rcode::NXDOMAIN if !chain.is_empty() => Response::Answer(chain),
        Rcode::NOERROR => Response::NoData(denial),
        Rcode::NXDOMAIN => Response::Absent(denial),
        _ => Response::Lame,
    })
}

/// Judges a response to `query`, sent to a server of `zone`.
///
/// # Errors
/// [`Malformed`] when it is not a response to this query at all.
pub(super) fn judge(message: &[u8], id: u16, zone: &Name, name: &Name, rtype: Rtype) -> Result<Response, Malformed> {
    let parsed = response(message, id, name, rtype)?;
    let header = parsed.header;
    if header.has(flag::TC) {
        return Ok(Response::Truncated);
    }
    let records = records(message, &parsed)?;
    let in_zone = |section: usize| {
        records
            .iter()
            .filter(move |(of, record)| *of == section && record.owner.is_under(zone))
            .map(|(_, record)| record)
    };
    // Denials and proofs, with their signatures.
    let support = || {
        let of = |record: &&Record| matches!(covered(record), Rtype::SOA | Rtype::NSEC | Rtype::NSEC3);
        sets(in_zone(2).filter(of))
    };
    let denial = || {
        let mut denial = support();
        denial.retain(|(owner, set)| set.rtype != Rtype::SOA || name.is_under(owner));
        denial
    };
    match header.rcode() {
        Rcode::NOERROR => {}
        Rcode::NXDOMAIN if in_zone(1).next().is_none() => return Ok(Response::Absent(denial())),
        // An alias to a name that does not exist: the chain is followed again from its first link.
        Rcode::NXDOMAIN => {}
        _ => return Ok(Response::Lame),
    }
    let mut chain = chain(sets(in_zone(1)), name, rtype);
    if !chain.is_empty() {
        let mut proofs = support();
        proofs.retain(|(_, set)| covering(set) != Rtype::SOA);
        chain.iter_mut().for_each(|link| link.proofs.clone_from(&proofs));
        return Ok(Response::Answer(chain));
    }
    let below = |record: &&Record| record.rtype == Rtype::NS && record.owner != *zone && name.is_under(&record.owner);
    let servers: Vec<_> = in_zone(2).filter(below).collect();
    if let (false, Some(first)) = (header.has(flag::AA), servers.first()) {
        let child = first.owner.clone();
        let ttl = servers.iter().map(|record| record.ttl).min().unwrap_or(0);
        let names = servers.iter().filter(|record| record.owner == child).filter_map(|record| record.data.name_at(0));
        let servers = names.map(|server| Server { addresses: glue(in_zone(3), &server), name: server }).collect();
        return Ok(Response::Referral(child, servers, ttl));
    }
    let denial = denial();
    let has_soa = denial.iter().any(|(_, set)| set.rtype == Rtype::SOA);
    if has_soa || header.has(flag::AA) { Ok(Response::NoData(denial)) } else { Ok(Response::Lame) }
}

fn records(message: &[u8], parsed: &Parsed<'_>) -> Result<Vec<(usize, Record)>, Malformed> {
    let data = expand(message)?;
    let all = parsed.records.iter().zip(data).filter(|(raw, _)| raw.class == CLASS_IN);
    let all = all.filter_map(|(raw, data)| {
        let (owner, rtype, ttl) = (raw.owner.clone(), raw.rtype, raw.ttl);
        // A TTL with the highest bit set is 0 (RFC 2181, section 8).
        let ttl = if ttl > i32::MAX as u32 { 0 } else { ttl };
        Some((raw.section, Record { owner, rtype, ttl, data: data? }))
    });
    Ok(all.collect())
}

/// The type of a record, or for RRSIG the one it covers.
fn covered(record: &Record) -> Rtype {
    signed_type(record.rtype, &record.data)
}

fn covering(set: &RrSet) -> Rtype {
    set.data.first().map_or(set.rtype, |data| signed_type(set.rtype, data))
}

/// The RRSIG set that covers the set of this owner and type.
pub(super) fn signature_of<'d>(sets: &'d [(Name, RrSet)], owner: &Name, rtype: Rtype) -> Option<&'d RrSet> {
    let found = sets.iter().find(|(of, set)| of == owner && set.rtype == Rtype::RRSIG && covering(set) == rtype);
    found.map(|(_, set)| set)
}

fn signed_type(rtype: Rtype, data: &Rdata) -> Rtype {
    match data.as_wire().first_chunk::<2>() {
        Some(covered) if rtype == Rtype::RRSIG => Rtype::from_int(u16::from_be_bytes(*covered)),
        _ => rtype,
    }
}

/// Records put together by owner and type, RRSIG by the type it covers too.
fn sets<'r>(records: impl Iterator<Item = &'r Record>) -> Vec<(Name, RrSet)> {
    let mut all: Vec<(Name, Rtype, Rtype, u32, Vec<_>)> = Vec::new();
    for record in records {
        let of = covered(record);
        let same = all
            .iter_mut()
            .find(|(owner, rtype, covered, ..)| *owner == record.owner && *rtype == record.rtype && *covered == of);
        match same {
            Some((.., ttl, data)) => {
                *ttl = record.ttl.min(*ttl);
                if !data.contains(&record.data) {
                    data.push(record.data.clone());
                }
            }
            None => all.push((record.owner.clone(), record.rtype, of, record.ttl, vec![record.data.clone()])),
        }
    }
    all.into_iter().map(|(owner, rtype, _, ttl, data)| (owner, RrSet { rtype, ttl, data: Arc::from(data) })).collect()
}

/// The sets that lead from `name` to its answer, in order; nothing else of the answer section is believed.
fn chain(mut sets: Vec<(Name, RrSet)>, name: &Name, rtype: Rtype) -> Vec<Link> {
    let (mut chain, mut at) = (Vec::new(), name.clone());
    loop {
        let place = |sets: &[(Name, RrSet)], wanted| {
            let fits = |set: &RrSet| set.rtype == wanted || rtype == Rtype::ANY && set.rtype != Rtype::RRSIG;
            sets.iter().position(|(owner, set)| *owner == at && fits(set))
        };
        let answer = place(&sets, rtype);
        let Some(found) = answer.or_else(|| place(&sets, Rtype::CNAME)) else { return chain };
        let (owner, set) = sets.swap_remove(found);
        let signature = sets
            .iter()
            .position(|(of, other)| *of == owner && other.rtype == Rtype::RRSIG && covering(other) == set.rtype);
        let signature = signature.map(|place| sets.swap_remove(place).1);
        let target = set.data.first().filter(|_| answer.is_none()).and_then(|data| data.name_at(0));
        chain.push(Link { owner, set, signature, proofs: Vec::new(), security: Security::Indeterminate });
        let Some(target) = target else { return chain };
        at = target;
    }
}

fn glue<'r>(records: impl Iterator<Item = &'r Record>, server: &Name) -> Vec<IpAddr> {
    let of = records.filter(|record| record.owner == *server);
    of.filter_map(|record| address(record.rtype, record.data.as_wire())).collect()
}

/// The address in data of A or AAAA.
pub(super) fn address(rtype: Rtype, data: &[u8]) -> Option<IpAddr> {
    match rtype {
        Rtype::A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        Rtype::AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
        _ => None,
    }
}
