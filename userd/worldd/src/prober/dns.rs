//! The live check of a name: the answer's data as a set, and whether it came validated.

use std::{collections::BTreeSet, net::IpAddr};

use bytes::Bytes;
use domain::{
    base::{
        Message, ParsedName, Rtype, ToName,
        iana::{OptRcode, Rcode},
        rdata::ComposeRecordData,
    },
    rdata::AllRecordData,
    zonefile::inplace::{Entry, Zonefile},
};
use netengine_proto::control::Fault;

use super::{
    exchange::{self, Owner},
    finding::{Finding, Progress, Seen},
};

/// Data as it is read in a zone file, by its canonical wire form (RFC 4034, section 6.2).
type Data = std::collections::BTreeMap<Vec<u8>, String>;

/// What to ask and what must come.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The server.
    pub server: IpAddr,
    /// The question's name.
    pub name: &'a str,
    /// The question's type.
    pub rtype: &'a str,
    /// All the data there must be; none for any.
    pub expect: &'a [String],
    /// Whether AD must be set.
    pub validated: bool,
}

/// Asks, compares, and tells the data.
pub async fn check(wanted: Wanted<'_>, progress: &Progress) -> Seen {
    let owner = exchange::name(wanted.name)?;
    let rtype: Rtype =
        wanted.rtype.parse().map_err(|_| Finding::ours(format!("cannot ask for the type {}", wanted.rtype)))?;
    let expected = expected(rtype, wanted.expect)?;
    let answer = exchange::ask(wanted.server, &owner, rtype, progress).await?;
    judge(&answer, &wanted, &owner, rtype, &expected)
}

/// Whether this answer holds exactly what is wanted.
fn judge(answer: &Message<Vec<u8>>, wanted: &Wanted<'_>, owner: &Owner, rtype: Rtype, expected: &Data) -> Seen {
    let what = format!("{rtype} of {owner}");
    let rcode = answer.opt_rcode();
    if rcode == OptRcode::SERVFAIL && wanted.validated {
        return Err(Finding::new(Fault::NotValidated, format!("SERVFAIL for {what}")));
    }
    if rcode != OptRcode::NOERROR && rcode != OptRcode::NXDOMAIN {
        return Err(Finding::refused(format!("{rcode} for {what}")));
    }
    let data =
        data_of(answer, rtype).map_err(|()| Finding::wrong(format!("an answer for {what} that cannot be read")))?;
    if data.is_empty() {
        let none = if answer.header().rcode() == Rcode::NXDOMAIN { "there is no such name" } else { "no data" };
        return Err(Finding::new(Fault::WrongRecord, format!("{what}: {none}")));
    }
    if !expected.is_empty() {
        let (have, want): (BTreeSet<_>, BTreeSet<_>) = (data.keys().collect(), expected.keys().collect());
        if have != want {
            let detail = format!("{what} is {}, not {}", list(&data), list(expected));
            return Err(Finding::new(Fault::WrongRecord, detail));
        }
    }
    if wanted.validated && !answer.header().ad() {
        return Err(Finding::new(Fault::NotValidated, format!("{what} is {}, but not validated", list(&data))));
    }
    let validated = if wanted.validated { ", validated" } else { "" };
    Ok(format!("{what} is {}{validated}", list(&data)))
}

fn list(data: &Data) -> String {
    data.values().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The data of the question's name, aliases followed within the answer.
///
/// # Errors
/// The message cannot be read.
fn data_of(answer: &Message<Vec<u8>>, rtype: Rtype) -> Result<Data, ()> {
    let mut data = Data::new();
    let Some(last) =
        (if rtype == Rtype::CNAME { answer.first_question().map(|q| *q.qname()) } else { answer.canonical_name() })
    else {
        return Err(());
    };
    for record in answer.answer().map_err(drop)?.limit_to::<AllRecordData<_, ParsedName<_>>>() {
        let record = record.map_err(drop)?;
        if record.rtype() == rtype && record.owner().name_eq(&last) {
            data.insert(canonical(record.data()), record.data().to_string());
        }
    }
    Ok(data)
}

/// The addresses in an answer.
///
/// # Errors
/// The message cannot be read.
pub fn addresses_of(answer: &Message<Vec<u8>>, rtype: Rtype) -> Result<Vec<IpAddr>, ()> {
    let data = data_of(answer, rtype)?;
    let address = |wire: &Vec<u8>| match *wire.as_slice() {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => Some(IpAddr::from(<[u8; 16]>::try_from(wire.as_slice()).ok()?)),
    };
    data.keys().map(|wire| address(wire).ok_or(())).collect()
}

fn canonical(data: &impl ComposeRecordData) -> Vec<u8> {
    let mut wire = Vec::new();
    // A vector takes every octet.
    let _ = data.compose_canonical_rdata(&mut wire);
    wire
}

/// Reads presentation form as a zone file has it, names relative to the root.
fn expected(rtype: Rtype, lines: &[String]) -> Result<Data, Finding> {
    let mut data = Data::new();
    for line in lines {
        let unreadable = || Finding::ours(format!("cannot read the expected data {line:?} of type {rtype}"));
        let mut file = Zonefile::new();
        file.set_origin(domain::base::Name::<Bytes>::root());
        file.extend_from_slice(format!(". 0 IN {rtype} {line}\n").as_bytes());
        match (file.next_entry(), file.next_entry()) {
            (Ok(Some(Entry::Record(record))), Ok(None)) if record.rtype() == rtype => {
                data.insert(canonical(record.data()), record.data().to_string());
            }
            _ => return Err(unreadable()),
        }
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rtype: Rtype, lines: &[&str]) -> Result<Data, Finding> {
        expected(rtype, &lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_same_data_in_other_words_is_the_same() {
        let pairs = [
            (Rtype::PTR, "NS1.Example.test", "ns1.example.test."),
            (Rtype::AAAA, "fd00:0:0::1", "fd00::1"),
            (Rtype::TXT, "plain", "\"plain\""),
            (Rtype::DNSKEY, "257 3 13 aGk=", "257 3 013 aG k="),
        ];
        for (rtype, one, other) in pairs {
            let keys = |line| read(rtype, &[line]).map(|data| data.into_keys().collect::<Vec<_>>());
            assert_eq!(keys(one), keys(other), "{rtype}");
            assert_eq!(keys(one).expect("readable").len(), 1);
        }
    }

    #[test]
    fn what_cannot_be_read_is_the_requests_fault() {
        for (rtype, line) in [(Rtype::A, "10.0.0"), (Rtype::A, "10.0.0.1\n. 0 IN A 10.0.0.2"), (Rtype::A, "")] {
            assert_eq!(read(rtype, &[line]).expect_err(line).fault, None, "{line}");
        }
    }
}
