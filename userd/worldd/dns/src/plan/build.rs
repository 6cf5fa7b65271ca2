//! The zones of a spec and how they hang together.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use netengine_spec::{
    Spec,
    model::{DomainRecord, InitialDomain, RecordType, SerialPolicy},
};

use super::{
    ForeignZone, HostAddress, KeyLifetimes, LeasedNetwork, Plan, PlannedRecord, PlannedZone, REVERSE, TTL,
    reverse_name, reverse_zone,
};

/// A name server: its name and its addresses.
#[derive(Debug, Clone)]
struct Server {
    name: String,
    addresses: Vec<IpAddr>,
}

struct Zones {
    zones: BTreeMap<String, PlannedZone>,
    records: BTreeMap<String, BTreeSet<PlannedRecord>>,
}

pub(super) fn plan(spec: &Spec, hosts: &[HostAddress], leased: &[LeasedNetwork], foreign: &[ForeignZone]) -> Plan {
    let listen = spec.listen_addresses();
    let server = |path: &str| {
        let found = listen.iter().find(|address| address.path == path);
        found.map(|found| Server {
            name: found.name.clone(),
            addresses: [Some(IpAddr::V4(found.v4)), found.v6.map(IpAddr::V6)].into_iter().flatten().collect(),
        })
    };
    let root = server("dns.root.listen_ip");
    let platform_name = spec.dns.platform_zone.name.as_str();
    // The platform zone's server is always there; it also has what nobody else has.
    let platform = server("dns.platform_zone.listen_ip")
        .unwrap_or(Server { name: format!("ns.{platform_name}"), addresses: Vec::new() });
    let tlds: Vec<_> = spec
        .dns
        .tlds
        .iter()
        .enumerate()
        .filter_map(|(index, tld)| Some((tld.name.as_str(), server(&format!("dns.tlds[{index}].listen_ip"))?)))
        .collect();

    let mut zones = Zones { zones: BTreeMap::new(), records: BTreeMap::new() };
    if let Some(root) = &root {
        zones.add("", root);
    }
    for (name, server) in &tlds {
        zones.add(name, server);
    }
    zones.add(platform_name, &platform);

    let mut named: Vec<(String, IpAddr, bool)> = Vec::new();
    for address in &listen {
        named.push((address.name.clone(), IpAddr::V4(address.v4), true));
        named.extend(address.v6.map(|v6| (address.name.clone(), IpAddr::V6(v6), true)));
    }
    if spec.substrate.ntp.enabled {
        named.extend(platform.addresses.iter().map(|&address| (format!("ntp.{platform_name}"), address, false)));
    }
    for network in spec.networks() {
        let name = format!("gateway.{}.{platform_name}", network.name);
        // The same resolver at every router's address, under one name for its certificate.
        let resolver = format!("resolver.{platform_name}");
        for address in [Some(IpAddr::V4(network.gateway)), network.gateway6.map(IpAddr::V6)].into_iter().flatten() {
            named.push((name.clone(), address, true));
            named.push((resolver.clone(), address, false));
        }
    }
    for host in hosts {
        let name = if host.name.contains('.') { host.name.clone() } else { format!("{}.{platform_name}", host.name) };
        named.push((name, host.address, true));
    }

    // A zone is served where its top-level domain is.
    let server_of = |name: &str| {
        let above = tlds.iter().filter(|(tld, _)| is_below(name, tld)).max_by_key(|(tld, _)| tld.len());
        above.map_or(&platform, |(_, server)| server)
    };
    for network in leased {
        if let Some(suffix) = network.suffix.as_deref().filter(|suffix| !zones.zones.contains_key(*suffix)) {
            zones.add(suffix, server_of(suffix));
        }
        named.extend(names_of(network, platform_name));
    }

    // Names whose top-level domain nobody declared live in a zone of that name at the platform's server.
    for (name, _, _) in &named {
        if zones.enclosing(name).is_empty()
            && let Some((_, top)) = name.rsplit_once('.')
        {
            zones.add(top, &platform);
        }
    }
    for domain in &spec.domain_registry.initial_domains {
        zones.add_domain(domain, server_of(domain.domain.as_str()));
    }
    for mirror in spec.gateway_portal.mirrors() {
        let name = mirror.real_hostname.as_str();
        zones.add(name, &platform);
        zones.record(name, name, TTL, "A", mirror.in_world_service.to_string());
    }
    zones.add_reverse(spec, leased, &platform, &named);
    for (name, address, _) in &named {
        let zone = zones.enclosing(name).to_owned();
        zones.address(&zone, name, *address);
    }
    zones.delegate();
    let foreign: Vec<&ForeignZone> = foreign.iter().filter(|zone| zones.delegate_out(zone)).collect();

    let mailbox = spec.dns.root.soa_email.as_str();
    let hints = match &root {
        Some(root) => vec![(".".to_owned(), root.addresses.clone())],
        None => {
            let tops = foreign.iter().filter(|zone| !REVERSE.iter().any(|reverse| is_below(&zone.name, reverse)));
            zones.tops().into_iter().chain(tops.map(|zone| (zone.name.clone(), zone.addresses.clone()))).collect()
        }
    };
    Plan {
        hints,
        zones: zones.finish(),
        // The part before the `@` is one label, its dots escaped (RFC 1035, section 8).
        mailbox: match mailbox.split_once('@') {
            Some((local, domain)) => format!("{}.{domain}", local.replace('.', "\\.")),
            None => mailbox.to_owned(),
        },
        serials_counted: spec.dns.root.serial_policy == SerialPolicy::Fixed,
        resolvers: spec
            .networks()
            .iter()
            .flat_map(|network| [Some(IpAddr::V4(network.gateway)), network.gateway6.map(IpAddr::V6)])
            .flatten()
            .chain(leased.iter().flat_map(|network| network.routers.iter().copied()))
            .collect(),
        dnssec: spec.pki.dnssec_enabled.then_some(KeyLifetimes {
            ksk_days: spec.pki.dnssec_ksk_lifetime_days,
            zsk_days: spec.pki.dnssec_zsk_lifetime_days,
        }),
    }
}

/// The names of a leased network's hosts and of its router: name, address, whether the address leads back to it.
fn names_of(network: &LeasedNetwork, platform: &str) -> Vec<(String, IpAddr, bool)> {
    let zone = network.suffix.as_deref().unwrap_or(platform);
    let router = match network.suffix.as_deref() {
        Some(suffix) => format!("gateway.{suffix}"),
        None => format!("gateway.{}.{platform}", network.name),
    };
    let hosts = network.hosts.iter().map(|host| (format!("{}.{zone}", host.name), host.address, network.has_reverse));
    hosts.chain(network.routers.iter().map(|address| (router.clone(), *address, network.has_reverse))).collect()
}

/// True when `name` is `zone` or below it; the empty zone is the root.
fn is_below(name: &str, zone: &str) -> bool {
    zone.is_empty() || name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

impl Zones {
    /// Adds a zone unless there is one of that name.
    fn add(&mut self, name: &str, server: &Server) {
        self.zones.entry(name.to_owned()).or_insert_with(|| PlannedZone {
            primary: server.name.clone(),
            addresses: server.addresses.clone(),
            records: Vec::new(),
        });
        self.record(name, name, TTL, "NS", server.name.clone());
    }

    /// The deepest zone that holds a name; the empty one is the root.
    fn enclosing(&self, name: &str) -> &str {
        let mut rest = name;
        loop {
            if let Some((zone, _)) = self.zones.get_key_value(rest) {
                return zone;
            }
            rest = rest.split_once('.').map_or("", |(_, parent)| parent);
            if rest.is_empty() {
                return "";
            }
        }
    }

    fn record(&mut self, zone: &str, owner: &str, ttl: u32, rtype: &str, data: String) {
        let (owner, rtype) = (if owner.is_empty() { "." } else { owner }.to_owned(), rtype.to_owned());
        self.records.entry(zone.to_owned()).or_default().insert(PlannedRecord { owner, ttl, rtype, data });
    }

    fn address(&mut self, zone: &str, owner: &str, address: IpAddr) {
        self.record(zone, owner, TTL, if address.is_ipv4() { "A" } else { "AAAA" }, address.to_string());
    }

    /// A domain: a zone at its top-level domain's server, or delegated to the name servers it names.
    fn add_domain(&mut self, domain: &InitialDomain, server: &Server) {
        let name = domain.domain.as_str();
        let owner = |record: &str| if record == "@" { name.to_owned() } else { format!("{record}.{name}") };
        let is_server = |record: &&DomainRecord| record.kind == RecordType::Ns && record.name.as_str() == "@";
        let servers: Vec<_> = domain.records.iter().filter(is_server).collect();
        if servers.iter().all(|record| record.value.as_str().trim_end_matches('.') == server.name) {
            self.add(name, server);
            for record in &domain.records {
                let rtype = format!("{:?}", record.kind).to_uppercase();
                self.record(name, &owner(record.name.as_str()), record.ttl, &rtype, record.value.as_str().to_owned());
            }
            return;
        }
        let parent = self.enclosing(name).to_owned();
        for record in servers {
            let target = record.value.as_str().trim_end_matches('.');
            self.record(&parent, name, record.ttl, "NS", target.to_owned());
            for glue in domain.records.iter().filter(|glue| owner(glue.name.as_str()) == target) {
                let rtype = match glue.kind {
                    RecordType::A => "A",
                    RecordType::Aaaa => "AAAA",
                    _ => continue,
                };
                self.record(&parent, target, glue.ttl, rtype, glue.value.as_str().to_owned());
            }
        }
    }

    /// The reverse zones of all networks, below zones for each family, with the PTR records of all names.
    fn add_reverse(
        &mut self,
        spec: &Spec,
        leased: &[LeasedNetwork],
        server: &Server,
        named: &[(String, IpAddr, bool)],
    ) {
        self.add("in-addr.arpa", server);
        self.add("ip6.arpa", server);
        for network in spec.networks() {
            self.add(&reverse_zone(IpNet::V4(network.subnet)), server);
            if let Some(subnet) = network.subnet6 {
                self.add(&reverse_zone(IpNet::V6(subnet)), server);
            }
        }
        for network in leased.iter().filter(|network| network.has_reverse).flat_map(|network| &network.networks) {
            self.add(&reverse_zone(*network), server);
        }
        for (name, address, _) in named.iter().filter(|(_, _, reverse)| *reverse) {
            let owner = reverse_name(*address);
            let zone = self.enclosing(&owner).to_owned();
            self.record(&zone, &owner, TTL, "PTR", name.clone());
        }
    }

    /// Delegates each zone from the one above it, with the addresses of its server where that zone has them not itself.
    fn delegate(&mut self) {
        let all: Vec<_> = self.zones.iter().map(|(name, zone)| (name.clone(), zone.clone())).collect();
        for (name, zone) in all.iter().filter(|(name, _)| !name.is_empty()) {
            let above = name.split_once('.').map_or("", |(_, above)| above);
            let parent = self.enclosing(above).to_owned();
            if !self.zones.contains_key(&parent) {
                continue;
            }
            self.record(&parent, name, TTL, "NS", zone.primary.clone());
            if is_below(&zone.primary, &parent) {
                for &address in &zone.addresses {
                    self.address(&parent, &zone.primary, address);
                }
            }
        }
        // The root's own server is found by its address, but its name must lead there as well.
        if let Some(root) = self.zones.get("").cloned() {
            for &address in &root.addresses {
                self.address("", &root.primary, address);
            }
        }
    }

    /// Delegates another world's zone; false when it would take anything from this one: only a name below the root, or below
    /// the zones of all addresses, that this world has no zone at or under.
    fn delegate_out(&mut self, foreign: &ForeignZone) -> bool {
        let name = foreign.name.as_str();
        let is_taken = name.is_empty() || self.zones.keys().any(|own| !own.is_empty() && is_below(own, name));
        let parent = self.enclosing(name).to_owned();
        if is_taken || !(parent.is_empty() || REVERSE.contains(&parent.as_str())) || foreign.addresses.is_empty() {
            return false;
        }
        // Without a root of its own a world's resolver begins at the zone itself.
        if !self.zones.contains_key(&parent) {
            return true;
        }
        self.record(&parent, name, TTL, "NS", foreign.primary.clone());
        for ds in &foreign.ds {
            self.record(&parent, name, TTL, "DS", ds.clone());
        }
        if is_below(&foreign.primary, name) {
            for &address in &foreign.addresses {
                self.address(&parent, &foreign.primary, address);
            }
        }
        true
    }

    /// The zones that have none above them, without the final dot.
    fn tops(&self) -> Vec<(String, Vec<IpAddr>)> {
        let has_above = |name: &str| {
            let mut rest = name;
            std::iter::from_fn(|| {
                rest = rest.split_once('.')?.1;
                Some(rest)
            })
            .any(|above| self.zones.contains_key(above))
        };
        let tops = self.zones.iter().filter(|(name, _)| !has_above(name));
        tops.map(|(name, zone)| (name.clone(), zone.addresses.clone())).collect()
    }

    fn finish(mut self) -> BTreeMap<String, PlannedZone> {
        for (name, zone) in &mut self.zones {
            zone.records = self.records.remove(name).unwrap_or_default().into_iter().collect();
        }
        let root = self.zones.remove("");
        self.zones.extend(root.map(|root| (".".to_owned(), root)));
        self.zones
    }
}
