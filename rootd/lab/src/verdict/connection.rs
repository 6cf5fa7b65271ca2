//! Which entry of conntrack is a packet's: the one that has its addresses and ports, in either direction.

use std::collections::HashMap;

use netengine_lab_proto::{Connection, CtState, PacketOutcome, Tuple};
use netengine_packet::{
    conntrack::{Event, EventKind},
    read::Packet,
};

use super::{Evidence, Seen, Window};

/// `IPS_SEEN_REPLY`, `IPS_ASSURED` (linux/netfilter/nf_conntrack_common.h).
const SEEN_REPLY: u32 = 2;
const ASSURED: u32 = 4;

/// Gives packets what was told of their connections last. Where the kernel's trace tells no states, the packet that made an entry is new.
pub fn attribute(window: &Window, evidence: &mut [Evidence]) {
    for seen in &window.seen {
        let Seen::Connection(_, event) = seen else { continue };
        let (Some(original), Some(reply)) = (event.original, event.reply) else { continue };
        if event.kind == EventKind::Destroy {
            continue;
        }
        let mut is_first = event.kind == EventKind::New;
        for (sent, own) in window.sent.iter().zip(evidence.iter_mut()) {
            let Some(packet) = &sent.packet else { continue };
            let opens = is_of(&original, packet);
            if !opens && !is_of(&reply, packet) {
                continue;
            }
            own.connection = Some(connection(event, original, reply));
            if opens && std::mem::take(&mut is_first) && own.traces > 0 && own.ct_state.is_none() {
                own.ct_state = Some(CtState::New);
            }
        }
    }
}

/// The connections that are known, by the addresses and ports of either direction. A packet that changes nothing of its connection has no event in
/// its own window.
#[derive(Debug, Default)]
pub struct Known(HashMap<Tuple, Connection>);

impl Known {
    /// Gives the outcomes of a window's packets the connections that earlier windows told of, where this one tells none; then learns from it.
    pub fn complete(&mut self, window: &Window, outcomes: &mut [PacketOutcome]) {
        if !self.0.is_empty() {
            for (sent, outcome) in window.sent.iter().zip(outcomes) {
                if outcome.connection.is_none() {
                    let known = sent.packet.as_ref().and_then(|packet| self.0.get(&tuple_of(packet)));
                    outcome.connection = known.cloned();
                }
            }
        }
        for seen in &window.seen {
            let Seen::Connection(_, event) = seen else { continue };
            let (Some(original), Some(reply)) = (event.original, event.reply) else { continue };
            for tuple in [original, reply] {
                match event.kind {
                    EventKind::Destroy => self.0.remove(&tuple),
                    _ => self.0.insert(tuple, connection(event, original, reply)),
                };
            }
        }
    }
}

fn tuple_of(packet: &Packet) -> Tuple {
    let ports = packet.transport.ports();
    Tuple {
        src: packet.src,
        dst: packet.dst,
        protocol: packet.protocol,
        sport: ports.map(|ports| ports.0),
        dport: ports.map(|ports| ports.1),
    }
}

fn connection(event: &Event, original: Tuple, reply: Tuple) -> Connection {
    let status = event.status.unwrap_or(0);
    Connection { original, reply, replied: status & SEEN_REPLY != 0, assured: status & ASSURED != 0 }
}

fn is_of(tuple: &Tuple, packet: &Packet) -> bool {
    let ports = match packet.transport.ports() {
        Some((sport, dport)) => (tuple.sport, tuple.dport) == (Some(sport), Some(dport)),
        None => tuple.sport.is_none() && tuple.dport.is_none(),
    };
    tuple.src == packet.src && tuple.dst == packet.dst && tuple.protocol == packet.protocol && ports
}
