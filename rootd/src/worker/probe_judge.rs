//! What became of each probe of a batch, from what the kernel said and what arrived. Pure.
//!
//! A trace message belongs to a probe by the header bytes it carries, whose nonce is the probe's; messages without header
//! bytes follow one that has them under the same identifier, which the kernel makes of the packet's place in memory, so that
//! two packets on their way at once do not share it.

use std::{collections::HashMap, net::IpAddr};

use netengine_lab_proto::{Family, HopVerdict};
use netengine_packet::{
    nonce::Nonce,
    read::{self, Packet, Transport},
    trace::{Report, Trace, TraceKind},
};
use serde::{Deserialize, Serialize};

use crate::sys::packet::{TAG, TAG_OFFSET};

/// Bytes of a frame that are kept: all of a probe.
const FRAME_BYTES: usize = 256;

/// What becomes of a frame, by the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// The router routes it, or is its destination.
    Routed,
    /// It goes to a node of the same network: the router's bridge alone sees it.
    Bridged,
    /// It goes to the router's own link, and no further ([`netengine_proto::root::Claim`]).
    Claim,
}

/// A link of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ear {
    /// Its own address.
    pub mac: [u8; 6],
    /// It is a bridge of the router's: all that is to be routed passes it, so that only claims arrive there.
    pub is_router: bool,
}

/// The nonce of a frame that is none of IP: behind the tag.
fn tagged(body: &[u8]) -> Option<Nonce> {
    let nonce = body.get(TAG_OFFSET..)?.strip_prefix(&TAG)?;
    Nonce::new(u16::from_be_bytes([*nonce.first()?, *nonce.get(1)?]))
}

/// One frame to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shot {
    /// The link it is sent by, by its place among the batch's links.
    pub link: u16,
    /// The frame.
    pub frame: Vec<u8>,
    /// Its nonce, not 0, and unlike all others of the batch.
    pub nonce: u16,
    /// Where it goes.
    pub to: IpAddr,
    /// What becomes of it.
    pub way: Way,
    /// Whether a link of the batch has this address, so that what is accepted must arrive.
    pub arrives: bool,
    /// It is sent after all other frames of its link and family; once it is seen, nothing before it is on its way any more.
    pub sentinel: bool,
}

/// What was seen of one frame.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShotSeen {
    /// The last verdict.
    pub verdict: Option<ShotVerdict>,
    /// The link it arrived at, and the frame as it was there.
    pub arrived: Option<(u16, Vec<u8>)>,
    /// The router has no route for it: its policy let it pass before routing, and what was sent after it was handled while
    /// no later hook had seen it.
    pub is_unrouted: bool,
    /// Why this may not be all; empty when it is.
    pub doubt: String,
}

/// A verdict as a trace tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShotVerdict {
    /// Accepted or dropped.
    pub accepted: bool,
    /// Whether the table is of family bridge.
    pub bridge: bool,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule's handle; `None` when it was the chain's policy.
    pub rule: Option<u64>,
}

/// Tables by their meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// The world's policy.
    pub policy: String,
    /// The one that has packets traced.
    pub trace: String,
}

/// Whether what was seen may be the packet that was sent, or a translation of its source. An answer may carry its number by
/// chance, since the kernel numbers what hosts answer, but it is of another kind: an echo reply, or to the port that asked.
fn is_alike(sent: &Packet, seen: &Packet) -> bool {
    let is_same = match (&sent.transport, &seen.transport) {
        (Transport::Icmp { kind: sent, .. }, Transport::Icmp { kind: seen, .. }) => sent == seen,
        (sent, seen) => match (sent.ports(), seen.ports()) {
            (Some((_, sent)), Some((_, seen))) => sent == seen,
            // A report of the kernel may end before the ports.
            _ => true,
        },
    };
    sent.dst == seen.dst && sent.protocol == seen.protocol && is_same
}

/// One shot on its way.
struct Flight {
    shot: Shot,
    /// What is in its frame, when that is an IP packet.
    packet: Option<Packet>,
    /// The base chain of the policy that its last header bytes named, and whether it was the bridge's.
    base: (bool, String),
    seen: ShotSeen,
    traced: bool,
    ended: bool,
    /// A sentinel behind it was seen.
    passed: bool,
}

impl Flight {
    /// Whether a packet, or a frame that is none, may be this one; its nonce is.
    fn may_be(&self, seen: Option<&Packet>) -> bool {
        match (&self.packet, seen) {
            (Some(sent), Some(seen)) => is_alike(sent, seen),
            (sent, seen) => sent.is_none() && seen.is_none(),
        }
    }

    fn is_done(&self) -> bool {
        if self.shot.sentinel {
            return self.traced;
        }
        let accepted = self.seen.verdict.as_ref().is_some_and(|verdict| verdict.accepted);
        match (self.ended, accepted) {
            (true, true) => !self.shot.arrives || self.seen.arrived.is_some(),
            (true, false) => true,
            (false, _) => self.passed,
        }
    }
}

/// A batch under way.
pub struct Judge {
    tables: Tables,
    flights: Vec<Flight>,
    by_nonce: HashMap<Nonce, usize>,
    /// Identifiers of traces, and whose they are now.
    ids: HashMap<u32, usize>,
    doubt: Option<&'static str>,
}

impl Judge {
    /// Of these shots; one with a nonce that is 0 or another's is in doubt from the beginning.
    pub fn new(tables: Tables, shots: Vec<Shot>) -> Self {
        let mut by_nonce = HashMap::new();
        let mut doubt = None;
        for (place, shot) in shots.iter().enumerate() {
            match Nonce::new(shot.nonce) {
                Some(nonce) if by_nonce.insert(nonce, place).is_none() => {}
                _ => doubt = Some("two packets had the same number"),
            }
        }
        let flight = |shot: Shot| Flight {
            packet: read::frame_packet(&shot.frame),
            shot,
            base: (false, String::new()),
            seen: ShotSeen::default(),
            traced: false,
            ended: false,
            passed: false,
        };
        Self { tables, flights: shots.into_iter().map(flight).collect(), by_nonce, ids: HashMap::new(), doubt }
    }

    /// The shots, in the order in which they are to be sent.
    pub fn shot(&self, place: usize) -> Option<&Shot> {
        self.flights.get(place).map(|flight| &flight.shot)
    }

    /// A shot could not be sent.
    pub fn not_sent(&mut self, place: usize, error: &std::io::Error) {
        if let Some(flight) = self.flights.get_mut(place) {
            flight.seen.doubt = format!("it could not be sent: {error}");
            flight.passed = true;
            flight.traced |= flight.shot.sentinel;
        }
    }

    /// Something was lost, or cannot be understood: nothing of this batch is sure.
    pub fn doubt_all(&mut self, why: &'static str) {
        self.doubt.get_or_insert(why);
    }

    /// Takes a message of the trace socket.
    pub fn hear(&mut self, report: Report) {
        match report {
            Report::Trace(trace) => self.hear_trace(&trace),
            Report::Unknown(_) => self.doubt_all("the kernel reported something unknown"),
        }
    }

    /// Whose a packet is, or a frame that is none, with these bytes behind the Ethernet header.
    fn place(&self, packet: Option<&Packet>, body: &[u8]) -> Option<usize> {
        let nonce = packet.map_or_else(|| tagged(body), |packet| packet.nonce)?;
        self.by_nonce.get(&nonce).copied().filter(|place| self.flights[*place].may_be(packet))
    }

    fn hear_trace(&mut self, trace: &Trace) {
        let bridge = trace.family == Some(Family::Bridge);
        let packet = trace.headers();
        let place = match trace.network_header.is_empty() {
            false => {
                let place = self.place(packet.as_ref(), &trace.network_header);
                match place {
                    Some(place) => drop(self.ids.insert(trace.id, place)),
                    // Somebody else's packet with our code point, under an identifier that was ours before.
                    None => drop(self.ids.remove(&trace.id)),
                }
                if let Some(place) = place
                    && trace.table == self.tables.policy
                {
                    self.flights[place].base = (bridge, trace.chain.clone());
                }
                place
            }
            true => self.ids.get(&trace.id).copied(),
        };
        let Some(place) = place else { return };
        self.flights[place].traced = true;
        if self.flights[place].shot.sentinel {
            self.pass(place);
        } else if trace.table != self.tables.trace && (bridge || self.flights[place].shot.way == Way::Routed) {
            self.judge(place, trace, bridge);
        }
    }

    fn judge(&mut self, place: usize, trace: &Trace, bridge: bool) {
        let verdict = match trace.kind {
            TraceKind::Rule | TraceKind::Return => trace.verdict.as_ref(),
            TraceKind::Policy => trace.policy.as_ref().or(trace.verdict.as_ref()),
            TraceKind::Unknown(_) => return self.doubt_all("the kernel reported something unknown"),
        };
        let accepted = match verdict {
            Some(HopVerdict::Accept) => true,
            Some(HopVerdict::Drop) => false,
            Some(HopVerdict::Continue | HopVerdict::Jump(_) | HopVerdict::Goto(_) | HopVerdict::Return) | None => {
                return;
            }
            Some(_) => return self.doubt_all("a rule did something other than accept and drop"),
        };
        let flight = &mut self.flights[place];
        // That a bridge lets it up to the router decides nothing about a flow.
        if flight.shot.way == Way::Routed && bridge && accepted {
            return;
        }
        let ours = trace.table == self.tables.policy;
        // What follows the decision to forward, such as a changed source, does not decide any more.
        let decides = !accepted || flight.seen.verdict.is_none() || (ours && flight.base.1 != "postrouting");
        if decides {
            flight.seen.verdict = Some(ShotVerdict {
                accepted,
                bridge,
                table: trace.table.clone(),
                chain: trace.chain.clone(),
                rule: if trace.kind == TraceKind::Policy { None } else { trace.rule },
            });
        }
        let last = match flight.shot.way {
            Way::Routed => !bridge && matches!(flight.base.1.as_str(), "postrouting" | "input"),
            Way::Bridged | Way::Claim => true,
        };
        flight.ended |= !accepted || (ours && last);
    }

    /// A sentinel was seen: what went before it by its link, in its family, met everything that it meets.
    fn pass(&mut self, sentinel: usize) {
        let Shot { link, to, .. } = self.flights[sentinel].shot;
        let before = self.flights[..sentinel].iter_mut();
        for flight in before.filter(|flight| flight.shot.link == link && flight.shot.to.is_ipv4() == to.is_ipv4()) {
            flight.passed = true;
        }
    }

    /// Takes a frame that arrived at a link. What leaves by that link counts for nothing.
    pub fn arrive(&mut self, link: u16, ear: Ear, bytes: &[u8]) {
        let Some(frame) = read::frame(bytes).filter(|frame| frame.dst == ear.mac) else { return };
        let packet = read::packet(frame.body);
        if let Some(place) = self.place(packet.as_ref(), frame.body)
            && let flight = &mut self.flights[place]
            && (!ear.is_router || flight.shot.way == Way::Claim)
        {
            let kept = bytes[..bytes.len().min(FRAME_BYTES)].to_vec();
            flight.seen.arrived.get_or_insert((link, kept));
        }
    }

    /// Whether nothing more is to come.
    pub fn is_done(&self) -> bool {
        self.doubt.is_some() || self.flights.iter().all(Flight::is_done)
    }

    /// What was seen, without sentinels, in the order of the shots. What is not done by now is in doubt.
    pub fn seen(self) -> Vec<ShotSeen> {
        let doubt = self.doubt;
        let shots = self.flights.into_iter().filter(|flight| !flight.shot.sentinel);
        shots
            .map(|flight| {
                let done = flight.is_done();
                let mut seen = flight.seen;
                let is_let_in = seen.verdict.as_ref().is_some_and(|verdict| verdict.accepted && !verdict.bridge);
                seen.is_unrouted = flight.shot.way == Way::Routed
                    && seen.arrived.is_none()
                    && flight.passed
                    && !flight.ended
                    && is_let_in
                    && flight.base == (false, "prerouting".to_owned());
                if let Some(doubt) = doubt {
                    seen.doubt = doubt.into();
                } else if seen.doubt.is_empty() && (!done || (is_let_in && !flight.ended && !seen.is_unrouted)) {
                    let accepted = seen.verdict.as_ref().is_some_and(|verdict| verdict.accepted);
                    let why = match (flight.traced, accepted && flight.ended) {
                        (false, _) => "the router's trace of it was not seen in time",
                        (true, true) => "the router let it pass, but it did not arrive in time",
                        (true, false) => "the router's decision about it was not seen in time",
                    };
                    seen.doubt = why.into();
                }
                seen
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
