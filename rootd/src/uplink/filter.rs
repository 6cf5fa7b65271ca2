//! Which frames of a world may leave by its uplink. The router's policy has judged them before, inside the world; this is
//! judged outside of it, so that whoever takes a world's router still reaches nothing of the host's own.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
/// Neighbour solicitation and advertisement (RFC 4861).
const NEIGHBOURS: [u8; 2] = [135, 136];

/// What may be reached.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The host's own addresses.
    pub own: HashSet<IpAddr>,
    /// Private networks that an administrator opened.
    pub reach: Vec<IpNet>,
}

impl Filter {
    /// Whether a frame may leave: ARP and neighbour discovery of the link itself, and IP to what may be reached.
    pub fn passes(&self, frame: &[u8]) -> bool {
        let Some((header, body)) = frame.split_at_checked(ETHERNET) else { return false };
        match [header[12], header[13]] {
            ARP => true,
            IPV4 => match body.get(16..20).and_then(|octets| <[u8; 4]>::try_from(octets).ok()) {
                Some(octets) => body[0] >> 4 == 4 && self.reaches(Ipv4Addr::from(octets).into()),
                None => false,
            },
            IPV6 => match body.get(24..40).and_then(|octets| <[u8; 16]>::try_from(octets).ok()) {
                Some(octets) => {
                    let is_discovery = body[6] == ICMPV6 && body.get(40).is_some_and(|kind| NEIGHBOURS.contains(kind));
                    body[0] >> 4 == 6 && (is_discovery || self.reaches(Ipv6Addr::from(octets).into()))
                }
                None => false,
            },
            _ => false,
        }
    }

    /// Whether an address may be reached: never the host itself, its link, or a group; private networks as configured.
    pub fn reaches(&self, to: IpAddr) -> bool {
        if let IpAddr::V6(v6) = to {
            // An IPv4 address in another dress (RFC 4291, 2.5.5; RFC 6052; RFC 3056): judged by nobody behind us.
            let head = v6.segments()[0];
            if v6.to_ipv4().is_some() || head == 0x2002 || (head == 0x64 && v6.segments()[1] == 0xff9b) {
                return false;
            }
        }
        !is_special(to)
            && !self.own.contains(&to)
            && (!is_private(to) || self.reach.iter().any(|net| net.contains(&to)))
    }
}

fn is_special(to: IpAddr) -> bool {
    match to {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0 || v4.octets()[0] >= 224,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

/// RFC 1918, RFC 6598 (shared), RFC 6890 (192.0.0.0/24, where the uplink's own link lies), RFC 2544; RFC 4193 and the
/// old site-local network (RFC 3879).
fn is_private(to: IpAddr) -> bool {
    match to {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private() || (a == 100 && b & 0xc0 == 64) || [a, b, c] == [192, 0, 0] || (a == 198 && b & 0xfe == 18)
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> Filter {
        let own = ["203.0.113.2", "2001:db8::2"].map(|text| text.parse().expect("an address"));
        Filter { own: HashSet::from(own), reach: vec!["10.9.0.0/16".parse().expect("a network")] }
    }

    #[test]
    fn nothing_of_the_hosts_own_is_reached() {
        for (text, wanted) in [
            ("203.0.113.1", true),
            ("203.0.113.2", false),
            ("127.0.0.1", false),
            ("127.255.0.9", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("192.0.0.1", false),
            ("10.8.0.1", false),
            ("10.9.0.1", true),
            ("172.17.0.1", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:203.0.113.1", false),
            ("64:ff9b::7f00:1", false),
            ("2002:7f00:1::", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(filter().reaches(text.parse().expect("an address")), wanted, "{text}");
        }
    }

    #[test]
    fn frames_are_read_with_bounds_and_unknown_kinds_stay() {
        let frame = |kind: [u8; 2], body: &[u8]| [&[0u8; 12][..], &kind, body].concat();
        let mut v4 = [0u8; 20];
        v4[0] = 0x45;
        v4[16..].copy_from_slice(&[203, 0, 113, 1]);
        assert!(filter().passes(&frame(IPV4, &v4)));
        v4[16..].copy_from_slice(&[203, 0, 113, 2]);
        assert!(!filter().passes(&frame(IPV4, &v4)));
        let mut v6 = [0u8; 41];
        v6[0] = 0x60;
        v6[6] = ICMPV6;
        v6[24..26].copy_from_slice(&[0xff, 2]);
        v6[40] = 135;
        assert!(filter().passes(&frame(IPV6, &v6)), "a solicitation");
        v6[40] = 134;
        assert!(!filter().passes(&frame(IPV6, &v6)), "a router advertisement");
        assert!(filter().passes(&frame(ARP, &[0; 28])));
        for length in 0..20 {
            assert!(!filter().passes(&frame(IPV4, &v4[..length])), "{length}");
            assert!(!filter().passes(&frame(IPV4, &[])[..length.min(13)]));
        }
        assert!(!filter().passes(&frame([0x81, 0x00], &[0; 60])), "a tagged frame");
        assert!(!filter().passes(&frame([0x88, 0xcc], &[0; 60])));
    }
}
