//! The words of the firewall lab, shared by those who read suites and those who judge packets.
//!
//! A leaf: no I/O, no YAML. Every list is bounded while it is decoded, every name is parsed, so a value that was decoded
//! needs [`Topology::check`] and [`CaseRequest::check`] only for what spans several values. Enums are append-only: the compact codec
//! writes a variant's number.
//!
//! | module | what it holds |
//! |---|---|
//! | [`names`] | names of nodes, links, settings; byte strings |
//! | [`topology`], [`presets`] | nodes, addresses, links; the three topologies every suite knows |
//! | [`packet`] | what is injected, and from where |
//! | [`case`] | a request to the engine: topology, rulesets, packets, limits |
//! | [`outcome`] | what was observed: hops, verdicts, deliveries, load errors |
//! | [`limits`] | every bound |

pub mod case;
pub mod limits;
pub mod names;
pub mod outcome;
pub mod packet;
pub mod presets;
pub mod topology;

pub use case::{CaseError, CaseLimits, CaseRequest, RulesetText};
pub use names::{Bytes, LinkName, NodeName, SettingName, TooLong};
pub use outcome::{
    CapturedFrame, CaseAnswer, CaseResult, Connection, Counter, CtDirection, CtState, Delivery, Family, FrameRole,
    Hook, Hop, HopKind, HopVerdict, LoadError, PacketOutcome, Reply, RuleInfo, RuleRef, Tuple, Verdict,
};
pub use packet::{Content, ExtensionHeader, Flow, Fragmentation, InjectedPacket, PacketSpec, Transport, Vlan};
pub use topology::{
    Bridge, End, Interface, Link, Listener, ListenerProtocol, Listeners, Neighbour, Node, Route, Setting, Topology,
    TopologyError,
};
