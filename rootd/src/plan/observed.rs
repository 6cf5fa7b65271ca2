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
    pub rules: Vec<SourceRule>,
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
    /// The link, where the route names one; routes of the main table are found by their next hop.
    pub link: Option<u32>,
}

/// A rule of ours: packets from `from` use `table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceRule {
    /// The source network.
    pub from: IpNet,
    /// The table.
    pub table: u32,
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

impl std::fmt::Display for SourceRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "from {} table {}", self.from, self.table)
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
