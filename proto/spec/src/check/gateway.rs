//! Section `gateway_portal`.

use ipnet::Ipv4Net;

use super::{Check, POOLS};
use crate::model::{CrossWorldMode, InternetMode, PeerMode};

pub(super) fn check(check: &mut Check) {
    real_internet(check);
    cross_world(check);
}

fn real_internet(check: &mut Check) {
    const PATH: &str = "gateway_portal.real_internet";
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

fn cross_world(check: &mut Check) {
    const PATH: &str = "gateway_portal.cross_world";
    let cross = &check.spec.gateway_portal.cross_world;
    let peers = cross.peers.iter().enumerate();
    check.unique("the peer", peers.map(|(index, peer)| (format!("{PATH}.peers[{index}].name"), &peer.name)));
    if cross.mode == CrossWorldMode::None && !cross.peers.is_empty() && check.trusts(&format!("{PATH}.mode")) {
        let help = Some("write `mode: peered` or `mode: federated`".to_owned());
        check.error(&format!("{PATH}.peers"), "peers need a mode", help);
    }
    for (index, peer) in cross.peers.iter().enumerate() {
        let mode = match (peer.mode, cross.mode) {
            (Some(mode), _) => Some(mode),
            (None, CrossWorldMode::Federated) => Some(PeerMode::Federated),
            (None, _) => None,
        };
        if mode == Some(PeerMode::Federated) && peer.trust_anchor_cert.is_none() {
            let message = format!("the federated peer `{}` needs a trust anchor", peer.name);
            let help = Some("set `trust_anchor_cert` to its root certificate in PEM form".to_owned());
            check.error(&format!("{PATH}.peers[{index}].name"), message, help);
        }
    }
}
