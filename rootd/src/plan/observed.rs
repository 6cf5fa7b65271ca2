//! What a node was seen to hold.

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
    /// Routes with our origin.
    pub routes: Vec<Route>,
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
