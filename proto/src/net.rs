//! Link names, MAC addresses, interface addresses, ports.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::IF_NAME_BYTES;

/// Why a text is not a link name of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not `ne` followed by 1 to 13 of a-z and 0-9")]
pub struct IfNameError;

/// A Linux interface name this product may create.
///
/// Starts with `ne`, then 1 to 13 of `[a-z0-9]`. No `%`: the kernel would treat it as a template and pick the number
/// itself, and a later delete would hit a name we never made (net/core/dev.c, `dev_alloc_name`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct IfName(String);

impl IfName {
    /// Parses a link name.
    ///
    /// # Errors
    /// [`IfNameError`] when the text is outside the grammar.
    pub fn parse(text: &str) -> Result<Self, IfNameError> {
        let rest = text.strip_prefix("ne").ok_or(IfNameError)?;
        let fits = !rest.is_empty() && text.len() <= IF_NAME_BYTES;
        let clean = rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if fits && clean { Ok(Self(text.to_owned())) } else { Err(IfNameError) }
    }

    /// `ne<kind><number>`, for example `nebr0`; `kind` is one to five lower-case letters of ours.
    pub fn numbered(kind: &'static str, number: u16) -> Self {
        Self::parse(&format!("ne{kind}{number}")).expect("a short kind and a 16-bit number fit the grammar")
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for IfName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A locally administered unicast MAC address (IEEE 802: bit 1 of the first octet set, bit 0 clear).
///
/// Only such addresses can be built, so a world cannot take a vendor's address by accident.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address made of these octets, with the two administrative bits forced.
    pub const fn local(mut octets: [u8; 6]) -> Self {
        octets[0] = (octets[0] & 0xfc) | 0x02;
        Self(octets)
    }

    /// The six octets, most significant first.
    pub const fn octets(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let octets = <[u8; 6]>::deserialize(deserializer)?;
        if octets[0] & 0x03 == 0x02 {
            Ok(Self(octets))
        } else {
            Err(serde::de::Error::custom("is not a locally administered unicast MAC address"))
        }
    }
}

/// Why an address cannot be given to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IfAddrError {
    /// Loopback, link-local, multicast, unspecified or broadcast.
    #[error("{0} is loopback, link-local, multicast, broadcast or unspecified")]
    Special(IpAddr),
    /// A prefix so short that the world would own most of the address space.
    #[error("/{0} is too short a prefix (the shortest is /8 for IPv4, /16 for IPv6)")]
    TooShort(u8),
}

/// An interface address with its prefix length, IPv4 or IPv6, fit for a host.
///
/// Never loopback (127/8, ::1), link-local (169.254/16, fe80::/10), multicast, broadcast or unspecified; prefix at
/// least /8 (IPv4) or /16 (IPv6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct IfAddr(IpNet);

impl IfAddr {
    /// Checks and wraps an address with its prefix.
    ///
    /// # Errors
    /// [`IfAddrError`] when the address is special or the prefix too short.
    pub fn new(net: IpNet) -> Result<Self, IfAddrError> {
        let (special, shortest) = match net.addr() {
            IpAddr::V4(v4) => {
                let special = v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast();
                (special || v4.octets()[0] == 0 || v4.octets()[0] >= 240, 8)
            }
            IpAddr::V6(v6) => {
                let special = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast();
                (special || v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(), 16)
            }
        };
        if special {
            Err(IfAddrError::Special(net.addr()))
        } else if net.prefix_len() < shortest {
            Err(IfAddrError::TooShort(net.prefix_len()))
        } else {
            Ok(Self(net))
        }
    }

    /// The address alone.
    pub fn addr(&self) -> IpAddr {
        self.0.addr()
    }

    /// The address with its prefix.
    pub fn net(&self) -> IpNet {
        self.0
    }
}

impl fmt::Display for IfAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for IfAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for IfAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let net = IpNet::deserialize(deserializer)?;
        Self::new(net).map_err(serde::de::Error::custom)
    }
}

/// A TCP or UDP port, 1 to 65535.
pub type Port = std::num::NonZeroU16;

/// A transport protocol that a rule or a service names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_names_are_never_templates_or_the_hosts() {
        for bad in [
            "",
            "ne",
            "eth0",
            "docker0",
            "vx%d",
            "ne%d",
            "ne%s",
            "ne%n",
            "ne/x",
            "ne x",
            "neX",
            "ne-1",
            "ne1234567890abcd",
            "né1",
        ] {
            assert!(IfName::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(IfName::numbered("br", 65_535).as_str(), "nebr65535");
    }

    #[test]
    fn special_addresses_are_never_given_to_a_link() {
        for bad in [
            "127.0.0.1/8",
            "169.254.169.254/16",
            "224.0.0.1/24",
            "0.0.0.0/8",
            "255.255.255.255/32",
            "10.0.0.1/0",
            "::1/128",
            "fe80::1/64",
            "ff02::1/64",
            "::/0",
            "2001:db8::1/8",
            "::ffff:10.0.0.1/96",
        ] {
            assert!(IfAddr::new(bad.parse().expect("an address")).is_err(), "{bad} was accepted");
        }
        for good in ["10.0.0.1/24", "172.28.0.1/16", "fd00:1::1/64", "192.0.2.1/32"] {
            assert!(IfAddr::new(good.parse().expect("an address")).is_ok(), "{good} was refused");
        }
    }
}
