//! The frames between userd and a worldd, a gateway's services or a prober, over a Unix socket in that world's run directory.
//!
//! Each frame is a 4-byte big-endian length and one JSON value, at most [`crate::limits::CONTROL_BYTES`]. The peer that
//! accepts checks the other's uid before it reads. Each request gets exactly one reply, in order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{
    names::{AndName, OrgName},
    net::{IfName, Mac},
    trust::{Credential, DelegationSigner, Secret, Trust},
};

/// Version of this interface; a worldd started by an older release keeps serving and says so.
pub const CONTROL_VERSION: u16 = 4;

/// What userd asks of a worldd, a gateway's services or a prober.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "request", content = "data")]
pub enum ControlRequest {
    /// Who are you?
    Hello,
    /// Serve this, and only this. Idempotent; answered as `Summary` is, when the services serve or have failed (worldd, gateway).
    Apply(Box<Desired>),
    /// How is each service?
    Health,
    /// Which services do not serve? Answered by a [`Health`] with these alone, and without what is for other worlds.
    Summary,
    /// Run these live checks from where you are (prober only).
    Probe(ProbeRequest),
    /// The certificates that were issued, newest first (worldd only).
    Certificates {
        /// Only those issued before the one with this serial number.
        before: Option<String>,
    },
    /// One certificate by its serial number, hexadecimal (worldd only).
    Certificate(String),
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
        /// `worldd`, `gateway` or `prober`.
        role: String,
    },
    /// To `Apply`, `Health` and `Summary`.
    Health(Health),
    /// To `Probe`, one result per probe, in order.
    Probed(Vec<ProbeResult>),
    /// To `Certificates`, at most [`crate::limits::CERTIFICATES_LISTED`].
    Certificates(Vec<CertificateSummary>),
    /// To `Certificate`; `None` when there is none of that serial number.
    Certificate(Option<IssuedCertificate>),
    /// To `Stop`.
    Stopping,
    /// The request cannot be served here, in words for people.
    Refused(String),
}

/// What a worldd, or a gateway's services, are to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// A name for exactly this state, made by userd from all that follows; [`Health::revision`] repeats it.
    pub revision: String,
    /// The world's name, for logs.
    pub world: String,
    /// The time service; `None` serves no time (worldd only).
    pub ntp: Option<NtpService>,
    /// The world's spec, checked and complete, as JSON; `None` serves nothing of it.
    pub spec: Option<String>,
    /// Services of later phases than this are not wanted.
    pub up_to: u8,
    /// Hosts beside those of the spec that have a name in the world.
    pub hosts: Vec<NamedHost>,
    /// Secrets of accounts, clients and keys (worldd only).
    pub credentials: Vec<Credential>,
    /// What the world's resolver trusts (gateway only: worldd is where it comes from).
    pub trust: Trust,
    /// The Administrative Network Domains with their networks: worldd names their hosts, the gateway tells hosts their
    /// addresses.
    #[serde(default)]
    pub ands: Vec<AndNetwork>,
    /// Zones of other worlds, which this one's name servers delegate to theirs.
    #[serde(default)]
    pub delegations: Vec<Delegation>,
    /// Issuers of worlds that this one is federated with (worldd only).
    #[serde(default)]
    pub issuers: Vec<IssuerKeys>,
}

/// An OpenID issuer and its public keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerKeys {
    /// The issuer, a URL.
    pub issuer: String,
    /// Its key set (RFC 7517, section 5) as JSON.
    pub keys: String,
}

/// A zone and the name servers of the world it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// The zone, absolute, without the final dot.
    pub zone: String,
    /// Its primary name server's name with each of its addresses.
    pub servers: Vec<NamedHost>,
    /// Its keys as DS records; empty when it is not signed.
    pub ds: Vec<DelegationSigner>,
}

/// An Administrative Network Domain as it stands in a world's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AndNetwork {
    /// Its name.
    pub name: AndName,
    /// The organisation it belongs to.
    pub org: OrgName,
    /// Its profile.
    pub profile: String,
    /// Its bridge in the router.
    pub link: IfName,
    /// Its network, as leased.
    pub subnet: Ipv4Net,
    /// The router's address in it.
    pub router: Ipv4Addr,
    /// Its IPv6 network (a /64) with the router's address in it, where the world has IPv6.
    pub v6: Option<(Ipv6Net, Ipv6Addr)>,
    /// The zone of its hosts, absolute, without the final dot.
    pub suffix: Option<String>,
    /// Whether its addresses have names (reverse zones).
    pub has_reverse: bool,
    /// How its hosts get addresses; `None` tells them none.
    pub dhcp: Option<DhcpService>,
    /// Its hosts.
    pub hosts: Vec<AndHost>,
}

/// A DHCP server's duties on one link (RFC 2131).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpService {
    /// How long a lease lasts, seconds; at least 60.
    pub lease_s: u32,
    /// Option 6 (RFC 2132, section 3.8).
    pub name_servers: Vec<Ipv4Addr>,
    /// Option 42 (RFC 2132, section 8.3).
    pub ntp_servers: Vec<Ipv4Addr>,
}

/// A host of an AND.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AndHost {
    /// Its name, one label.
    pub name: String,
    /// Its MAC address, which its DHCP lease goes by.
    pub mac: Mac,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
}

/// A host with a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NamedHost {
    /// Its name; without a dot it is a name in the platform zone.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
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

/// What is served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// [`Desired::revision`] of the state last applied; empty before the first.
    pub revision: String,
    /// Each service at each address.
    pub services: Vec<ServiceHealth>,
    /// What the world's clients are to trust (worldd only).
    pub trust: Trust,
    /// The zones that name servers of other worlds may be delegated (worldd only).
    #[serde(default)]
    pub zones: Vec<Delegation>,
    /// The world's OpenID issuers (worldd only).
    #[serde(default)]
    pub issuers: Vec<IssuerKeys>,
}

/// How one service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHealth {
    /// The service: `ntp`, `dns`, `resolver`, `acme`, `oidc-platform`, `oidc-inworld`, `registry`, `domainreg`, `registrar`,
    /// `whois`, `api`, ...
    pub name: String,
    /// The phase it belongs to.
    pub phase: u8,
    /// Where it listens.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Whether it serves.
    pub serving: bool,
    /// Why not, or figures such as requests served.
    pub detail: String,
}

/// Live checks and what they need to know of the world.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// What the checks trust.
    pub trust: Trust,
    /// Where they resolve names, port 53.
    pub resolvers: Vec<IpAddr>,
    /// The checks, at most [`crate::limits::PROBES`]; they run at the same time.
    pub probes: Vec<TimedProbe>,
}

/// A live check and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedProbe {
    /// How long it may take, milliseconds; at most [`crate::limits::PROBE_TIME`].
    pub timeout_ms: u32,
    /// The check.
    pub probe: Probe,
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
    },
    /// Ask a name server for the addresses of a name, or for the name of an address, and compare.
    Dns {
        /// The server, port 53.
        server: IpAddr,
        /// The question's name, absolute, without the final dot.
        name: String,
        /// The question's type: `A`, `AAAA`, `PTR`, `SOA`, `NS`, `DNSKEY`, ...
        rtype: String,
        /// The data that the answer must hold, in presentation form, in any order; empty for any answer with data.
        expect: Vec<String>,
        /// Whether the answer must come validated (AD, RFC 4035, section 3.2.3).
        validated: bool,
    },
    /// Transfer a zone (RFC 5936) and compare it with the SOA record that the server answers over UDP.
    Transfer {
        /// The server, port 53.
        server: IpAddr,
        /// The zone, without the final dot; `.` for the root.
        zone: String,
        /// The TSIG key's name and its secret, base64, HMAC-SHA256.
        key: (String, Secret),
    },
    /// Fetch `https://NAME/PATH` with the world's trust and no other, and want this status.
    Https {
        /// The name, resolved by the world's resolver; after a colon its port, if it is not 443.
        name: String,
        /// The path, with its leading slash.
        path: String,
        /// The status wanted.
        status: u16,
    },
    /// Get a certificate for a name of this host by http-01 (RFC 8555), verify its chain, and revoke it.
    Acme {
        /// The directory's address.
        directory: String,
        /// The name, which must lead to this host; port 80 of this host must be free.
        name: String,
        /// The key of the account, P-256, PKCS #8, base64: the account is made unless it is there. Absent: a new one, which
        /// is deactivated in the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<Secret>,
    },
    /// Get a token by client credentials and verify it with the keys that the issuer publishes.
    Token {
        /// The issuer.
        issuer: String,
        /// The client.
        client_id: String,
        /// Its secret.
        secret: Secret,
    },
    /// Ask a WHOIS server (RFC 3912).
    Whois {
        /// The server.
        address: IpAddr,
        /// Its port.
        port: u16,
        /// The line asked.
        query: String,
        /// What the answer must contain.
        expect: String,
    },
    /// Ask an RDAP server (RFC 9082) and want an object of a class (RFC 9083, section 5).
    Rdap {
        /// The address asked.
        url: String,
        /// `objectClassName` of the answer, or empty for an answer without one such as `help`.
        class: String,
    },
}

/// What a live check saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeResult {
    /// Whether the service answered as it must.
    pub passed: bool,
    /// What kind of thing is wrong, when it is known.
    pub fault: Option<Fault>,
    /// What was seen, or what went wrong, in words for people.
    pub detail: String,
    /// How long it took, microseconds.
    pub micros: u64,
}

/// What can be wrong with a service, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing answers there: refused, or no answer in time.
    ServiceStopped,
    /// The answer is not what the world's plan says.
    WrongAnswer,
    /// A name does not resolve, or to something else than planned.
    WrongRecord,
    /// The answer could not be validated (DNSSEC).
    NotValidated,
    /// A certificate is over its time.
    CertificateExpired,
    /// A certificate is not one of the world's, or of another name.
    CertificateUntrusted,
    /// A token is signed with a key that is not served.
    KeyNotServed,
    /// The service cannot write.
    DiskFull,
    /// An object of the network is missing or differs.
    LinkRemoved,
    /// The server answered with an error of its own.
    Refused,
}

/// A certificate in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSummary {
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

/// A certificate as it was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// What the list says of it.
    pub summary: CertificateSummary,
    /// The chain, PEM, leaf first, without the root.
    pub chain: String,
}
