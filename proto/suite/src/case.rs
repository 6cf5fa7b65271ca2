//! Cases as they are run and judged.

use std::net::IpAddr;

use netengine_lab_proto::{CaseRequest, CtState, Verdict};

use crate::{file::Counter, verdict::Expected};

/// A suite, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// The name of its file, as it was given.
    pub file: String,
    /// Its cases, in order.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What reports call it.
    pub name: String,
    /// Where it stands in the suite's file, from 1.
    pub line: u32,
    /// Words to choose cases by.
    pub tags: Vec<String>,
    /// What the engine is asked.
    pub request: CaseRequest,
    /// Where the ruleset's text stands.
    pub rules: Origin,
    /// The ruleset must not load, and the message must contain this; then no packet is expected anything of.
    pub load_error: Option<String>,
    /// What is expected of each packet of the request.
    pub packets: Vec<Expectation>,
}

/// Where a ruleset's text stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: String,
    /// The line of the file on which the text's first line stands, from 1.
    pub line: u32,
    /// Columns to the left of each of the text's lines.
    pub indent: u32,
    /// The file has the text line by line as it is. Where it has not (quotes with escapes, folded lines), places are that of the text's
    /// beginning.
    pub is_verbatim: bool,
}

impl Origin {
    /// Of a text that is a file of its own.
    pub fn file(file: String) -> Self {
        Self { file, line: 1, indent: 0, is_verbatim: true }
    }

    /// The place in the file of a place in the text, both from 1.
    pub fn place(&self, line: u32, column: u32) -> (u32, u32) {
        if self.is_verbatim {
            (self.line + line.max(1) - 1, self.indent + column)
        } else {
            (self.line, self.indent + 1)
        }
    }
}

/// What is expected of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The packet of the file it belongs to, from 1; those of a `count` share it.
    pub number: u32,
    /// Where that stands in the suite's file, from 1.
    pub line: u32,
    /// What it is, for people: `tcp 10.0.0.1:40000 > 10.0.0.2:80 [S]`.
    pub title: String,
    /// The verdict.
    pub verdict: Expected,
    /// What else was asked for.
    pub exactly: Exactly,
}

/// What else a packet's `expect` asks for; what is absent is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exactly {
    /// A part of the deciding rule's text.
    pub rule: Option<String>,
    /// The deciding rule's chain.
    pub chain: Option<String>,
    /// The node it arrived at.
    pub delivered_to: Option<String>,
    /// Source address on arrival.
    pub src: Option<IpAddr>,
    /// Destination address on arrival.
    pub dst: Option<IpAddr>,
    /// Source port on arrival.
    pub sport: Option<u16>,
    /// Destination port on arrival.
    pub dport: Option<u16>,
    /// The state conntrack had it in.
    pub ct_state: Option<CtState>,
    /// What came back: `none`, `synack`, `reset`, `tcp`, `udp`, `echo`, `icmp`, `neighbour`.
    pub reply: Option<ReplyKind>,
    /// A part of the prefix of a log statement that it met.
    pub log: Option<String>,
    /// What counters show after it.
    pub counter: Option<Counter>,
}

/// What came back, by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// Nothing.
    None,
    /// SYN and ACK.
    SynAck,
    /// A reset.
    Reset,
    /// Another TCP segment.
    Tcp,
    /// A datagram.
    Udp,
    /// An echo reply.
    Echo,
    /// An ICMP error.
    Icmp,
    /// A neighbour's answer.
    Neighbour,
}

impl ReplyKind {
    /// The words of suites.
    pub const WORDS: [(&'static str, Self); 8] = [
        ("none", Self::None),
        ("synack", Self::SynAck),
        ("reset", Self::Reset),
        ("tcp", Self::Tcp),
        ("udp", Self::Udp),
        ("echo", Self::Echo),
        ("icmp", Self::Icmp),
        ("neighbour", Self::Neighbour),
    ];
}

/// The words of conntrack states.
pub const CT_STATES: [(&str, CtState); 5] = [
    ("new", CtState::New),
    ("established", CtState::Established),
    ("related", CtState::Related),
    ("invalid", CtState::Invalid),
    ("untracked", CtState::Untracked),
];

impl Case {
    /// What the case expects of packets, for summaries.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> + '_ {
        self.packets.iter().map(|packet| packet.verdict.verdict())
    }
}
