//! Which entry of conntrack is a packet's: the one that has its addresses and ports, in either direction.

use netengine_lab_proto::{Connection, CtState, Tuple};
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
