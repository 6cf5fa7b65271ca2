//! Bounds of the firewall lab, each with its reason.

/// Nodes of one topology: each is a network namespace, about 0.5 ms and 200 KiB of kernel memory.
pub const NODES: usize = 64;
/// Links of one topology: a full mesh of small labs, or a star of all nodes with spare.
pub const LINKS: usize = 256;
/// Interfaces of one node.
pub const NODE_INTERFACES: usize = 64;
/// Bridges of one node.
pub const NODE_BRIDGES: usize = 16;
/// Addresses of one interface.
pub const INTERFACE_ADDRESSES: usize = 32;
/// Routes of one node.
pub const NODE_ROUTES: usize = 256;
/// Permanent neighbour entries of one node.
pub const NODE_NEIGHBOURS: usize = 256;
/// Settings of one node.
pub const NODE_SETTINGS: usize = 64;
/// Listening sockets of one node: each is a descriptor of the worker.
pub const NODE_LISTENERS: usize = 256;
/// Bytes of one ruleset text; nft itself parses such a text in a few seconds.
pub const RULESET_BYTES: usize = 16 << 20;
/// Packets of one case.
pub const CASE_PACKETS: usize = 10_000;
/// Bytes of one payload, or of one whole frame: the largest IPv4 packet and an Ethernet header fit.
pub const FRAME_BYTES: usize = 65_549;
/// Bytes of IPv4 or TCP options: what the 4-bit header lengths leave.
pub const OPTION_BYTES: usize = 40;
/// IPv6 extension headers of one packet.
pub const EXTENSION_HEADERS: usize = 8;
/// Bytes of one IPv6 extension header's content: 255 units of 8 bytes, and the first.
pub const EXTENSION_BYTES: usize = 2046;
/// Bytes of a node's name.
pub const NODE_NAME_BYTES: usize = 32;
/// Bytes of a link's name (IFNAMSIZ without the NUL).
pub const LINK_NAME_BYTES: usize = 15;
/// Hops kept of one packet's path; the kernel itself ends a jump chain at 16 levels, but chains are many.
pub const PATH_HOPS: usize = 4_096;
/// Load errors reported for one text.
pub const LOAD_ERRORS: usize = 32;
/// Rules described in one answer.
pub const ANSWER_RULES: usize = 65_536;
/// Bytes of one message to a worker or from it: a ruleset of 16 MiB, 10,000 packets with payloads of the usual kind, and their paths.
pub const MESSAGE_BYTES: usize = 64 << 20;
/// Milliseconds a case may take at most.
pub const CASE_MILLIS: u32 = 600_000;
/// Milliseconds a packet may wait before it is sent.
pub const AFTER_MILLIS: u32 = 60_000;
/// Rulesets beside the tested one: the four that ship, and as many of the user's own.
pub const BESIDE: usize = 8;
/// Frames reported of one case: each packet, its delivery, its answer, and as many again.
pub const FRAMES: usize = 60_000;
/// Bytes of all frames reported of one case; with the rest of the answer they fit one message.
pub const FRAMES_BYTES: usize = 32 << 20;
/// Counters read after one packet.
pub const COUNTERS: usize = 1_024;
