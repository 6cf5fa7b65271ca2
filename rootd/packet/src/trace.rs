//! `NFT_MSG_TRACE` of nf_tables (linux/netfilter/nf_tables.h, `nft_trace_attributes`).
//!
//! The kernel reports each rule that matched and each policy that decided, of packets whose nftrace bit is set, to group
//! [`TRACE_GROUP`]. Header bytes come with the first message of each base chain a packet passes and not again before the next; the identifier
//! repeats for packets with equal addresses and ports. So who attributes messages needs both: see [`Trace::headers`].

use netengine_lab_proto::{CtDirection, CtState, Family, HopVerdict};

use crate::{
    attributes::{Malformed, Message, attributes, be16, be32, be64, text},
    read::{self, Packet},
};

/// `NFNLGRP_NFTRACE`.
pub const TRACE_GROUP: u32 = 9;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE`.
pub const TRACE_MESSAGE: u16 = 10 << 8 | 17;

/// One trace message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// `NFTA_TRACE_ID`; repeats.
    pub id: u32,
    /// What spoke.
    pub kind: TraceKind,
    /// Family of the table.
    pub family: Option<Family>,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// Handle of the rule.
    pub rule: Option<u64>,
    /// The verdict of a rule or of a chain's end.
    pub verdict: Option<HopVerdict>,
    /// The policy of the base chain.
    pub policy: Option<HopVerdict>,
    /// Ethernet header, up to 20 bytes.
    pub link_header: Vec<u8>,
    /// Network header, up to 40 bytes.
    pub network_header: Vec<u8>,
    /// Transport header, up to 20 bytes.
    pub transport_header: Vec<u8>,
    /// Index of the interface it came in by.
    pub iif: Option<u32>,
    /// Index of the interface it goes out by.
    pub oif: Option<u32>,
    /// The packet's mark, when not 0.
    pub mark: Option<u32>,
    /// `NFPROTO_*` of the packet, which tells IPv4 from IPv6 in family inet.
    pub nfproto: Option<u32>,
    /// Identifier of the conntrack entry; newer kernels.
    pub ct_id: Option<u32>,
    /// Direction; newer kernels.
    pub ct_direction: Option<CtDirection>,
    /// State; newer kernels. `Invalid` also means that conntrack has not seen it yet.
    pub ct_state: Option<CtState>,
    /// `IPS_*` bits of the conntrack entry; newer kernels.
    pub ct_status: Option<u32>,
}

/// What spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceKind {
    /// The policy of a base chain.
    Policy,
    /// `return`, or the end of a chain.
    Return,
    /// A rule.
    Rule,
    /// A number that this code does not know.
    Unknown(u32),
}

/// What a message on a trace socket was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A trace message.
    Trace(Box<Trace>),
    /// Another kind of message, by its number: whoever judges must not go on as if it had understood it.
    Unknown(u16),
}

impl Trace {
    /// The packet's fields, when this message carries header bytes.
    pub fn headers(&self) -> Option<Packet> {
        read::headers(&self.network_header, &self.transport_header)
    }
}

/// Decodes a message read from a trace socket.
///
/// # Errors
/// [`Malformed`] when an attribute is cut off, or when identifier, kind, table or chain are absent.
pub fn decode(message: &Message<'_>) -> Result<Report, Malformed> {
    if message.kind != TRACE_MESSAGE {
        return Ok(Report::Unknown(message.kind));
    }
    // struct nfgenmsg: family, version, resource id.
    let body = message.body.get(4..).ok_or(Malformed)?;
    let mut trace = Trace {
        id: 0,
        kind: TraceKind::Unknown(0),
        family: family(message.body[0]),
        table: String::new(),
        chain: String::new(),
        rule: None,
        verdict: None,
        policy: None,
        link_header: Vec::new(),
        network_header: Vec::new(),
        transport_header: Vec::new(),
        iif: None,
        oif: None,
        mark: None,
        nfproto: None,
        ct_id: None,
        ct_direction: None,
        ct_state: None,
        ct_status: None,
    };
    let mut required = 0_u8;
    for attribute in attributes(body) {
        let (number, content) = attribute?;
        match number {
            1 => trace.table = text(content),
            2 => trace.chain = text(content),
            3 => trace.rule = be64(content),
            4 => trace.kind = kind(be32(content).ok_or(Malformed)?),
            5 => trace.verdict = Some(verdict(content)?),
            6 => trace.id = be32(content).ok_or(Malformed)?,
            7 => trace.link_header = content.to_vec(),
            8 => trace.network_header = content.to_vec(),
            9 => trace.transport_header = content.to_vec(),
            10 => trace.iif = be32(content),
            12 => trace.oif = be32(content),
            14 => trace.mark = be32(content),
            15 => trace.nfproto = be32(content),
            16 => trace.policy = be32(content).map(|code| verdict_code(code as i32, None)),
            18 => trace.ct_id = be32(content),
            19 => trace.ct_direction = content.first().and_then(|d| direction(*d)),
            20 => trace.ct_status = be32(content),
            21 => trace.ct_state = be32(content).and_then(state),
            // 11, 13: device types; 17: padding; above 21: newer than this code, and additional by the rules of netlink.
            _ => {}
        }
        required |= match number {
            1 => 1,
            2 => 2,
            4 => 4,
            6 => 8,
            _ => 0,
        };
    }
    if required == 15 { Ok(Report::Trace(Box::new(trace))) } else { Err(Malformed) }
}

fn kind(number: u32) -> TraceKind {
    match number {
        1 => TraceKind::Policy,
        2 => TraceKind::Return,
        3 => TraceKind::Rule,
        other => TraceKind::Unknown(other),
    }
}

/// The family of an `NFPROTO_*` number.
pub fn family(number: u8) -> Option<Family> {
    Some(match number {
        1 => Family::Inet,
        2 => Family::Ip,
        3 => Family::Arp,
        5 => Family::Netdev,
        7 => Family::Bridge,
        10 => Family::Ip6,
        _ => return None,
    })
}

/// The `NFPROTO_*` number of a family.
pub fn family_number(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Ip => 2,
        Family::Arp => 3,
        Family::Netdev => 5,
        Family::Bridge => 7,
        Family::Ip6 => 10,
    }
}

/// `NFTA_VERDICT_CODE` (1) and `NFTA_VERDICT_CHAIN` (2).
fn verdict(content: &[u8]) -> Result<HopVerdict, Malformed> {
    let (mut code, mut chain) = (None, None);
    for attribute in attributes(content) {
        match attribute? {
            (1, content) => code = be32(content),
            (2, content) => chain = Some(text(content)),
            _ => {}
        }
    }
    Ok(verdict_code(code.ok_or(Malformed)? as i32, chain))
}

/// `NF_*` and `NFT_*` verdicts; the lower byte of a netfilter verdict is its kind, above it an errno or a queue.
fn verdict_code(code: i32, chain: Option<String>) -> HopVerdict {
    match (code, chain) {
        (-1, _) => HopVerdict::Continue,
        (-3, Some(chain)) => HopVerdict::Jump(chain),
        (-4, Some(chain)) => HopVerdict::Goto(chain),
        (-5, _) => HopVerdict::Return,
        (code, _) if code >= 0 => match code & 0xff {
            0 => HopVerdict::Drop,
            1 => HopVerdict::Accept,
            2 => HopVerdict::Stolen,
            3 => HopVerdict::Queue,
            _ => HopVerdict::Unknown(code),
        },
        (code, _) => HopVerdict::Unknown(code),
    }
}

fn direction(number: u8) -> Option<CtDirection> {
    match number {
        0 => Some(CtDirection::Original),
        1 => Some(CtDirection::Reply),
        _ => None,
    }
}

/// `NF_CT_STATE_*` bits (nf_conntrack_common.h).
fn state(bits: u32) -> Option<CtState> {
    Some(match bits {
        1 => CtState::Invalid,
        2 => CtState::Established,
        4 => CtState::Related,
        8 => CtState::New,
        64 => CtState::Untracked,
        _ => return None,
    })
}

/// A port in network order; used by conntrack as well.
pub(crate) fn port(content: &[u8]) -> Option<u16> {
    be16(content)
}
