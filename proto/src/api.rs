//! The HTTP API's types, JSON. Paths are under [`PREFIX`], served on `user.sock` and `admin.sock` alike.
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | GET `/version` | | [`Version`] |
//! | GET `/doctor` | | [`Doctor`] |
//! | POST `/plan` | [`UpRequest`] | [`PlanReport`] |
//! | POST `/worlds` | [`UpRequest`] | 202 [`Accepted`] |
//! | GET `/worlds` | | `[`[`WorldSummary`]`]` |
//! | GET `/worlds/{world}` | | [`WorldStatus`] |
//! | GET `/worlds/{world}/removal` | | [`Removal`] |
//! | DELETE `/worlds/{world}?confirm=NAME` | | 202 [`Accepted`] |
//! | POST `/worlds/{world}/exec` | [`ExecGrantRequest`] | [`ExecGrant`] |
//! | GET `/worlds/{world}/logs?service=S&lines=N` | | [`Logs`] |
//! | GET `/worlds/{world}/certificates?before=SERIAL` | | `[`[`Certificate`]`]`, newest first |
//! | GET `/worlds/{world}/certificates/{serial}` | | [`CertificateChain`] |
//! | GET `/worlds/{world}/trust` | | [`WorldTrust`] |
//! | GET `/worlds/{world}/credentials` | | `[`[`WorldCredential`]`]`, for the owner only |
//! | POST `/worlds/{world}/diagnose` | | [`Diagnosis`] |
//! | GET `/worlds/{world}/drift` | | [`DriftReport`] |
//! | POST `/worlds/{world}/prove?follow=true&frames=true` | | [`Proof`]; with `frames` as they were sent and arrived; with `follow` server-sent events `progress`, then `flows` (each a list of [`ProvenFlow`]) and a `proof` without flows, or `problem` |
//! | POST `/firewall/validate` | [`FirewallSuites`] | [`FirewallValidation`] |
//! | POST `/firewall/tests` | [`FirewallTestRequest`] | 202 [`FirewallTestAccepted`] |
//! | GET `/firewall/tests/{id}` | | [`FirewallTest`] |
//! | GET `/firewall/tests/{id}/events` | | server-sent events `hook`, `match`, `conntrack`, `verdict`, `error`, `case`, and at last `end`, a [`FirewallTest`] without its report |
//! | DELETE `/firewall/tests/{id}` | | [`FirewallTest`]: ended, or forgotten when it was over |
//! | POST `/firewall/cases` | a `CaseRequest` of `netengine_lab_proto` | its `CaseResult`; both postcard with `content-type: application/octet-stream` |
//! | GET `/operations/{operation}` | | [`OperationStatus`] |
//! | DELETE `/operations/{operation}` | | 202 [`OperationStatus`]: cancelled, what it made is undone |
//! | GET `/events?world=W&operation=O&after=SEQ&follow=true` | | server-sent events, each an [`Event`]; without `follow` `[`[`Event`]`]` |
//! | GET `/openapi.json` | | this API, OpenAPI 3.1 |
//!
//! `{world}` is a name of the caller's own world; on `admin.sock` `?owner=UID` names another owner's. An error is
//! [`Problem`] with the status that [`ProblemKind`] names; a world that does not exist and one that is not the caller's
//! answer alike.

use serde::{Deserialize, Serialize};

/// Where the API's paths begin.
pub const PREFIX: &str = "/api/v1";

/// Adds the OpenAPI schema where userd asks for it.
macro_rules! api {
    ($($item:item)*) => {
        $(
            #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
            #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
            $item
        )*
    };
}

mod firewall;

pub use firewall::{
    FirewallRunState, FirewallSuites, FirewallTest, FirewallTestAccepted, FirewallTestRequest, FirewallValidation,
    SuiteText,
};

api! {
    /// Versions of the parts.
    pub struct Version {
        /// Package version of userd.
        pub release: String,
        /// Package version of rootd, when it answers.
        pub rootd: Option<String>,
    }

    /// What an administrator needs to know about this host.
    pub struct Doctor {
        /// All checks, in order.
        pub checks: Vec<DoctorCheck>,
        /// Whether no required check failed.
        pub healthy: bool,
    }

    /// One check of the host.
    pub struct DoctorCheck {
        /// What was tried, for example `kernel: bridge`.
        pub name: String,
        /// Whether it worked.
        pub passed: bool,
        /// Whether NetEngine cannot run without it.
        pub required: bool,
        /// What was seen.
        pub detail: String,
        /// What to do; empty when it passed.
        pub help: String,
    }

    /// Bring a world up, or plan it.
    pub struct UpRequest {
        /// The merged spec, `netengine.spec.v1`, as JSON.
        pub spec: serde_json::Value,
        /// Stop after this phase, 0 to 9.
        pub up_to: Option<u8>,
        /// Give up and undo after this many milliseconds.
        pub timeout_ms: Option<u64>,
        /// Whether what others change in the world is only told and not put right, until the next request.
        pub no_heal: Option<bool>,
    }

    /// An operation was accepted; its events are under `/events?operation=`.
    pub struct Accepted {
        /// The operation's id.
        pub operation: String,
        /// The world's name.
        pub world: String,
    }

    /// What `up` would do.
    pub struct PlanReport {
        /// The world's name.
        pub world: String,
        /// Whether the world exists.
        pub exists: bool,
        /// The changes, in order; empty when the world equals the spec.
        pub changes: Vec<PlannedChange>,
    }

    /// One change.
    pub struct PlannedChange {
        /// The phase it belongs to.
        pub phase: u8,
        /// `create`, `change` or `delete`.
        pub action: String,
        /// The kind of object, for example `bridge`.
        pub kind: String,
        /// Where and what, for example `gw nebr0`.
        pub object: String,
    }

    /// What `down` would remove.
    pub struct Removal {
        /// The world's name.
        pub world: String,
        /// Whether `confirm` is needed (the world is persistent).
        pub needs_confirmation: bool,
        /// The objects, in the order they go.
        pub objects: Vec<RemovedObject>,
    }

    /// An object that `down` removes.
    pub struct RemovedObject {
        /// The kind of object.
        pub kind: String,
        /// Where and what.
        pub object: String,
    }

    /// A line of `list`.
    pub struct WorldSummary {
        /// The world's name.
        pub world: String,
        /// The owner's user name, or its uid as text.
        pub owner: String,
        /// Its state.
        pub state: WorldState,
        /// Networks it has.
        pub networks: u32,
        /// When the world was first brought up, RFC 3339, UTC.
        pub started_at: Option<String>,
    }

    /// All about one world.
    pub struct WorldStatus {
        /// The world's name.
        pub world: String,
        /// The owner's user name, or its uid as text.
        pub owner: String,
        /// Its state.
        pub state: WorldState,
        /// Phases 0 to 9.
        pub phases: Vec<PhaseStatus>,
        /// Its services.
        pub services: Vec<ServiceStatus>,
        /// Its networks.
        pub networks: Vec<NetworkStatus>,
        /// When the world was first brought up, RFC 3339, UTC.
        pub started_at: Option<String>,
        /// The labels `organization` and `environment` and the like, and remarks such as an orchestrator without effect.
        pub notes: Vec<String>,
        /// The other worlds that its spec names.
        #[serde(default)]
        pub peers: Vec<PeerStatus>,
    }

    /// A world that another one's spec names.
    pub struct PeerStatus {
        /// As in the spec: `world:NAME` or `world:USER/NAME`.
        pub endpoint: String,
        /// `peered` or `federated`; of joined worlds as both want it.
        pub mode: String,
        /// Whether they are joined.
        pub state: PeerState,
        /// What is reached, or what is waited for.
        pub detail: String,
    }

    /// One phase.
    pub struct PhaseStatus {
        /// 0 to 9.
        pub id: u8,
        /// Its name, for example `substrate`.
        pub name: String,
        /// Its state.
        pub state: PhaseState,
        /// How long it took when it last ran.
        pub millis: Option<u64>,
        /// Why it is so.
        pub detail: String,
    }

    /// One service.
    pub struct ServiceStatus {
        /// Its name, for example `ntp`.
        pub name: String,
        /// Where it listens.
        pub address: String,
        /// The port.
        pub port: u16,
        /// Its state.
        pub state: ServiceState,
        /// Why it is so.
        pub detail: String,
    }

    /// One network.
    pub struct NetworkStatus {
        /// Its name.
        pub name: String,
        /// Its IPv4 subnet.
        pub subnet: String,
        /// Its IPv6 subnet.
        pub subnet6: Option<String>,
        /// The router's addresses on it.
        pub gateway: Vec<String>,
        /// Its vantage hosts, with addresses.
        pub hosts: Vec<HostStatus>,
    }

    /// One vantage host.
    pub struct HostStatus {
        /// Its name, as in `exec WORLD/NAME`.
        pub name: String,
        /// Its addresses.
        pub addresses: Vec<String>,
    }

    /// Ask for the right to run one command.
    pub struct ExecGrantRequest {
        /// The vantage host; `core` when absent.
        pub host: Option<String>,
    }

    /// The right to run one command, to be used on `exec.sock` by the same user within ten seconds.
    pub struct ExecGrant {
        /// The one-time ticket.
        pub ticket: String,
        /// The host that was chosen.
        pub host: String,
    }

    /// The end of a log.
    pub struct Logs {
        /// Which service.
        pub service: String,
        /// Lines, oldest first.
        pub lines: Vec<String>,
    }

    /// A certificate of a world's authority.
    pub struct Certificate {
        /// Serial number, hexadecimal.
        pub serial: String,
        /// The names in it.
        pub names: Vec<String>,
        /// From when, seconds since 1970.
        pub not_before: i64,
        /// Until when, seconds since 1970.
        pub not_after: i64,
        /// When it was revoked, seconds since 1970.
        pub revoked: Option<i64>,
        /// Who asked for it: an ACME account, or `world` for the world's own services.
        pub account: String,
    }

    /// One certificate with its chain.
    pub struct CertificateChain {
        /// As in the list.
        pub certificate: Certificate,
        /// The chain, PEM, leaf first, without the root.
        pub chain: String,
    }

    /// What clients of a world trust; empty until the world has it.
    pub struct WorldTrust {
        /// The certificate authorities, PEM.
        pub certificates: String,
        /// The keys of the DNS root, each the data of a DS record in presentation form.
        pub dns_root: Vec<String>,
    }

    /// A secret of a world and what it opens.
    pub struct WorldCredential {
        /// `password`, `client_secret`, `registration_token`, `tsig`, `acme_eab` or `acme_account`.
        pub kind: String,
        /// Where it is used: an OpenID issuer, or empty.
        pub issuer: String,
        /// Account name, client identifier or key name.
        pub name: String,
        /// The secret.
        pub secret: String,
    }

    /// What the live checks of a world saw.
    pub struct Diagnosis {
        /// The world.
        pub world: String,
        /// Whether every check passed.
        pub passed: bool,
        /// Each check.
        pub checks: Vec<DiagnosisCheck>,
        /// How long all took, milliseconds.
        pub millis: u64,
    }

    /// One live check.
    pub struct DiagnosisCheck {
        /// What was checked, for example `dns: A auth.platform.internal at 10.0.0.1`.
        pub name: String,
        /// The phase it belongs to.
        pub phase: u8,
        /// Whether it passed.
        pub passed: bool,
        /// The fault's name (`service_stopped`, `wrong_record`, `certificate_expired`, `key_not_served`, `disk_full`,
        /// `link_removed`, ...); empty when it passed.
        pub fault: String,
        /// What was seen.
        pub detail: String,
        /// What to do; empty when it passed.
        pub remedy: String,
        /// How long it took, microseconds.
        pub micros: u64,
    }

    /// What others changed in a world.
    pub struct DriftReport {
        /// The world.
        pub world: String,
        /// Whether it is put right.
        pub heals: bool,
        /// What differs now from what the world should be: what a repair would do.
        pub now: Vec<PlannedChange>,
        /// What was noticed, newest first.
        pub history: Vec<DriftRecord>,
    }

    /// A change by others that was noticed.
    pub struct DriftRecord {
        /// When, RFC 3339.
        pub noticed_at: String,
        /// By whom: `kernel` (its own message of the change), `look` (a look at everything), `leash` (the end of a process).
        pub noticed_by: String,
        /// What differed: what a repair had to do.
        pub changes: Vec<PlannedChange>,
        /// How much else did.
        pub more: u64,
        /// Repairs that were begun.
        pub tries: u64,
        /// When it was as it should be again, RFC 3339; absent while it is not.
        pub healed_at: Option<String>,
        /// How long that took, milliseconds.
        pub millis: Option<u64>,
    }

    /// Who reaches whom in a world: what its spec says, and what the kernel did with a packet of each kind.
    pub struct Proof {
        /// The world.
        pub world: String,
        /// Every flow went as the spec says, was observed, and the network is as planned.
        pub passed: bool,
        /// Every flow, by sender and receiver.
        pub flows: Vec<ProvenFlow>,
        /// What differs in the kernel from the plan. Some rules decide nothing about an honest first packet.
        pub drift: Vec<PlannedChange>,
        /// How long it took, milliseconds.
        pub millis: u64,
    }

    /// One flow, or what a host claims on its own link.
    pub struct ProvenFlow {
        /// The network it comes from.
        pub from: String,
        /// Who sends it: `host`, the network's vantage host, or `services`.
        pub sender: String,
        /// The network it goes to: the sender's own for its router, `outside` for an address that no world has.
        pub to: String,
        /// Where it goes there: `host`, `services`, `router` or `outside`.
        pub receiver: String,
        /// `tcp`, `udp`, `icmp`, or a claim's word, for example `spoofed-mac`.
        pub protocol: String,
        /// The destination port of `tcp` and `udp`.
        pub port: Option<u16>,
        /// Its source address.
        pub source: String,
        /// Its destination address.
        pub target: String,
        /// Whether the spec lets it arrive.
        pub reaches: bool,
        /// The source address it must arrive with, when it may and a node other than the router receives it.
        pub arrives_from: Option<String>,
        /// `passed`, `failed` or `inconclusive`.
        pub outcome: String,
        /// The router's verdict, `accept` or `drop`; absent when no hook of it was seen.
        pub verdict: Option<String>,
        /// The chain that decided; `bridge CHAIN` of the bridge's table; `routing` when the router has no route.
        pub chain: Option<String>,
        /// The deciding rule in nft's words, `policy drop` or `no route`.
        pub rule: Option<String>,
        /// The node it was seen at.
        pub delivered_to: Option<String>,
        /// The source address it was seen with.
        pub delivered_from: Option<String>,
        /// Why it did not pass; empty when it did.
        pub cause: String,
        /// The frame as it was sent, in hexadecimal digits, when frames were asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sent: Option<String>,
        /// The frame as it arrived, when frames were asked for and it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub arrived: Option<String>,
    }

    /// An operation.
    pub struct OperationStatus {
        /// Its id.
        pub operation: String,
        /// `up` or `down`.
        pub kind: String,
        /// The world's name.
        pub world: String,
        /// Its state.
        pub state: OperationState,
        /// What went wrong, when it failed.
        pub problem: Option<Problem>,
        /// How long it took or has taken.
        pub millis: u64,
        /// Objects it changed.
        pub changes: u64,
    }

    /// An event.
    pub struct Event {
        /// Its id, unique.
        pub event: String,
        /// Its place in the stream; pass it as `after` to go on from here.
        pub seq: i64,
        /// When, RFC 3339 with milliseconds, UTC.
        pub time: String,
        /// The world's name.
        pub world: String,
        /// The operation it belongs to (its correlation id).
        pub operation: Option<String>,
        /// The event that caused it.
        pub parent: Option<String>,
        /// What happened, for example `phase.done`, `operation.failed`, `process.ended`.
        pub kind: String,
        /// The phase, when it is about one.
        pub phase: Option<u8>,
        /// One line for people.
        pub message: String,
        /// More, by kind.
        pub data: serde_json::Value,
    }

    /// Why a request was not served. Shown by the CLI as three lines: what failed, cause, help.
    pub struct Problem {
        /// The class, which decides the HTTP status and the CLI's exit code.
        pub kind: ProblemKind,
        /// What failed, for example `cannot start world "blue"`.
        pub what: String,
        /// Why.
        pub cause: String,
        /// What to do.
        pub help: String,
        /// For `spec`: every error with its place.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub diagnostics: Vec<serde_json::Value>,
    }
}

/// Implements the plain enums of the API: snake_case text in JSON, `as_str`, `Display`.
macro_rules! states {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
            #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
            pub enum $name {
                $($(#[$vdoc])* #[serde(rename = $text)] $variant),*
            }

            impl $name {
                /// The word used in JSON, on screen and in the database.
                pub const fn as_str(self) -> &'static str {
                    match self { $(Self::$variant => $text),* }
                }

                /// The value with this word.
                pub fn parse(text: &str) -> Option<Self> {
                    match text { $($text => Some(Self::$variant),)* _ => None }
                }
            }

            impl std::fmt::Display for $name {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.pad(self.as_str())
                }
            }
        )*
    };
}

states! {
    /// State of a world.
    WorldState {
        /// An `up` is at work on it.
        Booting = "booting",
        /// Every phase asked for is done or skipped, by live checks.
        Ready = "ready",
        /// It runs, but something is missing.
        Degraded = "degraded",
        /// It could not be brought up.
        Failed = "failed",
        /// A `down` is at work on it.
        Stopping = "stopping",
    }

    /// State of a phase.
    PhaseState {
        /// Not begun.
        Pending = "pending",
        /// At work.
        Running = "running",
        /// Its live check passed.
        Done = "done",
        /// Its live check passed once and does not now.
        Degraded = "degraded",
        /// It could not be completed.
        Failed = "failed",
        /// Nothing to do, not asked for, or not in this release; the detail says which.
        Skipped = "skipped",
    }

    /// State of a service.
    ServiceState {
        /// Not begun.
        Pending = "pending",
        /// It answered its live check.
        Ready = "ready",
        /// It does not serve.
        Failed = "failed",
    }

    /// State of a world that another one's spec names.
    PeerState {
        /// It is not there, does not consent, or has not followed yet; nothing passes.
        Pending = "pending",
        /// Both were brought up beside each other.
        Joined = "joined",
    }

    /// State of an operation.
    OperationState {
        /// At work.
        Running = "running",
        /// Undoing what it made.
        Undoing = "undoing",
        /// It did all that was asked.
        Done = "done",
        /// It failed; what it made is undone.
        Failed = "failed",
        /// It was cancelled; what it made is undone.
        Cancelled = "cancelled",
    }

    /// Class of a problem; the HTTP status in brackets.
    ProblemKind {
        /// Malformed request (400).
        Usage = "usage",
        /// The spec is wrong (422).
        Spec = "spec",
        /// Absent, or not the caller's (404).
        NotFound = "not_found",
        /// Permission, or a change that is not allowed (403).
        Refused = "refused",
        /// A quota is reached (429).
        Quota = "quota",
        /// A confirmation is missing or wrong (412).
        Confirmation = "confirmation",
        /// Another operation is at work on the world (409).
        Conflict = "conflict",
        /// The operation failed (500).
        Failed = "failed",
        /// rootd, the database or a worldd cannot be reached or used (503).
        Engine = "engine",
    }
}

impl ProblemKind {
    /// The HTTP status code of a response with this problem.
    pub const fn status(self) -> u16 {
        match self {
            ProblemKind::Usage => 400,
            ProblemKind::Refused => 403,
            ProblemKind::NotFound => 404,
            ProblemKind::Conflict => 409,
            ProblemKind::Confirmation => 412,
            ProblemKind::Spec => 422,
            ProblemKind::Quota => 429,
            ProblemKind::Failed => 500,
            ProblemKind::Engine => 503,
        }
    }

    /// The CLI's exit code: 1 failed, 2 bad usage or spec, 3 refused, 4 daemon or engine fault.
    pub const fn exit_code(self) -> u8 {
        match self {
            ProblemKind::Failed | ProblemKind::NotFound | ProblemKind::Conflict => 1,
            ProblemKind::Usage | ProblemKind::Spec => 2,
            ProblemKind::Refused | ProblemKind::Quota | ProblemKind::Confirmation => 3,
            ProblemKind::Engine => 4,
        }
    }
}
