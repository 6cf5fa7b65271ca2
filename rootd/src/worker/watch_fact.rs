//! What the kernel says of itself when something changes, as far as a plan speaks of it.
//!
//! A fact is compared with what was seen before ([`Fact::agrees_with`]): the kernel repeats itself (carrier, duplicate
//! address detection), and much of what it says is the echo of our own work.

use ipnet::IpNet;
use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use serde::{Deserialize, Serialize};

use crate::{
    netlink::dump,
    plan::observed::{LinkKind, ObservedLink, ObservedNode, RoutingRule, TableRoute},
};

/// One thing that is so now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// A link is like this.
    Link(ObservedLink),
    /// The link with this index is gone.
    LinkGone(u32),
    /// An address is on the link with this index, or no more.
    Address(u32, IpNet, bool),
    /// A route of ours exists, or no more.
    Route(TableRoute, bool),
    /// A rule of ours exists, or no more.
    Rule(RoutingRule, bool),
    /// More happened than is told: only looking helps.
    More,
}

impl Fact {
    /// Whether `seen` says the same; what was seen is then still all there is to say.
    pub fn agrees_with(&self, seen: &ObservedNode) -> bool {
        match self {
            Fact::Link(link) => seen.links.contains(link),
            Fact::LinkGone(index) => seen.links.iter().all(|link| link.index != *index),
            Fact::Address(index, net, is_there) => seen.addresses.contains(&(*index, *net)) == *is_there,
            Fact::Route(route, is_there) => seen.routes.contains(route) == *is_there,
            Fact::Rule(rule, is_there) => seen.rules.contains(rule) == *is_there,
            Fact::More => false,
        }
    }
}

/// Changes of settings that every interface follows (linux/rtnetlink.h, `RTM_NEWNETCONF`), and their end.
const NETCONF: [u16; 2] = [80, 81];
/// The attribute that names the interface, and the value that means all (linux/netconf.h).
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_IFINDEX_ALL: i32 = -1;

/// The facts in one datagram of a route socket, in order. What cannot be read is [`Fact::More`].
pub fn facts(datagram: &[u8]) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let Ok(header) = NetlinkBuffer::new_checked(rest) else {
            facts.push(Fact::More);
            break;
        };
        let length = (header.length() as usize).clamp(16, rest.len());
        if NETCONF.contains(&header.message_type()) {
            facts.extend(is_of_all(&rest[..length]).then_some(Fact::More));
        } else {
            match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..length]).map(|message| message.payload) {
                Ok(NetlinkPayload::InnerMessage(message)) => facts.extend(fact(&message)),
                Ok(_) => {}
                Err(_) => facts.push(Fact::More),
            }
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    facts
}

/// Whether a message about settings is about all interfaces: those of one follow, and one that is new has its own.
fn is_of_all(message: &[u8]) -> bool {
    // Behind the header of 16 bytes one byte of family, padded to four; then attributes, the interface's first.
    let Some(attribute) = message.get(20..28) else { return false };
    let [_, _, low, high, a, b, c, d] = <[u8; 8]>::try_from(attribute).unwrap_or_default();
    u16::from_ne_bytes([low, high]) == NETCONFA_IFINDEX && i32::from_ne_bytes([a, b, c, d]) == NETCONFA_IFINDEX_ALL
}

/// What a plan speaks of is what an observation reads, so both read with the same eyes.
fn fact(message: &RouteNetlinkMessage) -> Option<Fact> {
    use RouteNetlinkMessage::{DelAddress, DelLink, DelRoute, DelRule, NewAddress, NewLink, NewRoute, NewRule};
    match message {
        // A bridge speaks of its ports in a family of its own, without what we look at; the port itself speaks as well.
        NewLink(link) | DelLink(link) if link.header.interface_family != AddressFamily::Unspec => None,
        NewLink(message) => {
            let link = dump::link(message);
            (!matches!(link.kind, LinkKind::Loopback | LinkKind::KernelTunnel)).then_some(Fact::Link(link))
        }
        DelLink(link) => Some(Fact::LinkGone(link.header.index)),
        NewAddress(message) => dump::address(message).map(|(index, net)| Fact::Address(index, net, true)),
        DelAddress(message) => dump::address(message).map(|(index, net)| Fact::Address(index, net, false)),
        NewRoute(message) => dump::route(message).map(|route| Fact::Route(route, true)),
        DelRoute(message) => dump::route(message).map(|route| Fact::Route(route, false)),
        NewRule(message) => dump::rule(message).map(|rule| Fact::Rule(rule, true)),
        DelRule(message) => dump::rule(message).map(|rule| Fact::Rule(rule, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn link(index: u32, up: bool) -> ObservedLink {
        let (name, alias) = ("neth0".to_owned(), Some("netengine:x".to_owned()));
        ObservedLink { index, name, kind: LinkKind::Veth, mac: [2; 6], alias, group: 1, master: 0, peer: 100, up }
    }

    #[test]
    fn an_echo_agrees_and_any_change_does_not() {
        let net: IpNet = "10.0.0.1/24".parse().expect("a prefix");
        let seen =
            ObservedNode { links: vec![link(100, true)], addresses: vec![(100, net)], ..ObservedNode::default() };
        for echo in [Fact::Link(link(100, true)), Fact::LinkGone(7), Fact::Address(100, net, true)] {
            assert!(echo.agrees_with(&seen), "{echo:?}");
        }
        for change in [
            Fact::Link(link(100, false)),
            Fact::Link(link(101, true)),
            Fact::LinkGone(100),
            Fact::Address(100, net, false),
            Fact::Address(101, net, true),
            Fact::More,
        ] {
            assert!(!change.agrees_with(&seen), "{change:?}");
        }
    }

    fn datagram(message: RouteNetlinkMessage) -> Vec<u8> {
        let mut message = NetlinkMessage::from(message);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    #[test]
    fn a_link_is_read_and_a_bridges_word_on_its_port_is_not() {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.attributes.push(LinkAttribute::IfName("nep0".to_owned()));
        let read = facts(&datagram(RouteNetlinkMessage::NewLink(message.clone())));
        assert!(matches!(&read[..], [Fact::Link(link)] if link.index == 7 && link.name == "nep0"), "{read:?}");
        let gone = [datagram(RouteNetlinkMessage::DelLink(message.clone())), vec![1, 2, 3]].concat();
        assert_eq!(facts(&gone), [Fact::LinkGone(7), Fact::More], "what follows and cannot be read is more");
        message.header.interface_family = AddressFamily::Bridge;
        assert_eq!(facts(&datagram(RouteNetlinkMessage::DelLink(message))), []);
    }

    #[test]
    fn settings_of_all_interfaces_are_a_change_and_those_of_one_are_not() {
        let netconf = |index: i32| {
            let mut bytes = vec![28, 0, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 8, 0, 1, 0];
            bytes.extend(index.to_ne_bytes());
            facts(&bytes)
        };
        assert_eq!((netconf(-1), netconf(100)), (vec![Fact::More], vec![]));
    }

    #[test]
    fn no_bytes_make_it_stumble() {
        proptest::proptest!(|(bytes: Vec<u8>)| drop(facts(&bytes)));
    }
}
