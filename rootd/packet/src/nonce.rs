//! The number by which a packet is known again.

use std::fmt;

/// The nonce of a packet: IPv4's identification, the lower 16 bits; IPv6's flow label, the lower 20 bits (RFC 6437).
///
/// Both fields are carried unchanged by routing, bridging and address translation, take no part in any checksum but
/// IPv4's own header's, and are at the front of every trace message's header bytes and of what an ICMP error quotes. Two packets that differ by their nonce alone are
/// the same packet to rules and to conntrack. Never 0: the kernel sends 0 with packets that it makes itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce(u16);

impl Nonce {
    /// The first nonce.
    pub const FIRST: Self = Self(1);

    /// The nonce of that number; none for 0.
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The one after it; after the last comes the first.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 == u16::MAX { Self::FIRST } else { Self(self.0 + 1) }
    }

    /// As a number.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// As a flow label. Its upper four bits are constant, so that labels the kernel chose are told from ours.
    pub const fn flow_label(self) -> u32 {
        FLOW_LABEL_TAG | self.0 as u32
    }

    /// From a flow label of ours.
    pub const fn from_flow_label(label: u32) -> Option<Self> {
        if label & 0xf_0000 == FLOW_LABEL_TAG { Self::new((label & 0xffff) as u16) } else { None }
    }
}

const FLOW_LABEL_TAG: u32 = 0xe_0000;

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
