//! The `Root` service: all that userd may ask of rootd.
//!
//! No verb takes a path, a pid, a link name of the host, a shell string or free nft text. Every verb that names an
//! existing world also names its owner, and rootd compares both with its own record before it acts.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::{
    bounded::Bounded,
    ended::Ended,
    ids::{CallKey, InstanceId, ProcessId, Ticket, Uid, WorldId},
    limits,
    names::HostName,
    net::Port,
    plan::{NetworkPlan, Node},
    trust::Trust,
};

/// Version of this interface. rootd refuses a userd whose number differs, with a message that says which to upgrade.
pub const ROOT_VERSION: u16 = 5;

/// What userd may ask. The order of verbs is part of the wire format: append only, and raise [`ROOT_VERSION`] otherwise.
#[tarpc::service]
pub trait Root {
    /// Must be the first call of a connection; every other verb before it ends the connection.
    async fn hello(version: u16) -> Result<Hello, RootError>;
    /// Makes the kernel equal to `plan`: creates what is missing, changes what differs, removes what of ours is too much.
    /// Idempotent; the same key is applied once.
    async fn apply_network(key: CallKey, plan: NetworkPlan) -> Result<Applied, RootError>;
    /// Compares the kernel with the plan last applied, without changing anything; `lists`: tells what exists as well.
    async fn observe_network(world: WorldId, owner: Uid, lists: bool) -> Result<Observed, RootError>;
    /// Ends the world's processes and removes all of its kernel and disk objects. Absent is done.
    async fn delete_world(key: CallKey, world: WorldId, owner: Uid) -> Result<Deleted, RootError>;
    /// The worlds rootd holds.
    async fn list_worlds() -> Result<Vec<HeldWorld>, RootError>;
    /// Starts a program of ours in a node of a world. One worldd per world; the same key starts one process.
    async fn start_program(key: CallKey, world: WorldId, owner: Uid, program: Program) -> Result<ProcessId, RootError>;
    /// Ends a process and all its descendants, and waits until they are gone. Absent is done.
    async fn stop_process(world: WorldId, owner: Uid, process: ProcessId) -> Result<(), RootError>;
    /// The processes of a world, ended ones included until the world is deleted or the process is replaced.
    async fn list_processes(world: WorldId, owner: Uid) -> Result<Vec<HeldProcess>, RootError>;
    /// Grants `user` the right to run one command in a vantage host through `exec.sock`, within ten seconds.
    /// rootd starts it only for a peer whose uid the kernel reports as `user`; uid 0 is refused. The command finds `trust`
    /// in place of the host's trust store.
    async fn grant_exec(
        world: WorldId,
        owner: Uid,
        host: HostName,
        user: Uid,
        trust: Trust,
    ) -> Result<Ticket, RootError>;
    /// Waits (at most `wait_ms`) for events after `cursor`.
    async fn next_events(cursor: u64, wait_ms: u32) -> Result<RootEvents, RootError>;
    /// What this kernel can do, tried at start.
    async fn features() -> Result<Vec<Feature>, RootError>;
    /// Sends one packet for each flow from a vantage host or the services and reports what the kernel did with it: the
    /// router's verdict with the deciding rule, and where it arrived. At most [`crate::limits::FLOW_PROBE_TIME`]; answers in the order asked.
    async fn prove_flows(
        world: WorldId,
        owner: Uid,
        flows: Bounded<FlowProbe, { limits::FLOW_PROBES }>,
    ) -> Result<Vec<FlowSeen>, RootError>;
    /// Whether worlds of `owner` may have an uplink, by what an administrator wrote, and where they may be reached.
    async fn uplink_offer(owner: Uid) -> Result<UplinkOffer, RootError>;
}

/// What an administrator allows an owner's worlds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkOffer {
    /// Whether they may have an uplink.
    pub allowed: bool,
    /// TCP ports of the host that may lead into them, the lowest and the highest.
    pub ports: Option<(Port, Port)>,
    /// The host's address of these ports; 0.0.0.0 is every one.
    pub address: Ipv4Addr,
}

/// One packet to be sent: the first of a new flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowProbe {
    /// Who sends it: a vantage host, or the services.
    pub from: Node,
    /// Its source address, one of that node's. A claim is sent by the link that has it.
    pub source: IpAddr,
    /// Where it goes, of the same family. A claim goes to the router, by its address on that link.
    pub to: IpAddr,
    /// What it is.
    pub kind: ProbeKind,
}

/// The protocol of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// A SYN to this port.
    Tcp(Port),
    /// A datagram to this port.
    Udp(Port),
    /// An echo request (RFC 792, RFC 4443).
    Icmp,
    /// What a node says on its own link of itself or of others.
    Claim(Claim),
}

/// A frame that a node sends to its router alone: what every host says of itself, and what none may say. Whose address
/// and MAC address is pretended is rootd's choice. A router that heard a false one would not act on it: its hop limit, its
/// operation or its missing rest makes it invalid beyond what a bridge looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Claim {
    /// ARP: this address is at this MAC address. True.
    Arp,
    /// An ARP probe (RFC 5227), of no address. True.
    ArpProbe,
    /// A request to DHCP servers without an address (RFC 2131), for its own MAC address. True.
    Dhcp,
    /// Detection of its own address (RFC 4862, 5.4). True.
    Detection,
    /// A report of group members without an address (RFC 3810, 5.2.13). True.
    Report,
    /// A datagram from an address of the network that is nobody's, or the router's.
    Address,
    /// A datagram from a MAC address that is not the node's.
    Mac,
    /// ARP: the router's address is at this MAC address.
    RouterArp,
    /// ARP: this address is at a MAC address that is not the node's.
    ArpMac,
    /// A request to DHCP servers for another's MAC address.
    DhcpMac,
    /// A datagram from a DHCP server's port.
    DhcpServer,
    /// A datagram to a DHCP client's port.
    DhcpClient,
    /// A frame that is none of IP and ARP.
    Protocol,
    /// A router advertisement (RFC 4861, 4.2).
    RouterAdvertisement,
    /// A redirect (RFC 4861, 4.5).
    Redirect,
    /// A query for group members (RFC 3810, 5.1).
    Query,
    /// A neighbour advertisement of the router's address.
    Neighbour,
    /// A neighbour advertisement of its own address at a MAC address that is not the node's.
    NeighbourMac,
    /// A neighbour solicitation from a MAC address that is not the node's.
    SolicitationMac,
}

impl Claim {
    /// Every claim.
    pub const ALL: [Self; 19] = [
        Self::Arp,
        Self::ArpProbe,
        Self::Dhcp,
        Self::Detection,
        Self::Report,
        Self::Address,
        Self::Mac,
        Self::RouterArp,
        Self::ArpMac,
        Self::DhcpMac,
        Self::DhcpServer,
        Self::DhcpClient,
        Self::Protocol,
        Self::RouterAdvertisement,
        Self::Redirect,
        Self::Query,
        Self::Neighbour,
        Self::NeighbourMac,
        Self::SolicitationMac,
    ];

    /// Whether it says nothing but the truth.
    pub const fn is_true(self) -> bool {
        matches!(self, Self::Arp | Self::ArpProbe | Self::Dhcp | Self::Detection | Self::Report)
    }

    /// Whether there is one of this family.
    pub const fn is_of(self, is_v4: bool) -> bool {
        match self {
            Self::Address | Self::Mac | Self::DhcpServer | Self::DhcpClient => true,
            Self::Arp
            | Self::ArpProbe
            | Self::Dhcp
            | Self::RouterArp
            | Self::ArpMac
            | Self::DhcpMac
            | Self::Protocol => is_v4,
            Self::Detection
            | Self::Report
            | Self::RouterAdvertisement
            | Self::Redirect
            | Self::Query
            | Self::Neighbour
            | Self::NeighbourMac
            | Self::SolicitationMac => !is_v4,
        }
    }

    /// Its word, for people and for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::ArpProbe => "arp-probe",
            Self::Dhcp => "dhcp",
            Self::Detection => "nd-detection",
            Self::Report => "mld-report",
            Self::Address => "spoofed-address",
            Self::Mac => "spoofed-mac",
            Self::RouterArp => "spoofed-arp",
            Self::ArpMac => "spoofed-arp-mac",
            Self::DhcpMac => "spoofed-dhcp-mac",
            Self::DhcpServer => "dhcp-server",
            Self::DhcpClient => "to-dhcp-client",
            Self::Protocol => "other-protocol",
            Self::RouterAdvertisement => "router-advertisement",
            Self::Redirect => "redirect",
            Self::Query => "mld-query",
            Self::Neighbour => "spoofed-neighbour",
            Self::NeighbourMac => "spoofed-neighbour-mac",
            Self::SolicitationMac => "spoofed-solicitation-mac",
        }
    }
}

/// What the kernel did with a probe. Both observations stand by themselves; whoever compares them decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowSeen {
    /// The router's last verdict on it, by its trace; `None` when no hook of the router saw it. Of what is not routed, a
    /// claim or a packet to a node of the same network, it is the verdict of the bridge.
    pub verdict: Option<FlowVerdict>,
    /// The node whose link it arrived at, and with which source address.
    pub delivered: Option<(Node, IpAddr)>,
    /// Why what was seen may not be all there was: messages were lost, or the time was over. Empty when it is all.
    pub doubt: String,
    /// The frame as it was sent.
    pub sent: Vec<u8>,
    /// The frame as it arrived; empty when it did not.
    pub arrived: Vec<u8>,
}

/// A verdict by a rule or a chain's policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowVerdict {
    /// Whether it was let go on.
    pub accepted: bool,
    /// The chain that decided, for example `forward`; `bridge CHAIN` for one of the bridge's table; `routing` when the
    /// router has no route for it.
    pub chain: String,
    /// The deciding rule in nft's words, `policy drop`, or `no route`; made by rootd from its own model.
    pub rule: String,
}

/// rootd's answer to `hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// rootd's [`ROOT_VERSION`].
    pub version: u16,
    /// rootd's package version, for messages.
    pub release: String,
    /// The tag on all objects of this installation.
    pub instance: InstanceId,
    /// Cursor to start [`Root::next_events`] from.
    pub cursor: u64,
}

/// What `apply_network` did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Objects made, changed or removed, in order; empty when nothing differed.
    pub changes: Vec<Change>,
}

/// What `observe_network` saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// What `apply_network` with the plan last applied would do now; empty when the kernel equals the plan.
    pub drift: Vec<Change>,
    /// Objects in our namespaces that are not ours; never touched.
    pub foreign: Vec<ObjectName>,
    /// All objects of ours that exist, when they were asked for.
    pub objects: Vec<ObjectName>,
}

/// What `delete_world` removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// What was there and is gone.
    pub removed: Vec<ObjectName>,
}

/// One difference between plan and kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens to the object.
    pub action: ChangeAction,
    /// The object.
    pub object: ObjectName,
}

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeAction {
    /// It is missing and is made.
    Create,
    /// It exists with other attributes, which are set.
    Change,
    /// It is of ours, not in the plan, and is removed.
    Delete,
}

/// An object for people and for comparison: where it lies, its kind, its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectName {
    /// The node (`gw`, `svc`, `host:NAME`).
    pub node: String,
    /// The kind of object.
    pub kind: ObjectKind,
    /// Its name within the node: link name, `LINK ADDRESS/LEN`, `PREFIX via NEXTHOP`, table name, program.
    pub name: String,
}

/// Kinds of objects rootd makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A network namespace.
    Namespace,
    /// A per-namespace kernel setting.
    Sysctl,
    /// A bridge.
    Bridge,
    /// One end of a veth pair.
    Link,
    /// An address of a link.
    Address,
    /// A route.
    Route,
    /// An nftables table with its chains, sets and rules.
    Table,
    /// A process with its descendants.
    Process,
    /// A directory of the world's services.
    Directory,
}

/// A world rootd holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldWorld {
    /// Which.
    pub world: WorldId,
    /// Its owner.
    pub owner: Uid,
    /// Namespaces held.
    pub nodes: u32,
    /// Processes alive.
    pub processes: u32,
    /// Why it could not be made equal to its plan at start, if so.
    pub degraded: Option<String>,
}

/// A program of ours that may be started, each as user `netengine-world` with no capability.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Program {
    /// The world's services, in its service node.
    Worldd,
    /// The live checks' client, in a vantage host.
    Prober(HostName),
    /// The router's own services, for example the recursive resolver, in the gateway node.
    Gateway,
    /// The forwarder behind the world's uplink; it runs in the host's network namespace, as user `netengine-uplink`.
    Uplink,
}

impl Program {
    /// The node the program runs in.
    pub fn node(&self) -> Node {
        match self {
            Program::Worldd => Node::Services,
            Program::Prober(host) => Node::Host(host.clone()),
            Program::Gateway => Node::Gateway,
            Program::Uplink => Node::Uplink,
        }
    }
}

/// A process rootd started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldProcess {
    /// Its id.
    pub id: ProcessId,
    /// What it is: `worldd`, `prober`, `command`, `gateway`.
    pub kind: ProcessKind,
    /// Where it runs.
    pub node: Node,
    /// How it ended; `None` while it runs.
    pub ended: Option<Ended>,
}

/// Kinds of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessKind {
    /// The world's services.
    Worldd,
    /// The live checks' client.
    Prober,
    /// A user's command.
    Command,
    /// The router's own services.
    Gateway,
    /// The forwarder behind an uplink.
    Uplink,
}

/// Events with the cursor to ask from next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootEvents {
    /// Pass this to the next call.
    pub cursor: u64,
    /// Events after the cursor that was passed are missing: the reader was too slow, or rootd was restarted.
    pub lagged: bool,
    /// The events, oldest first.
    pub events: Vec<RootEvent>,
}

/// Something that happened without being asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootEvent {
    /// A process ended.
    ProcessEnded {
        /// Its world.
        world: WorldId,
        /// Which.
        process: ProcessId,
        /// What it was.
        kind: ProcessKind,
        /// How.
        ended: Ended,
    },
    /// Something that is not rootd changed the world's network.
    NetworkChanged {
        /// Its world.
        world: WorldId,
        /// What `apply_network` with the plan last applied would do now, the first of it; empty when the network is as
        /// planned again.
        drift: Vec<Change>,
        /// How much else it would do.
        more: u32,
        /// Who noticed.
        noticed: NoticedBy,
    },
}

/// Who noticed that a network differs from its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoticedBy {
    /// The kernel told of a change.
    Kernel,
    /// A look at everything, or an apply.
    Look,
}

/// One thing the kernel can or cannot do here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// What was tried, for example `bridge`.
    pub name: String,
    /// Whether it worked.
    pub works: bool,
    /// Whether NetEngine cannot run without it.
    pub required: bool,
    /// What to do when it does not work; empty otherwise.
    pub help: String,
}

/// Why rootd did not do what was asked. Closed: kernel texts and paths stay in rootd's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RootError {
    /// The interface versions differ.
    #[error("rootd speaks version {rootd} of the interface, userd version {userd}")]
    Version {
        /// rootd's.
        rootd: u16,
        /// The caller's.
        userd: u16,
    },
    /// No such world, node or process under this owner. A foreign and an absent one answer alike.
    #[error("no such object")]
    NotFound,
    /// The plan contradicts itself or a bound.
    #[error("the plan is invalid: {0}")]
    InvalidPlan(PlanFault),
    /// A bound of rootd is reached.
    #[error("{0:?} limit reached")]
    Limit(LimitKind),
    /// Too many calls at once; try again.
    #[error("busy")]
    Busy,
    /// The caller may not do this (for example a command as uid 0).
    #[error("refused")]
    Refused,
    /// The kernel refused.
    #[error("cannot {operation} {object}: {}", std::io::Error::from_raw_os_error(*.errno))]
    Kernel {
        /// What was tried.
        operation: Operation,
        /// On what (one of our own generated names).
        object: String,
        /// errno(3).
        errno: i32,
    },
    /// A worker process is gone; rootd restarts. Try again.
    #[error("rootd is restarting")]
    Restarting,
    /// The journal cannot be written (disk full).
    #[error("cannot write the journal: {}", std::io::Error::from_raw_os_error(*.0))]
    Journal(i32),
}

/// What rootd tried when the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Make a namespace.
    CreateNamespace,
    /// Set a sysctl.
    SetSysctl,
    /// Read back links, addresses, routes or rules.
    Observe,
    /// Make a link.
    CreateLink,
    /// Change a link.
    ChangeLink,
    /// Remove a link.
    DeleteLink,
    /// Add or remove an address.
    SetAddress,
    /// Add or remove a route.
    SetRoute,
    /// Replace the policy table.
    SetPolicy,
    /// Start a program.
    StartProgram,
    /// Keep a descriptor with the holder.
    Hold,
    /// Remove a directory.
    DeleteDirectory,
    /// Send packets and watch what becomes of them.
    ProveFlows,
    /// Wait for the kernel's own messages of what changed.
    Watch,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Operation::CreateNamespace => "create namespace",
            Operation::SetSysctl => "set sysctl",
            Operation::Observe => "read back",
            Operation::CreateLink => "create link",
            Operation::ChangeLink => "change link",
            Operation::DeleteLink => "delete link",
            Operation::SetAddress => "set address",
            Operation::SetRoute => "set route",
            Operation::SetPolicy => "set policy",
            Operation::StartProgram => "start program",
            Operation::Hold => "hold",
            Operation::DeleteDirectory => "delete directory",
            Operation::ProveFlows => "prove flows in",
            Operation::Watch => "watch",
        })
    }
}

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum PlanFault {
    /// A node appears twice.
    #[error("node {0} appears twice")]
    DuplicateNode(String),
    /// A link or a route names a node the plan does not have.
    #[error("node {0} is not in the plan")]
    UnknownNode(String),
    /// Two links of one node have the same name.
    #[error("link {0} appears twice in its node")]
    DuplicateLink(String),
    /// A port names a bridge its node does not have.
    #[error("bridge {0} is not in its node")]
    UnknownBridge(String),
    /// An address is given twice in one node.
    #[error("address {0} is given twice in its node")]
    DuplicateAddress(String),
    /// A bridge port has addresses, or both ends of a cable are the same link.
    #[error("link {0} cannot be both")]
    Contradiction(String),
    /// A route's next hop is not on a link of the node, or of another family.
    #[error("next hop of {0} is on no link of the node")]
    Unreachable(String),
    /// The policy names a link its node does not have.
    #[error("policy names link {0}, which its node does not have")]
    UnknownLink(String),
    /// The plan has no services or no gateway node where one is needed.
    #[error("the plan lacks node {0}")]
    MissingNode(String),
    /// A domain's link is not a bridge of its node.
    #[error("domain {0} is not a bridge of its node")]
    NotABridge(String),
    /// A domain may have no flows open at all.
    #[error("domain {0} may have no flow")]
    NoFlows(String),
    /// The first port of a range is above its last.
    #[error("ports {0} to {1} are upside down")]
    PortRange(u16, u16),
    /// The rules of a policy name more port ranges than [`crate::limits::POLICY_PORT_RANGES`].
    #[error("policy has more than {0} port ranges")]
    PortRanges(usize),
    /// A route to loopback, link-local, multicast or reserved addresses.
    #[error("there is no route to {0}")]
    SpecialRoute(String),
    /// A node with a policy chooses routes by source, past its policy.
    #[error("node {0} has a policy and routes by source")]
    SourceRoutes(String),
    /// A world is joined with itself, or twice with the same.
    #[error("world {0} cannot be joined")]
    Peer(String),
    /// A network of a joined world overlaps another of the plan.
    #[error("network {0} of a joined world overlaps another")]
    PeerOverlap(String),
    /// The plan has an uplink, and no administrator allows its owner one.
    #[error("no administrator allows this owner an uplink")]
    UplinkNotAllowed,
    /// A port of the host outside of what an administrator allows, or twice.
    #[error("port {0} of the host is not to be had")]
    UplinkPort(u16),
    /// The uplink's node and link are not one cable from the router, or the node has more than that link.
    #[error("the uplink is not one cable of the router's")]
    Uplink,
}

/// Which bound was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LimitKind {
    /// [`crate::limits::WORLDS`].
    Worlds,
    /// [`crate::limits::NODES_TOTAL`].
    Nodes,
    /// [`crate::limits::PROCESSES_TOTAL`] or [`crate::limits::COMMANDS_PER_OWNER`].
    Processes,
    /// [`crate::limits::TICKETS_PENDING`].
    Tickets,
}
