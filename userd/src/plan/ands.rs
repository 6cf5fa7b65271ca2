//! The Administrative Network Domains (ANDs) of a world: from the spec and their leases to networks, hosts and policy.

use std::net::{IpAddr, Ipv4Addr};

use aws_lc_rs::digest::{SHA256, digest};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netengine_proto::{
    bounded::Bounded,
    control::{AndHost, AndNetwork, DhcpService},
    ids::WorldId,
    limits,
    names::HostName,
    net::{IfAddr, IfName, Mac, Port, Transport},
    plan::{AllowRule, DomainPolicy, FlowKind, PortRange},
};
use netengine_spec::{
    Spec,
    model::{AllowProto, AndProfile, Inbound},
    text::Ports,
};

use super::{
    leases::{Lease, Leases},
    network::{self, CORE, PlanError},
    phases,
};

/// The profile whose ANDs neither open flows nor let any in.
const AIRGAPPED: &str = "airgapped";
/// How long a DHCP lease lasts, seconds: a change of the spec reaches clients within half of it (RFC 2131, section 4.4.5).
const LEASE_S: u32 = 3600;
/// MAC addresses and links of ANDs are numbered from here: those of networks are below (64 networks, 512 each).
const FIRST: u16 = 0x8000;
/// Numbers set aside for each AND: its bridge, and both ends of a cable for each of three hosts.
const PER_AND: u16 = 8;

/// What may be done by a profile's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permissions {
    pub opens: bool,
    admits: bool,
    masquerades: bool,
}

/// The table of the profiles: `inbound` says what is let in, `nat` whether flows leave with the router's address. The built-in
/// profile `airgapped` is closed both ways.
pub(super) fn permissions(name: &str, profile: &AndProfile) -> Permissions {
    let is_open = name != AIRGAPPED;
    Permissions {
        opens: is_open,
        admits: is_open && profile.inbound == Inbound::Allowed,
        masquerades: is_open && profile.nat,
    }
}

/// The MAC address with this number within the world.
pub(super) fn mac(world: WorldId, number: u16) -> Mac {
    let id = world.bytes();
    let [high, low] = number.to_be_bytes();
    Mac::local([id[0], id[1], id[2], id[3], high, low])
}

/// The numbers of an AND's MAC addresses. They depend on its lease alone, so a further AND renames nothing.
pub(super) struct Macs {
    /// Of its bridge.
    pub bridge: Mac,
    /// Of the router's end of its host's cable.
    pub port: Mac,
    /// Of its host.
    pub host: Mac,
}

impl Macs {
    pub(super) fn of(world: WorldId, lease: Lease) -> Self {
        // A lease's number is below 4096, so the last fits.
        let number = |at: u16| mac(world, FIRST + lease.number * PER_AND + at);
        Self { bridge: number(0), port: number(1), host: number(2) }
    }
}

/// The bridge of the AND with this lease.
pub(super) fn bridge(lease: Lease) -> IfName {
    IfName::numbered("and", lease.number)
}

/// The router's end of its host's cable.
pub(super) fn port(lease: Lease) -> IfName {
    IfName::numbered("ap", lease.number)
}

/// The IPv6 network of an AND, where network `core` has one: a unique local /64 (RFC 4193) whose global id is the beginning
/// of the SHA-256 of core's network in text, and whose subnet id is the number of the lease. So it stays as long as both do.
fn v6(core: Ipv6Net, lease: Lease) -> Ipv6Net {
    let hash = digest(&SHA256, core.to_string().as_bytes());
    let global = hash.as_ref().iter().take(5).fold(0xfd_u128, |bits, byte| bits << 8 | u128::from(*byte));
    Ipv6Net::new_assert((global << 80 | u128::from(lease.number) << 64).into(), 64)
}

/// The ANDs of a spec that have a lease, in its order; none before their phase.
///
/// # Errors
/// [`PlanError`] when an address cannot be used.
pub fn ands(spec: &Spec, up_to: u8, world: WorldId, leases: &Leases) -> Result<Vec<AndNetwork>, PlanError> {
    if up_to < phases::ANDS {
        return Ok(Vec::new());
    }
    let networks = spec.networks();
    let core6 = networks.iter().find(|view| view.name.as_str() == CORE).and_then(|view| view.subnet6);
    let mut found = Vec::new();
    for and in &spec.ands.instances {
        let Some(lease) = leases.get(&and.name) else { continue };
        let profile = spec.and_profile(and.profile.as_str()).unwrap_or_default();
        let (router, host) = ends(lease.network);
        let subnet6 = core6.map(|core| v6(core, *lease));
        if let Some(subnet6) = subnet6
            && let Some(view) = networks.iter().find(|view| view.subnet6.is_some_and(|net| overlap(net, subnet6)))
        {
            return Err(PlanError::Overlap { and: and.name.clone(), subnet6, network: view.name.clone() });
        }
        let host6 = subnet6.map(|net| IpAddr::V6(network::v6_of(net, host)));
        // The router's own, which an AND that is closed both ways reaches as well.
        let ntp_servers = spec.substrate.ntp.enabled.then_some(router).into_iter().collect();
        found.push(AndNetwork {
            name: and.name.clone(),
            org: and.org.clone(),
            profile: and.profile.to_string(),
            link: bridge(*lease),
            subnet: lease.network,
            router,
            v6: subnet6.map(|net| (net, network::v6_of(net, router))),
            suffix: and.dns_suffix.as_ref().map(ToString::to_string),
            has_reverse: profile.reverse_dns,
            dhcp: profile.dhcp.then(|| DhcpService { lease_s: LEASE_S, name_servers: vec![router], ntp_servers }),
            hosts: vec![AndHost {
                name: and.name.to_string(),
                mac: Macs::of(world, *lease).host,
                addresses: [Some(host.into()), host6].into_iter().flatten().collect(),
            }],
        });
    }
    Ok(found)
}

/// The router's address, the first of the network, and its vantage host's, the last before the broadcast address.
fn ends(network: Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let [first, last] = [network.network(), network.broadcast()].map(u32::from);
    (Ipv4Addr::from(first.saturating_add(1)), Ipv4Addr::from(last.saturating_sub(1)))
}

fn overlap(one: Ipv6Net, other: Ipv6Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// The interface addresses of a host of an AND, or of its router.
///
/// # Errors
/// [`PlanError`] when an address cannot be used.
pub(super) fn addresses(and: &AndNetwork, held: &[IpAddr]) -> Result<Vec<IfAddr>, PlanError> {
    let prefix = |address: &IpAddr| match address {
        IpAddr::V4(_) => and.subnet.prefix_len(),
        IpAddr::V6(_) => and.v6.map_or(64, |(net, _)| net.prefix_len()),
    };
    held.iter().map(|address| Ok(IfAddr::new(IpNet::new_assert(*address, prefix(address)))?)).collect()
}

/// The router's addresses in an AND, IPv4 first.
pub fn router_addresses(and: &AndNetwork) -> Vec<IpAddr> {
    [Some(and.router.into()), and.v6.map(|(_, router)| router.into())].into_iter().flatten().collect()
}

/// What an AND may do.
pub(super) fn policy(spec: &Spec, and: &AndNetwork) -> DomainPolicy {
    let profile = spec.and_profile(&and.profile).unwrap_or_default();
    let Permissions { opens, admits, masquerades } = permissions(&and.profile, &profile);
    DomainPolicy { link: and.link.clone(), opens, admits, masquerades, flows: limits::DOMAIN_FLOWS }
}

/// The typed rules of the spec; `link` leads from an AND or a network to its bridge. Both ends of a rule are known by the spec's
/// checks; a rule to an AND that is not brought up is left out.
///
/// # Errors
/// [`PlanError::TooLarge`].
pub(super) fn allowed(spec: &Spec, link: impl Fn(&str) -> Option<IfName>) -> Result<Vec<AllowRule>, PlanError> {
    let mut found = Vec::new();
    for rule in &spec.ands.allow {
        if let (Some(from), Some(to)) = (link(rule.from.as_str()), link(rule.to.as_str())) {
            found.push(AllowRule { from, to, kind: flow_kind(rule.proto, &rule.ports)? });
        }
    }
    Ok(found)
}

/// Flows of a protocol to these ports; no ports are all.
pub(super) fn flow_kind(proto: AllowProto, ports: &[Ports]) -> Result<FlowKind, PlanError> {
    let transport = match proto {
        AllowProto::Any => return Ok(FlowKind::Any),
        AllowProto::Icmp => return Ok(FlowKind::Icmp),
        AllowProto::Tcp => Transport::Tcp,
        AllowProto::Udp => Transport::Udp,
    };
    let range = |ports: &Ports| Some(PortRange { first: Port::new(ports.first)?, last: Port::new(ports.last)? });
    Ok(FlowKind::Ports(transport, Bounded::new(ports.iter().filter_map(range).collect())?))
}

/// The name of an AND's vantage host.
///
/// # Errors
/// [`PlanError::Name`]; the grammars are the same, so there is none.
pub(super) fn host_name(and: &AndNetwork) -> Result<HostName, PlanError> {
    HostName::parse(and.name.as_str()).map_err(|_| PlanError::Name(and.name.to_string()))
}

#[cfg(test)]
#[path = "ands_tests.rs"]
mod tests;
