//! Writing a message: names compressed, sets whole or not at all, never above the limit.

use super::{CLASS_IN, HEADER, flag};
use crate::{
    name::{Name, labels},
    record::{Rdata, RrSet, Rtype, compressible},
};

/// Names remembered for compression; more are written in full. Bounds the work per name.
const REMEMBERED: usize = 48;

/// The message is full; nothing of what did not fit was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Where records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The answer.
    Answer = 1,
    /// Authority: delegations and denials.
    Authority = 2,
    /// Addresses of what was answered, and message parts.
    Additional = 3,
}

/// A message being written. Sections are written in order.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    limit: usize,
    /// Offsets of labels that begin a name written before.
    places: Vec<u16>,
}

impl Writer {
    /// An empty message of at most `limit` bytes, with this id and these flags.
    pub fn new(id: u16, flags: u16, limit: usize) -> Self {
        let mut bytes = Vec::with_capacity(limit.min(512));
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.resize(HEADER, 0);
        Self { bytes, limit, places: Vec::new() }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True when nothing but the header was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() <= HEADER
    }

    /// Keeps this many bytes of the limit for what must come last.
    pub fn reserve(&mut self, bytes: usize) {
        self.limit = self.limit.saturating_sub(bytes);
    }

    /// Gives reserved bytes back.
    pub fn release(&mut self, bytes: usize) {
        self.limit += bytes;
    }

    /// How many records a section has, as counted in the header.
    pub fn count(&self, section: Section) -> u16 {
        let at = 4 + 2 * section as usize;
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn bump(&mut self, index: usize, by: u16) {
        let at = 4 + 2 * index;
        let count = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]).saturating_add(by);
        self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    /// Sets bits of the second header word.
    pub fn set(&mut self, bits: u16) {
        self.bytes[2] |= (bits >> 8) as u8;
        self.bytes[3] |= bits as u8;
    }

    /// Clears bits of the second header word.
    pub fn clear(&mut self, bits: u16) {
        self.bytes[2] &= !((bits >> 8) as u8);
        self.bytes[3] &= !(bits as u8);
    }

    /// Writes the question.
    ///
    /// # Errors
    /// [`Full`].
    pub fn question(&mut self, name: &Name, rtype: Rtype, class: u16) -> Result<(), Full> {
        self.atomically(|writer| {
            writer.name(name.as_wire(), true);
            writer.bytes.extend_from_slice(&rtype.to_int().to_be_bytes());
            writer.bytes.extend_from_slice(&class.to_be_bytes());
        })?;
        self.bump(0, 1);
        Ok(())
    }

    /// Writes a whole set, or nothing.
    ///
    /// # Errors
    /// [`Full`].
    pub fn set_of(&mut self, section: Section, owner: &Name, set: &RrSet, ttl: u32) -> Result<(), Full> {
        self.atomically(|writer| {
            for data in set.data.iter() {
                writer.put(owner, set.rtype, CLASS_IN, ttl, data.as_wire());
                if writer.bytes.len() > writer.limit {
                    break;
                }
            }
        })?;
        self.bump(section as usize, u16::try_from(set.data.len()).unwrap_or(u16::MAX));
        Ok(())
    }

    /// Writes one record.
    ///
    /// # Errors
    /// [`Full`].
    pub fn record(&mut self, section: Section, owner: &Name, rtype: Rtype, ttl: u32, data: &Rdata) -> Result<(), Full> {
        self.raw(section, owner, rtype, CLASS_IN, ttl, data.as_wire())
    }

    /// Writes one record of any class.
    ///
    /// # Errors
    /// [`Full`].
    pub fn raw(
        &mut self,
        section: Section,
        owner: &Name,
        rtype: Rtype,
        class: u16,
        ttl: u32,
        data: &[u8],
    ) -> Result<(), Full> {
        self.atomically(|writer| writer.put(owner, rtype, class, ttl, data))?;
        self.bump(section as usize, 1);
        Ok(())
    }

    /// Truncates: forgets all records but keeps the question, and sets TC.
    pub fn truncate_to(&mut self, length: usize) {
        self.bytes.truncate(length.max(HEADER));
        self.bytes[6..HEADER].fill(0);
        self.places.retain(|&place| usize::from(place) < length);
        self.set(flag::TC);
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn atomically(&mut self, write: impl FnOnce(&mut Self)) -> Result<(), Full> {
        let (length, places) = (self.bytes.len(), self.places.len());
        write(self);
        if self.bytes.len() <= self.limit {
            return Ok(());
        }
        self.bytes.truncate(length);
        self.places.truncate(places);
        Err(Full)
    }

    fn put(&mut self, owner: &Name, rtype: Rtype, class: u16, ttl: u32, data: &[u8]) {
        // The owner is most often the name asked for, which lies right after the header.
        self.name(owner.as_wire(), true);
        self.bytes.extend_from_slice(&rtype.to_int().to_be_bytes());
        self.bytes.extend_from_slice(&class.to_be_bytes());
        self.bytes.extend_from_slice(&ttl.to_be_bytes());
        let place = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.data(rtype, data);
        let length = u16::try_from(self.bytes.len() - place - 2).unwrap_or(u16::MAX);
        self.bytes[place..place + 2].copy_from_slice(&length.to_be_bytes());
    }

    fn data(&mut self, rtype: Rtype, data: &[u8]) {
        let Some((before, names)) = compressible(rtype).filter(|(before, _)| data.len() > *before) else {
            return self.bytes.extend_from_slice(data);
        };
        let (head, mut rest) = data.split_at(before);
        self.bytes.extend_from_slice(head);
        for _ in 0..names {
            let Some(length) = crate::name::wire_length(rest) else { break };
            let (name, tail) = rest.split_at(length);
            self.name(name, false);
            rest = tail;
        }
        self.bytes.extend_from_slice(rest);
    }

    /// Writes a name; `any_case` lets a name written before in other case stand for it.
    fn name(&mut self, wire: &[u8], any_case: bool) {
        let mut rest = wire;
        for label in labels(wire) {
            if let Some(place) = self.find(rest, any_case) {
                return self.bytes.extend_from_slice(&(0xc000 | place).to_be_bytes());
            }
            if self.places.len() < REMEMBERED
                && let Ok(place) = u16::try_from(self.bytes.len())
                && place < 0x4000
            {
                self.places.push(place);
            }
            self.bytes.extend_from_slice(&rest[..=label.len()]);
            rest = &rest[label.len() + 1..];
        }
        self.bytes.push(0);
    }

    fn find(&self, name: &[u8], any_case: bool) -> Option<u16> {
        self.places.iter().copied().find(|&place| self.lies_at(usize::from(place), name, any_case))
    }

    /// True when the name written at `at` (pointers followed) is `name`.
    fn lies_at(&self, mut at: usize, mut name: &[u8], any_case: bool) -> bool {
        loop {
            let Some(&length) = self.bytes.get(at) else { return false };
            if length >= 192 {
                let Some(&low) = self.bytes.get(at + 1) else { return false };
                at = usize::from(length & 63) << 8 | usize::from(low);
                continue;
            }
            let size = usize::from(length) + 1;
            let (Some(here), Some(label)) = (self.bytes.get(at..at + size), name.get(..size)) else { return false };
            if !(if any_case { here.eq_ignore_ascii_case(label) } else { here == label }) {
                return false;
            }
            if length == 0 {
                return true;
            }
            (at, name) = (at + size, &name[size..]);
        }
    }
}
