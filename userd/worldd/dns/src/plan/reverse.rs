//! Names of addresses (RFC 1035, section 3.5; RFC 3596, section 2.5).

use std::{fmt::Write, net::IpAddr};

use ipnet::IpNet;

/// The name that holds the PTR record of an address, without the final dot.
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => labels(&v4.octets(), 4, 8),
        IpAddr::V6(v6) => labels(&v6.octets(), 32, 4),
    }
}

/// The reverse zone of a network: the smallest on a label's boundary that holds it, at most a /24 or a /64 small.
pub fn reverse_zone(network: IpNet) -> String {
    match network {
        IpNet::V4(v4) => labels(&v4.network().octets(), usize::from(v4.prefix_len().min(24) / 8), 8),
        IpNet::V6(v6) => labels(&v6.network().octets(), usize::from(v6.prefix_len().min(64) / 4), 4),
    }
}

/// The first `count` units of an address, last first, below its family's zone.
fn labels(octets: &[u8], count: usize, bits: usize) -> String {
    let mut name = String::new();
    for unit in (0..count).rev() {
        // Writing to a String does not fail.
        let _ = match bits {
            8 => write!(name, "{}.", octets[unit]),
            _ => write!(name, "{:x}.", octets[unit / 2] >> (4 * (1 - unit % 2)) & 15),
        };
    }
    name + if bits == 8 { "in-addr.arpa" } else { "ip6.arpa" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_have_the_names_of_the_rfcs() {
        let name = |text: &str| reverse_name(text.parse().expect("an address"));
        let zone = |text: &str| reverse_zone(text.parse().expect("a network"));
        assert_eq!(name("10.0.2.52"), "52.2.0.10.in-addr.arpa");
        assert_eq!(
            name("4321:0:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"
        );
        assert_eq!(zone("172.28.0.0/16"), "28.172.in-addr.arpa");
        assert_eq!(zone("10.0.16.0/20"), "0.10.in-addr.arpa");
        assert_eq!(zone("10.1.2.128/25"), "2.1.10.in-addr.arpa");
        assert_eq!(zone("0.0.0.0/0"), "in-addr.arpa");
        assert_eq!(zone("fd00:1::/32"), "1.0.0.0.0.0.d.f.ip6.arpa");
    }
}
