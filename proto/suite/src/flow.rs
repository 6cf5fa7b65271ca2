//! Flows as they are written: the first packet of a name says what all share, the others what is their own.

use std::collections::{BTreeMap, BTreeSet};

use netengine_lab_proto::{Flow, NodeName, PacketSpec, Transport};

use crate::file;

/// A flow of this name, or of one that begins with it and a hyphen, has a handshake.
const HANDSHAKE: &str = "handshake";

/// The flows of one case so far.
#[derive(Debug, Default)]
pub struct Flows(BTreeMap<String, Known>);

#[derive(Debug)]
struct Known {
    flow: Flow,
    opener: NodeName,
    protocol: String,
    first: PacketSpec,
    senders: BTreeSet<NodeName>,
}

impl Flows {
    /// The node that sent the first packet of a flow.
    pub fn opener(&self, name: &str) -> Option<&NodeName> {
        self.0.get(name).map(|known| &known.opener)
    }

    /// A packet of the flow with all that it need not say. `is_copy`: of a `count`.
    ///
    /// # Errors
    /// What it must not say, for people.
    pub fn entry(
        &self,
        name: &str,
        written: &file::Packet,
        from: &NodeName,
        is_copy: bool,
    ) -> Result<file::Packet, String> {
        let mut entry = written.clone();
        let known = self.0.get(name);
        if entry.sport_step.is_some() {
            return Err("the packets of a flow share their ports; `sport_step` makes others".to_owned());
        }
        let Some(known) = known else {
            let has_data = entry.payload.is_some() && is_handshake(name);
            if entry.tcp_flags.is_none() && is_tcp(&entry) && has_data {
                entry.tcp_flags = Some(flags(true));
            }
            return Ok(entry);
        };
        let own = [
            ("src_ip", entry.src_ip.is_some()),
            ("dst_ip", entry.dst_ip.is_some()),
            ("src_port", entry.src_port.is_some()),
            ("dst_port", entry.dst_port.is_some()),
        ];
        if let Some((key, _)) = own.into_iter().find(|(_, is_there)| *is_there && !is_copy) {
            return Err(format!("`{key}` is the flow's: only the first packet of flow {name:?} says it"));
        }
        let protocol = entry.protocol.get_or_insert_with(|| known.protocol.clone());
        let is_error = matches!(protocol.as_str(), "icmp" | "icmpv6");
        if *protocol != known.protocol && !is_error {
            return Err(format!("flow {name:?} is of {}; only ICMP errors about it are of another", known.protocol));
        }
        let (sport, dport) = match known.first.transport {
            Transport::Tcp { src_port, dst_port, .. } | Transport::Udp { src_port, dst_port } => {
                (Some(src_port), Some(dst_port))
            }
            _ => (None, None),
        };
        let (src, dst) = (Some(known.first.src), Some(known.first.dst));
        let is_back = *from != known.opener;
        (entry.src_ip, entry.dst_ip) = if is_back { (dst, src) } else { (src, dst) };
        (entry.src_port, entry.dst_port) = if is_back { (dport, sport) } else { (sport, dport) };
        if entry.tcp_flags.is_none() && is_tcp(&entry) {
            let answers = is_back && !known.flow.handshake && !known.senders.contains(from);
            let both = || vec!["S".to_owned(), "A".to_owned()];
            entry.tcp_flags = Some(if answers { both() } else { flags(entry.payload.is_some()) });
        }
        Ok(entry)
    }

    /// Takes note of a packet of the flow.
    ///
    /// # Errors
    /// Why there can be no such flow, for people.
    pub fn note(&mut self, name: &str, from: &NodeName, spec: &PacketSpec) -> Result<Flow, String> {
        let number = u32::try_from(self.0.len()).map_err(|_| "too many flows".to_owned())?;
        let protocol = match spec.transport {
            Transport::Tcp { .. } => "tcp",
            Transport::Udp { .. } => "udp",
            Transport::Icmp { .. } if spec.src.is_ipv4() => "icmp",
            Transport::Icmp { .. } => "icmpv6",
            _ => return Err("a flow is of tcp, udp, icmp or icmpv6".to_owned()),
        };
        let handshake = is_handshake(name);
        if handshake && protocol != "tcp" && !self.0.contains_key(name) {
            return Err("only tcp has handshakes".to_owned());
        }
        let known = self.0.entry(name.to_owned()).or_insert_with(|| Known {
            flow: Flow { number, handshake },
            opener: from.clone(),
            protocol: protocol.to_owned(),
            first: spec.clone(),
            senders: BTreeSet::new(),
        });
        known.senders.insert(from.clone());
        Ok(known.flow)
    }
}

fn is_handshake(name: &str) -> bool {
    name.strip_prefix(HANDSHAKE).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn is_tcp(entry: &file::Packet) -> bool {
    entry.protocol.as_deref().unwrap_or("tcp") == "tcp"
}

fn flags(has_data: bool) -> Vec<String> {
    let letters: &[&str] = if has_data { &["P", "A"] } else { &["A"] };
    letters.iter().map(|letter| (*letter).to_owned()).collect()
}
