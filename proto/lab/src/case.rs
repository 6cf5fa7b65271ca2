//! A request to the engine.

use std::{collections::BTreeSet, fmt};

use netengine_proto::bounded::Bounded;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    limits::{AFTER_MILLIS, BESIDE, CASE_MILLIS, CASE_PACKETS, RULESET_BYTES},
    names::{NodeName, TooLong},
    packet::{Content, Flow, Fragmentation, InjectedPacket, Transport},
    topology::{Topology, TopologyError},
};

/// The text of a ruleset, at most 16 MiB.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RulesetText(String);

impl RulesetText {
    /// Takes a text within the bound.
    ///
    /// # Errors
    /// [`TooLong`] when it has more bytes.
    pub fn new(text: String) -> Result<Self, TooLong> {
        if text.len() > RULESET_BYTES { Err(TooLong(RULESET_BYTES)) } else { Ok(Self(text)) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RulesetText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ruleset of {} bytes", self.0.len())
    }
}

impl<'de> Deserialize<'de> for RulesetText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What to build, load and send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRequest {
    /// The network.
    pub topology: Topology,
    /// The ruleset of the tested node.
    pub ruleset: RulesetText,
    /// Further rulesets of the tested node, loaded after its own: what other software on such a host brings.
    #[serde(default)]
    pub beside: Bounded<RulesetText, BESIDE>,
    /// What is sent, in this order.
    pub packets: Bounded<InjectedPacket, CASE_PACKETS>,
    /// How long it may take.
    #[serde(default)]
    pub limits: CaseLimits,
}

/// Bounds a case sets itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseLimits {
    /// Milliseconds from the first packet to the last verdict; what is not observed by then is inconclusive.
    pub timeout_ms: u32,
    /// Report all rules of the ruleset with their texts, not only those met.
    pub all_rules: bool,
    /// Run in namespaces that no other case was in, even where those of the case before are as good as new.
    #[serde(default)]
    pub fresh: bool,
    /// Report the frames that were sent and seen.
    #[serde(default)]
    pub capture: bool,
}

impl Default for CaseLimits {
    fn default() -> Self {
        Self { timeout_ms: 5_000, all_rules: false, fresh: false, capture: false }
    }
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// The topology is not whole.
    #[error("the topology: {0}")]
    Topology(#[from] TopologyError),
    /// A packet cannot be sent.
    #[error("packet {index}: {what}")]
    Packet {
        /// Counted from 0.
        index: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A limit out of range.
    #[error("the timeout is not 1 to {CASE_MILLIS} ms")]
    Timeout,
}

impl CaseRequest {
    /// Says whether the topology is whole and every packet can be built and sent in it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), CaseError> {
        self.topology.check()?;
        if self.limits.timeout_ms == 0 || self.limits.timeout_ms > CASE_MILLIS {
            return Err(CaseError::Timeout);
        }
        let nodes: BTreeSet<&NodeName> = self.topology.nodes.iter().map(|node| &node.name).collect();
        for (index, packet) in self.packets.iter().enumerate() {
            let refuse = |what| Err(CaseError::Packet { index, what });
            if !nodes.contains(&packet.from) {
                return refuse("it comes from a node that does not exist");
            }
            let node = self.topology.node(&packet.from);
            let known = |name| node.is_some_and(|node| node.interface(name).is_some());
            if packet.interface.as_ref().is_some_and(|name| !known(name)) {
                return refuse("its interface does not exist");
            }
            if packet.from != self.topology.tested && node.is_none_or(|node| node.interfaces.is_empty()) {
                return refuse("its node has no interface");
            }
            if packet.after_ms > AFTER_MILLIS {
                return refuse("it waits for more than a minute");
            }
            if let Some(what) = flaw(packet, &self.topology.tested) {
                return refuse(what);
            }
            if let Some(what) = packet.flow.and_then(|flow| flow_flaw(flow, &packet.content)) {
                return refuse(what);
            }
        }
        Ok(())
    }
}

/// Why a packet cannot be of a flow, if it cannot.
fn flow_flaw(flow: Flow, content: &Content) -> Option<&'static str> {
    let Content::Typed(spec) = content else { return Some("a frame is of no flow; give its fields") };
    if spec.fragmentation.is_some() {
        return Some("a fragment is of no flow");
    }
    match spec.transport {
        Transport::Tcp { .. } => None,
        Transport::Udp { .. } | Transport::Icmp { .. } if !flow.handshake => None,
        Transport::Icmp { .. } => None,
        Transport::Udp { .. } => Some("only TCP has handshakes"),
        Transport::Other { .. } | Transport::Arp { .. } => Some("a flow is of TCP, UDP or ICMP"),
    }
}

/// Why the content cannot be sent, if it cannot.
fn flaw(packet: &InjectedPacket, tested: &NodeName) -> Option<&'static str> {
    let local = packet.from == *tested;
    let spec = match &packet.content {
        Content::Frame(frame) if frame.len() < 14 => return Some("the frame is shorter than an Ethernet header"),
        Content::Frame(_) if local => return Some("a frame cannot leave from the tested node; give its fields"),
        Content::Frame(_) => return None,
        Content::Typed(spec) => spec,
    };
    let v4 = spec.src.is_ipv4();
    let arp = matches!(spec.transport, Transport::Arp { .. });
    let checks = [
        (v4 != spec.dst.is_ipv4(), "source and destination are of two families"),
        (arp && !v4, "ARP asks for IPv4 addresses"),
        (local && (arp || spec.vlan.is_some()), "the tested node sends IP packets only"),
        (
            local && (spec.src_mac.is_some() || spec.dst_mac.is_some()),
            "the tested node chooses Ethernet addresses itself",
        ),
        (spec.mark.is_some() && !local, "a mark does not cross a link; only the tested node can set one"),
        (spec.dscp > 63 || spec.ecn > 3, "dscp is 0 to 63, ecn 0 to 3"),
        (spec.vlan.is_some_and(|vlan| vlan.id > 4095 || vlan.priority > 7), "a VLAN is 0 to 4095, its priority 0 to 7"),
        (!v4 && !spec.ip_options.is_empty(), "IPv6 has no options; use extension headers"),
        (v4 && !spec.extension_headers.is_empty(), "IPv4 has no extension headers"),
    ];
    if let Some((_, what)) = checks.into_iter().find(|(bad, _)| *bad) {
        return Some(what);
    }
    match spec.fragmentation {
        Some(Fragmentation::One { offset, .. }) if offset % 8 != 0 => Some("a fragment's offset is a multiple of 8"),
        Some(Fragmentation::Split { size }) if size == 0 || size % 8 != 0 => {
            Some("a fragment's size is a multiple of 8")
        }
        _ => None,
    }
}
