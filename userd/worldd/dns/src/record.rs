//! Records: types, data in wire form, and their presentation form.

use std::{fmt, sync::Arc};

use domain::{
    base::{
        Name as CodecName, ParsedName, Rtype as CodecType,
        iana::Class,
        rdata::{ComposeRecordData, ParseAnyRecordData},
    },
    dep::octseq::Parser,
    rdata::AllRecordData,
    zonefile::inplace::{Entry, Zonefile},
};

use crate::name::{Name, NameError, wire_length};

/// The type of a record, by number and mnemonic.
pub type Rtype = CodecType;

/// Why a text is not the data of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The text does not parse as data of this type.
    #[error("cannot read {text:?} as data of type {rtype}: {cause}")]
    Data {
        /// The type.
        rtype: Rtype,
        /// The text.
        text: String,
        /// What the parser said.
        cause: String,
    },
    /// An owner name is not a name.
    #[error("cannot read the name {text:?}")]
    Name {
        /// The text.
        text: String,
        /// What is wrong.
        #[source]
        source: NameError,
    },
}

/// The data of one record in wire form, names in it uncompressed and in their own case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rdata(Arc<[u8]>);

impl Rdata {
    /// Parses the presentation form (RFC 1035, section 5.1, and the type's own RFC); names without a final dot are
    /// absolute too. A text for TXT that begins with no quote is one string, spaces included.
    ///
    /// # Errors
    /// [`RecordError::Data`] when it is not exactly one record's data.
    pub fn parse(rtype: Rtype, text: &str) -> Result<Self, RecordError> {
        let wrong = |cause: String| RecordError::Data { rtype, text: text.to_owned(), cause };
        if text.chars().any(char::is_control) {
            return Err(wrong("it holds a control character".to_owned()));
        }
        if rtype == Rtype::TXT && !text.trim_start().starts_with('"') {
            return Ok(Self::txt(text));
        }
        // On one line they mean nothing, and the zone file parser goes beyond its buffer for one that is not closed.
        if has_parenthesis(text) {
            return Err(wrong("it holds a parenthesis outside quotes".to_owned()));
        }
        let mut file = Zonefile::from(format!(". 0 IN {rtype} {text}\n").as_str());
        file.set_origin(CodecName::root());
        let (mut wire, mut found) = (Vec::new(), false);
        while let Some(entry) = file.next_entry().map_err(|error| wrong(error.to_string()))? {
            match entry {
                Entry::Record(record) if !found && record.class() == Class::IN && record.rtype() == rtype => {
                    let Ok(()) = record.data().compose_rdata(&mut wire);
                    found = true;
                }
                _ => return Err(wrong("it is more than one record".to_owned())),
            }
        }
        if !found {
            return Err(wrong("it is empty".to_owned()));
        }
        // The zone file parser takes what it should not: an empty label at the end of a name (`a..`), for one.
        if !reads_back(rtype, &wire) {
            return Err(wrong("it makes no data that others could read".to_owned()));
        }
        Ok(Self(wire.into()))
    }

    /// Data that is known to be well-formed for its type, such as that which the codec composed.
    pub(crate) fn from_wire(wire: impl Into<Arc<[u8]>>) -> Self {
        Self(wire.into())
    }

    /// Data of TXT: the text cut into strings of at most 255 bytes.
    pub fn txt(text: &str) -> Self {
        let mut wire = Vec::with_capacity(text.len() + 1);
        if text.is_empty() {
            wire.push(0);
        }
        for string in text.as_bytes().chunks(255) {
            wire.push(string.len() as u8); // at most 255
            wire.extend_from_slice(string);
        }
        Self(wire.into())
    }

    /// Data that is one name: NS, CNAME, PTR, DNAME.
    pub fn name(name: &Name) -> Self {
        Self(name.as_wire().into())
    }

    /// Data of A or AAAA.
    pub fn address(address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(v4) => Self(Arc::from(&v4.octets()[..])),
            std::net::IpAddr::V6(v6) => Self(Arc::from(&v6.octets()[..])),
        }
    }

    /// The wire form.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The name at this offset of the data, when one is there.
    pub fn name_at(&self, offset: usize) -> Option<Name> {
        let rest = self.0.get(offset..)?;
        Name::from_wire(&rest[..wire_length(rest)?]).ok()
    }

    /// The name that an answer's reader will want the addresses of (NS, MX, SRV, PTR has none).
    pub fn target(&self, rtype: Rtype) -> Option<Name> {
        match rtype {
            Rtype::NS | Rtype::CNAME | Rtype::DNAME => self.name_at(0),
            Rtype::MX | Rtype::SVCB | Rtype::HTTPS => self.name_at(2),
            Rtype::SRV => self.name_at(6),
            _ => None,
        }
    }
}

impl fmt::Debug for Rdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whether a parenthesis stands outside quotes and without a backslash before it.
fn has_parenthesis(text: &str) -> bool {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.chars().any(|c| {
        let escaped = std::mem::take(&mut is_escaped);
        is_quoted ^= c == '"' && !escaped;
        is_escaped = c == '\\' && !escaped;
        matches!(c, '(' | ')') && !is_quoted && !escaped
    })
}

/// Whether data in wire form is read as a whole, and as the same.
fn reads_back(rtype: Rtype, wire: &[u8]) -> bool {
    let mut parser = Parser::from_ref(wire);
    let Ok(data) = AllRecordData::parse_any_rdata(rtype, &mut parser) else { return false };
    let mut again = Vec::with_capacity(wire.len());
    let data: AllRecordData<_, ParsedName<_>> = data;
    let Ok(()) = data.compose_rdata(&mut again);
    parser.remaining() == 0 && again == wire
}

/// The offsets at which data of a type holds names that may be compressed (RFC 3597, section 4: RFC 1035's types only).
/// `(bytes before, names, bytes after)`.
pub(crate) fn compressible(rtype: Rtype) -> Option<(usize, usize)> {
    match rtype {
        Rtype::NS | Rtype::CNAME | Rtype::PTR => Some((0, 1)),
        Rtype::MX => Some((2, 1)),
        Rtype::SOA => Some((0, 2)),
        _ => None,
    }
}

/// All records of one owner and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RrSet {
    /// The type.
    pub rtype: Rtype,
    /// Time to live, seconds, at most 2^31 - 1 (RFC 2181, section 8).
    pub ttl: u32,
    /// The data, without duplicates, in canonical order; never empty.
    pub data: Arc<[Rdata]>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub owner: Name,
    /// The type.
    pub rtype: Rtype,
    /// Time to live, seconds.
    pub ttl: u32,
    /// The data.
    pub data: Rdata,
}

impl Record {
    /// A record from its presentation forms.
    ///
    /// # Errors
    /// [`RecordError`] when the owner or the data does not parse.
    pub fn parse(owner: &str, ttl: u32, rtype: Rtype, data: &str) -> Result<Self, RecordError> {
        let owner = Name::parse(owner).map_err(|source| RecordError::Name { text: owner.to_owned(), source })?;
        Ok(Self { owner, rtype, ttl, data: Rdata::parse(rtype, data)? })
    }
}

/// What a zone's SOA record says (RFC 1035, section 3.3.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Soa {
    /// The primary name server.
    pub primary: Name,
    /// The responsible mailbox, as a name.
    pub mailbox: Name,
    /// The serial number.
    pub serial: u32,
    /// Seconds between a secondary's checks.
    pub refresh: u32,
    /// Seconds before a secondary checks again after a failure.
    pub retry: u32,
    /// Seconds after which a secondary's copy is too old.
    pub expire: u32,
    /// Seconds that a denial may be cached (RFC 2308).
    pub minimum: u32,
}

impl Soa {
    /// Reads it from data in wire form.
    pub fn read(data: &Rdata) -> Option<Self> {
        let primary = data.name_at(0)?;
        let mailbox = data.name_at(primary.as_wire().len())?;
        let rest = data.0.get(primary.as_wire().len() + mailbox.as_wire().len()..)?;
        let number = |n: usize| rest.get(4 * n..4 * n + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        if rest.len() != 20 {
            return None;
        }
        Some(Self {
            serial: number(0)?,
            refresh: number(1)?,
            retry: number(2)?,
            expire: number(3)?,
            minimum: number(4)?,
            primary,
            mailbox,
        })
    }

    /// The data in wire form.
    pub fn to_data(&self) -> Rdata {
        let mut wire = [self.primary.as_wire(), self.mailbox.as_wire()].concat();
        for number in [self.serial, self.refresh, self.retry, self.expire, self.minimum] {
            wire.extend_from_slice(&number.to_be_bytes());
        }
        Rdata(wire.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_a_world_uses_is_read_exactly() {
        for (rtype, text, wire) in [
            (Rtype::A, "10.0.0.1", &b"\x0a\0\0\x01"[..]),
            (Rtype::MX, "10 Mail.x.", b"\0\x0a\x04Mail\x01x\0"),
            (Rtype::SRV, "1 2 443 a.", b"\0\x01\0\x02\x01\xbb\x01a\0"),
            (Rtype::CAA, "0 issue \"ca.x\"", b"\0\x05issueca.x"),
            (Rtype::TXT, "\"a b\" \"c\\\"d\"", b"\x03a b\x03c\"d"),
            (Rtype::TXT, "v=spf1 mx -all", b"\x0ev=spf1 mx -all"),
            (Rtype::TXT, "\"(a\" \\(b", b"\x02(a\x02(b"),
            (Rtype::TXT, "a;b", b"\x03a;b"),
            (Rtype::CNAME, "WWW.x", b"\x03WWW\x01x\0"),
            (Rtype::TLSA, "3 1 1 AABB", b"\x03\x01\x01\xaa\xbb"),
            (Rtype::DS, "1 13 2 AABB", b"\0\x01\x0d\x02\xaa\xbb"),
            (Rtype::HTTPS, "1 . alpn=h2", b"\0\x01\0\0\x01\0\x03\x02h2"),
            (Rtype::SVCB, "1 a.", b"\0\x01\x01a\0"),
        ] {
            let data = Rdata::parse(rtype, text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(data.as_wire(), wire, "{rtype} {text}");
        }
    }

    #[test]
    fn data_cannot_bring_further_records_or_directives() {
        for (rtype, bad) in [
            (Rtype::A, "10.0.0.1\nx. 0 IN A 10.0.0.2"),
            (Rtype::A, ""),
            (Rtype::A, "10.0.0"),
            (Rtype::A, "10.0.0.1 10.0.0.2"),
            (Rtype::MX, "mail.x."),
            (Rtype::TXT, "\"open"),
            (Rtype::CNAME, "("),
            (Rtype::NS, "a.."),
            (Rtype::NSEC, "/.."),
            (Rtype::TXT, "\" baffffffffffffff\"("),
        ] {
            assert!(Rdata::parse(rtype, bad).is_err(), "{rtype} {bad:?}");
        }
    }
}
