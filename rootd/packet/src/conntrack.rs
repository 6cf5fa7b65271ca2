//! Events of ctnetlink (linux/netfilter/nfnetlink_conntrack.h).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netengine_lab_proto::Tuple;

use crate::{
    attributes::{Malformed, Message, attributes, be32},
    trace::port,
};

/// `NFNLGRP_CONNTRACK_NEW`, `_UPDATE`, `_DESTROY`.
pub const CONNTRACK_GROUPS: [u32; 3] = [1, 2, 3];

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Made or changed; `NLM_F_CREATE` tells which.
    New,
    /// Changed.
    Update,
    /// Ended.
    Destroy,
}

/// An event of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// As the first packet had it.
    pub original: Option<Tuple>,
    /// As answers have it: after translation, source and destination exchanged.
    pub reply: Option<Tuple>,
    /// `IPS_*` bits.
    pub status: Option<u32>,
    /// Identifier.
    pub id: Option<u32>,
}

/// What a message on a conntrack socket was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// An event.
    Event(Box<Event>),
    /// Another kind of message, by its number.
    Unknown(u16),
}

/// Decodes a message read from a conntrack socket.
///
/// # Errors
/// [`Malformed`] when an attribute is cut off.
pub fn decode(message: &Message<'_>) -> Result<Report, Malformed> {
    const CREATE: u16 = 0x400;
    let kind = match message.kind {
        0x100 if message.flags & CREATE != 0 => EventKind::New,
        0x100 => EventKind::Update,
        0x102 => EventKind::Destroy,
        other => return Ok(Report::Unknown(other)),
    };
    let mut event = Event { kind, original: None, reply: None, status: None, id: None };
    for attribute in attributes(message.body.get(4..).ok_or(Malformed)?) {
        match attribute? {
            (1, content) => event.original = tuple(content)?,
            (2, content) => event.reply = tuple(content)?,
            (3, content) => event.status = be32(content),
            (12, content) => event.id = be32(content),
            _ => {}
        }
    }
    Ok(Report::Event(Box::new(event)))
}

fn tuple(content: &[u8]) -> Result<Option<Tuple>, Malformed> {
    let (mut src, mut dst, mut protocol, mut sport, mut dport) = (None, None, None, None, None);
    for attribute in attributes(content) {
        match attribute? {
            (1, ip) => {
                for attribute in attributes(ip) {
                    match attribute? {
                        (1 | 3, bytes) => src = address(bytes),
                        (2 | 4, bytes) => dst = address(bytes),
                        _ => {}
                    }
                }
            }
            (2, proto) => {
                for attribute in attributes(proto) {
                    match attribute? {
                        (1, bytes) => protocol = bytes.first().copied(),
                        (2, bytes) => sport = port(bytes),
                        (3, bytes) => dport = port(bytes),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok((|| Some(Tuple { src: src?, dst: dst?, protocol: protocol?, sport, dport }))())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))),
        16 => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))),
        _ => None,
    }
}
