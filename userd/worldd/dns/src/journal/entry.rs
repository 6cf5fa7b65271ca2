//! Entries of the log as bytes: length, CRC-32, kind, zone, serial, records removed, records added. Numbers are big-endian.

use crate::{
    name::{Name, wire_length},
    record::{Rdata, Record, Rtype},
};

/// What the file begins with: its kind and version.
pub(super) const MAGIC: &[u8; 8] = b"nedns\0\0\x01";
/// Longest entry; an update of 64 KiB removes and adds far less.
const ENTRY_MAX: usize = 64 << 20;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody changed a zone.
    Changed = 1,
    /// The plan or the time did.
    Planned = 2,
    /// The zone is gone.
    Gone = 3,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) zone: Name,
    /// The zone's serial after it.
    pub(super) serial: u32,
    pub(super) removed: Vec<Record>,
    pub(super) added: Vec<Record>,
}

impl Entry {
    /// The entry as it is written; `None` when it is longer than any entry can be.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 8];
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(self.zone.as_wire());
        bytes.extend_from_slice(&self.serial.to_be_bytes());
        for records in [&self.removed, &self.added] {
            bytes.extend_from_slice(&u32::try_from(records.len()).ok()?.to_be_bytes());
            for record in records {
                bytes.extend_from_slice(record.owner.as_wire());
                bytes.extend_from_slice(&record.rtype.to_int().to_be_bytes());
                bytes.extend_from_slice(&record.ttl.to_be_bytes());
                bytes.extend_from_slice(&u16::try_from(record.data.as_wire().len()).ok()?.to_be_bytes());
                bytes.extend_from_slice(record.data.as_wire());
            }
        }
        let length = bytes.len() - 8;
        if length > ENTRY_MAX {
            return None;
        }
        let sum = crc32fast::hash(&bytes[8..]);
        bytes[..4].copy_from_slice(&u32::try_from(length).ok()?.to_be_bytes());
        bytes[4..8].copy_from_slice(&sum.to_be_bytes());
        Some(bytes)
    }

    /// The whole entry at the beginning of `bytes` and what follows it; `None` when there is none.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<8>()?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (body, after) = rest.split_at_checked(length)?;
        if length > ENTRY_MAX || head[4..] != crc32fast::hash(body).to_be_bytes() {
            return None;
        }
        let mut cursor = Cursor(body);
        let kind = match cursor.take(1)?[0] {
            1 => Kind::Changed,
            2 => Kind::Planned,
            3 => Kind::Gone,
            _ => return None,
        };
        let (zone, serial) = (cursor.name()?, cursor.number()?);
        let (removed, added) = (cursor.records()?, cursor.records()?);
        cursor.0.is_empty().then_some((Self { kind, zone, serial, removed, added }, after))
    }
}

struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
    }

    fn name(&mut self) -> Option<Name> {
        let length = wire_length(self.0)?;
        Name::from_wire(self.take(length)?).ok()
    }

    fn records(&mut self) -> Option<Vec<Record>> {
        let count = self.number()?;
        let mut records = Vec::new();
        for _ in 0..count {
            let (owner, rtype, ttl) = (self.name()?, Rtype::from_int(self.short()?), self.number()?);
            let length = usize::from(self.short()?);
            records.push(Record { owner, rtype, ttl, data: Rdata::from_wire(self.take(length)?) });
        }
        Some(records)
    }
}
