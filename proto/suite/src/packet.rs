//! A packet as it is written to packets as they are injected.

use std::net::IpAddr;

use netengine_lab_proto::{
    Bytes, Content, ExtensionHeader, Fragmentation, InjectedPacket, Node, NodeName, PacketSpec, Topology, Transport,
    Vlan,
};
use netengine_proto::bounded::Bounded;

use crate::{
    file::{self, from_hex},
    flow::Flows,
};

/// The ports of a packet that names none, as network-sandbox-engine has them.
const PORTS: (u16, u16) = (12_345, 80);

/// A flag of TCP: its letter and its bit (RFC 9293, section 3.1).
const FLAGS: [(&str, u8); 8] = [("F", 1), ("S", 2), ("R", 4), ("P", 8), ("A", 16), ("U", 32), ("E", 64), ("C", 128)];

/// The packets of one entry, with what people call them.
///
/// # Errors
/// What is wrong with the entry, for people.
pub fn packets(
    entry: &file::Packet,
    topology: &Topology,
    flows: &mut Flows,
) -> Result<Vec<(InjectedPacket, String)>, String> {
    let from = match &entry.from {
        Some(name) => {
            let known = NodeName::parse(name).ok().filter(|name| topology.node(name).is_some());
            known.ok_or_else(|| format!("`from` names {name:?}, which is no node of the topology"))?
        }
        None => match entry.flow.as_ref().and_then(|flow| flows.opener(flow)) {
            Some(opener) => opener.clone(),
            None => sender(entry, topology).ok_or("`from` is missing: the topology has no node `client`")?,
        },
    };
    let count = entry.count.unwrap_or(1);
    if count == 0 || count as usize > netengine_lab_proto::limits::CASE_PACKETS {
        return Err(format!("`count` is 1 to {}", netengine_lab_proto::limits::CASE_PACKETS));
    }
    let mut made = Vec::new();
    for number in 0..count {
        let step = entry.sport_step.unwrap_or(0).wrapping_mul(u16::try_from(number).unwrap_or(u16::MAX));
        let (content, title, flow) = match (&entry.frame, &entry.flow) {
            (Some(_), Some(_)) => return Err("a `frame` is of no `flow`; give its fields".to_owned()),
            (Some(frame), None) => {
                let bytes = from_hex(frame).map_err(|why| format!("`frame` {why}"))?;
                let title = format!("frame of {} bytes", bytes.len());
                (Content::Frame(Bytes::new(bytes).map_err(|error| format!("`frame` {error}"))?), title, None)
            }
            (None, Some(name)) => {
                let entry = flows.entry(name, entry, &from, number > 0)?;
                let spec = typed(&entry, topology, &from, 0)?;
                let flow = flows.note(name, &from, &spec)?;
                let title = format!("{} of flow {name}", title(&spec));
                (Content::Typed(Box::new(spec)), title, Some(flow))
            }
            (None, None) => {
                let spec = typed(entry, topology, &from, step)?;
                let title = title(&spec);
                (Content::Typed(Box::new(spec)), title, None)
            }
        };
        let after_ms = if number == 0 { entry.after_ms } else { entry.gap_ms }.unwrap_or(0);
        let counters = entry.expect.as_ref().is_some_and(|expect| expect.counter.is_some());
        let packet = InjectedPacket { after_ms, flow, counters, ..InjectedPacket::new(from.clone(), content) };
        made.push((packet, title));
    }
    Ok(made)
}

/// Who sends a packet that does not say: the node whose address it has, else `client`, whatever address it claims.
fn sender(entry: &file::Packet, topology: &Topology) -> Option<NodeName> {
    let has = |node: &&Node, address: IpAddr| {
        node.interfaces.iter().any(|interface| interface.addresses.iter().any(|net| net.addr() == address))
    };
    let owner = entry.src_ip.and_then(|address| topology.nodes.iter().find(|node| has(node, address)));
    let client = || topology.nodes.iter().find(|node| node.name.as_str() == "client");
    owner.or_else(client).map(|node| node.name.clone())
}

fn typed(entry: &file::Packet, topology: &Topology, from: &NodeName, step: u16) -> Result<PacketSpec, String> {
    let (src, dst) = addresses(entry, topology, from)?;
    let protocol = entry.protocol.as_deref().unwrap_or("tcp");
    let src_port = entry.src_port.unwrap_or(PORTS.0).wrapping_add(step);
    let dst_port = entry.dst_port.unwrap_or(PORTS.1);
    if entry.src_port == Some(0) || entry.dst_port == Some(0) {
        return Err("a port is 1 to 65535".to_owned());
    }
    let options = |bytes: &Option<file::Bytes>| bytes.as_ref().map(|bytes| bytes.0.clone()).unwrap_or_default();
    let transport = match protocol {
        "tcp" => Transport::Tcp {
            src_port,
            dst_port,
            flags: flags(entry.tcp_flags.as_deref())?,
            seq: None,
            ack: None,
            window: None,
            options: Bytes::new(options(&entry.tcp_options)).map_err(|error| format!("`tcp_options` {error}"))?,
        },
        "udp" => Transport::Udp { src_port, dst_port },
        "icmp" | "icmpv6" => {
            let echo = if src.is_ipv4() { 8 } else { 128 };
            if protocol == "icmpv6" && src.is_ipv4() {
                return Err("`icmpv6` needs IPv6 addresses".to_owned());
            }
            Transport::Icmp { kind: entry.icmp_type.unwrap_or(echo), code: entry.icmp_code.unwrap_or(0), rest: None }
        }
        "raw" => return Err("`protocol: raw` needs `frame`".to_owned()),
        other => match other.parse() {
            Ok(protocol) => Transport::Other { protocol },
            Err(_) => return Err(format!("unknown protocol {other:?}; it is tcp, udp, icmp, icmpv6, raw or a number")),
        },
    };
    // The other tool, whose packets expect a verdict alone, takes no account of flags that mean nothing.
    let has_flags = entry.tcp_flags.as_ref().is_some_and(|flags| !flags.is_empty());
    if has_flags && protocol != "tcp" && entry.expect.is_some() {
        return Err("`tcp_flags` are for tcp alone".to_owned());
    }
    let fragmentation = match entry.fragment {
        Some(file::Fragment { size: Some(size), offset: 0, more: false, id: None }) => {
            Some(Fragmentation::Split { size })
        }
        Some(file::Fragment { size: Some(_), .. }) => {
            return Err("`fragment` has `size` alone, or a place of `offset`, `more` and `id`".to_owned());
        }
        Some(file::Fragment { offset, more, id, .. }) => Some(Fragmentation::One { offset, more, identification: id }),
        None => None,
    };
    let header = |header: &file::ExtensionHeader| {
        let content = Bytes::new(header.content.0.clone()).map_err(|error| format!("`extension_headers` {error}"))?;
        Ok::<_, String>(ExtensionHeader { protocol: header.protocol, content })
    };
    let extension_headers = entry.extension_headers.iter().map(header).collect::<Result<Vec<_>, _>>()?;
    Ok(PacketSpec {
        payload: Bytes::new(options(&entry.payload)).map_err(|error| format!("`payload` {error}"))?,
        ttl: entry.ttl,
        dscp: entry.dscp.unwrap_or(0),
        mark: entry.mark,
        vlan: entry.vlan.map(|id| Vlan { id, priority: 0 }),
        fragmentation,
        ip_options: Bytes::new(options(&entry.ip_options)).map_err(|error| format!("`ip_options` {error}"))?,
        extension_headers: Bounded::new(extension_headers).map_err(|error| format!("`extension_headers` {error}"))?,
        ..PacketSpec::new(src, dst, transport)
    })
}

/// Source and destination: as written, else the sender's own and that of the node it aims at, of the family the other is of.
fn addresses(entry: &file::Packet, topology: &Topology, from: &NodeName) -> Result<(IpAddr, IpAddr), String> {
    let is_v4 = match (entry.src_ip, entry.dst_ip) {
        (Some(src), Some(dst)) if src.is_ipv4() != dst.is_ipv4() => {
            return Err("`src_ip` and `dst_ip` are of two families".to_owned());
        }
        (Some(one), _) | (None, Some(one)) => one.is_ipv4(),
        (None, None) => entry.protocol.as_deref() != Some("icmpv6"),
    };
    let of = |name: &NodeName| {
        let node = topology.node(name)?;
        let held = node.interfaces.iter().flat_map(|interface| interface.addresses.iter());
        held.map(|net| net.addr()).find(|address| address.is_ipv4() == is_v4)
    };
    let named = |name: &str| NodeName::parse(name).ok().filter(|name| topology.node(name).is_some());
    let target = if *from == topology.tested { named("client") } else { named("server") };
    let target = target.filter(|name| name != from).unwrap_or_else(|| topology.tested.clone());
    let missing = |key: &str| format!("`{key}` is missing, and the topology gives no address for it");
    let src = entry.src_ip.or_else(|| of(from)).ok_or_else(|| missing("src_ip"))?;
    let dst = entry.dst_ip.or_else(|| of(&target)).ok_or_else(|| missing("dst_ip"))?;
    Ok((src, dst))
}

fn flags(written: Option<&[String]>) -> Result<u8, String> {
    let Some(written) = written else { return Ok(2) };
    written.iter().try_fold(0, |sum, flag| {
        let bit = FLAGS.iter().find(|(letter, _)| letter.eq_ignore_ascii_case(flag)).map(|(_, bit)| bit);
        bit.map(|bit| sum | bit).ok_or_else(|| format!("unknown TCP flag {flag:?}; they are F S R P A U E C"))
    })
}

/// What people call a packet.
fn title(spec: &PacketSpec) -> String {
    let (src, dst) = (spec.src, spec.dst);
    let at = |address: IpAddr, port: u16| match address {
        IpAddr::V4(v4) => format!("{v4}:{port}"),
        IpAddr::V6(v6) => format!("[{v6}]:{port}"),
    };
    match &spec.transport {
        Transport::Tcp { src_port, dst_port, flags, .. } => {
            let letters: String = FLAGS.iter().filter(|(_, bit)| flags & bit != 0).map(|(letter, _)| *letter).collect();
            format!("tcp {} > {} [{letters}]", at(src, *src_port), at(dst, *dst_port))
        }
        Transport::Udp { src_port, dst_port } => format!("udp {} > {}", at(src, *src_port), at(dst, *dst_port)),
        Transport::Icmp { kind, code, .. } => format!("icmp {src} > {dst} type {kind} code {code}"),
        Transport::Other { protocol } => format!("protocol {protocol} {src} > {dst}"),
        Transport::Arp { operation } => format!("arp {operation} {src} > {dst}"),
    }
}
