//! The closed vocabulary between broker and workers.

use netengine_proto::{
    bounded::Bounded,
    ended::Ended,
    exec::{ExecRequest, ExecStep},
    ids::{ProcessId, WorldId},
    limits,
    names::HostName,
    net::{IfAddr, IfName, Mac},
    plan::Resolver,
    root::Operation,
    trust::Trust,
};
use serde::{Deserialize, Serialize};

use super::{
    probe_judge::{Ear, Shot, ShotSeen, Tables},
    watch_fact::Fact,
};
use crate::{
    netlink::policy::{NodePolicy, TableState},
    plan::{
        observed::{ObservedNode, RoutingRule, TableRoute},
        settings::Settings,
    },
    uplink::allowance::Allowance,
};

/// The broker's handle for a namespace, the same in every worker.
pub type Slot = u32;

/// Why a worker did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it tried.
    pub operation: Operation,
    /// On what.
    pub object: String,
    /// errno(3).
    pub errno: i32,
}

/// To the ns worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum NsRequest {
    /// Make a namespace. Answer: `Made` with [namespace, route socket, netfilter socket].
    Create(Settings),
    /// Open sockets in the namespace whose descriptor comes along. Answer as above.
    Open,
    /// Compare the settings of the namespace whose descriptor comes along, and keep them open under this slot. Answer:
    /// `Compared`, of one.
    Compare {
        /// Whose they are.
        slot: Slot,
        /// What they should be.
        settings: Settings,
    },
    /// Compare settings that were kept open. Answer: `Compared`, in this order.
    CompareKept(Vec<(Slot, Settings)>),
    /// Close those that are kept open under this slot.
    Forget(Slot),
    /// Set those of the namespace whose descriptor comes along.
    Set(Settings),
    /// Open sockets that hear of changes in the namespace whose descriptor comes along. Answer: `Made` with [route socket]
    /// or, when it has a policy, [route socket, netfilter socket].
    Watch {
        /// Whether the node has a policy.
        policy: bool,
    },
    /// Open the raw ICMPv6 socket of a router's program in the namespace whose descriptor comes along. Answer: `Made` with
    /// [it], or with nothing where the kernel has no IPv6.
    Solicitations,
    /// Open a socket that sends and receives frames of a proof by this link, in the namespace whose descriptor comes along.
    /// Answer: `Made` with [it].
    Frames(IfName),
    /// Open a socket that sends and receives all frames of this link, in the namespace whose descriptor comes along: that of
    /// an uplink, which holds nothing else. Answer: `Made` with [it].
    Uplink(IfName),
    /// Open a socket that hears what traced packets meet in the namespace whose descriptor comes along. Answer: `Made` with
    /// [it].
    Traces,
}

/// From the ns worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum NsReply {
    /// To `Create`, `Open`, `Watch` and `Solicitations`.
    Made,
    /// To `Compare` and `CompareKept`: whether they are as wanted; `None` for a namespace that must be entered to know.
    Compared(Vec<Option<bool>>),
    /// To `Forget`.
    Forgot,
    /// To `Set`.
    Set,
    /// It could not.
    Failed(Failure),
}

/// To the net worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum NetRequest {
    /// Keep the descriptors that come along ([namespace, route socket, netfilter socket]) under this slot.
    Adopt(Slot),
    /// Close them.
    Forget(Slot),
    /// Read back links, addresses, routes, and compare the policy.
    Observe {
        /// Where.
        slot: Slot,
        /// The world, whose table is meant.
        world: WorldId,
        /// What the table should say.
        policy: Option<NodePolicy>,
        /// Whether the node may have rules.
        rules: bool,
    },
    /// Do these, in order.
    Run {
        /// Where.
        slot: Slot,
        /// What.
        operations: Vec<NetOperation>,
    },
    /// Replace the policy table, or remove it.
    Policy {
        /// Where.
        slot: Slot,
        /// The world, whose table is meant.
        world: WorldId,
        /// What it shall say.
        policy: Option<NodePolicy>,
    },
    /// Have the packets of a proof traced, or no longer.
    Trace {
        /// Where.
        slot: Slot,
        /// The world whose proof it is.
        world: WorldId,
        /// Whether from now on.
        on: bool,
    },
    /// Name the rules of the policy that are in force.
    Rules {
        /// Where.
        slot: Slot,
        /// The world, whose table is meant.
        world: WorldId,
        /// What it should say.
        policy: NodePolicy,
    },
}

/// A rule in force, to be named in reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleName {
    /// Whether its table is of family bridge; else it is of family inet.
    pub bridge: bool,
    /// Its handle, unique within its table.
    pub handle: u64,
    /// Its words, or its place; that it is not the policy's, if so.
    pub text: String,
}

/// One change by rtnetlink, with the link's name for reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the requests in netlink::request")]
pub enum NetOperation {
    LoopbackUp,
    CreateBridge { index: u32, name: IfName, mac: Mac },
    CreateCable { index: u32, name: IfName, mac: Mac, peer: Slot, peer_index: u32, peer_name: IfName, peer_mac: Mac },
    SetLink { index: u32, name: String, alias: Option<String>, master: Option<u32>, mac: Option<Mac>, up: bool },
    DeleteLink { index: u32, name: String },
    AddAddress { index: u32, name: String, address: IfAddr },
    DeleteAddress { index: u32, name: String, address: IfAddr },
    AddRoute(TableRoute),
    DeleteRoute(TableRoute),
    AddRule(RoutingRule),
    DeleteRule(RoutingRule),
}

impl NetOperation {
    /// For a failure: what was tried, and on what.
    pub fn describe(&self) -> (Operation, String) {
        match self {
            NetOperation::LoopbackUp => (Operation::ChangeLink, "lo".into()),
            NetOperation::CreateBridge { name, .. } | NetOperation::CreateCable { name, .. } => {
                (Operation::CreateLink, name.to_string())
            }
            NetOperation::SetLink { name, .. } => (Operation::ChangeLink, name.clone()),
            NetOperation::DeleteLink { name, .. } => (Operation::DeleteLink, name.clone()),
            NetOperation::AddAddress { name, address, .. } | NetOperation::DeleteAddress { name, address, .. } => {
                (Operation::SetAddress, format!("{name} {}", address.net()))
            }
            NetOperation::AddRoute(to) | NetOperation::DeleteRoute(to) => (Operation::SetRoute, to.to_string()),
            NetOperation::AddRule(rule) | NetOperation::DeleteRule(rule) => (Operation::SetRoute, rule.to_string()),
        }
    }
}

/// From the net worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum NetReply {
    /// Done.
    Done,
    /// To `Observe`.
    Observed(ObservedNode, TableState),
    /// To `Rules`.
    Rules(Vec<RuleName>),
    /// It could not.
    Failed(Failure),
}

/// To the probe worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ProbeRequest {
    /// Keep the sockets that come along (as made by `NsRequest::Frames`) behind those of the next batch already kept.
    Links,
    /// Prove this by the links kept; the socket that comes along (`NsRequest::Traces`) hears the router. All are closed after.
    Run(ProbeBatch),
}

/// What is proven at once.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProbeBatch {
    /// Tables of the router.
    pub tables: Tables,
    /// The links, in their order.
    pub ears: Vec<Ear>,
    /// What is sent, in this order.
    pub shots: Vec<Shot>,
    /// The batch is given up after this.
    pub time_ms: u32,
}

/// From the probe worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum ProbeReply {
    /// To `Links`.
    Done,
    /// To `Run`, without sentinels.
    Seen(Vec<ShotSeen>),
    /// It could not.
    Failed(Failure),
}

/// To the watch worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum WatchRequest {
    /// Listen to the sockets that come along (as made by `NsRequest::Watch`) under this slot, in place of former ones.
    Adopt(Slot),
    /// Close them.
    Forget(Slot),
    /// Throw away what these have heard so far: they are looked at now.
    Settle(Vec<Slot>),
    /// Tell all that was heard so far, of any slot, before the answer.
    Look,
}

/// From the watch worker: answers in order, and between them what it hears.
#[derive(Debug, Serialize, Deserialize)]
pub enum WatchReply {
    /// Done.
    Done,
    /// It could not.
    Failed(Failure),
    /// No answer: the kernel said this of a namespace.
    Heard(Slot, Vec<Fact>),
}

/// What a command sees as resolv.conf and trust store: texts made by the broker from typed values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldFiles {
    /// /etc/resolv.conf.
    pub resolv_conf: String,
    /// Who is trusted, for /etc/ssl/certs.
    pub authorities: Vec<Authority>,
    /// The keys of the DNS root; none when the world is not signed.
    pub dns_root: Option<DnsRoot>,
}

/// A certificate authority that is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Under which name OpenSSL looks for it in a directory; `None` when it is not a certificate after all.
    pub subject_hash: Option<u32>,
    /// Its certificate, PEM (RFC 7468).
    pub pem: String,
}

/// The keys of a world's DNS root, for programs that validate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRoot {
    /// As a statement of BIND's configuration.
    pub statement: String,
    /// As DS records (RFC 4034, section 5.3).
    pub records: String,
}

impl WorldFiles {
    /// The files of a node with this resolver, for a command that trusts this.
    pub fn of(resolver: &Resolver, trust: &Trust) -> Self {
        crate::worker::files::render(resolver, trust)
    }
}

/// A program of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OurProgram {
    /// `netengine-worldd --role worldd`.
    Worldd,
    /// `netengine-worldd --role gateway`.
    Gateway,
    /// `netengine-worldd --role prober`.
    Prober(HostName),
}

/// A user's credentials, as the kernel reported them for its own connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id, never 0.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Bounded<u32, 65_536>,
}

/// To the spawn worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum SpawnRequest {
    /// Start a program of ours. Descriptors: [namespace, leash]; for `Gateway` also [its standard input], a raw ICMPv6 socket.
    Program {
        /// Whose run directory.
        world: WorldId,
        /// Which program.
        program: OurProgram,
        /// What it sees as resolv.conf and trust store, if anything.
        files: Option<WorldFiles>,
    },
    /// Start a user's command. Descriptors: [namespace, leash, the user's connection, the user's process].
    Command {
        /// As whom.
        user: User,
        /// What.
        request: Box<ExecRequest>,
        /// What it sees as resolv.conf and trust store.
        files: WorldFiles,
    },
    /// Start a holder. Descriptors: [its listening socket].
    Holder,
    /// Remove a world's directories. Descriptors: [where its [`Erased`] goes].
    Erase(WorldId),
    /// Read who may have an uplink. Descriptors: [where its [`AllowanceRead`] goes].
    Allowance,
}

/// From the spawn worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum SpawnReply {
    /// Done; for programs and commands: the attendant exists, its report comes by the leash. For an erasure: it has begun.
    Done,
    /// It could not.
    Failed(Failure),
}

/// From the process that removes a world's directories, when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Erased {
    /// Nothing is left.
    Done {
        /// Whether anything was there.
        present: bool,
    },
    /// Something is.
    Failed {
        /// errno(3).
        errno: i32,
    },
}

/// From the process that reads who may have an uplink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AllowanceRead {
    /// This is allowed.
    Allows(Allowance),
    /// It cannot be read, trusted or understood, and why.
    Unreadable(String),
}

/// From an attendant, by its leash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The program runs.
    Running,
    /// It could not be started.
    Failed {
        /// At which step.
        step: ExecStep,
        /// errno(3).
        errno: i32,
    },
    /// It ended, and all its descendants are gone.
    Ended(Ended),
}

/// To the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HolderRequest {
    /// Keep the descriptor that comes along under this key, in place of a former one.
    Keep(HeldKey),
    /// Close it.
    Drop(HeldKey),
    /// Send all, one `Held` each with its descriptor, then `End`.
    List,
    /// Exit when nothing is kept.
    Quit,
}

/// From the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HolderReply {
    /// One kept descriptor.
    Held(HeldKey),
    /// That was all.
    End,
}

/// What a kept descriptor is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HeldKey {
    /// A namespace: world, and the node's place in the world's own count.
    Namespace(WorldId, netengine_proto::plan::Node),
    /// The broker's end of a leash.
    Leash(WorldId, ProcessId),
}

/// Descriptors the holder keeps at most.
pub const HELD: usize = limits::NODES_TOTAL + limits::PROCESSES_TOTAL;
