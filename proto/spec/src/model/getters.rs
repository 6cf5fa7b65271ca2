//! What the planner asks of a spec.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use netengine_proto::names::{NetworkName, WorldName};

use super::{AndProfile, Lifecycle, Network, Spec};

/// One network with the router's addresses in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    /// Its name.
    pub name: NetworkName,
    /// Its IPv4 network.
    pub subnet: Ipv4Net,
    /// Its IPv6 network.
    pub subnet6: Option<Ipv6Net>,
    /// The router's IPv4 address in it.
    pub gateway: Ipv4Addr,
    /// The router's IPv6 address in it.
    pub gateway6: Option<Ipv6Addr>,
    /// How many vantage hosts it has.
    pub vantage_hosts: u8,
}

/// An address that an enabled service of the world listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    /// The path of the address in the spec, for example `pki.acme.listen_ip` or `dns.tlds[0].listen_ip`.
    pub path: String,
    /// The service's name in the world's DNS.
    pub name: String,
    /// The network it lies in; `None` only for a spec that did not come from a loader.
    pub network: Option<NetworkName>,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address, where its network has IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Network {
    /// The IPv6 address of the host with this IPv4 address: the prefix of `subnet6` with the IPv4 address in the low
    /// 32 bits.
    pub fn v6_of(&self, host: Ipv4Addr) -> Option<Ipv6Addr> {
        let prefix = u128::from(self.subnet6?.network());
        Some(Ipv6Addr::from(prefix & !0xffff_ffff | u128::from(u32::from(host))))
    }
}

impl Spec {
    /// The name of the world.
    pub fn name(&self) -> &WorldName {
        &self.metadata.name
    }

    /// What becomes of the world's state.
    pub fn lifecycle(&self) -> Lifecycle {
        self.metadata.lifecycle
    }

    /// The router's address in a network: `gateway.platform_ip`, `gateway.core_ip`, else the first host address.
    pub fn gateway_of(&self, name: &NetworkName, network: &Network) -> Ipv4Addr {
        match name.as_str() {
            "platform" => self.substrate.gateway.platform_ip,
            "core" => self.substrate.gateway.core_ip,
            _ => network.subnet.hosts().next().unwrap_or(network.subnet.addr()),
        }
    }

    /// The profile of this name: declared, or built in; `None` only for a spec that did not come from a loader.
    pub fn and_profile(&self, name: &str) -> Option<AndProfile> {
        let declared = self.ands.profiles.iter().find(|(known, _)| known.as_str() == name);
        declared.map(|(_, profile)| profile.clone()).or_else(|| AndProfile::built_in(name))
    }

    /// The networks in the order of their names, each with the router's addresses.
    pub fn networks(&self) -> Vec<NetworkView> {
        let networks = self.substrate.networks.iter();
        networks
            .map(|(name, network)| {
                let gateway = self.gateway_of(name, network);
                NetworkView {
                    name: name.clone(),
                    subnet: network.subnet,
                    subnet6: network.subnet6,
                    gateway,
                    gateway6: network.v6_of(gateway),
                    vantage_hosts: network.vantage_hosts,
                }
            })
            .collect()
    }

    /// The network that holds this address.
    pub fn network_of(&self, address: Ipv4Addr) -> Option<(&NetworkName, &Network)> {
        self.substrate.networks.iter().find(|(_, network)| network.subnet.contains(&address))
    }

    /// The addresses that enabled services listen on, in the order of the sections.
    pub fn listen_addresses(&self) -> Vec<ListenAddress> {
        let mut found = Vec::new();
        let mut add = |enabled: bool, path: String, name: String, v4: Ipv4Addr| {
            if enabled {
                let network = self.network_of(v4);
                let v6 = network.and_then(|(_, network)| network.v6_of(v4));
                found.push(ListenAddress { path, name, network: network.map(|(name, _)| name.clone()), v4, v6 });
            }
        };
        let dns = &self.dns;
        add(dns.root.enabled, "dns.root.listen_ip".into(), dns.root.soa_primary_ns.to_string(), dns.root.listen_ip);
        let zone = &dns.platform_zone;
        add(true, "dns.platform_zone.listen_ip".into(), format!("ns.{}", zone.name), zone.listen_ip);
        for (index, tld) in dns.tlds.iter().enumerate() {
            add(true, format!("dns.tlds[{index}].listen_ip"), format!("ns.{}", tld.name), tld.listen_ip);
        }
        let acme = &self.pki.acme;
        add(acme.enabled, "pki.acme.listen_ip".into(), acme.canonical_name.to_string(), acme.listen_ip);
        let identity = &self.identity_platform;
        add(true, "identity_platform.listen_ip".into(), identity.canonical_name.to_string(), identity.listen_ip);
        let registry = &self.world_registry;
        add(
            registry.enabled,
            "world_registry.listen_ip".into(),
            registry.canonical_name.to_string(),
            registry.listen_ip,
        );
        let whois = &registry.whois;
        let whois_enabled = registry.enabled && whois.enabled;
        add(whois_enabled, "world_registry.whois.listen_ip".into(), format!("whois.{}", zone.name), whois.listen_ip);
        let domains = &self.domain_registry;
        add(domains.enabled, "domain_registry.listen_ip".into(), domains.canonical_name.to_string(), domains.listen_ip);
        let registrar = &domains.registrar;
        add(
            domains.enabled && registrar.enabled,
            "domain_registry.registrar.listen_ip".into(),
            registrar.canonical_name.to_string(),
            registrar.listen_ip,
        );
        let inworld = &self.identity_inworld;
        add(true, "identity_inworld.listen_ip".into(), inworld.canonical_name.to_string(), inworld.listen_ip);
        let mail = &self.world_services.mail;
        add(mail.enabled, "world_services.mail.listen_ip".into(), mail.canonical_name.to_string(), mail.listen_ip);
        let storage = &self.world_services.storage;
        add(
            storage.enabled,
            "world_services.storage.listen_ip".into(),
            storage.canonical_name.to_string(),
            storage.listen_ip,
        );
        let api = &self.operator.api;
        add(api.enabled, "operator.api.listen_ip".into(), api.canonical_name.to_string(), api.listen_ip);
        found
    }
}
