//! Messages of nf_tables, as bytes (netlink(7), linux/netfilter/nf_tables.h).

/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`.
pub const BEGIN: u16 = 16;
pub const END: u16 = 17;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_...`.
pub const NEWCHAIN: u16 = 10 << 8 | 3;
pub const NEWRULE: u16 = 10 << 8 | 6;
pub const GETRULE: u16 = 10 << 8 | 7;
pub const DELRULE: u16 = 10 << 8 | 8;
pub const NEWSET: u16 = 10 << 8 | 9;
pub const NEWSETELEM: u16 = 10 << 8 | 12;
/// `NLM_F_ACK`.
pub const ACK: u8 = 4;
/// `struct nlmsghdr` and `struct nfgenmsg`.
pub const HEADER: usize = 16 + 4;

/// Whole messages, each with its padding; none when the bytes are anything else.
pub fn messages<'a>(parts: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
    let mut found = Vec::new();
    for part in parts {
        let mut bytes = *part;
        while !bytes.is_empty() {
            let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
            if length < HEADER {
                return None;
            }
            let (message, rest) = bytes.split_at_checked(length.next_multiple_of(4))?;
            found.push(message);
            bytes = rest;
        }
    }
    Some(found)
}

/// Of a message that [`messages`] found.
pub fn kind(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[4], message[5]])
}

/// Attributes with their numbers, without the flags that share their field.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let which = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let content = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((which, content))
    })
}

pub fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(which, _)| *which == wanted).map(|(_, content)| content)
}

pub fn number(content: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(content.try_into().ok()?))
}

/// An attribute with its padding.
pub fn with(which: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = ((content.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(which.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message of nf_tables for a family.
pub fn message(kind: u16, flags: u16, sequence: u32, family: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let body = attributes.concat();
    let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0, 0, 0, 0, family, 0, 0, 0]);
    bytes.extend(body);
    bytes
}
