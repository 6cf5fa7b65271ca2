//! Networks of the substrate, the router's addresses, and the address pools: in range, apart from each other, large enough.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net};
use netengine_proto::{limits, names::HostName, net::IfAddr};

use super::{Check, NETWORKS, overlaps};

/// Networks of one world: the forward policy holds a pair for every direction between them.
const MOST: usize = 64;
/// The longest prefix of a network: a router, and a few hosts.
const LONGEST: u8 = 29;

/// False when there are so many networks that nothing else is checked.
pub(super) fn check(check: &mut Check) -> bool {
    let networks = &check.spec.substrate.networks;
    if networks.len() > MOST {
        let message = format!("a world has at most {MOST} networks, not {}", networks.len());
        check.error(NETWORKS, message, None);
        return false;
    }
    for name in ["platform", "core"] {
        if !networks.keys().any(|known| known.as_str() == name) && check.knows(NETWORKS) {
            let help = Some(format!("add `{name}: {{subnet: ...}}`"));
            check.error(NETWORKS, format!("the network `{name}` must exist"), help);
        }
    }
    let hosts: usize = networks.values().map(|network| usize::from(network.vantage_hosts)).sum();
    // The router and the services have a namespace each.
    let hosts = hosts + check.spec.ands.instances.len();
    if hosts + 2 > limits::NODES_PER_WORLD {
        let most = limits::NODES_PER_WORLD - 2;
        let message = format!("a world has at most {most} vantage hosts, those of ANDs included, not {hosts}");
        check.error(NETWORKS, message, None);
    }
    for view in check.spec.networks() {
        let path = format!("{NETWORKS}.{}", view.name);
        let subnet_path = format!("{path}.subnet");
        if view.subnet.prefix_len() > LONGEST {
            let message = format!("{} is too small; a network has a prefix of /8 to /{LONGEST}", view.subnet);
            check.error(&subnet_path, message, None);
        } else if let Err(why) = fit_for_hosts(view.subnet) {
            check.error(&subnet_path, format!("{}: {why}", view.subnet), None);
        }
        if let (Some(net), Some(gateway)) = (view.subnet6, view.gateway6)
            && let Err(why) = IfAddr::new(IpNet::new_assert(IpAddr::V6(gateway), net.prefix_len()))
        {
            check.error(&format!("{path}.subnet6"), format!("{net} cannot be used: {why}"), None);
        }
        let gateway_path = match view.name.as_str() {
            "platform" => "substrate.gateway.platform_ip",
            "core" => "substrate.gateway.core_ip",
            _ => continue,
        };
        if check.trusts(&subnet_path) {
            gateway(check, gateway_path, view.gateway, view.subnet, view.name.as_str());
        }
    }
    capacity(check);
    host_names(check);
    apart(check);
    true
}

/// The router's address must be a host address of its network.
fn gateway(check: &mut Check, path: &str, address: Ipv4Addr, subnet: Ipv4Net, name: &str) {
    if !subnet.contains(&address) {
        let help = subnet.hosts().next().map(|host| format!("for example {host}"));
        check.error(path, format!("{address} does not lie in the network `{name}` ({subnet})"), help);
    } else if let Some(what) = special(address, subnet) {
        check.error(path, format!("{address} is the {what} address of the network `{name}` ({subnet})"), None);
    }
}

/// What an address of a network cannot be given to a host for.
pub(super) fn special(address: Ipv4Addr, subnet: Ipv4Net) -> Option<&'static str> {
    if address == subnet.network() {
        Some("network")
    } else if address == subnet.broadcast() {
        Some("broadcast")
    } else {
        None
    }
}

fn fit_for_hosts(net: Ipv4Net) -> Result<(), String> {
    // The first and the last host address stand for all: a network that crosses a special range has one of them in it, or
    // is shorter than /8.
    let hosts = [net.network(), net.broadcast()].map(u32::from);
    let [first, last] = [hosts[0].saturating_add(1), hosts[1].saturating_sub(1)].map(Ipv4Addr::from);
    for host in [first, last] {
        let net = IpNet::new_assert(IpAddr::V4(host), net.prefix_len());
        IfAddr::new(net).map_err(|why| why.to_string())?;
    }
    Ok(())
}

/// A network must have room for the router, its services and its vantage hosts.
fn capacity(check: &mut Check) {
    let listening = check.spec.listen_addresses();
    for view in check.spec.networks() {
        if !check.trusts(&format!("{NETWORKS}.{}", view.name)) {
            continue;
        }
        let services = listening.iter().filter(|listen| listen.network.as_ref() == Some(&view.name)).count();
        let wanted = 1 + services + usize::from(view.vantage_hosts);
        let room = (1usize << (32 - view.subnet.prefix_len().min(32))).saturating_sub(2);
        if wanted > room && view.subnet.prefix_len() <= LONGEST {
            let message = format!(
                "{} has room for {room} hosts; the router, {services} services and {} vantage hosts need {wanted}",
                view.subnet, view.vantage_hosts
            );
            check.error(&format!("{NETWORKS}.{}.subnet", view.name), message, None);
        }
    }
}

/// Vantage hosts are named after their network: `core`, `core-2`, `core-3`, ... Those names must be names, and free.
fn host_names(check: &mut Check) {
    let spec = check.spec;
    let networks = spec.substrate.networks.iter();
    let first_hosts = networks.filter(|(_, network)| network.vantage_hosts > 0).map(|(name, _)| name.as_str());
    let taken: HashSet<&str> = first_hosts.chain(spec.ands.instances.iter().map(|and| and.name.as_str())).collect();
    for (name, network) in &spec.substrate.networks {
        let path = format!("{NETWORKS}.{name}.vantage_hosts");
        for number in 2..=network.vantage_hosts {
            let host = format!("{name}-{number}");
            let message = if HostName::parse(&host).is_err() {
                format!("the vantage host `{host}` would have a name longer than {} bytes", limits::NAME_BYTES)
            } else if taken.contains(host.as_str()) {
                format!("the vantage host `{host}` would have the name of a network or an AND")
            } else {
                continue;
            };
            check.error(&path, message, Some("choose another name, or fewer vantage hosts".to_owned()));
            break;
        }
    }
}

/// Networks and pools do not overlap.
fn apart(check: &mut Check) {
    let mut v4: Vec<(String, IpNet)> = Vec::new();
    let mut v6: Vec<(String, IpNet)> = Vec::new();
    for (name, network) in &check.spec.substrate.networks {
        v4.push((format!("{NETWORKS}.{name}.subnet"), network.subnet.into()));
        v6.extend(network.subnet6.map(|net| (format!("{NETWORKS}.{name}.subnet6"), net.into())));
    }
    for (index, pool) in check.spec.domain_registry.address_space.iter().enumerate() {
        let path = format!("domain_registry.address_space[{index}].cidr");
        if pool.cidr.prefix_len() > 30 {
            check.error(&path, format!("{} is too small; a pool has a prefix of /8 to /30", pool.cidr), None);
        } else if let Err(why) = fit_for_hosts(pool.cidr) {
            check.error(&path, format!("{}: {why}", pool.cidr), None);
        }
        v4.push((path, pool.cidr.into()));
    }
    for mut nets in [v4, v6] {
        nets.retain(|(path, _)| check.trusts(path));
        let ranges: Vec<(u128, u128)> = nets.iter().map(|(_, net)| range(net)).collect();
        for (later, earlier) in overlaps(&ranges) {
            let ((mut path, mut net), (mut other_path, mut other)) = (nets[later].clone(), nets[earlier].clone());
            if !check.is_declared(&path) {
                (path, net, other_path, other) = (other_path, other, path, net);
            }
            check.error(&path, format!("{net} overlaps {other} of `{other_path}`"), None);
        }
    }
}

fn range(net: &IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (u32::from(net.network()).into(), u32::from(net.broadcast()).into()),
        IpNet::V6(net) => (net.network().into(), net.broadcast().into()),
    }
}
