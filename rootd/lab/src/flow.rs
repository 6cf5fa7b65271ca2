//! Flows: what each end knows of addresses, ports and sequence numbers. Pure.
//!
//! An end is 0, the node that sent the flow's first packet, or 1, the other. What the other end sends has the addresses that the first packet arrived
//! with: what translation made of them.

use std::{collections::BTreeMap, net::IpAddr};

use netengine_lab_proto::{Bytes, NodeName, PacketOutcome, PacketSpec, Transport};
use netengine_packet::{
    build::{initial_sequence, ip_packets},
    nonce::Nonce,
    read::{self, Packet},
};

use crate::verdict::{Seen, Window};

const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// Bytes of a packet that an ICMP error quotes: what every router gives (RFC 792), and what fits (RFC 4443, section 2.4).
const QUOTED: [usize; 2] = [28, 1_232];

/// The flows of a case.
#[derive(Debug, Default)]
pub struct Flows(BTreeMap<u32, State>);

#[derive(Debug)]
struct State {
    opener: usize,
    /// The first packet, as the opener sent it.
    first: PacketSpec,
    /// Addresses and ports of the opener's packets as they arrive at the other end.
    far: Option<(IpAddr, IpAddr, u16, u16)>,
    /// Where they arrive.
    far_node: Option<NodeName>,
    /// The sequence number that each end sends next.
    next: [u32; 2],
    /// The sequence number that each end awaits.
    awaits: [Option<u32>; 2],
    /// What each end sent last.
    last: [Option<PacketSpec>; 2],
}

impl Flows {
    /// Whether a packet of the flow was sent.
    pub fn is_open(&self, flow: u32) -> bool {
        self.0.contains_key(&flow)
    }

    /// Whether the opener has heard the other end's sequence number.
    pub fn is_answered(&self, flow: u32) -> bool {
        self.0.get(&flow).is_some_and(|state| state.awaits[0].is_some())
    }

    /// Where the opener's packets arrive.
    pub fn far_node(&self, flow: u32) -> Option<&NodeName> {
        self.0.get(&flow)?.far_node.as_ref()
    }

    /// The sequence number that an answer to the opener's last packet acknowledges.
    pub fn sent_up_to(&self, flow: u32) -> Option<u32> {
        self.0.get(&flow).map(|state| state.next[0])
    }

    /// A packet of the flow from a node, with everything filled in that the flow knows. The first one opens the flow.
    pub fn fill(&mut self, flow: u32, node: usize, spec: &PacketSpec) -> PacketSpec {
        let state = self.0.entry(flow).or_insert_with(|| State::new(node, spec));
        let end = usize::from(node != state.opener);
        let filled = state.fill(end, spec);
        state.last[end] = Some(filled.clone());
        filled
    }

    /// Learns from what became of a packet that was filled in.
    pub fn learn(&mut self, flow: u32, node: usize, outcome: &PacketOutcome, window: &Window) {
        let Some(state) = self.0.get_mut(&flow) else { return };
        if let Some(at) = &outcome.delivered {
            if node == state.opener {
                if let (None, Some(src), Some(dst)) = (state.far, at.src, at.dst) {
                    state.far = Some((src, dst, at.sport.unwrap_or(0), at.dport.unwrap_or(0)));
                }
                state.far_node.get_or_insert_with(|| at.node.clone());
                state.awaits[1] = Some(state.next[0]);
            } else {
                state.awaits[0] = Some(state.next[1]);
            }
        }
        for seen in &window.seen {
            let (at, packet, span) = match seen {
                Seen::Frame { node, packet: Some(packet), network, .. } => (*node, packet, span(network, packet)),
                // Of these the length is not kept; stacks answer without payload.
                Seen::Local(node, packet) => (*node, packet, span(&[], packet)),
                _ => continue,
            };
            if at == state.opener
                && state.is_answer(packet)
                && let read::Transport::Tcp { seq, .. } = packet.transport
            {
                let up_to = seq.wrapping_add(span);
                state.awaits[0] = Some(up_to);
                state.next[1] = up_to;
            }
        }
    }
}

impl State {
    fn new(opener: usize, first: &PacketSpec) -> Self {
        let (src, dst) = (first.src, first.dst);
        let (sport, dport) = ports(&first.transport);
        let next = [initial_sequence(src, dst, sport, dport), initial_sequence(dst, src, dport, sport)];
        Self { opener, first: first.clone(), far: None, far_node: None, next, awaits: [None; 2], last: [None, None] }
    }

    /// Source, destination and ports of what an end sends.
    fn way(&self, end: usize) -> (IpAddr, IpAddr, u16, u16) {
        let (sport, dport) = ports(&self.first.transport);
        let near = (self.first.src, self.first.dst, sport, dport);
        if end == 0 {
            return near;
        }
        let (src, dst, sport, dport) = self.far.unwrap_or(near);
        (dst, src, dport, sport)
    }

    fn fill(&mut self, end: usize, spec: &PacketSpec) -> PacketSpec {
        let (src, dst, sport, dport) = self.way(end);
        let mut filled = PacketSpec { src, dst, ..spec.clone() };
        let is_v4 = src.is_ipv4();
        match &mut filled.transport {
            Transport::Tcp { src_port, dst_port, flags, seq, ack, .. } => {
                (*src_port, *dst_port) = (sport, dport);
                let from = seq.unwrap_or(self.next[end]);
                *seq = Some(from);
                if *flags & ACK != 0 {
                    *ack = ack.or(self.awaits[end]).or(Some(self.next[1 - end]));
                }
                let span = spec.payload.len() as u32 + u32::from(*flags & SYN != 0) + u32::from(*flags & FIN != 0);
                self.next[end] = from.wrapping_add(span);
            }
            Transport::Udp { src_port, dst_port } => (*src_port, *dst_port) = (sport, dport),
            Transport::Icmp { kind, .. } if is_error(*kind, is_v4) && spec.payload.is_empty() => {
                filled.payload = self.quote(1 - end).and_then(|bytes| Bytes::new(bytes).ok()).unwrap_or_default();
            }
            Transport::Icmp { kind, rest, .. } => {
                // An echo request from the other end is the reply.
                if end == 1 && matches!(*kind, 8 | 128) {
                    *kind = if is_v4 { 0 } else { 129 };
                }
                if let Transport::Icmp { rest: first, .. } = &self.first.transport {
                    *rest = rest.or(*first);
                }
            }
            _ => {}
        }
        filled
    }

    /// The beginning of what an end sent last, as the other has it.
    fn quote(&self, end: usize) -> Option<Vec<u8>> {
        let mut spec = self.last[end].clone()?;
        if let (0, Some((src, dst, sport, dport))) = (end, self.far) {
            (spec.src, spec.dst) = (src, dst);
            if let Transport::Tcp { src_port, dst_port, .. } | Transport::Udp { src_port, dst_port } =
                &mut spec.transport
            {
                (*src_port, *dst_port) = (sport, dport);
            }
        }
        let mut bytes = ip_packets(&spec, Nonce::FIRST).ok()?.into_iter().next()?;
        bytes.truncate(QUOTED[usize::from(!spec.src.is_ipv4())]);
        Some(bytes)
    }

    fn is_answer(&self, packet: &Packet) -> bool {
        let (src, dst, sport, dport) = self.way(0);
        packet.src == dst && packet.dst == src && packet.transport.ports() == Some((dport, sport))
    }
}

fn is_error(kind: u8, is_v4: bool) -> bool {
    if is_v4 { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { kind < 128 }
}

fn ports(transport: &Transport) -> (u16, u16) {
    match transport {
        Transport::Tcp { src_port, dst_port, .. } | Transport::Udp { src_port, dst_port } => (*src_port, *dst_port),
        _ => (0, 0),
    }
}

/// Sequence numbers that a TCP segment takes: its payload, SYN and FIN.
fn span(network: &[u8], packet: &Packet) -> u32 {
    let read::Transport::Tcp { rest: Some((_, flags)), .. } = packet.transport else { return 0 };
    let word = |at: usize| Some(u32::from(u16::from_be_bytes([*network.get(at)?, *network.get(at + 1)?])));
    let payload = || {
        let (length, header) = match network.first()? >> 4 {
            4 => (word(2)?, usize::from(network[0] & 15) * 4),
            _ => (word(4)? + 40, 40),
        };
        length.checked_sub(header as u32 + u32::from(network.get(header + 12)? >> 4) * 4)
    };
    payload().unwrap_or(0) + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0)
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
