//! What is injected, and from where.

use std::net::IpAddr;

use netengine_proto::bounded::Bounded;
use serde::{Deserialize, Serialize};

use crate::{
    limits::{EXTENSION_BYTES, EXTENSION_HEADERS, FRAME_BYTES, OPTION_BYTES},
    names::{Bytes, LinkName, NodeName},
};

/// One packet of a case, in the order it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InjectedPacket {
    /// The node that sends it. A packet from the tested node leaves through a real local socket (output hook).
    pub from: NodeName,
    /// The interface of that node; its first when absent.
    #[serde(default)]
    pub interface: Option<LinkName>,
    /// What is sent.
    pub content: Content,
    /// Milliseconds after the one before it was sent, at least.
    #[serde(default)]
    pub after_ms: u32,
    /// The flow it belongs to: the engine then fills in addresses, ports, sequence and acknowledgement numbers from what it saw of it.
    #[serde(default)]
    pub flow: Option<Flow>,
    /// Read the counters of the tested node's ruleset after it.
    #[serde(default)]
    pub counters: bool,
}

impl InjectedPacket {
    /// A packet of no flow, sent at once from the first interface of a node.
    pub fn new(from: NodeName, content: Content) -> Self {
        Self { from, interface: None, content, after_ms: 0, flow: None, counters: false }
    }
}

/// A flow: packets that share addresses, ports and sequence numbers. The node of its first packet opens it; packets from any other node
/// go the other way, with the addresses that the first arrived with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// Unique in the case.
    pub number: u32,
    /// TCP: before the first packet of the flow the engine completes a handshake. A first packet with SYN is the handshake itself.
    #[serde(default)]
    pub handshake: bool,
}

/// Fields, from which the engine builds a frame that carries a nonce; or the frame itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Typed fields.
    Typed(Box<PacketSpec>),
    /// A whole Ethernet frame, sent as it is, malformed or not. It has no nonce of ours, so nothing else is in flight beside it.
    Frame(Bytes<FRAME_BYTES>),
}

/// The fields of a packet. What is absent is chosen: by the topology (addresses of Ethernet), as a nonce (identification, flow label, TCP
/// sequence number, ICMP identifier), or as a plain host would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketSpec {
    /// Source address; any, of the same family as `dst`.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// What it carries.
    pub transport: Transport,
    /// Bytes after the transport header.
    #[serde(default)]
    pub payload: Bytes<FRAME_BYTES>,
    /// Time to live, or hop limit; 64 when absent.
    #[serde(default)]
    pub ttl: Option<u8>,
    /// Differentiated services code point, 0 to 63 (RFC 2474).
    #[serde(default)]
    pub dscp: u8,
    /// Explicit congestion notification bits, 0 to 3 (RFC 3168).
    #[serde(default)]
    pub ecn: u8,
    /// IPv4: the don't fragment bit.
    #[serde(default)]
    pub dont_fragment: bool,
    /// The mark of the packet; only a packet from the tested node can have one (marks do not cross links).
    #[serde(default)]
    pub mark: Option<u32>,
    /// An 802.1Q tag.
    #[serde(default)]
    pub vlan: Option<Vlan>,
    /// One fragment of a larger packet, or the packet in several.
    #[serde(default)]
    pub fragmentation: Option<Fragmentation>,
    /// IPv4 options, padded with zeros to whole words.
    #[serde(default)]
    pub ip_options: Bytes<OPTION_BYTES>,
    /// IPv6 extension headers, in this order.
    #[serde(default)]
    pub extension_headers: Bounded<ExtensionHeader, EXTENSION_HEADERS>,
    /// Ethernet source; the sending interface's when absent.
    #[serde(default)]
    pub src_mac: Option<[u8; 6]>,
    /// Ethernet destination; the peer's when absent.
    #[serde(default)]
    pub dst_mac: Option<[u8; 6]>,
}

impl PacketSpec {
    /// A packet in which everything but addresses and transport is chosen.
    pub fn new(src: IpAddr, dst: IpAddr, transport: Transport) -> Self {
        Self {
            src,
            dst,
            transport,
            payload: Bytes::default(),
            ttl: None,
            dscp: 0,
            ecn: 0,
            dont_fragment: false,
            mark: None,
            vlan: None,
            fragmentation: None,
            ip_options: Bytes::default(),
            extension_headers: Bounded::default(),
            src_mac: None,
            dst_mac: None,
        }
    }
}

impl Transport {
    /// A TCP segment whose numbers and window are chosen, without options. `flags`: see [`Transport::Tcp`].
    pub fn tcp(src_port: u16, dst_port: u16, flags: u8) -> Self {
        Self::Tcp { src_port, dst_port, flags, seq: None, ack: None, window: None, options: Bytes::default() }
    }
}

/// The protocol above IP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
        /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
        flags: u8,
        /// Sequence number; the nonce when absent.
        #[serde(default)]
        seq: Option<u32>,
        /// Acknowledgement number; 0 when absent.
        #[serde(default)]
        ack: Option<u32>,
        /// Window; 65535 when absent.
        #[serde(default)]
        window: Option<u16>,
        /// Options, padded with zeros to whole words.
        #[serde(default)]
        options: Bytes<OPTION_BYTES>,
    },
    /// UDP (RFC 768).
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
    },
    /// ICMP (RFC 792) with IPv4 addresses, ICMPv6 (RFC 4443) with IPv6 addresses.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The four bytes after the checksum: for an echo, identifier and sequence number; the nonce when absent.
        #[serde(default)]
        rest: Option<[u8; 4]>,
    },
    /// Any protocol number; the payload is all there is.
    Other {
        /// Protocol number (IPv4), next header (IPv6).
        protocol: u8,
    },
    /// ARP in place of IP (RFC 826): `src` and `dst` are the IPv4 addresses asked with and for.
    Arp {
        /// 1 request, 2 reply.
        operation: u16,
    },
}

/// An 802.1Q tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vlan {
    /// 0 to 4095.
    pub id: u16,
    /// 0 to 7.
    #[serde(default)]
    pub priority: u8,
}

/// How a packet is fragmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fragmentation {
    /// This one fragment alone.
    One {
        /// Bytes from the start of the whole packet, a multiple of 8.
        offset: u16,
        /// More follow.
        more: bool,
        /// The identification all fragments of a packet share; the nonce when absent.
        identification: Option<u32>,
    },
    /// The whole packet in fragments of this many bytes (a multiple of 8), in order.
    Split {
        /// Bytes of IP payload in each.
        size: u16,
    },
}

/// An IPv6 extension header (RFC 8200, section 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionHeader {
    /// Its number: 0 hop-by-hop, 43 routing, 60 destination options, 135 mobility, ...
    pub protocol: u8,
    /// What follows its first two bytes, padded with zeros to a multiple of 8 with them.
    #[serde(default)]
    pub content: Bytes<EXTENSION_BYTES>,
}
