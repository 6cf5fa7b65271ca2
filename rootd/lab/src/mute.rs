//! Silence where packets come from: what a port sends is what the case lists.
//!
//! The stack of a node that sends a case's packets has no socket for them. Left alone it would answer their answers with resets and
//! port-unreachable errors, as no host does that meant what it sent: they would pass the rules under test, spend limits and end connections.
//! Routing rules for what a node's own stack sends (`iif lo`) find no way for these; injected packets do not ask for one, nor do those of raw
//! sockets, whose lookup names protocol 255. Where the node's own rules reject, or others send datagrams too, errors would be silenced that are
//! to be: there sockets take the answers to datagrams.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use netengine_lab_proto::{CaseRequest, Content, ListenerProtocol, Listeners, Node, Transport};

use crate::{
    build::Built,
    netlink::{Batch, CREATE},
    reuse::words,
};

/// What a node's own stack does not send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mute {
    /// Of IPv4, and of IPv6.
    families: [bool; 2],
    /// TCP from these ports.
    tcp: Vec<(u16, u16)>,
    /// ICMP errors that say a port has no socket.
    unreachable: bool,
}

/// The nodes that send packets, each with what it must not add to them.
pub fn mutes(request: &CaseRequest) -> BTreeMap<usize, Mute> {
    let nodes = &request.topology.nodes;
    let mut openers: BTreeMap<u32, usize> = BTreeMap::new();
    let mut found: BTreeMap<usize, Mute> = BTreeMap::new();
    let (mut ports, mut aims) = (BTreeMap::<usize, BTreeSet<u16>>::new(), BTreeSet::new());
    let mut udp: BTreeSet<usize> = BTreeSet::new();
    for packet in request.packets.iter() {
        let Content::Typed(spec) = &packet.content else { continue };
        let Some(node) = nodes.iter().position(|node| node.name == packet.from && !node.silent) else { continue };
        let opener = packet.flow.map_or(node, |flow| *openers.entry(flow.number).or_insert(node));
        let mute = found.entry(node).or_default();
        mute.families[usize::from(spec.src.is_ipv6())] = true;
        match spec.transport {
            // The port of a flow's other end is what translation makes of it.
            Transport::Tcp { .. } if opener != node => mute.tcp = vec![(1, u16::MAX)],
            Transport::Tcp { src_port, dst_port, .. } => {
                ports.entry(node).or_default().insert(src_port);
                aims.insert(dst_port);
            }
            Transport::Udp { .. } => {
                udp.insert(node);
            }
            _ => {}
        }
    }
    for (node, mute) in &mut found {
        if let (true, Some(ports)) = (mute.tcp.is_empty(), ports.get(node)) {
            mute.tcp = ranges(ports, &listens(&nodes[*node], &aims));
        }
        // Of an error the routing rules see no port: where others send datagrams too, one may be the answer to them.
        mute.unreachable = udp.len() == 1 && udp.contains(node) && !rejects(request, &nodes[*node]);
    }
    found.retain(|_, mute| mute.unreachable || !mute.tcp.is_empty());
    found
}

/// Sockets for the answers to a node's datagrams, at most; where it sends from more ports its stack says that nobody listens on them.
const SOCKETS: usize = 256;

/// The ports that a node sends datagrams from, where its errors cannot be muted: what comes to them is to be taken by a socket, and not answered.
pub fn taken(request: &CaseRequest, node: &Node) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    let mut others = false;
    for packet in request.packets.iter() {
        let Content::Typed(spec) = &packet.content else { continue };
        let Transport::Udp { src_port, .. } = spec.transport else { continue };
        if packet.from == node.name {
            ports.insert(src_port);
        } else {
            others = true;
        }
    }
    // The other end of a flow may have no port yet.
    ports.remove(&0);
    // Its rules are looked through last: they may be long.
    let takes = (1..=SOCKETS).contains(&ports.len()) && !node.silent && (others || rejects(request, node));
    if takes { ports } else { BTreeSet::new() }
}

/// Whether rules of a node may answer what they reject.
fn rejects(request: &CaseRequest, node: &Node) -> bool {
    let tested = (node.name == request.topology.tested).then_some(request);
    let texts = tested.into_iter().flat_map(|case| [&case.ruleset].into_iter().chain(case.beside.iter()));
    texts.chain(&node.rules).any(|text| words(text.as_str()).any(|word| word == "reject"))
}

/// The ports a node has TCP listeners on.
fn listens(node: &Node, aims: &BTreeSet<u16>) -> BTreeSet<u16> {
    match &node.listeners {
        Listeners::Auto => aims.clone(),
        Listeners::Listed(list) => {
            list.iter().filter(|listener| listener.protocol == ListenerProtocol::Tcp).map(|l| l.port).collect()
        }
    }
}

/// As few ranges as hold all `ports` and none of the `others`.
fn ranges(ports: &BTreeSet<u16>, others: &BTreeSet<u16>) -> Vec<(u16, u16)> {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match found.last_mut() {
            Some((_, last)) if others.range(*last..*port).all(|other| ports.contains(other)) => *last = *port,
            _ => found.push((*port, *port)),
        }
    }
    found
}

const NEWRULE: u16 = 32;
const DELRULE: u16 = 33;
/// `FR_ACT_BLACKHOLE` (linux/fib_rules.h), and the attributes used.
const BLACKHOLE: u8 = 6;
const IIFNAME: u16 = 3;
const PRIORITY: u16 = 6;
const IP_PROTO: u16 = 22;
const SPORT_RANGE: u16 = 23;
const DPORT_RANGE: u16 = 24;

/// Has nodes be silent.
///
/// # Errors
/// The kernel's refusal.
pub fn apply(mutes: &BTreeMap<usize, Mute>, built: &[Built]) -> io::Result<()> {
    ask(NEWRULE, CREATE, mutes, built)
}

/// Has them speak again.
///
/// # Errors
/// The kernel's refusal.
pub fn undo(mutes: &BTreeMap<usize, Mute>, built: &[Built]) -> io::Result<()> {
    ask(DELRULE, 0, mutes, built)
}

fn ask(kind: u16, flags: u16, mutes: &BTreeMap<usize, Mute>, built: &[Built]) -> io::Result<()> {
    for (node, mute) in mutes {
        let Some(here) = built.get(*node) else { continue };
        let mut batch = Batch::default();
        let mut rule = |family, protocol, attribute, (from, to): (u16, u16)| {
            // The kernel takes no range that ends with 65535 (net/fib_rules.h, `fib_rule_port_range_valid`); nothing is sent from that port unasked.
            let to = to.min(u16::MAX - 1);
            if from <= to {
                batch.request(kind, flags, &[family, 0, 0, 0, 0, 0, 0, BLACKHOLE, 0, 0, 0, 0]);
                matches(&mut batch, protocol, attribute, (from, to));
            }
        };
        for (number, (family, icmp, unreachable)) in [(2, 1, 0x0303_u16), (10, 58, 0x0104)].into_iter().enumerate() {
            if !mute.families[number] {
                continue;
            }
            for range in &mute.tcp {
                rule(family, 6, SPORT_RANGE, *range);
            }
            if mute.unreachable {
                // Type and code lie where the destination port does (net/flow.h, `union flowi_uli`).
                rule(family, icmp, DPORT_RANGE, (unreachable, unreachable));
            }
        }
        here.route().transact(&batch).map_err(|(_, error)| error)?;
    }
    Ok(())
}

fn matches(batch: &mut Batch, protocol: u8, attribute: u16, (from, to): (u16, u16)) {
    // Behind the rule of local addresses, before that of all others.
    batch.attribute(PRIORITY, &1_u32.to_ne_bytes());
    batch.attribute(IIFNAME, b"lo\0");
    batch.attribute(IP_PROTO, &[protocol]);
    batch.attribute(attribute, &[from.to_ne_bytes(), to.to_ne_bytes()].concat());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_every_port_and_no_other_that_listens() {
        let set = |ports: &[u16]| ports.iter().copied().collect::<BTreeSet<u16>>();
        assert_eq!(ranges(&set(&[5, 9, 40]), &set(&[])), [(5, 40)]);
        assert_eq!(ranges(&set(&[5, 9, 40]), &set(&[22, 80])), [(5, 9), (40, 40)]);
        assert_eq!(
            ranges(&set(&[5, 9]), &set(&[5, 9])),
            [(5, 9)],
            "what is sent from is silent, also where it listens"
        );
        assert_eq!(ranges(&set(&[]), &set(&[22])), []);
    }
}
