//! Reading a message, bounded: every pointer goes back, every length is checked, nothing is kept that is not asked for.

use domain::{
    base::{Message, ParsedRecord, rdata::ComposeRecordData},
    rdata::AllRecordData,
};

use super::{HEADER, Opcode, Rcode, flag};
use crate::{
    name::{NAME_BYTES, Name},
    record::{Rdata, Rtype},
};

/// The bytes are no message that can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the message")]
pub struct Malformed;

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The id, chosen by who asks.
    pub id: u16,
    /// The second word, see [`flag`].
    pub flags: u16,
    /// How many questions, answers, authorities and additionals.
    pub counts: [u16; 4],
}

impl Header {
    /// Reads the first 12 bytes.
    pub fn read(message: &[u8]) -> Option<Self> {
        let word = |n: usize| message.get(2 * n..2 * n + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
        Some(Self { id: word(0)?, flags: word(1)?, counts: [word(2)?, word(3)?, word(4)?, word(5)?] })
    }

    /// What it asks for.
    pub fn opcode(&self) -> Opcode {
        Opcode((self.flags >> 11 & 15) as u8)
    }

    /// The low four bits of the outcome.
    pub fn rcode(&self) -> Rcode {
        Rcode(self.flags & 15)
    }

    /// True when this bit of [`flag`] is set.
    pub fn has(&self, bit: u16) -> bool {
        self.flags & bit != 0
    }

    /// True for a response.
    pub fn is_response(&self) -> bool {
        self.has(flag::QR)
    }
}

/// The question of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name, exactly as asked.
    pub name: Name,
    /// The type.
    pub rtype: Rtype,
    /// The class.
    pub class: u16,
}

/// One record as it lies in a message.
#[derive(Debug, Clone)]
pub struct RawRecord<'m> {
    /// Where it begins.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Which section: 1 answer, 2 authority, 3 additional.
    pub section: usize,
    /// The owner.
    pub owner: Name,
    /// The type.
    pub rtype: Rtype,
    /// The class, or what the type makes of it.
    pub class: u16,
    /// The time to live, or what the type makes of it.
    pub ttl: u32,
    /// The data as it lies there; names in it may be compressed.
    pub data: &'m [u8],
}

/// A cursor over a message.
#[derive(Debug, Clone)]
pub struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> Reader<'m> {
    /// A cursor at the first byte after the header.
    pub fn new(message: &'m [u8]) -> Self {
        Self { message, at: HEADER }
    }

    /// A cursor at any byte.
    pub fn at(message: &'m [u8], at: usize) -> Self {
        Self { message, at }
    }

    /// Where the cursor is.
    pub fn position(&self) -> usize {
        self.at
    }

    /// True when all bytes were read.
    pub fn is_at_end(&self) -> bool {
        self.at >= self.message.len()
    }

    /// Takes this many bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn take(&mut self, length: usize) -> Result<&'m [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed)?;
        let bytes = self.message.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(bytes)
    }

    /// Takes a 16-bit number.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// Reads a name, following pointers; each must go further back than all before, so there is no loop.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn name(&mut self) -> Result<Name, Malformed> {
        let (mut wire, mut length) = ([0_u8; NAME_BYTES], 0);
        let (mut at, mut after, mut lowest) = (self.at, None, self.at);
        loop {
            let first = *self.message.get(at).ok_or(Malformed)?;
            match first {
                0..=63 => {
                    let end = at + usize::from(first) + 1;
                    let label = self.message.get(at..end).ok_or(Malformed)?;
                    wire.get_mut(length..length + label.len()).ok_or(Malformed)?.copy_from_slice(label);
                    length += label.len();
                    at = end;
                    if first == 0 {
                        break;
                    }
                }
                192.. => {
                    let second = *self.message.get(at + 1).ok_or(Malformed)?;
                    let target = usize::from(first & 63) << 8 | usize::from(second);
                    if target >= lowest || target < HEADER {
                        return Err(Malformed);
                    }
                    after.get_or_insert(at + 2);
                    (at, lowest) = (target, target);
                }
                _ => return Err(Malformed),
            }
        }
        self.at = after.unwrap_or(at);
        Name::from_wire(&wire[..length]).map_err(|_| Malformed)
    }

    /// Reads a question.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn question(&mut self) -> Result<Question, Malformed> {
        Ok(Question { name: self.name()?, rtype: Rtype::from_int(self.u16()?), class: self.u16()? })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn record(&mut self, section: usize) -> Result<RawRecord<'m>, Malformed> {
        let start = self.at;
        let owner = self.name()?;
        let (rtype, class) = (Rtype::from_int(self.u16()?), self.u16()?);
        let ttl = self.take(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))?;
        let length = usize::from(self.u16()?);
        let data = self.take(length)?;
        Ok(RawRecord { start, end: self.at, section, owner, rtype, class, ttl, data })
    }
}

/// A message with every record found, data not yet looked at.
#[derive(Debug, Clone)]
pub struct Parsed<'m> {
    /// The header.
    pub header: Header,
    /// The only question, if there is one.
    pub question: Option<Question>,
    /// All records in order.
    pub records: Vec<RawRecord<'m>>,
}

impl<'m> Parsed<'m> {
    /// Reads a whole message; bytes after the last record make it malformed.
    ///
    /// # Errors
    /// [`Malformed`], also for more than one question.
    pub fn read(message: &'m [u8]) -> Result<Self, Malformed> {
        let header = Header::read(message).ok_or(Malformed)?;
        let mut reader = Reader::new(message);
        let question = match header.counts[0] {
            0 => None,
            1 => Some(reader.question()?),
            _ => return Err(Malformed),
        };
        let mut records = Vec::new();
        for section in 1..=3 {
            for _ in 0..header.counts[section] {
                records.push(reader.record(section)?);
            }
        }
        if reader.is_at_end() { Ok(Self { header, question, records }) } else { Err(Malformed) }
    }

    /// The records of a section: 1 answer, 2 authority, 3 additional.
    pub fn section(&self, section: usize) -> impl Iterator<Item = &RawRecord<'m>> {
        self.records.iter().filter(move |record| record.section == section)
    }
}

/// The data of every record of a message, names in it made whole, checked against its type; in the order of
/// [`Parsed::records`]. `None` where there is no data (updates use that) or the record is part of the message itself.
///
/// # Errors
/// [`Malformed`] when data does not fit its type.
pub fn expand(message: &[u8]) -> Result<Vec<Option<Rdata>>, Malformed> {
    let message = Message::from_octets(message).map_err(|_| Malformed)?;
    let mut all = Vec::new();
    let (_, answer, authority, additional) = message.sections().map_err(|_| Malformed)?;
    for section in [answer, authority, additional] {
        for record in section {
            all.push(expand_one(&record.map_err(|_| Malformed)?)?);
        }
    }
    Ok(all)
}

fn expand_one(record: &ParsedRecord<'_, &[u8]>) -> Result<Option<Rdata>, Malformed> {
    if record.rdlen() == 0 || matches!(record.rtype(), Rtype::OPT | Rtype::TSIG) {
        return Ok(None);
    }
    let record = record.to_any_record::<AllRecordData<_, _>>().map_err(|_| Malformed)?;
    let mut wire = Vec::with_capacity(usize::from(record.data().rdlen(false).unwrap_or(0)));
    record.data().compose_rdata(&mut wire).map_err(|_| Malformed)?;
    Ok(Some(Rdata::from_wire(wire)))
}
