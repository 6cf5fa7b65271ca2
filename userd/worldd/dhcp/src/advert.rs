//! Router solicitations and advertisements (RFC 4861, section 4; name servers and domains RFC 8106).
//!
//! The kernel writes the checksum of what leaves a raw ICMPv6 socket and has verified that of what arrives (RFC 3542,
//! section 3.1).

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use crate::message::domain;

const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
/// The hop limit that shows that a message comes from this link (RFC 4861, section 6.1).
pub const HOP_LIMIT: u8 = 255;
/// Seconds between advertisements, at most (RFC 4861, section 6.2.1: 4 to 1800).
pub const INTERVAL_S: u32 = 200;
/// Seconds for which the router is one: three times the interval.
const ROUTER_S: u16 = 600;
/// Seconds for which addresses of the prefix are valid, and preferred.
const PREFIX_S: (u32, u32) = (7200, 3600);
/// Most name servers that are told.
const SERVERS: usize = 8;

/// What a link is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    /// The prefix that hosts make addresses in.
    pub prefix: Ipv6Net,
    /// Name servers.
    pub name_servers: Vec<Ipv6Addr>,
    /// The domain of its hosts, without the final dot.
    pub domain: Option<String>,
}

/// Whether these bytes, which came with this hop limit, are a router solicitation (RFC 4861, section 6.1.1).
pub fn is_solicitation(bytes: &[u8], hop_limit: u8) -> bool {
    let [SOLICITATION, 0, _, _, _, _, _, _, options @ ..] = bytes else { return false };
    hop_limit == HOP_LIMIT && are_options(options)
}

/// Each option has a length, in units of 8 bytes, that is not 0 and ends with the message.
fn are_options(mut bytes: &[u8]) -> bool {
    while let [_, length, ..] = *bytes {
        let length = usize::from(length) * 8;
        if length == 0 || length > bytes.len() {
            return false;
        }
        bytes = &bytes[length..];
    }
    bytes.is_empty()
}

impl Advert {
    /// The message, with 0 in the place of its checksum.
    pub fn write(&self) -> Vec<u8> {
        // Hop limit 64; neither managed nor other configuration: there is no DHCPv6.
        let mut bytes = vec![ADVERTISEMENT, 0, 0, 0, 64, 0];
        bytes.extend(ROUTER_S.to_be_bytes());
        // Reachable time and retransmission timer: unspecified.
        bytes.extend([0; 8]);
        self.prefix_option(&mut bytes);
        self.server_option(&mut bytes);
        self.domain_option(&mut bytes);
        bytes
    }

    /// The same from a router that ends: it is the default route of nobody, and tells no names (RFC 4861, section 6.2.5).
    pub fn farewell() -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes[0] = ADVERTISEMENT;
        bytes[4] = 64;
        bytes
    }

    /// On link, and for addresses that hosts make (RFC 4861, section 4.6.2).
    fn prefix_option(&self, bytes: &mut Vec<u8>) {
        bytes.extend([3, 4, self.prefix.prefix_len(), 0xc0]);
        bytes.extend(PREFIX_S.0.to_be_bytes());
        bytes.extend(PREFIX_S.1.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.prefix.network().octets());
    }

    /// RFC 8106, section 5.1.
    fn server_option(&self, bytes: &mut Vec<u8>) {
        let servers: Vec<_> = self.name_servers.iter().take(SERVERS).collect();
        if servers.is_empty() {
            return;
        }
        bytes.extend([25, 1 + 2 * servers.len() as u8, 0, 0]);
        bytes.extend(u32::from(ROUTER_S).to_be_bytes());
        bytes.extend(servers.iter().flat_map(|server| server.octets()));
    }

    /// RFC 8106, section 5.2.
    fn domain_option(&self, bytes: &mut Vec<u8>) {
        let Some(mut wire) = self.domain.as_deref().and_then(domain) else { return };
        wire.resize(wire.len().next_multiple_of(8), 0);
        bytes.extend([31, 1 + (wire.len() / 8) as u8, 0, 0]);
        bytes.extend(u32::from(ROUTER_S).to_be_bytes());
        bytes.extend(wire);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advert() -> Advert {
        Advert {
            prefix: "fd00:1:2:3::/64".parse().expect("a network"),
            name_servers: vec!["fd00::53".parse().expect("an address")],
            domain: Some("blue.internal".to_owned()),
        }
    }

    #[test]
    fn an_advertisement_has_prefix_servers_and_domain_in_options_of_right_lengths() {
        let bytes = advert().write();
        assert_eq!(bytes[..8], [134, 0, 0, 0, 64, 0, 2, 88]);
        assert!(are_options(&bytes[16..]));
        assert_eq!(bytes[16..20], [3, 4, 64, 0xc0]);
        assert_eq!(bytes[32..48], "fd00:1:2:3::".parse::<Ipv6Addr>().expect("an address").octets());
        assert_eq!(bytes[48..52], [25, 3, 0, 0]);
        assert_eq!(bytes[72..76], [31, 3, 0, 0]);
        assert_eq!(&bytes[80..], b"\x04blue\x08internal\0\0");
        let bare = Advert { name_servers: Vec::new(), domain: None, ..advert() }.write();
        assert_eq!(bare.len(), 48);
        assert_eq!(Advert::farewell()[6..8], [0, 0]);
    }

    #[test]
    fn only_a_whole_solicitation_from_this_link_is_one() {
        let plain = [133, 0, 1, 2, 0, 0, 0, 0];
        let with_address = [&plain[..], &[1, 1, 2, 0, 0, 0, 0, 1]].concat();
        assert!(is_solicitation(&plain, 255) && is_solicitation(&with_address, 255));
        assert!(!is_solicitation(&plain, 254), "it came through a router");
        assert!(!is_solicitation(&plain[..7], 255), "short");
        assert!(!is_solicitation(&[&plain[..], &[1, 0, 2, 0, 0, 0, 0, 1]].concat(), 255), "an option of length 0");
        assert!(!is_solicitation(&[&plain[..], &[1, 2, 2, 0, 0, 0, 0, 1]].concat(), 255), "an option past the end");
        assert!(!is_solicitation(&[&plain[..], &[1]].concat(), 255), "half an option");
        assert!(!is_solicitation(&[134, 0, 1, 2, 0, 0, 0, 0], 255), "an advertisement");
        assert!(!is_solicitation(&[133, 1, 1, 2, 0, 0, 0, 0], 255), "another code");
    }
}
