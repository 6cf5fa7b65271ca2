//! Reading back what a namespace holds.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{
    links,
    policy::MARK,
    request::ROUTE_PROTOCOL,
    socket::{Netlink, NetlinkError},
};
use crate::plan::observed::{Family, LinkKind, MAIN_TABLE, ObservedLink, ObservedNode, RoutingRule, TableRoute};

/// Dumps links, addresses and our routes of the namespace that `socket` lives in, and our rules where they are asked for.
///
/// # Errors
/// [`NetlinkError`] when the kernel refuses or answers what cannot be decoded.
pub fn observe(socket: &mut Netlink, rules: bool) -> Result<ObservedNode, NetlinkError> {
    let mut node = ObservedNode { links: links::dump(socket)?, ..ObservedNode::default() };
    socket.dump(NetlinkMessage::from(RouteNetlinkMessage::GetAddress(AddressMessage::default())), |answer| {
        if let RouteNetlinkMessage::NewAddress(message) = answer {
            node.addresses.extend(address(&message));
        }
    })?;
    let mut routes = RouteMessage::default();
    // Those of our origin; each address brings some of the kernel's own.
    routes.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    socket.dump(NetlinkMessage::from(RouteNetlinkMessage::GetRoute(routes)), |answer| {
        if let RouteNetlinkMessage::NewRoute(message) = answer {
            node.routes.extend(route(&message));
        }
    })?;
    if rules {
        socket.dump(NetlinkMessage::from(RouteNetlinkMessage::GetRule(RuleMessage::default())), |answer| {
            if let RouteNetlinkMessage::NewRule(message) = answer {
                node.rules.extend(rule(&message));
            }
        })?;
    }
    Ok(node)
}

pub(crate) fn link(message: &LinkMessage) -> ObservedLink {
    let mut link = ObservedLink {
        index: message.header.index,
        name: String::new(),
        kind: LinkKind::Other,
        mac: [0; 6],
        alias: None,
        group: 0,
        master: 0,
        peer: 0,
        up: message.header.flags.contains(LinkFlags::Up),
    };
    if message.header.flags.contains(LinkFlags::Loopback) {
        link.kind = LinkKind::Loopback;
    }
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::Group(group) => link.group = *group,
            LinkAttribute::Controller(master) => link.master = *master,
            LinkAttribute::Link(index) => link.peer = *index,
            LinkAttribute::Address(octets) => {
                if let Ok(mac) = octets.as_slice().try_into() {
                    link.mac = mac;
                }
            }
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(InfoKind::Bridge) => link.kind = LinkKind::Bridge,
                        LinkInfo::Kind(InfoKind::Veth) => link.kind = LinkKind::Veth,
                        LinkInfo::Kind(
                            InfoKind::IpIp | InfoKind::SitTun | InfoKind::Ip6Tnl | InfoKind::GreTun | InfoKind::GreTun6,
                        ) => link.kind = LinkKind::KernelTunnel,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link
}

pub(crate) fn address(message: &AddressMessage) -> Option<(u32, IpNet)> {
    let find = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(addr) if local => Some(*addr),
            AddressAttribute::Address(addr) if !local => Some(*addr),
            _ => None,
        })
    };
    let addr = find(true).or_else(|| find(false))?;
    // The kernel gives each link its link-local address; those are not ours to plan.
    let own = match addr {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    };
    let net = IpNet::new(addr, message.header.prefix_len).ok()?;
    own.then_some((message.header.index, net))
}

pub(crate) fn route(message: &RouteMessage) -> Option<TableRoute> {
    if message.header.protocol != RouteProtocol::from(ROUTE_PROTOCOL) {
        return None;
    }
    let plain = |address: &RouteAddress| match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    };
    let (mut to, mut via, mut link, mut table) = (None, None, None, u32::from(message.header.table));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = plain(address),
            RouteAttribute::Gateway(address) => via = plain(address),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    let is_v4 = message.header.address_family == AddressFamily::Inet;
    let any: IpAddr =
        if is_v4 { std::net::Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let to = IpNet::new(to.unwrap_or(any), message.header.destination_prefix_length).ok()?;
    // Of the main table's only those name a link whose next hop is on none of our networks (`netlink::request::route`).
    let is_far = message.header.flags.contains(RouteFlags::Onlink)
        || matches!(via, Some(IpAddr::V6(v6)) if v6.is_unicast_link_local());
    let link = link.filter(|_| table != MAIN_TABLE || is_far);
    Some(TableRoute { table, to, via, link })
}

pub(crate) fn rule(message: &RuleMessage) -> Option<RoutingRule> {
    if !message.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::from(ROUTE_PROTOCOL))) {
        return None;
    }
    let family = match message.header.family {
        AddressFamily::Inet => Family::Inet,
        AddressFamily::Inet6 => Family::Inet6,
        _ => return None,
    };
    let (mut from, mut table) = (None, u32::from(message.header.table));
    let (mut link, mut mark) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Source(address) => from = Some(*address),
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Iifname(name) => link = Some(name.as_str()),
            RuleAttribute::FwMark(number) => mark = Some(*number),
            _ => {}
        }
    }
    match (message.header.action, from, link, mark) {
        (RuleAction::ToTable, Some(from), None, None) => {
            Some(RoutingRule::Source { from: IpNet::new(from, message.header.src_len).ok()?, table })
        }
        (RuleAction::ToTable, None, Some("lo"), None) if table == MAIN_TABLE => Some(RoutingRule::Own(family)),
        (RuleAction::ToTable, None, None, Some(MARK)) if table == MAIN_TABLE => Some(RoutingRule::Marked(family)),
        (RuleAction::Blackhole, None, None, None) => Some(RoutingRule::Unmarked(family)),
        _ => None,
    }
}
