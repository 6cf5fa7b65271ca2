//! Whose observation is it: by nonce and header bytes, never by order, count or trace identifier alone.

use std::collections::HashMap;

use netengine_lab_proto::{CtState, FrameRole, Hook, Hop, HopKind, HopVerdict, Reply};
use netengine_packet::{
    read::{Packet, Transport},
    trace::{Trace, TraceKind},
};

use super::{Evidence, Facts, Seen, Sent, Window, delivery};

/// A packet's stretch through one base chain: its first message has the header bytes, the others share its identifier.
struct Stretch {
    owner: Option<usize>,
    hook: Option<Hook>,
}

/// The evidence of each packet sent, and how many trace messages had no beginning.
pub fn attribute(window: &Window, facts: &Facts) -> (Vec<Evidence>, u64) {
    let mut evidence = vec![Evidence::default(); window.sent.len()];
    let mut open: HashMap<(usize, u32), Stretch> = HashMap::new();
    let mut orphans = 0;
    for seen in &window.seen {
        match seen {
            Seen::Trace(node, trace) => {
                let key = (*node, trace.id);
                if !trace.network_header.is_empty() {
                    let owner = owner(window, trace);
                    open.insert(key, Stretch { owner, hook: hook_of(facts, *node, trace) });
                }
                let Some(stretch) = open.get(&key) else {
                    // Of later fragments of IPv6 the kernel sends no headers. They are told by being alone; that our own table saw one tells
                    // nothing of rules.
                    match (evidence.as_mut_slice(), window.sent.first().is_some_and(|sent| sent.fragment)) {
                        ([own], true) => note(own, facts, *node, trace, hook_of(facts, *node, trace)),
                        _ => orphans += u64::from(trace.table != facts.tracer),
                    }
                    continue;
                };
                if let Some(own) = stretch.owner.and_then(|owner| evidence.get_mut(owner)) {
                    note(own, facts, *node, trace, stretch.hook);
                }
            }
            Seen::Frame { node, interface, packet, network, .. } => {
                let owner = window.sent.iter().position(|sent| match (packet, &sent.packet) {
                    (Some(seen), Some(packet)) => same(packet, seen),
                    (None, None) => starts_alike(&sent.network, network),
                    _ => false,
                });
                if let Some(own) = owner.and_then(|owner| evidence.get_mut(owner)) {
                    own.deliveries.extend(delivery(facts, *node, Some(interface), packet.as_ref()));
                }
            }
            Seen::Connection(..) => {}
            Seen::Local(node, packet) => {
                let owner =
                    window.sent.iter().position(|sent| sent.packet.as_ref().is_some_and(|sent| same(sent, packet)));
                if let Some(own) = owner.and_then(|owner| evidence.get_mut(owner)) {
                    own.deliveries.extend(delivery(facts, *node, None, Some(packet)));
                }
            }
        }
    }
    (evidence, orphans)
}

/// Of which packet of the window a frame at a node is, counted from 0, and what.
pub fn role(window: &Window, node: usize, packet: &Packet) -> Option<(usize, FrameRole)> {
    let of = |wanted: &dyn Fn(&Sent, &Packet) -> bool| {
        window.sent.iter().position(|sent| sent.packet.as_ref().is_some_and(|own| wanted(sent, own)))
    };
    let itself = of(&|_, own| same(own, packet)).map(|number| (number, FrameRole::Arrived));
    itself.or_else(|| {
        of(&|sent, own| sent.node == node && answers(own, packet)).map(|number| (number, FrameRole::Answer))
    })
}

fn owner(window: &Window, trace: &Trace) -> Option<usize> {
    let headers = trace.headers();
    window.sent.iter().position(|sent| match (&headers, &sent.packet) {
        (Some(seen), Some(packet)) => same(packet, seen),
        (None, None) => starts_alike(&sent.network, &trace.network_header),
        _ => false,
    })
}

/// Says whether `seen` is the packet that was sent, translated or not: the nonce, the protocol and what translation
/// leaves of the transport header.
fn same(sent: &Packet, seen: &Packet) -> bool {
    let family = sent.src.is_ipv4() == seen.src.is_ipv4();
    let nonce = match (sent.nonce, seen.nonce) {
        (Some(sent), Some(seen)) => sent == seen,
        // A frame of the user's own without a nonce is alone in its window; then addresses must do.
        (None, None) => {
            let ports = sent.transport.ports().zip(seen.transport.ports());
            sent.src == seen.src && sent.dst == seen.dst && ports.is_none_or(|(sent, seen)| sent == seen)
        }
        _ => false,
    };
    let transport = match (&sent.transport, &seen.transport) {
        (Transport::Tcp { seq: a, .. }, Transport::Tcp { seq: b, .. }) => a == b,
        (Transport::Icmp { kind: a, code: c, .. }, Transport::Icmp { kind: b, code: d, .. }) => a == b && c == d,
        // A fragment's transport header may be elsewhere, or its protocol behind further headers cut off.
        _ => true,
    };
    let protocol = sent.protocol == seen.protocol || sent.fragment.is_some() || seen.fragment.is_some();
    family && nonce && transport && (protocol || is_cut_off(seen))
}

/// Trace messages carry 40 bytes of network header: of IPv6 with extension headers only the number of the first (RFC 8200, section 4).
fn is_cut_off(packet: &Packet) -> bool {
    packet.src.is_ipv6() && matches!(packet.protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140)
}

fn starts_alike(a: &[u8], b: &[u8]) -> bool {
    let length = a.len().min(b.len());
    length > 0 && a[..length] == b[..length]
}

fn hook_of(facts: &Facts, node: usize, trace: &Trace) -> Option<Hook> {
    if trace.table == facts.tracer { tracer_hook(&trace.chain) } else { facts.hook(node, trace) }
}

/// The tracer's chains are called after their hooks.
fn tracer_hook(chain: &str) -> Option<Hook> {
    let name = chain.split('_').next().unwrap_or(chain);
    Some(match name {
        "ingress" => Hook::Ingress,
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        "egress" => Hook::Egress,
        _ => return None,
    })
}

fn note(own: &mut Evidence, facts: &Facts, node: usize, trace: &Trace, hook: Option<Hook>) {
    own.traces += 1;
    // Before conntrack has seen a packet the kernel calls it invalid; past the first hook the word is meant.
    let early = matches!(hook, None | Some(Hook::Ingress | Hook::Prerouting | Hook::Output));
    if let Some(state) = trace.ct_state
        && !(early && state == CtState::Invalid)
    {
        own.ct_state = Some(state);
        own.ct_direction = trace.ct_direction.or(own.ct_direction);
    }
    if trace.table == facts.tracer {
        own.reached.extend(hook);
        return;
    }
    let kind = match trace.kind {
        TraceKind::Rule => HopKind::Rule,
        TraceKind::Policy => HopKind::Policy,
        TraceKind::Return => HopKind::Return,
        TraceKind::Unknown(_) => {
            own.unknown += 1;
            return;
        }
    };
    let said =
        if kind == HopKind::Policy { trace.policy.clone().or(trace.verdict.clone()) } else { trace.verdict.clone() };
    let (Some(family), Some(name), Some(verdict)) = (trace.family, facts.nodes.get(node).map(|node| &node.name), said)
    else {
        own.unknown += 1;
        return;
    };
    // The end of a base chain's rules, before its policy speaks, is told as a rule without a handle.
    if kind == HopKind::Rule && trace.rule.is_none() && verdict == HopVerdict::Continue {
        return;
    }
    if matches!(verdict, HopVerdict::Unknown(_)) {
        own.unknown += 1;
    }
    let hop = Hop {
        node: name.clone(),
        hook,
        family,
        table: trace.table.clone(),
        chain: trace.chain.clone(),
        rule: trace.rule.filter(|_| kind == HopKind::Rule),
        kind,
        verdict,
    };
    own.hops.push((node, hop));
}

/// Gives each packet the answer that is its own. Answers without a quote know only the flow: of packets of one flow those that a rule
/// refused get the refusals, in order.
pub fn replies(window: &Window, _facts: &Facts, evidence: &mut [Evidence], refused: &[bool]) {
    for seen in &window.seen {
        let (node, packet, ethertype) = match seen {
            Seen::Frame { node, packet, ethertype, .. } => (*node, packet.as_ref(), *ethertype),
            Seen::Local(node, packet) => (*node, Some(packet), 0),
            Seen::Trace(..) | Seen::Connection(..) => continue,
        };
        let candidates = |wanted: &dyn Fn(&Sent) -> bool| -> Vec<usize> {
            (0..window.sent.len()).filter(|n| window.sent[*n].node == node && wanted(&window.sent[*n])).collect()
        };
        let (reply, candidates) = match packet {
            Some(packet) => {
                let Some(reply) = kind_of_reply(packet) else { continue };
                let own = |sent: &Sent| sent.packet.as_ref().is_some_and(|sent| answers(sent, packet));
                (reply, candidates(&own))
            }
            None if ethertype == 0x0806 => (Reply::Neighbour, candidates(&|sent: &Sent| sent.packet.is_none())),
            None => continue,
        };
        let refusal = matches!(reply, Reply::Reset | Reply::IcmpError { .. });
        let free = |n: &&usize| evidence[**n].reply.is_none();
        // A refusal is of a rule that refuses or, as any answer, of a host that the packet reached.
        let by_rule = candidates.iter().filter(free).find(|n| refusal && refused[**n]);
        let by_host = || candidates.iter().filter(free).find(|n| !evidence[**n].deliveries.is_empty());
        let chosen = by_rule.or_else(by_host).or_else(|| candidates.iter().find(free));
        if let Some(chosen) = chosen {
            evidence[*chosen].reply = Some(reply);
        }
    }
}

fn kind_of_reply(packet: &Packet) -> Option<Reply> {
    Some(match &packet.transport {
        Transport::Tcp { rest: Some((_, flags)), .. } if flags & 4 != 0 => Reply::Reset,
        Transport::Tcp { rest: Some((_, flags)), .. } if flags & 0x12 == 0x12 => Reply::SynAck,
        Transport::Tcp { .. } => Reply::Tcp,
        Transport::Udp { .. } => Reply::Udp,
        Transport::Icmp { kind: 0, .. } if packet.protocol == 1 => Reply::EchoReply,
        Transport::Icmp { kind: 129, .. } if packet.protocol == 58 => Reply::EchoReply,
        Transport::Icmp { kind: 136, .. } if packet.protocol == 58 => Reply::Neighbour,
        Transport::Icmp { kind, code, quoted: Some(_) } => Reply::IcmpError { kind: *kind, code: *code },
        _ => return None,
    })
}

fn answers(sent: &Packet, seen: &Packet) -> bool {
    if let Transport::Icmp { quoted: Some(quoted), .. } = &seen.transport {
        return same(sent, quoted);
    }
    let reversed = sent.src == seen.dst && (sent.dst == seen.src || sent.dst.is_multicast());
    reversed
        && match (&sent.transport, &seen.transport) {
            (Transport::Icmp { .. }, Transport::Icmp { .. }) => true,
            (a, b) => a.ports().is_some() && a.ports() == b.ports().map(|(sport, dport)| (dport, sport)),
        }
        && sent.protocol == seen.protocol
}
