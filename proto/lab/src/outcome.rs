//! What was observed.

use std::net::IpAddr;

use netengine_proto::bounded::Bounded;
use serde::{Deserialize, Serialize};

use crate::{
    limits::{ANSWER_RULES, CASE_PACKETS, COUNTERS, FRAME_BYTES, FRAMES, LOAD_ERRORS, PATH_HOPS},
    names::{Bytes, LinkName, NodeName},
};

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseResult {
    /// Every packet has an outcome.
    Judged(Box<CaseAnswer>),
    /// A ruleset did not load.
    LoadFailed(Bounded<LoadError, LOAD_ERRORS>),
    /// The kernel or the host lacks something the case needs.
    Unsupported {
        /// What, for people.
        message: String,
    },
    /// The engine failed, or the request was wrong.
    Failed {
        /// Why, for people.
        message: String,
    },
}

/// The outcomes of a case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseAnswer {
    /// One for each packet, in the order of the request.
    pub packets: Bounded<PacketOutcome, CASE_PACKETS>,
    /// The rules that outcomes name, or all of them when that was asked for.
    pub rules: Bounded<RuleInfo, ANSWER_RULES>,
    /// Trace messages that the kernel could not deliver or that were of no known kind.
    pub lost_messages: u64,
    /// Microseconds to build the topology and load the ruleset.
    pub setup_micros: u64,
    /// It ran where another case had run before, of which nothing was left.
    #[serde(default)]
    pub reused: bool,
    /// Microseconds from the first packet to the last verdict.
    pub run_micros: u64,
    /// The frames that were sent and seen, in order, where that was asked for.
    pub frames: Bounded<CapturedFrame, FRAMES>,
    /// Frames beyond the bounds.
    pub frames_missed: u64,
}

/// The outcome of one packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketOutcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for people; always present but with [`Verdict::Accept`].
    pub reason: Option<String>,
    /// The rule, or the chain's policy, that decided it.
    pub deciding: Option<RuleRef>,
    /// Every hook, rule and jump in order.
    pub path: Bounded<Hop, PATH_HOPS>,
    /// Where it arrived, with the addresses it arrived with.
    pub delivered: Option<Delivery>,
    /// The state conntrack had it in, where the kernel tells.
    pub ct_state: Option<CtState>,
    /// The direction within its conntrack entry, where the kernel tells.
    pub ct_direction: Option<CtDirection>,
    /// What came back.
    pub reply: Option<Reply>,
    /// The error the local socket got (errno), of packets from the tested node.
    pub errno: Option<i32>,
    /// No trace message told of it: judged by delivery and answers alone.
    pub untraced: bool,
    /// Milliseconds from sending to the last observation.
    pub millis: u32,
    /// Its entry in conntrack, where the kernel told of one with it.
    pub connection: Option<Connection>,
    /// Counters as they were after it, where that was asked for: those of rules that it matched, and all that have names.
    pub counters: Bounded<Counter, COUNTERS>,
}

impl PacketOutcome {
    /// An outcome with nothing but a verdict and its reason.
    pub fn new(verdict: Verdict, reason: Option<String>) -> Self {
        Self {
            verdict,
            reason,
            deciding: None,
            path: Bounded::default(),
            delivered: None,
            ct_state: None,
            ct_direction: None,
            reply: None,
            errno: None,
            untraced: true,
            millis: 0,
            connection: None,
            counters: Bounded::default(),
        }
    }
}

/// An entry of conntrack, as its events told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// As its first packet had it.
    pub original: Tuple,
    /// As its answers have it: what translation made of it, source and destination exchanged.
    pub reply: Tuple,
    /// An answer was seen.
    pub replied: bool,
    /// It is kept when the table is full.
    pub assured: bool,
}

/// Addresses and ports of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
}

/// What a counter had counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// The rule whose counter it is; a named counter has none.
    pub rule: Option<RuleRef>,
    /// The name of a named counter.
    pub name: Option<String>,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A frame that was sent or seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedFrame {
    /// The packet of the request it is of, counted from 0, where that is known.
    pub packet: Option<u32>,
    /// What it is of that packet.
    pub role: FrameRole,
    /// The node it was sent from or seen at.
    pub node: NodeName,
    /// The interface; absent for packets that the node's own stack sent or was given: these begin with the IP header.
    pub interface: Option<LinkName>,
    /// Microseconds since the first packet of the case was sent: of sending, or of reading.
    pub micros: u64,
    /// All of it.
    pub bytes: Bytes<FRAME_BYTES>,
}

/// What a frame is of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameRole {
    /// The packet itself, as it was sent.
    Sent,
    /// The packet itself, as it arrived.
    Arrived,
    /// An answer to it.
    Answer,
    /// Something else.
    Other,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every hook on its way accepted it and it was delivered.
    Accept,
    /// A rule, policy or set dropped it, silently.
    Drop,
    /// It was refused with a reset or an ICMP error.
    Reject,
    /// A rule took it from the normal path.
    Stolen,
    /// The kernel holds it; no rule has decided.
    Held,
    /// No rule stopped it, but it did not arrive.
    Lost,
    /// The instrument could not observe it.
    Inconclusive,
}

/// A step of a packet's path: one trace message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// The node.
    pub node: NodeName,
    /// The hook, where it is known.
    pub hook: Option<Hook>,
    /// Family of the table.
    pub family: Family,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// Handle of the rule; absent for policies.
    pub rule: Option<u64>,
    /// What spoke.
    pub kind: HopKind,
    /// What it said.
    pub verdict: HopVerdict,
}

/// What spoke in a trace message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HopKind {
    /// A rule.
    Rule,
    /// The policy of a base chain.
    Policy,
    /// The end of a chain, or `return`.
    Return,
}

/// A verdict of nf_tables (nft(8), VERDICT STATEMENT).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HopVerdict {
    /// The hook accepts; later chains still see it.
    Accept,
    /// Dropped here.
    Drop,
    /// Taken.
    Stolen,
    /// To userspace.
    Queue,
    /// The next rule.
    Continue,
    /// Back to the calling chain.
    Return,
    /// Into a chain, and back.
    Jump(String),
    /// Into a chain, not back.
    Goto(String),
    /// A number of no known meaning.
    Unknown(i32),
}

/// Families of nf_tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ip,
    /// ARP.
    Arp,
    /// A link's ingress and egress.
    Netdev,
    /// Bridge.
    Bridge,
    /// IPv6.
    Ip6,
}

impl Family {
    /// All, in the order of the kernel's numbers.
    pub const ALL: [Self; 6] = [Self::Inet, Self::Ip, Self::Arp, Self::Netdev, Self::Bridge, Self::Ip6];

    /// nft's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Arp => "arp",
            Self::Netdev => "netdev",
            Self::Bridge => "bridge",
            Self::Ip6 => "ip6",
        }
    }
}

/// Hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Before anything else on a link.
    Ingress,
    /// Before routing.
    Prerouting,
    /// To the node itself.
    Input,
    /// Through the node.
    Forward,
    /// From the node itself.
    Output,
    /// After routing.
    Postrouting,
    /// After everything else on a link.
    Egress,
}

impl Hook {
    /// nft's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Egress => "egress",
        }
    }
}

/// Where a packet arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The node it arrived at: the tested one itself, or the next on its way.
    pub node: NodeName,
    /// The interface it was seen on; absent when the node's own stack received it.
    pub interface: Option<LinkName>,
    /// Source address on arrival.
    pub src: Option<IpAddr>,
    /// Destination address on arrival.
    pub dst: Option<IpAddr>,
    /// Source port on arrival.
    pub sport: Option<u16>,
    /// Destination port on arrival.
    pub dport: Option<u16>,
}

/// States of conntrack (nft(8), CONNTRACK EXPRESSIONS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CtState {
    /// The first packet of a connection.
    New,
    /// Part of one seen in both directions.
    Established,
    /// Of another connection's making.
    Related,
    /// None of the above.
    Invalid,
    /// Exempted with notrack.
    Untracked,
}

/// Directions of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CtDirection {
    /// As its first packet.
    Original,
    /// Against it.
    Reply,
}

/// What came back to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// TCP SYN and ACK.
    SynAck,
    /// A TCP reset.
    Reset,
    /// Another TCP segment.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An ICMP or ICMPv6 echo reply.
    EchoReply,
    /// An ICMP or ICMPv6 error that quotes the packet.
    IcmpError {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// An ARP reply or a neighbour advertisement.
    Neighbour,
}

/// Names a rule, or with no handle a chain's policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleRef {
    /// The node.
    pub node: NodeName,
    /// Family of the table.
    pub family: Family,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// Handle; absent for the policy.
    pub handle: Option<u64>,
}

/// A rule, as nft lists it, and where it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// Which.
    pub rule: RuleRef,
    /// As `nft list ruleset` prints it.
    pub text: String,
    /// Line in the node's ruleset, counted from 1, where it could be told.
    pub line: Option<u32>,
    /// Column in bytes, counted from 1.
    pub column: Option<u32>,
}

/// Why a ruleset did not load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadError {
    /// The node whose ruleset it was.
    pub node: NodeName,
    /// nft's own message, without its place.
    pub message: String,
    /// Line, counted from 1, where nft tells.
    pub line: Option<u32>,
    /// Column in bytes, counted from 1.
    pub column: Option<u32>,
}
