//! What a node was seen to hold.

use std::net::IpAddr;

use ipnet::IpNet;
use netengine_proto::plan::Route;
use serde::{Deserialize, Serialize};

/// Links, addresses and our routes of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedNode {
    /// All links, foreign ones included.
    pub links: Vec<ObservedLink>,
    /// All addresses but loopback and link-local: link index, address with prefix.
    pub addresses: Vec<(u32, IpNet)>,
    /// Routes with our origin, of all tables.
    pub routes: Vec<TableRoute>,
    /// Rules with our origin.
    pub rules: Vec<RoutingRule>,
}

/// The main routing table (linux/rtnetlink.h, `RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = 254;

/// A route of ours as the kernel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableRoute {
    /// Its table.
    pub table: u32,
    /// The destination.
    pub to: IpNet,
    /// The next hop; none for what is on the link.
    pub via: Option<IpAddr>,
    /// The link, where the route names one; most routes of the main table are found by their next hop.
    pub link: Option<u32>,
}

/// A rule of ours, which chooses a routing table (ip-rule(8)).
///
/// A router with a policy has the last three, in both families: what it sends itself and what its policy marked finds the
/// main table, and all else finds nothing. So a router without its policy forwards nothing, from the very packet on.
/// What is for the router itself is found in the local table, before any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RoutingRule {
    /// Packets from `from` use `table`.
    Source {
        /// The source network.
        from: IpNet,
        /// The table.
        table: u32,
    },
    /// Packets of the router itself use the main table.
    Own(Family),
    /// Packets with the policy's mark use the main table.
    Marked(Family),
    /// All others vanish.
    Unmarked(Family),
}

/// An address family of routes and rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl RoutingRule {
    /// What a router with a policy has.
    pub const OF_POLICY: [Self; 6] = [
        Self::Own(Family::Inet),
        Self::Own(Family::Inet6),
        Self::Marked(Family::Inet),
        Self::Marked(Family::Inet6),
        Self::Unmarked(Family::Inet),
        Self::Unmarked(Family::Inet6),
    ];
}

impl From<Route> for TableRoute {
    fn from(route: Route) -> Self {
        Self { table: MAIN_TABLE, to: route.to.trunc(), via: Some(route.via), link: None }
    }
}

impl std::fmt::Display for TableRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.to)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Family::Inet => "inet",
            Family::Inet6 => "inet6",
        })
    }
}

impl std::fmt::Display for RoutingRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RoutingRule::Source { from, table } => write!(f, "from {from} table {table}"),
            RoutingRule::Own(family) => write!(f, "{family} iif lo table main"),
            RoutingRule::Marked(family) => write!(f, "{family} fwmark {:#x} table main", crate::netlink::policy::MARK),
            RoutingRule::Unmarked(family) => write!(f, "{family} blackhole"),
        }
    }
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedLink {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: LinkKind,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its alias.
    pub alias: Option<String>,
    /// Its group.
    pub group: u32,
    /// The index of the bridge it is a port of, or 0.
    pub master: u32,
    /// Of one end of a veth pair, the other end's index in its own namespace; else 0.
    pub peer: u32,
    /// Whether it is up.
    pub up: bool,
}

/// Kinds of links we tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkKind {
    /// `lo`.
    Loopback,
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Veth,
    /// A tunnel that the kernel makes in every new namespace by itself.
    KernelTunnel,
    /// Anything else.
    Other,
}
