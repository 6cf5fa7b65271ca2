//! Requests of rtnetlink(7), from typed values. Pure: bytes are made elsewhere.

use std::net::IpAddr;

use netengine_proto::net::{IfAddr, IfName, Mac};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NetlinkMessage};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::policy::MARK;
use crate::plan::observed::{Family, MAIN_TABLE, RoutingRule, TableRoute};

/// The group of every link we make: a tag that is set in the very call that makes the link ("NE" and the layout's version).
pub const LINK_GROUP: u32 = 0x4e45_0001;
/// The group of links that are about to be removed together.
pub const LEAVING_GROUP: u32 = 0x4e45_ffff;
/// The origin of every route we make (rtnetlink(7), `rtm_protocol`; values above 4 are free for user space).
pub const ROUTE_PROTOCOL: u8 = 178;

/// The place of the first of our rules: before the main table's (32766), behind the local one's (0).
pub const RULE_PRIORITY: u32 = 10_000;

/// One request, ready to send.
pub type Request = NetlinkMessage<RouteNetlinkMessage>;

fn request(message: RouteNetlinkMessage, flags: u16) -> Request {
    let mut request = NetlinkMessage::from(message);
    request.header.flags = flags;
    request
}

fn link(index: u32, name: &IfName, mac: Mac, up: bool) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    if up {
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
    }
    link.attributes.extend([
        LinkAttribute::IfName(name.as_str().to_owned()),
        LinkAttribute::Address(mac.octets().to_vec()),
        LinkAttribute::Group(LINK_GROUP),
    ]);
    link
}

/// Makes a bridge that forwards at once: no STP, no delay.
pub fn create_bridge(index: u32, name: &IfName, mac: Mac) -> Request {
    let mut bridge = link(index, name, mac, true);
    bridge.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
        ])),
    ]));
    request(RouteNetlinkMessage::NewLink(bridge), NLM_F_CREATE | NLM_F_EXCL)
}

/// One end of a cable, as [`create_cable`] needs it.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its link index.
    pub index: u32,
    /// Its name.
    pub name: &'a IfName,
    /// Its MAC address.
    pub mac: Mac,
}

/// Makes a veth pair, one end here, the other in the namespace behind `peer_ns`.
pub fn create_cable(here: End<'_>, there: End<'_>, peer_ns: i32) -> Request {
    // Up only afterwards: an end without its other end cannot be opened (drivers/net/veth.c, `veth_open`).
    let mut peer = link(there.index, there.name, there.mac, false);
    peer.attributes.push(LinkAttribute::NetNsFd(peer_ns));
    let mut veth = link(here.index, here.name, here.mac, false);
    veth.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    request(RouteNetlinkMessage::NewLink(veth), NLM_F_CREATE | NLM_F_EXCL)
}

/// What [`set_link`] sets on an existing link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// The tag for people.
    pub alias: Option<String>,
    /// The bridge it is a port of, by index; 0 for none.
    pub master: Option<u32>,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// Bring it up.
    pub up: bool,
}

/// Changes a link by index.
pub fn set_link(index: u32, settings: &LinkSettings) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    if settings.up {
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
    }
    link.attributes.extend(settings.alias.clone().map(LinkAttribute::IfAlias));
    link.attributes.extend(settings.master.map(LinkAttribute::Controller));
    link.attributes.extend(settings.mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
    request(RouteNetlinkMessage::SetLink(link), 0)
}

/// Removes a link by index; a veth's other end goes with it.
pub fn delete_link(index: u32) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    request(RouteNetlinkMessage::DelLink(link), 0)
}

/// Puts a link into [`LEAVING_GROUP`].
pub fn mark_leaving(index: u32) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.attributes.push(LinkAttribute::Group(LEAVING_GROUP));
    request(RouteNetlinkMessage::SetLink(link), 0)
}

/// Removes all links of [`LEAVING_GROUP`] at once (net/core/rtnetlink.c, `rtnl_group_dellink`); `ENODEV` when there is none.
pub fn delete_leaving() -> Request {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(LEAVING_GROUP));
    request(RouteNetlinkMessage::DelLink(link), 0)
}

fn address(index: u32, address: IfAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.net().prefix_len();
    message.header.scope = AddressScope::Universe;
    match address.addr() {
        IpAddr::V4(_) => {
            message.header.family = AddressFamily::Inet;
            message.attributes.push(AddressAttribute::Local(address.addr()));
            let ipnet::IpNet::V4(net) = address.net() else { unreachable!("an IPv4 address has an IPv4 net") };
            if net.prefix_len() < 31 {
                message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
            }
        }
        IpAddr::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            // The plan guarantees uniqueness; duplicate detection would keep the address unusable for a second.
            message.header.flags = AddressHeaderFlags::Nodad;
        }
    }
    message.attributes.push(AddressAttribute::Address(address.addr()));
    message
}

/// Gives a link an address.
pub fn add_address(index: u32, address_to_add: IfAddr) -> Request {
    request(RouteNetlinkMessage::NewAddress(address(index, address_to_add)), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Takes an address from a link.
pub fn delete_address(index: u32, address_to_delete: IfAddr) -> Request {
    request(RouteNetlinkMessage::DelAddress(address(index, address_to_delete)), 0)
}

fn family(address: IpAddr) -> (AddressFamily, RouteAddress) {
    match address {
        IpAddr::V4(v4) => (AddressFamily::Inet, RouteAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, RouteAddress::Inet6(v6)),
    }
}

/// A table number of more than eight bits goes into an attribute, and the header says so (`RT_TABLE_UNSPEC`).
fn header_table(table: u32) -> u8 {
    u8::try_from(table).unwrap_or(0)
}

fn route(route: &TableRoute) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (of, to) = family(route.to.network());
    message.header.address_family = of;
    message.header.destination_prefix_length = route.to.prefix_len();
    message.header.table = header_table(route.table);
    message.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    message.header.scope = if route.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Table(route.table));
    // A next hop that is on none of our networks, and on this link by the plan's word (ip-route(8), `onlink`).
    if route.table == MAIN_TABLE && route.link.is_some() && route.via.is_some_and(|via| via.is_ipv4()) {
        message.header.flags |= RouteFlags::Onlink;
    }
    if route.to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(to));
    }
    message.attributes.extend(route.via.map(|via| RouteAttribute::Gateway(family(via).1)));
    message.attributes.extend(route.link.map(RouteAttribute::Oif));
    message
}

/// Adds a route, tagged as ours.
pub fn add_route(to_add: &TableRoute) -> Request {
    request(RouteNetlinkMessage::NewRoute(route(to_add)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes a route of ours.
pub fn delete_route(to_delete: &TableRoute) -> Request {
    request(RouteNetlinkMessage::DelRoute(route(to_delete)), 0)
}

fn rule(rule: &RoutingRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    let of = |of: &Family| match of {
        Family::Inet => AddressFamily::Inet,
        Family::Inet6 => AddressFamily::Inet6,
    };
    let (table, behind) = match rule {
        RoutingRule::Source { from, table } => {
            message.header.family = family(from.network()).0;
            message.header.src_len = from.prefix_len();
            message.attributes.push(RuleAttribute::Source(from.network()));
            (Some(*table), 0)
        }
        RoutingRule::Own(family) => {
            message.header.family = of(family);
            message.attributes.push(RuleAttribute::Iifname("lo".into()));
            (Some(MAIN_TABLE), 1)
        }
        RoutingRule::Marked(family) => {
            message.header.family = of(family);
            message.attributes.push(RuleAttribute::FwMark(MARK));
            (Some(MAIN_TABLE), 2)
        }
        RoutingRule::Unmarked(family) => {
            message.header.family = of(family);
            (None, 3)
        }
    };
    match table {
        Some(table) => {
            message.header.table = header_table(table);
            message.header.action = RuleAction::ToTable;
            message.attributes.push(RuleAttribute::Table(table));
        }
        None => message.header.action = RuleAction::Blackhole,
    }
    message.attributes.extend([
        RuleAttribute::Priority(RULE_PRIORITY + behind),
        RuleAttribute::Protocol(RouteProtocol::from(ROUTE_PROTOCOL)),
    ]);
    message
}

/// Adds a rule, tagged as ours.
pub fn add_rule(to_add: &RoutingRule) -> Request {
    request(RouteNetlinkMessage::NewRule(rule(to_add)), NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes a rule of ours.
pub fn delete_rule(to_delete: &RoutingRule) -> Request {
    request(RouteNetlinkMessage::DelRule(rule(to_delete)), 0)
}

/// Brings the loopback link up (it is always index 1).
pub fn loopback_up() -> Request {
    set_link(1, &LinkSettings { up: true, ..LinkSettings::default() })
}
