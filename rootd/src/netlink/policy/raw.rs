//! Elements of sets read from the bytes themselves: the library that decodes all else takes time that grows with the square
//! of the elements in a message.

use netlink_packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_netfilter::NetfilterMessage;

/// linux/netfilter/nf_tables.h.
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
/// The bits of an attribute's type that are none (linux/netlink.h, `NLA_TYPE_MASK`).
const NLA_TYPE_MASK: u16 = 0x3fff;
/// `struct nfgenmsg`.
const HEADER_BYTES: usize = 4;

/// An element of a set: each the attribute within it, without the bit that marks it as nested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    /// The key.
    pub key: Vec<u8>,
    /// The verdict, in a map.
    pub data: Option<Vec<u8>>,
}

/// A message as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    kind: u16,
    bytes: Vec<u8>,
}

impl Raw {
    /// A request as bytes.
    pub fn of(request: NetlinkMessage<NetfilterMessage>) -> NetlinkMessage<Self> {
        let NetlinkPayload::InnerMessage(inner) = request.payload else {
            unreachable!("a request of nf_tables is a message of its own")
        };
        let mut bytes = vec![0; inner.buffer_len()];
        inner.serialize(&mut bytes);
        let raw = Self { kind: inner.message_type(), bytes };
        NetlinkMessage::new(request.header, NetlinkPayload::InnerMessage(raw))
    }

    /// The elements in it; `None` for one that has anything but key and data.
    pub fn elements(&self) -> Vec<Option<Element>> {
        let body = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let mut found = Vec::new();
        for (kind, list) in attributes(body) {
            if kind == NFTA_SET_ELEM_LIST_ELEMENTS {
                found.extend(attributes(list).map(|(kind, element)| (kind == NFTA_LIST_ELEM).then(|| parse(element))?));
            }
        }
        found
    }
}

/// Attributes one after another (linux/netlink.h, `struct nlattr`); what is malformed ends them.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & NLA_TYPE_MASK, value))
    })
}

fn parse(element: &[u8]) -> Option<Element> {
    let (mut key, mut data) = (None, None);
    for (kind, value) in attributes(element) {
        match kind {
            NFTA_SET_ELEM_KEY => key = Some(plain(value)),
            NFTA_SET_ELEM_DATA => data = Some(plain(value)),
            _ => return None,
        }
    }
    Some(Element { key: key?, data })
}

/// One attribute without the bit that marks it as nested: this side sets it, the kernel does not.
pub(super) fn plain(attribute: &[u8]) -> Vec<u8> {
    let mut plain = attribute.to_vec();
    if let Some([_, _, kind @ ..]) = plain.first_chunk_mut::<4>() {
        *kind = (u16::from_ne_bytes(*kind) & NLA_TYPE_MASK).to_ne_bytes();
    }
    plain
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl NetlinkDeserializable for Raw {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { kind: header.message_type, bytes: payload.to_vec() })
    }
}
