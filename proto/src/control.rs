//! The frames between userd and a worldd or prober, over a Unix socket in that world's run directory.
//!
//! Each frame is a 4-byte big-endian length and one JSON value, at most [`crate::limits::CONTROL_BYTES`]. The peer that
//! accepts checks the other's uid before it reads. Each request gets exactly one reply, in order.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Version of this interface; a worldd started by an older release keeps serving and says so.
pub const CONTROL_VERSION: u16 = 1;

/// What userd asks of a worldd or prober.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request", content = "data")]
pub enum ControlRequest {
    /// Who are you?
    Hello,
    /// Serve this, and only this. Idempotent; answered when the sockets are bound or have failed.
    Apply(Desired),
    /// How is each service?
    Health,
    /// Run these live checks from where you are (prober only).
    Probe(Vec<Probe>),
    /// Stop serving and exit with status 0.
    Stop,
}

/// The answers, each to its request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reply", content = "data")]
pub enum ControlReply {
    /// To `Hello`.
    Hello {
        /// [`CONTROL_VERSION`] of the peer.
        version: u16,
        /// Package version of the peer.
        release: String,
        /// `worldd` or `prober`.
        role: String,
    },
    /// To `Apply` and `Health`.
    Health(Vec<ServiceHealth>),
    /// To `Probe`, one result per probe, in order.
    Probed(Vec<ProbeResult>),
    /// To `Stop`.
    Stopping,
    /// The request cannot be served here, in words for people.
    Refused(String),
}

/// What a worldd is to serve.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The world's name, for logs.
    pub world: String,
    /// The time service; `None` serves no time.
    pub ntp: Option<NtpService>,
}

/// The NTPv4 server (RFC 5905).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NtpService {
    /// Local addresses to listen on, IPv4 and IPv6, port 123.
    pub addresses: Vec<IpAddr>,
    /// The port; 123 except in tests.
    pub port: u16,
    /// The stratum to announce, 1 to 15.
    pub stratum: u8,
    /// Requests per second that one source may send on average before it gets kiss-o'-death RATE.
    pub rate_per_source: u32,
}

/// How one service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHealth {
    /// The service, for example `ntp`.
    pub name: String,
    /// Where it listens.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Whether it serves.
    pub serving: bool,
    /// Why not, or figures such as requests served.
    pub detail: String,
}

/// A live check by a real client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "probe")]
pub enum Probe {
    /// Ask an NTP server the time and check the answer (RFC 5905: mode 4, our origin timestamp, stratum 1 to 15).
    Ntp {
        /// The server.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// How long to wait, milliseconds.
        timeout_ms: u32,
    },
}

/// What a live check saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// Whether the service answered as it must.
    pub passed: bool,
    /// What was seen, or what went wrong, in words for people.
    pub detail: String,
    /// How long it took, microseconds.
    pub micros: u64,
}
