//! Everything that the kernel may be told of a policy, as one closed list.
//!
//! A rule is a list of [`Expr`], one for each statement that nft(8) would print; [`super::encode`] makes messages of them,
//! [`super::text`] makes text. Nothing here holds text of a user: names of chains are fixed, or a link's name behind a
//! fixed word, and a link's name is `ne` and letters and digits.

/// A family of tables (linux/netfilter.h, `NFPROTO_INET`, `NFPROTO_BRIDGE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// What is routed, IPv4 and IPv6.
    Inet,
    /// Frames that come in by a bridge's port.
    Bridge,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its family.
    pub family: Family,
    /// Its sets and maps.
    pub sets: Vec<Set>,
    /// Its chains, each before those that jump to it.
    pub chains: Vec<Chain>,
}

/// A set, or a map to verdicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// What its keys are made of, one after another.
    pub key: &'static [Load],
    /// What it holds.
    pub elements: Elements,
}

/// The elements of a set, sorted by key, each key once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elements {
    /// Keys alone.
    Keys(std::collections::BTreeSet<Vec<u8>>),
    /// Keys with verdicts.
    Verdicts(std::collections::BTreeMap<Vec<u8>, Verdict>),
}

impl Elements {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Elements::Keys(keys) => keys.len(),
            Elements::Verdicts(map) => map.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A chain with its rules, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it; without, only jumps lead to it.
    pub base: Option<Base>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A rule.
pub type Rule = Vec<Expr>;

/// Where a chain hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// `filter` or `nat`.
    pub kind: Kind,
    /// The hook.
    pub hook: Hook,
    /// Its place among the chains of the hook; lower comes first.
    pub priority: i32,
    /// Whether what no rule decides is dropped.
    pub drops: bool,
}

/// A base chain's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Decides about every packet.
    Filter,
    /// Decides about the first packet of a flow.
    Nat,
}

/// A hook; the numbers are the same in both families (linux/netfilter.h, linux/netfilter_bridge.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting = 0,
    /// To the router itself.
    Input = 1,
    /// Through the router.
    Forward = 2,
    /// By the router itself.
    Output = 3,
    /// Before it leaves.
    Postrouting = 4,
}

/// What happens to a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
    /// The rules of a chain decide, then those after this one.
    Jump(String),
}

/// `ct state` bits (linux/netfilter/nf_conntrack_common.h, `NF_CT_STATE_BIT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CtState {
    /// Invalid.
    Invalid = 1,
    /// Established or related.
    EstablishedRelated = 2 | 4,
}

/// One statement of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// The flow is in one of these states.
    CtState(CtState),
    /// What is loaded equals these bytes.
    Is(Load, Vec<u8>),
    /// What is loaded lies between these, both included.
    Between(Load, Vec<u8>, Vec<u8>),
    /// What is loaded, one after another, is in a set.
    In(&'static [Load], &'static str),
    /// It is not.
    NotIn(&'static [Load], &'static str),
    /// A map's verdict for what is loaded, if it has one.
    Vmap(&'static [Load], &'static str),
    /// No route leads to the source by the link that the packet came by.
    SourceElsewhere,
    /// The packet gets this mark.
    SetMark(u32),
    /// More flows than this passed here and are still open.
    FlowsOver(u32),
    /// Counts.
    Counter,
    /// The source becomes the router's address.
    Masquerade,
    /// The destination becomes this address.
    DestinationNat(std::net::Ipv4Addr),
    /// The verdict.
    Verdict(Verdict),
}

/// What is read of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Load {
    /// The link it came by.
    Iifname,
    /// The link it leaves by.
    Oifname,
    /// IPv4 or IPv6, by the numbers of address families.
    NfProto,
    /// The protocol above IP.
    L4Proto,
    /// The frame's source (a tagged frame's type is its tag).
    EtherSource,
    /// The frame's type.
    EtherType,
    /// The source (RFC 791).
    IpSource,
    /// The source (RFC 8200).
    Ip6Source,
    /// The destination (RFC 791).
    IpDestination,
    /// The destination (RFC 8200).
    Ip6Destination,
    /// Hardware and protocol types (RFC 826).
    ArpTypes,
    /// Their lengths.
    ArpLengths,
    /// Request or reply.
    ArpOperation,
    /// The sender's hardware address.
    ArpSourceMac,
    /// The sender's protocol address.
    ArpSourceIp,
    /// The type of ICMP (RFC 792).
    IcmpType,
    /// The type of ICMPv6 (RFC 4443).
    Icmp6Type,
    /// The target of a neighbour solicitation or advertisement (RFC 4861, 4.3 and 4.4).
    NdTarget,
    /// Type and length of its first option.
    NdOption,
    /// The link-layer address in that option.
    NdOptionMac,
    /// The client's hardware address in a DHCPv4 message (RFC 2131, `chaddr`), behind UDP.
    DhcpClient,
    /// The source port of UDP or TCP.
    SourcePort,
    /// The destination port of UDP or TCP.
    DestinationPort,
}

/// Where a [`Load`] is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A property of the packet (`NFT_META_*`).
    Meta(u32),
    /// Bytes behind the link-layer (0), network (1) or transport (2) header's begin (`NFT_PAYLOAD_*_HEADER`).
    Payload(u32, u32),
}

impl Load {
    /// The [`Load::key_type`] of raw bytes.
    pub const RAW: u32 = 4;

    /// Every one, for the tests.
    pub const ALL: [Load; 23] = [
        Load::Iifname,
        Load::Oifname,
        Load::NfProto,
        Load::L4Proto,
        Load::EtherSource,
        Load::EtherType,
        Load::IpSource,
        Load::Ip6Source,
        Load::IpDestination,
        Load::Ip6Destination,
        Load::ArpTypes,
        Load::ArpLengths,
        Load::ArpOperation,
        Load::ArpSourceMac,
        Load::ArpSourceIp,
        Load::IcmpType,
        Load::Icmp6Type,
        Load::NdTarget,
        Load::NdOption,
        Load::NdOptionMac,
        Load::DhcpClient,
        Load::SourcePort,
        Load::DestinationPort,
    ];

    /// Where it is found, and how many bytes it has.
    pub fn place(self) -> (Place, u32) {
        const LINK: u32 = 0;
        const NETWORK: u32 = 1;
        const TRANSPORT: u32 = 2;
        match self {
            Load::Iifname => (Place::Meta(6), 16),
            Load::Oifname => (Place::Meta(7), 16),
            Load::NfProto => (Place::Meta(15), 1),
            Load::L4Proto => (Place::Meta(16), 1),
            Load::EtherSource => (Place::Payload(LINK, 6), 6),
            Load::EtherType => (Place::Payload(LINK, 12), 2),
            Load::IpSource => (Place::Payload(NETWORK, 12), 4),
            Load::Ip6Source => (Place::Payload(NETWORK, 8), 16),
            Load::IpDestination => (Place::Payload(NETWORK, 16), 4),
            Load::Ip6Destination => (Place::Payload(NETWORK, 24), 16),
            Load::ArpTypes => (Place::Payload(NETWORK, 0), 4),
            Load::ArpLengths => (Place::Payload(NETWORK, 4), 2),
            Load::ArpOperation => (Place::Payload(NETWORK, 6), 2),
            Load::ArpSourceMac => (Place::Payload(NETWORK, 8), 6),
            Load::ArpSourceIp => (Place::Payload(NETWORK, 14), 4),
            Load::IcmpType | Load::Icmp6Type => (Place::Payload(TRANSPORT, 0), 1),
            Load::NdTarget => (Place::Payload(TRANSPORT, 8), 16),
            Load::NdOption => (Place::Payload(TRANSPORT, 24), 2),
            Load::NdOptionMac => (Place::Payload(TRANSPORT, 26), 6),
            Load::DhcpClient => (Place::Payload(TRANSPORT, 36), 6),
            Load::SourcePort => (Place::Payload(TRANSPORT, 0), 2),
            Load::DestinationPort => (Place::Payload(TRANSPORT, 2), 2),
        }
    }

    /// nft's own number of its type as a set's key, so that a listing can be read and loaded again (nftables' datatype.h).
    pub fn key_type(self) -> u32 {
        match self {
            Load::Iifname | Load::Oifname => 41,
            Load::IpSource | Load::IpDestination | Load::ArpSourceIp => 7,
            Load::Ip6Source | Load::Ip6Destination => 8,
            Load::EtherSource | Load::ArpSourceMac => 9,
            Load::EtherType => 10,
            Load::Icmp6Type => 29,
            // What nft has no name for is a number of some bits; such a set says what it reads.
            _ => Self::RAW,
        }
    }
}

/// The bytes that a link's name is as a key.
pub fn if_name_key(name: &str) -> Vec<u8> {
    let mut key = vec![0u8; 16];
    key[..name.len()].copy_from_slice(name.as_bytes());
    key
}

/// A key of several parts: each fills whole words of four bytes.
pub fn key(parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in parts {
        key.extend_from_slice(part);
        key.resize(key.len().next_multiple_of(4), 0);
    }
    key
}
