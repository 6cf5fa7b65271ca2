//! Typed packets to bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netengine_lab_proto::{ExtensionHeader, Fragmentation, PacketSpec, Transport};
use pnet_packet::{icmp, icmpv6, ip::IpNextHeaderProtocol, ipv4, ipv6, tcp, udp};

use crate::nonce::Nonce;

/// Why a packet cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Source and destination are of two families.
    #[error("cannot build a packet of two address families")]
    Families,
    /// More bytes than a length field can say.
    #[error("cannot build a packet of more than 65535 bytes")]
    Long,
    /// A fragment's offset or size is no multiple of 8, or past the end.
    #[error("cannot cut a packet into fragments at other than multiples of 8 bytes")]
    Fragment,
}

/// Ethernet addresses of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ether {
    /// Source.
    pub src: [u8; 6],
    /// Destination.
    pub dst: [u8; 6],
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// The fragment header of IPv6 (RFC 8200, section 4.5).
const IPV6_FRAGMENT: u8 = 44;

/// The Ethernet frames of a packet: one, or several when it is to be split.
///
/// `ether` gives the addresses that the specification leaves open. Frames are not padded to 60 bytes: links of the lab do not need it.
///
/// # Errors
/// [`BuildError`] for what the formats cannot say.
pub fn frames(spec: &PacketSpec, ether: Ether, nonce: Nonce) -> Result<Vec<Vec<u8>>, BuildError> {
    let ether = Ether { src: spec.src_mac.unwrap_or(ether.src), dst: spec.dst_mac.unwrap_or(ether.dst) };
    let (ethertype, packets) = match (&spec.transport, spec.src, spec.dst) {
        (Transport::Arp { operation }, IpAddr::V4(src), IpAddr::V4(dst)) => {
            let target = if *operation == 1 { [0; 6] } else { ether.dst };
            (ETHERTYPE_ARP, vec![arp(*operation, (ether.src, src), (target, dst))])
        }
        _ => (if spec.src.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 }, ip_packets(spec, nonce)?),
    };
    let frame = |packet: Vec<u8>| {
        let mut frame = Vec::with_capacity(packet.len() + 18);
        frame.extend(ether.dst);
        frame.extend(ether.src);
        if let Some(vlan) = spec.vlan {
            frame.extend(ETHERTYPE_VLAN.to_be_bytes());
            frame.extend((u16::from(vlan.priority & 7) << 13 | vlan.id & 0xfff).to_be_bytes());
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    };
    Ok(packets.into_iter().map(frame).collect())
}

/// The IP packets of a packet, without Ethernet; none for ARP.
///
/// # Errors
/// [`BuildError`] for what the formats cannot say.
pub fn ip_packets(spec: &PacketSpec, nonce: Nonce) -> Result<Vec<Vec<u8>>, BuildError> {
    let (protocol, segment) = segment(spec)?;
    let (protocol, body) = match spec.src {
        IpAddr::V4(_) => (protocol, segment),
        IpAddr::V6(_) => extended(&spec.extension_headers, protocol, segment),
    };
    let whole = |offset, more, body: &[u8]| packet(spec, nonce, protocol, Piece { offset, more, id: None }, body);
    match spec.fragmentation {
        None => Ok(vec![packet(spec, nonce, protocol, Piece::WHOLE, &body)?]),
        Some(Fragmentation::One { offset, more, identification }) => {
            if offset % 8 != 0 {
                return Err(BuildError::Fragment);
            }
            let piece = Piece { offset, more, id: identification };
            Ok(vec![packet(spec, nonce, protocol, piece, &body)?])
        }
        Some(Fragmentation::Split { size }) => {
            let size = usize::from(size);
            if size == 0 || size % 8 != 0 || body.len() > usize::from(u16::MAX) {
                return Err(BuildError::Fragment);
            }
            let count = body.len().div_ceil(size).max(1);
            (0..count)
                .map(|n| {
                    let end = body.len().min((n + 1) * size);
                    // A packet that fits is still sent as one "atomic" fragment only when more than one piece exists.
                    if count == 1 {
                        packet(spec, nonce, protocol, Piece::WHOLE, &body)
                    } else {
                        whole((n * size) as u16, n + 1 < count, &body[n * size..end])
                    }
                })
                .collect()
        }
    }
}

/// A part of an IP packet's body.
#[derive(Clone, Copy)]
struct Piece {
    offset: u16,
    more: bool,
    id: Option<u32>,
}

impl Piece {
    const WHOLE: Self = Self { offset: 0, more: false, id: None };

    fn is_whole(self) -> bool {
        self.offset == 0 && !self.more && self.id.is_none()
    }
}

fn packet(spec: &PacketSpec, nonce: Nonce, protocol: u8, piece: Piece, body: &[u8]) -> Result<Vec<u8>, BuildError> {
    match (spec.src, spec.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => packet_v4(spec, (src, dst), nonce, protocol, piece, body),
        (IpAddr::V6(src), IpAddr::V6(dst)) => packet_v6(spec, (src, dst), nonce, protocol, piece, body),
        _ => Err(BuildError::Families),
    }
}

fn packet_v4(
    spec: &PacketSpec,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    nonce: Nonce,
    protocol: u8,
    piece: Piece,
    body: &[u8],
) -> Result<Vec<u8>, BuildError> {
    let options = words(&spec.ip_options);
    let header = 20 + options.len();
    let total = u16::try_from(header + body.len()).map_err(|_| BuildError::Long)?;
    let mut bytes = vec![0; header];
    bytes[20..].copy_from_slice(&options);
    let mut ip = ipv4::MutableIpv4Packet::new(&mut bytes).ok_or(BuildError::Long)?;
    ip.set_version(4);
    ip.set_header_length((header / 4) as u8);
    ip.set_dscp(spec.dscp & 0x3f);
    ip.set_ecn(spec.ecn & 3);
    ip.set_total_length(total);
    ip.set_identification(piece.id.map_or(nonce.number(), |id| id as u16));
    let flags = u8::from(spec.dont_fragment) << 1 | u8::from(piece.more);
    ip.set_flags(flags);
    ip.set_fragment_offset(piece.offset / 8);
    ip.set_ttl(spec.ttl.unwrap_or(64));
    ip.set_next_level_protocol(IpNextHeaderProtocol(protocol));
    ip.set_source(src);
    ip.set_destination(dst);
    // The header's own sum, options included: pnet's reads them from the packet view.
    let sum = ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(sum);
    bytes.extend_from_slice(body);
    Ok(bytes)
}

fn packet_v6(
    spec: &PacketSpec,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    nonce: Nonce,
    protocol: u8,
    piece: Piece,
    body: &[u8],
) -> Result<Vec<u8>, BuildError> {
    let fragment = (!piece.is_whole()).then(|| {
        let mut header = vec![protocol, 0];
        header.extend((piece.offset | u16::from(piece.more)).to_be_bytes());
        header.extend(piece.id.unwrap_or(nonce.flow_label()).to_be_bytes());
        header
    });
    let extra = fragment.as_ref().map_or(0, Vec::len);
    let length = u16::try_from(extra + body.len()).map_err(|_| BuildError::Long)?;
    let mut bytes = vec![0; 40];
    let mut ip = ipv6::MutableIpv6Packet::new(&mut bytes).ok_or(BuildError::Long)?;
    ip.set_version(6);
    ip.set_traffic_class(spec.dscp << 2 | spec.ecn & 3);
    ip.set_flow_label(nonce.flow_label());
    ip.set_payload_length(length);
    ip.set_next_header(IpNextHeaderProtocol(if fragment.is_some() { IPV6_FRAGMENT } else { protocol }));
    ip.set_hop_limit(spec.ttl.unwrap_or(64));
    ip.set_source(src);
    ip.set_destination(dst);
    bytes.extend(fragment.into_iter().flatten());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// Protocol number and bytes of what IP carries, its checksum set.
fn segment(spec: &PacketSpec) -> Result<(u8, Vec<u8>), BuildError> {
    let payload: &[u8] = &spec.payload;
    Ok(match &spec.transport {
        Transport::Tcp { src_port, dst_port, flags, seq, ack, window, options } => {
            let options = words(options);
            let mut bytes = vec![0; 20 + options.len()];
            bytes[20..].copy_from_slice(&options);
            bytes.extend_from_slice(payload);
            let mut segment = tcp::MutableTcpPacket::new(&mut bytes).ok_or(BuildError::Long)?;
            segment.set_source(*src_port);
            segment.set_destination(*dst_port);
            segment.set_sequence(seq.unwrap_or_else(|| initial_sequence(spec.src, spec.dst, *src_port, *dst_port)));
            segment.set_acknowledgement(ack.unwrap_or(0));
            segment.set_data_offset(((20 + options.len()) / 4) as u8);
            segment.set_flags(*flags);
            segment.set_window(window.unwrap_or(u16::MAX));
            let view = segment.to_immutable();
            let sum = match (spec.src, spec.dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => tcp::ipv4_checksum(&view, &src, &dst),
                (IpAddr::V6(src), IpAddr::V6(dst)) => tcp::ipv6_checksum(&view, &src, &dst),
                _ => return Err(BuildError::Families),
            };
            segment.set_checksum(sum);
            (6, bytes)
        }
        Transport::Udp { src_port, dst_port } => {
            let mut bytes = vec![0; 8];
            bytes.extend_from_slice(payload);
            let length = u16::try_from(bytes.len()).map_err(|_| BuildError::Long)?;
            let mut datagram = udp::MutableUdpPacket::new(&mut bytes).ok_or(BuildError::Long)?;
            datagram.set_source(*src_port);
            datagram.set_destination(*dst_port);
            datagram.set_length(length);
            let view = datagram.to_immutable();
            let sum = match (spec.src, spec.dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => udp::ipv4_checksum(&view, &src, &dst),
                (IpAddr::V6(src), IpAddr::V6(dst)) => udp::ipv6_checksum(&view, &src, &dst),
                _ => return Err(BuildError::Families),
            };
            // 0 says "no checksum"; a sum of 0 is sent as its complement (RFC 768).
            datagram.set_checksum(if sum == 0 { u16::MAX } else { sum });
            (17, bytes)
        }
        Transport::Icmp { kind, code, rest } => {
            let mut bytes = vec![*kind, *code, 0, 0];
            bytes.extend(rest.unwrap_or([0x4e, 0x45, 0, 1]));
            bytes.extend_from_slice(payload);
            let sum = match (spec.src, spec.dst) {
                (IpAddr::V4(_), IpAddr::V4(_)) => icmp::IcmpPacket::new(&bytes).map(|p| icmp::checksum(&p)),
                (IpAddr::V6(src), IpAddr::V6(dst)) => {
                    icmpv6::Icmpv6Packet::new(&bytes).map(|p| icmpv6::checksum(&p, &src, &dst))
                }
                _ => return Err(BuildError::Families),
            };
            bytes[2..4].copy_from_slice(&sum.ok_or(BuildError::Long)?.to_be_bytes());
            (if spec.src.is_ipv4() { 1 } else { 58 }, bytes)
        }
        Transport::Other { protocol } => (*protocol, payload.to_vec()),
        Transport::Arp { .. } => return Ok((0, Vec::new())),
    })
}

/// A sequence number that all packets of one flow share, so that packets listed alike are alike but for their nonce.
pub fn initial_sequence(src: IpAddr, dst: IpAddr, src_port: u16, dst_port: u16) -> u32 {
    let mut hash: u32 = 0x811c_9dc5; // FNV-1a
    let mut mix = |byte: u8| hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    for address in [src, dst] {
        match address {
            IpAddr::V4(v4) => v4.octets().into_iter().for_each(&mut mix),
            IpAddr::V6(v6) => v6.octets().into_iter().for_each(&mut mix),
        }
    }
    [src_port, dst_port].into_iter().flat_map(u16::to_be_bytes).for_each(&mut mix);
    hash
}

/// The extension headers before `protocol`, and the number of the first.
fn extended(headers: &[ExtensionHeader], protocol: u8, segment: Vec<u8>) -> (u8, Vec<u8>) {
    headers.iter().rev().fold((protocol, segment), |(next, body), header| {
        let length = (header.content.len() + 2).next_multiple_of(8);
        let mut bytes = vec![next, (length / 8 - 1) as u8];
        bytes.extend_from_slice(&header.content);
        bytes.resize(length, 0);
        bytes.extend(body);
        (header.protocol, bytes)
    })
}

fn words(options: &[u8]) -> Vec<u8> {
    let mut bytes = options.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn arp(operation: u16, sender: ([u8; 6], Ipv4Addr), target: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        bytes.extend(mac);
        bytes.extend(address.octets());
    }
    bytes
}
