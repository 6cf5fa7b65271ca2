//! Messages (RFC 1035, section 4): reading what peers sent, writing what we send, EDNS and TSIG.

pub mod edns;
pub mod read;
pub mod tsig;
pub mod write;

/// Bytes of a message's header.
pub const HEADER: usize = 12;
/// Longest message over TCP.
pub const MESSAGE_MAX: usize = 65_535;
/// Longest message over UDP to a peer without EDNS (RFC 1035, section 4.2.1).
pub const UDP_PLAIN: usize = 512;
/// Longest message over UDP that we send, and the size we announce: no fragments (RFC 9715).
pub const UDP_EDNS: usize = 1232;

/// Bits of the header's second 16-bit word.
pub mod flag {
    /// It is a response.
    pub const QR: u16 = 1 << 15;
    /// The answer is authoritative.
    pub const AA: u16 = 1 << 10;
    /// The answer is cut off.
    pub const TC: u16 = 1 << 9;
    /// Recursion is desired.
    pub const RD: u16 = 1 << 8;
    /// Recursion is available.
    pub const RA: u16 = 1 << 7;
    /// The data is authentic (RFC 4035).
    pub const AD: u16 = 1 << 5;
    /// Checking is disabled (RFC 4035).
    pub const CD: u16 = 1 << 4;
}

/// What a message asks for (RFC 6895, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opcode(pub u8);

impl Opcode {
    /// A question.
    pub const QUERY: Self = Self(0);
    /// A zone has changed (RFC 1996).
    pub const NOTIFY: Self = Self(4);
    /// Change a zone (RFC 2136).
    pub const UPDATE: Self = Self(5);
}

/// The outcome (RFC 6895, section 2.3). Above 15 it needs EDNS or TSIG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rcode(pub u16);

impl Rcode {
    /// Done.
    pub const NOERROR: Self = Self(0);
    /// The message could not be understood.
    pub const FORMERR: Self = Self(1);
    /// The server failed.
    pub const SERVFAIL: Self = Self(2);
    /// The name does not exist.
    pub const NXDOMAIN: Self = Self(3);
    /// The kind of message is not served.
    pub const NOTIMP: Self = Self(4);
    /// Not for you, or not from here.
    pub const REFUSED: Self = Self(5);
    /// A name exists that should not (RFC 2136).
    pub const YXDOMAIN: Self = Self(6);
    /// A set exists that should not (RFC 2136).
    pub const YXRRSET: Self = Self(7);
    /// A set does not exist that should (RFC 2136).
    pub const NXRRSET: Self = Self(8);
    /// Not authoritative, or not authorised (RFC 2136, RFC 8945).
    pub const NOTAUTH: Self = Self(9);
    /// A name outside the zone (RFC 2136).
    pub const NOTZONE: Self = Self(10);
    /// The EDNS version is not served.
    pub const BADVERS: Self = Self(16);
}

/// The class of the Internet.
pub const CLASS_IN: u16 = 1;
/// "No class": delete this record, or this set must not exist (RFC 2136).
pub const CLASS_NONE: u16 = 254;
/// "Any class" (RFC 2136; also in queries).
pub const CLASS_ANY: u16 = 255;
