//! Bytes to fields.
//!
//! Headers may be cut short: a trace message carries 40 bytes of network and 20 of transport header, an ICMP error quotes as little as 8
//! bytes of the latter. What is not there is absent; nothing here panics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::nonce::Nonce;

/// A frame's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Ethernet source.
    pub src: [u8; 6],
    /// Ethernet destination.
    pub dst: [u8; 6],
    /// The innermost EtherType.
    pub ethertype: u16,
    /// The outermost VLAN.
    pub vlan: Option<u16>,
    /// What follows the EtherType.
    pub body: &'a [u8],
}

/// An IP packet's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// The nonce, where the field could hold one of ours.
    pub nonce: Option<Nonce>,
    /// The protocol above IP and its extension headers.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Bytes from the whole packet's start, and whether more follow; absent when it is no fragment.
    pub fragment: Option<(u16, bool)>,
    /// The transport header's fields; of the first fragment only.
    pub transport: Transport,
}

/// A transport header's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number and flags, when they were there.
        rest: Option<(u32, u8)>,
    },
    /// UDP.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The packet that an error quotes.
        quoted: Option<Box<Packet>>,
    },
    /// Anything else, a later fragment, or a header that was cut off.
    Other,
}

impl Transport {
    /// Source and destination port.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Self::Tcp { sport, dport, .. } | Self::Udp { sport, dport } => Some((*sport, *dport)),
            _ => None,
        }
    }
}

/// Reads an Ethernet frame.
pub fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let dst = bytes.get(..6)?.try_into().ok()?;
    let src = bytes.get(6..12)?.try_into().ok()?;
    let mut at = 12;
    let mut ethertype = be16(bytes, at)?;
    let mut vlan = None;
    for _ in 0..2 {
        if !matches!(ethertype, 0x8100 | 0x88a8) {
            break;
        }
        vlan = vlan.or(Some(be16(bytes, at + 2)? & 0xfff));
        at += 4;
        ethertype = be16(bytes, at)?;
    }
    Some(Frame { src, dst, ethertype, vlan, body: &bytes[at + 2..] })
}

/// Reads the IP packet of an Ethernet frame.
pub fn frame_packet(bytes: &[u8]) -> Option<Packet> {
    let frame = frame(bytes)?;
    matches!(frame.ethertype, 0x0800 | 0x86dd).then(|| packet(frame.body)).flatten()
}

/// Reads an IP packet.
pub fn packet(bytes: &[u8]) -> Option<Packet> {
    split_packet(bytes, None, true)
}

/// Reads an IP packet whose transport header lies elsewhere, as trace messages have them.
pub fn headers(network: &[u8], transport: &[u8]) -> Option<Packet> {
    split_packet(network, Some(transport), true)
}

fn split_packet(bytes: &[u8], elsewhere: Option<&[u8]>, quotes: bool) -> Option<Packet> {
    match bytes.first()? >> 4 {
        4 => packet_v4(bytes, elsewhere, quotes),
        6 => packet_v6(bytes, elsewhere, quotes),
        _ => None,
    }
}

fn packet_v4(bytes: &[u8], elsewhere: Option<&[u8]>, quotes: bool) -> Option<Packet> {
    let header = bytes.get(..20)?;
    let length = usize::from(header[0] & 0xf) * 4;
    let place = be16(header, 6)?;
    let (offset, more) = ((place & 0x1fff) << 3, place & 0x2000 != 0);
    let protocol = header[9];
    let body = elsewhere.unwrap_or_else(|| bytes.get(length.max(20)..).unwrap_or(&[]));
    let first = offset == 0;
    Some(Packet {
        src: IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&header[12..16]).ok()?)),
        dst: IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&header[16..20]).ok()?)),
        nonce: Nonce::new(be16(header, 4)?),
        protocol,
        ttl: header[8],
        fragment: (!first || more).then_some((offset, more)),
        transport: if first { transport(protocol, body, quotes) } else { Transport::Other },
    })
}

fn packet_v6(bytes: &[u8], elsewhere: Option<&[u8]>, quotes: bool) -> Option<Packet> {
    let header = bytes.get(..40)?;
    let label = u32::from_be_bytes(header[..4].try_into().ok()?) & 0xf_ffff;
    let mut protocol = header[6];
    let mut at = 40;
    let mut fragment = None;
    // Each header is at least 8 bytes; the bound is that of a hostile chain, not of a real one.
    for _ in 0..64 {
        let Some(next) = bytes.get(at..at + 8) else { break };
        match protocol {
            44 => {
                let place = be16(next, 2)?;
                fragment = Some((place & 0xfff8, place & 1 != 0));
                at += 8;
            }
            0 | 43 | 60 | 135 | 139 | 140 => at += usize::from(next[1]) * 8 + 8,
            51 => at += usize::from(next[1]) * 4 + 8,
            _ => break,
        }
        protocol = next[0];
        if fragment.is_some_and(|(offset, _)| offset != 0) {
            break;
        }
    }
    let body = elsewhere.unwrap_or_else(|| bytes.get(at..).unwrap_or(&[]));
    let first = fragment.is_none_or(|(offset, _)| offset == 0);
    Some(Packet {
        src: IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?)),
        dst: IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?)),
        nonce: Nonce::from_flow_label(label),
        protocol,
        ttl: header[7],
        fragment,
        transport: if first { transport(protocol, body, quotes) } else { Transport::Other },
    })
}

fn transport(protocol: u8, body: &[u8], quotes: bool) -> Transport {
    let ports = || Some((be16(body, 0)?, be16(body, 2)?));
    match (protocol, ports()) {
        (6, Some((sport, dport))) => match be32(body, 4) {
            Some(seq) => {
                let rest = be32(body, 8).zip(body.get(13).copied());
                Transport::Tcp { sport, dport, seq, rest }
            }
            None => Transport::Other,
        },
        (17, Some((sport, dport))) => Transport::Udp { sport, dport },
        (1 | 58, Some(_)) => {
            let (kind, code) = (body[0], body[1]);
            // ICMP 3, 4, 5, 11, 12 (RFC 792) and ICMPv6 below 128 (RFC 4443) are errors that quote a packet.
            let error = if protocol == 1 { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { kind < 128 };
            let quoted = (quotes && error).then(|| split_packet(body.get(8..)?, None, false)).flatten();
            Transport::Icmp { kind, code, quoted: quoted.map(Box::new) }
        }
        _ => Transport::Other,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
