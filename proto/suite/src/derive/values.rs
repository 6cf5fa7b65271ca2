//! Ranges of ports and addresses, their edges, and the topologies' own addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Hooks, names};

/// The address of a node of the topology that the hooks need; `target` is the node that packets of a topology aim at.
pub fn address(hooks: Hooks, node: &str, is_v6: bool) -> Option<IpAddr> {
    let (v4, v6) = match (hooks.topology(), node) {
        ("simple", "client") => ("10.0.0.1", "fd00::1"),
        ("simple", _) => ("10.0.0.2", "fd00::2"),
        ("gateway", "client") => ("10.0.1.1", "fd00:1::1"),
        ("gateway", "fw") => ("10.0.1.2", "fd00:1::2"),
        ("gateway", _) => ("10.0.2.2", "fd00:2::2"),
        (_, "client") => ("10.0.3.1", ""),
        _ => ("10.0.3.2", ""),
    };
    if is_v6 { v6 } else { v4 }.parse().ok()
}

/// A port, or a range of them.
pub fn ports(value: &str) -> Option<(u16, u16)> {
    match value.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?))) {
        Some(range) => Some(range),
        None => names::port(value).map(|port| (port, port)),
    }
}

/// An address, a prefix, or a range of addresses.
pub fn addresses(value: &str) -> Option<(IpAddr, IpAddr)> {
    if let Some((first, last)) = value.split_once('-') {
        return Some((first.parse().ok()?, last.parse().ok()?));
    }
    let net: IpNet = value.parse().or_else(|_| value.parse::<IpAddr>().map(IpNet::from)).ok()?;
    Some((net.network(), net.broadcast()))
}

/// The edges of a range, those within before their neighbours.
pub fn port_edges((first, last): (u16, u16)) -> Vec<u16> {
    let all = [Some(first), Some(last), first.checked_sub(1), last.checked_add(1)];
    all.into_iter().flatten().filter(|port| *port != 0).collect()
}

/// As [`port_edges`], of those addresses that a host may have.
pub fn address_edges((first, last): (IpAddr, IpAddr)) -> Vec<IpAddr> {
    let usable = |address: &IpAddr| {
        let reserved = address.is_unspecified() || address.is_multicast() || address.is_loopback();
        !reserved && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
    };
    let all = [Some(first), Some(last), step(first, false), step(last, true)];
    all.into_iter().flatten().filter(usable).collect()
}

fn step(address: IpAddr, up: bool) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => {
            let number = u32::from(v4);
            let next = if up { number.checked_add(1) } else { number.checked_sub(1) }?;
            Some(Ipv4Addr::from(next).into())
        }
        IpAddr::V6(v6) => {
            let number = u128::from(v6);
            let next = if up { number.checked_add(1) } else { number.checked_sub(1) }?;
            Some(Ipv6Addr::from(next).into())
        }
    }
}
