//! The frames of a proof. Their shapes are fixed: who asks for one chooses among a node's own addresses, ports and a closed
//! list of claims.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netengine_lab_proto::{Bytes, PacketSpec, Transport};
use netengine_packet::{
    build::{Ether, frames},
    nonce::Nonce,
};
use netengine_proto::{
    bounded::Bounded,
    root::{Claim, ProbeKind},
};

use crate::{
    netlink::policy::link_local,
    sys::packet::{DSCP, TAG},
};

/// A MAC address that no node has: of the local kind, and outside of what the plans of worlds use.
const STRANGER_MAC: [u8; 6] = [0x06, 0x4e, 0x45, 0x00, 0x00, 0x01];
/// The least that Ethernet carries (IEEE 802.3).
const LEAST: usize = 60;
const ARP: u16 = 0x0806;
/// For experiments (IEEE 802, local experimental EtherType 1).
const EXPERIMENTAL: u16 = 0x88b5;
/// Source and destination port of a datagram that only its addresses make remarkable: discard (RFC 863).
const DISCARD: u16 = 9;

/// The frame of an honest flow's first packet; `None` when it cannot be built, or for a claim.
pub(super) fn flow(
    src: IpAddr,
    dst: IpAddr,
    kind: ProbeKind,
    port: u16,
    ether: Ether,
    nonce: Nonce,
) -> Option<Vec<u8>> {
    const SYN: u8 = 2;
    let transport = match kind {
        ProbeKind::Tcp(to) => Transport::Tcp {
            src_port: port,
            dst_port: to.get(),
            flags: SYN,
            seq: None,
            ack: None,
            window: None,
            options: Default::default(),
        },
        ProbeKind::Udp(to) => Transport::Udp { src_port: port, dst_port: to.get() },
        // Echo requests (RFC 792, RFC 4443).
        ProbeKind::Icmp => {
            let [high, low] = port.to_be_bytes();
            Transport::Icmp { kind: if src.is_ipv4() { 8 } else { 128 }, code: 0, rest: Some([high, low, 0, 1]) }
        }
        ProbeKind::Claim(_) => return None,
    };
    ip(src, dst, transport, Vec::new(), ether, nonce)
}

fn ip(src: IpAddr, dst: IpAddr, transport: Transport, payload: Vec<u8>, ether: Ether, nonce: Nonce) -> Option<Vec<u8>> {
    let packet = PacketSpec {
        src,
        dst,
        transport,
        payload: Bytes::new(payload).ok()?,
        ttl: None,
        dscp: DSCP,
        ecn: 0,
        dont_fragment: false,
        mark: None,
        vlan: None,
        fragmentation: None,
        ip_options: Default::default(),
        extension_headers: Bounded::default(),
        src_mac: None,
        dst_mac: None,
    };
    frames(&packet, ether, nonce).ok()?.pop()
}

/// Who speaks, and of whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// From the node to its router.
    pub ether: Ether,
    /// The node's address.
    pub own: IpAddr,
    /// The router's.
    pub router: IpAddr,
    /// An address of the network that is nobody's.
    pub stranger: IpAddr,
}

/// The frame of a claim; `None` when there is none of this family.
pub(super) fn claim(claim: Claim, setting: Setting, nonce: Nonce) -> Option<Vec<u8>> {
    let Setting { ether, own, router, stranger } = setting;
    if !claim.is_of(own.is_ipv4()) {
        return None;
    }
    let datagram = |src, from: u16, to: u16, payload, ether| {
        ip(src, router, Transport::Udp { src_port: from, dst_port: to }, payload, ether, nonce)
    };
    let unsaid = Ether { src: STRANGER_MAC, ..ether };
    // The ports of DHCP's servers and clients (RFC 2131, 4.1; RFC 8415, 7.2).
    let (server, client) = if own.is_ipv4() { (67, 68) } else { (547, 546) };
    match claim {
        Claim::Address => return datagram(stranger, DISCARD, DISCARD, Vec::new(), ether),
        Claim::Mac => return datagram(own, DISCARD, DISCARD, Vec::new(), unsaid),
        Claim::DhcpServer => return datagram(own, server, DISCARD, Vec::new(), ether),
        Claim::DhcpClient => return datagram(own, DISCARD, client, Vec::new(), ether),
        _ => {}
    }
    match (own, router) {
        (IpAddr::V4(own), IpAddr::V4(router)) => {
            let none = Ipv4Addr::UNSPECIFIED;
            let arp = |operation, mac, address, of| Some(tagged(ARP, arp(operation, mac, address, of), ether, nonce));
            const REQUEST: u8 = 1;
            const REPLY: u8 = 2;
            match claim {
                Claim::Arp => arp(REQUEST, ether.src, own, router),
                Claim::ArpProbe => arp(REQUEST, ether.src, none, own),
                Claim::RouterArp => arp(REPLY, ether.src, router, router),
                Claim::ArpMac => arp(REPLY, STRANGER_MAC, own, router),
                Claim::Protocol => Some(tagged(EXPERIMENTAL, Vec::new(), ether, nonce)),
                Claim::Dhcp => datagram(none.into(), client, server, dhcp(ether.src), ether),
                Claim::DhcpMac => datagram(own.into(), client, server, dhcp(STRANGER_MAC), ether),
                _ => None,
            }
        }
        (IpAddr::V6(own), IpAddr::V6(router)) => {
            let message = |src: Ipv6Addr, kind, rest, body| {
                ip(src.into(), router.into(), Transport::Icmp { kind, code: 0, rest: Some(rest) }, body, ether, nonce)
            };
            let (local, none) = (link_local(ether.src), Ipv6Addr::UNSPECIFIED);
            let option = |kind: u8, mac: [u8; 6]| [&[kind, 1][..], &mac].concat();
            let about = |target: Ipv6Addr, option: Vec<u8>| [&target.octets()[..], &option].concat();
            match claim {
                // Types of messages: RFC 4861, section 4; RFC 2710, section 3; RFC 3810, section 5.
                Claim::Detection => message(none, 135, [0; 4], about(own, Vec::new())),
                // As detection of its own address, which is let through without the option.
                Claim::SolicitationMac => message(none, 135, [0; 4], about(own, option(1, STRANGER_MAC))),
                // Solicited, override.
                Claim::Neighbour => message(own, 136, [0x60, 0, 0, 0], about(router, option(2, ether.src))),
                Claim::NeighbourMac => message(own, 136, [0x60, 0, 0, 0], about(own, option(2, STRANGER_MAC))),
                Claim::RouterAdvertisement => message(local, 134, [64, 0, 0, 0], vec![0; 8]),
                Claim::Redirect => message(local, 137, [0; 4], about(own, router.octets().to_vec())),
                Claim::Query => message(local, 130, [0; 4], vec![0; 16]),
                Claim::Report => message(none, 143, [0; 4], Vec::new()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// An ARP packet (RFC 826).
fn arp(operation: u8, mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, operation];
    [&fixed[..], &mac, &sender.octets(), &[0; 6], &target.octets()].concat()
}

/// The begin of a request to DHCP servers (RFC 2131, section 2), without the cookie that would make it one.
fn dhcp(mac: [u8; 6]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[28..34].copy_from_slice(&mac);
    bytes
}

fn tagged(protocol: u16, mut body: Vec<u8>, ether: Ether, nonce: Nonce) -> Vec<u8> {
    body.resize(crate::sys::packet::TAG_OFFSET, 0);
    let mut frame = [ether.dst, ether.src].concat();
    frame.extend(protocol.to_be_bytes());
    frame.extend(body);
    frame.extend(TAG);
    frame.extend(nonce.number().to_be_bytes());
    frame.resize(LEAST.max(frame.len()), 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_claim_has_a_frame_of_its_family_and_no_other() {
        let ether = Ether { src: [2, 0, 0, 0, 0, 2], dst: [2, 0, 0, 0, 0, 1] };
        let setting = |net: &str| {
            let address = |last: &str| format!("{net}{last}").parse().expect("an address");
            Setting { ether, own: address("a"), router: address("1"), stranger: address("77") }
        };
        let v4 = Setting {
            ether,
            own: [10, 0, 0, 10].into(),
            router: [10, 0, 0, 1].into(),
            stranger: [10, 0, 0, 77].into(),
        };
        let mut seen = std::collections::BTreeSet::new();
        for said in Claim::ALL {
            for setting in [v4, setting("fd00::")] {
                let frame = claim(said, setting, Nonce::FIRST);
                assert_eq!(frame.is_some(), said.is_of(setting.own.is_ipv4()), "{said:?}");
                let Some(frame) = frame else { continue };
                assert_eq!(&frame[..6], &ether.dst, "{said:?} goes to the router alone");
                assert!(seen.insert(frame), "{said:?} is another's frame");
            }
        }
        assert_eq!(seen.len(), 23);
    }
}
