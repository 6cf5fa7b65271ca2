//! EDNS(0) (RFC 6891): what a request says of its sender, and what a response says of us.

use super::{
    read::{Malformed, RawRecord},
    write::{Full, Section, Writer},
};
use crate::{name::Name, record::Rtype};

/// Option NSID (RFC 5001).
const NSID: u16 = 3;
/// Option COOKIE (RFC 7873).
const COOKIE: u16 = 10;
/// Option of an extended error (RFC 8914).
const EXTENDED_ERROR: u16 = 15;
/// Bit DO of the flags (RFC 3225).
const DO: u32 = 1 << 15;
/// Bytes of an OPT record without options.
pub const OPT_BYTES: usize = 11;

/// What a request's OPT record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP message the sender takes, at least 512.
    pub size: u16,
    /// The version; we speak 0.
    pub version: u8,
    /// The sender wants DNSSEC records.
    pub dnssec_ok: bool,
    /// The sender wants to know which server answers.
    pub nsid: bool,
    /// The client's part of a cookie.
    pub cookie: Option<[u8; 8]>,
}

impl Edns {
    /// Reads an OPT record.
    ///
    /// # Errors
    /// [`Malformed`] when the owner is not the root or an option goes beyond the data or has a wrong length.
    pub fn read(record: &RawRecord<'_>) -> Result<Self, Malformed> {
        if !record.owner.is_root() {
            return Err(Malformed);
        }
        let mut edns = Self {
            size: record.class.max(512),
            version: (record.ttl >> 16) as u8,
            dnssec_ok: record.ttl & DO != 0,
            nsid: false,
            cookie: None,
        };
        let mut rest = record.data;
        while !rest.is_empty() {
            let (head, tail) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let (option, tail) = tail.split_at_checked(length).ok_or(Malformed)?;
            match u16::from_be_bytes([head[0], head[1]]) {
                NSID => edns.nsid = true,
                // Client part alone, or with a server part of 8 to 32 bytes (RFC 7873, section 5.2.2).
                COOKIE if length == 8 || (16..=40).contains(&length) => edns.cookie = option.first_chunk().copied(),
                COOKIE => return Err(Malformed),
                _ => {}
            }
            rest = tail;
        }
        Ok(edns)
    }
}

/// What a response says.
#[derive(Debug, Clone, Default)]
pub struct Reply<'a> {
    /// The high bits of the outcome.
    pub extended_rcode: u8,
    /// Echoed.
    pub dnssec_ok: bool,
    /// Which server answers.
    pub nsid: Option<&'a [u8]>,
    /// Client and server part of the cookie.
    pub cookie: Option<[u8; 16]>,
    /// Code and text of an extended error.
    pub error: Option<(u16, &'a str)>,
}

impl Reply<'_> {
    /// Bytes that [`Reply::write`] takes.
    pub fn len(&self) -> usize {
        OPT_BYTES
            + self.nsid.map_or(0, |id| id.len() + 4)
            + self.cookie.map_or(0, |cookie| cookie.len() + 4)
            + self.error.map_or(0, |(_, text)| text.len() + 6)
    }

    /// Never: an OPT record has a head.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Writes the OPT record.
    ///
    /// # Errors
    /// [`Full`].
    pub fn write(&self, writer: &mut Writer) -> Result<(), Full> {
        let mut data = Vec::new();
        let mut option = |code: u16, value: &[u8]| {
            data.extend_from_slice(&code.to_be_bytes());
            data.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
            data.extend_from_slice(value);
        };
        if let Some(id) = self.nsid {
            option(NSID, id);
        }
        if let Some(cookie) = &self.cookie {
            option(COOKIE, cookie);
        }
        if let Some((code, text)) = self.error {
            option(EXTENDED_ERROR, &[&code.to_be_bytes()[..], text.as_bytes()].concat());
        }
        let ttl = u32::from(self.extended_rcode) << 24 | if self.dnssec_ok { DO } else { 0 };
        writer.raw(Section::Additional, &Name::root(), Rtype::OPT, super::UDP_EDNS as u16, ttl, &data)
    }
}
