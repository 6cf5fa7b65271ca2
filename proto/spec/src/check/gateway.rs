//! Section `gateway_portal`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netengine_proto::limits;

use super::{Check, POOLS};
use crate::model::{AllowProto, CrossWorldMode, EXPOSED, InternetMode};

const INTERNET: &str = "gateway_portal.real_internet";

pub(super) fn check(check: &mut Check) {
    real_internet(check);
    rules(check);
    publish(check);
    cross_world(check);
}

fn real_internet(check: &mut Check) {
    const PATH: &str = INTERNET;
    let spec = check.spec;
    let internet = &spec.gateway_portal.real_internet;
    let mirrors = format!("{PATH}.service_mirrors");
    let is_mirrored = internet.mode == InternetMode::Mirrored;
    if check.trusts(&mirrors) && check.trusts(&format!("{PATH}.mode")) {
        if is_mirrored && internet.service_mirrors.is_empty() {
            let help = Some("add entries to `service_mirrors`".to_owned());
            check.error(&format!("{PATH}.mode"), "the mode `mirrored` needs service mirrors", help);
        }
        if !is_mirrored && !internet.service_mirrors.is_empty() {
            let help = Some("write `mode: mirrored`, or remove the mirrors".to_owned());
            check.error(&mirrors, "service mirrors need the mode `mirrored`", help);
        }
    }
    let entries = internet.service_mirrors.iter().enumerate();
    check.unique(
        "the mirror of",
        entries.map(|(index, mirror)| (format!("{mirrors}[{index}].real_hostname"), &mirror.real_hostname)),
    );
    let is_known = check.knows_networks() && check.knows(POOLS);
    // Pools do not overlap (another check says so), hence only the last one that begins before an address can hold it.
    let mut pools: Vec<Ipv4Net> = spec.domain_registry.address_space.iter().map(|pool| pool.cidr.trunc()).collect();
    pools.sort_unstable();
    for (index, mirror) in internet.service_mirrors.iter().enumerate() {
        let address = mirror.in_world_service;
        let before = pools.partition_point(|pool| pool.network() <= address);
        let in_pool = before.checked_sub(1).is_some_and(|last| pools[last].contains(&address));
        if spec.network_of(address).is_none() && !in_pool && is_known {
            let message = format!("{address} lies in no network and no address pool of the world");
            check.error(&format!("{mirrors}[{index}].in_world_service"), message, None);
        }
    }
    if internet.upstream_resolver_enabled && internet.upstream_resolver_ip.is_none() {
        let help = Some("set `upstream_resolver_ip`".to_owned());
        check.error(&format!("{PATH}.upstream_resolver_enabled"), "an upstream resolver needs its address", help);
    }
    if internet.upstream_resolver_enabled && internet.mode == InternetMode::Isolated {
        let message = "the mode `isolated` lets no DNS out; the upstream resolver is never asked";
        check.warn(&format!("{PATH}.upstream_resolver_enabled"), message, None);
    }
}

fn rules(check: &mut Check) {
    let path = format!("{INTERNET}.rules");
    let internet = &check.spec.gateway_portal.real_internet;
    let rules = &internet.rules;
    if internet.mode != InternetMode::Custom && !rules.is_empty() && check.trusts(&format!("{INTERNET}.mode")) {
        check.error(&path, "rules need the mode `custom`", Some("write `mode: custom`".to_owned()));
    }
    if rules.len() > limits::UPLINK_RULES {
        let message = format!("a world has at most {} rules, not {}", limits::UPLINK_RULES, rules.len());
        check.error(&path, message, None);
    }
    for (index, rule) in rules.iter().enumerate() {
        let ports = format!("{path}[{index}].ports");
        if !rule.ports.is_empty() && matches!(rule.proto, AllowProto::Any | AllowProto::Icmp) {
            let help = Some("write `proto: tcp` or `proto: udp`, or leave the ports out".to_owned());
            check.error(&ports, "only tcp and udp have ports", help);
        }
        if rule.ports.len() > limits::PORT_RANGES {
            let message =
                format!("a rule has at most {} ports and ranges, not {}", limits::PORT_RANGES, rule.ports.len());
            check.error(&ports, message, None);
        }
    }
}

fn publish(check: &mut Check) {
    let path = format!("{INTERNET}.publish");
    let spec = check.spec;
    let internet = &spec.gateway_portal.real_internet;
    let entries = || internet.publish.iter().enumerate();
    let has_mode = check.trusts(&format!("{INTERNET}.mode"));
    if has_mode
        && !internet.publish.is_empty()
        && !matches!(internet.mode, InternetMode::Exposed | InternetMode::Custom)
    {
        let help = Some("write `mode: exposed` or `mode: custom`".to_owned());
        check.error(&path, "published ports need the mode `exposed` or `custom`", help);
    }
    if internet.publish.len() > limits::UPLINK_PORTS {
        let message =
            format!("a world publishes at most {} ports, not {}", limits::UPLINK_PORTS, internet.publish.len());
        check.error(&path, message, None);
    }
    let at = |index: usize, key: &str| format!("{path}[{index}].{key}");
    check.unique("the host's port", entries().map(|(index, one)| (at(index, "host_port"), &one.host_port)));
    check.unique("the port", entries().map(|(index, one)| (at(index, "port"), &one.port)));
    for (index, one) in entries() {
        for (key, port) in [("host_port", one.host_port), ("port", one.port)] {
            if port == 0 {
                check.error(&at(index, key), "ports begin at 1", None);
            }
        }
        if has_mode && internet.mode == InternetMode::Exposed && !EXPOSED.contains(&one.port) {
            let help = Some("write `mode: custom` for other ports".to_owned());
            check.error(&at(index, "port"), "the mode `exposed` is for ports 80 and 443", help);
        }
        if let Some(to) = one.to {
            is_inside(check, to, &at(index, "to"));
        }
    }
}

/// An error unless the address lies in a network or an address pool of the world.
fn is_inside(check: &mut Check, address: Ipv4Addr, path: &str) {
    let spec = check.spec;
    let is_known = check.knows_networks() && check.knows(POOLS);
    let in_pool = spec.domain_registry.address_space.iter().any(|pool| pool.cidr.contains(&address));
    if spec.network_of(address).is_none() && !in_pool && is_known {
        check.error(path, format!("{address} lies in no network and no address pool of the world"), None);
    }
}

fn cross_world(check: &mut Check) {
    const PATH: &str = "gateway_portal.cross_world";
    let cross = &check.spec.gateway_portal.cross_world;
    let peers = cross.peers.iter().enumerate();
    check.unique("the peer", peers.map(|(index, peer)| (format!("{PATH}.peers[{index}].name"), &peer.name)));
    if cross.mode == CrossWorldMode::None && !cross.peers.is_empty() && check.trusts(&format!("{PATH}.mode")) {
        let help = Some("write `mode: peered` or `mode: federated`".to_owned());
        check.error(&format!("{PATH}.peers"), "peers need a mode", help);
    }
    if cross.peers.len() > limits::PEERS {
        check.error(&format!("{PATH}.peers"), format!("a world has at most {} peers", limits::PEERS), None);
    }
    for (index, peer) in cross.peers.iter().enumerate() {
        let path = format!("{PATH}.peers[{index}]");
        let (name, world) = (peer.name.as_str(), peer.endpoint.world());
        if name != world && check.trusts(&format!("{path}.name")) {
            let message = format!("the endpoint leads to the world `{world}`, not to `{name}`");
            check.error(&format!("{path}.endpoint"), message, Some("write the same name in both".to_owned()));
        } else if name == check.spec.name().as_str() && peer.endpoint.owner().is_none() {
            check.error(&format!("{path}.name"), format!("the world `{name}` cannot be its own peer"), None);
        }
    }
}
