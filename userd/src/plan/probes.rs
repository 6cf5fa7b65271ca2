//! The live checks of a world: which questions real clients would ask, and what the answers must be.
//!
//! What is expected comes from the spec alone, not from what the services say of themselves.

use std::{collections::BTreeMap, net::IpAddr};

use netengine_proto::{
    control::{AndNetwork, Probe, TimedProbe},
    trust::{CredentialKind, Secret},
};
use netengine_spec::{
    Spec,
    model::{DomainRecord, RecordType},
};

use super::{
    NTP_PORT, Target,
    ands::{permissions, router_addresses},
    phases::{ANDS, INWORLD_IDENTITY, NAMES_RESOLVE, PKI, PLATFORM_IDENTITY, REGISTRIES, ROOT, effective},
    secrets::{API_CLIENT, PROBE_ACCOUNT, TRANSFER_KEY},
};

/// One question over UDP waits this long for its answer.
const ONE_ANSWER: u32 = 500;
/// A lookup by the resolver, which may itself ask several servers.
const LOOKUP: u32 = 2_000;
/// A conversation over TCP or TLS.
const CONVERSATION: u32 = 5_000;
/// An ACME order with its challenge.
const ORDER: u32 = 10_000;

/// How many of a kind are asked for in an `up`: organisations, domains. `diagnose` asks for more.
const SAMPLE: usize = 3;
/// ANDs whose hosts are looked up in an `up`: of those that it makes or changes. Of the others, [`SAMPLE`].
const SAMPLE_ANDS: usize = 64;
/// The same for `diagnose`: with the names of all services it stays below [`netengine_proto::limits::PROBES`].
const DIAGNOSED: usize = 200;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Something was changed, or is to be shown to be right: every service, and of what there are many a few.
    Up,
    /// Nothing but ANDs had to be changed: as [`Extent::Up`] without what leaves traces, an ACME order.
    Again,
    /// Everything that can be asked.
    All,
}

/// A live check of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The phase that it proves.
    pub phase: u8,
    /// What is asked, for people.
    pub name: String,
    /// The check.
    pub probe: TimedProbe,
}

struct Checks {
    planned: Vec<Planned>,
}

impl Checks {
    fn add(&mut self, phase: u8, timeout_ms: u32, name: String, probe: Probe) {
        self.planned.push(Planned { phase, name, probe: TimedProbe { timeout_ms, probe } });
    }

    fn dns(&mut self, phase: u8, server: IpAddr, validated: bool, name: &str, rtype: &str, expect: Vec<String>) {
        let text = format!("dns: {rtype} {name} at {server}");
        let (name, rtype) = (name.to_owned(), rtype.to_owned());
        self.add(phase, LOOKUP, text, Probe::Dns { server, name, rtype, expect, validated });
    }

    fn https(&mut self, phase: u8, name: &str, path: &str, status: u16) {
        let probe = Probe::Https { name: name.to_owned(), path: path.to_owned(), status };
        self.add(phase, CONVERSATION, format!("https: {name}{path}"), probe);
    }

    fn token(&mut self, phase: u8, issuer: &str, target: &Target) {
        if let Some(secret) = secret_of(target, CredentialKind::ClientSecret, issuer, API_CLIENT) {
            let (issuer, client_id) = (issuer.to_owned(), API_CLIENT.to_owned());
            let text = format!("token: {issuer} for {client_id}");
            self.add(phase, CONVERSATION, text, Probe::Token { issuer, client_id, secret });
        }
    }
}

/// The live checks of a world, `before` being what it was when it was last up. Those of phases that are not brought up are left out.
pub fn probes(target: &Target, before: Option<&Target>, extent: Extent) -> Vec<Planned> {
    let spec = &target.spec;
    let mut checks = Checks { planned: Vec::new() };
    for address in &target.ntp_addresses {
        let probe = Probe::Ntp { address: *address, port: NTP_PORT };
        checks.add(0, ONE_ANSWER, format!("ntp: {address}"), probe);
    }
    for phase in effective(spec, target.up_to) {
        match phase {
            ROOT => root(&mut checks, spec),
            NAMES_RESOLVE => names(&mut checks, target, extent),
            PKI => pki(&mut checks, target, extent),
            PLATFORM_IDENTITY => {
                let identity = &spec.identity_platform;
                let realm = identity.realm_name.as_str();
                provider(&mut checks, phase, identity.canonical_name.as_str(), &[realm], &[realm], target);
                let api = &spec.operator.api;
                if api.enabled {
                    checks.https(phase, &format!("{}:{}", api.canonical_name, api.port), "/health", 200);
                }
            }
            REGISTRIES => registries(&mut checks, spec, extent),
            INWORLD_IDENTITY => {
                let identity = &spec.identity_inworld;
                let organisations = spec.world_registry.organizations.iter().map(|org| org.name.as_str());
                let realms: Vec<&str> = std::iter::once(identity.realm_name.as_str()).chain(organisations).collect();
                let few = &realms[..realms.len().min(1 + SAMPLE)];
                let asked = if extent == Extent::All { &realms[..realms.len().min(DIAGNOSED)] } else { few };
                provider(&mut checks, phase, identity.canonical_name.as_str(), asked, few, target);
            }
            ANDS => ands(&mut checks, target, before, extent),
            _ => {}
        }
    }
    checks.planned
}

/// The root zone at its own server.
fn root(checks: &mut Checks, spec: &Spec) {
    let servers = spec.listen_addresses().into_iter().filter(|listen| listen.path == "dns.root.listen_ip");
    for listen in servers {
        for server in both(listen.v4.into(), listen.v6.map(IpAddr::V6)) {
            checks.dns(ROOT, server, false, ".", "SOA", Vec::new());
            checks.dns(ROOT, server, false, ".", "NS", vec![listen.name.clone()]);
        }
    }
}

/// Every service's name forward and reverse, and every zone from the root down, by the resolver of the vantage host; the
/// zones by transfer from their servers.
fn names(checks: &mut Checks, target: &Target, extent: Extent) {
    let (spec, signed) = (&target.spec, target.spec.pki.dnssec_enabled);
    let listen = spec.listen_addresses();
    let mut held: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let mut reverse: Vec<(IpAddr, &str)> = Vec::new();
    for listen in &listen {
        for address in both(listen.v4.into(), listen.v6.map(IpAddr::V6)) {
            let rtype = if address.is_ipv4() { "A" } else { "AAAA" };
            held.entry((&listen.name, rtype)).or_default().push(address.to_string());
            reverse.push((address, &listen.name));
        }
    }
    let zones = zones(spec);
    let key = secret_of(target, CredentialKind::Tsig, "", TRANSFER_KEY);
    // Each resolver address is the same resolver: all are asked for one name, the first for all names.
    for (index, resolver) in target.resolvers.iter().enumerate() {
        for ((name, rtype), expect) in held.iter().take(if index == 0 { usize::MAX } else { 1 }) {
            checks.dns(NAMES_RESOLVE, *resolver, signed, name, rtype, expect.clone());
        }
        if index > 0 {
            continue;
        }
        for (address, name) in &reverse {
            checks.dns(NAMES_RESOLVE, *resolver, signed, &reverse_name(*address), "PTR", vec![(*name).to_owned()]);
        }
        for (zone, server, _) in &zones {
            checks.dns(NAMES_RESOLVE, *resolver, signed && *zone != ".", zone, "NS", vec![server.clone()]);
        }
    }
    for (zone, _, server) in zones {
        if let Some(secret) = key.clone() {
            let text = format!("transfer: {zone} from {server}");
            let key = (TRANSFER_KEY.to_owned(), secret);
            let probe = Probe::Transfer { server, zone: zone.to_owned(), key };
            checks.add(NAMES_RESOLVE, CONVERSATION, text, probe);
        }
    }
    let count = if extent == Extent::All { DIAGNOSED } else { SAMPLE };
    // A domain with name servers of its own is as right as those are; whether they run is not the world's doing.
    let is_server = |record: &DomainRecord| record.kind == RecordType::Ns && record.name.as_str() == "@";
    let domains = spec.domain_registry.initial_domains.iter().filter(|domain| !domain.records.iter().any(is_server));
    for domain in domains.take(count) {
        if let Some(resolver) = target.resolvers.first() {
            checks.dns(NAMES_RESOLVE, *resolver, signed, domain.domain.as_str(), "NS", Vec::new());
        }
    }
}

/// The zones that the spec itself names: zone, its server's name and address.
fn zones(spec: &Spec) -> Vec<(&str, String, IpAddr)> {
    let mut found = Vec::new();
    for listen in spec.listen_addresses() {
        let zone = match listen.path.as_str() {
            "dns.root.listen_ip" => ".",
            "dns.platform_zone.listen_ip" => spec.dns.platform_zone.name.as_str(),
            path => {
                let tld = path.strip_prefix("dns.tlds[").and_then(|rest| rest.strip_suffix("].listen_ip"));
                let tld = tld.and_then(|index| spec.dns.tlds.get(index.parse::<usize>().ok()?));
                let Some(tld) = tld else { continue };
                tld.name.as_str()
            }
        };
        found.push((zone, listen.name, listen.v4.into()));
    }
    found
}

/// The certificate authority, and a certificate for the vantage host itself.
fn pki(checks: &mut Checks, target: &Target, extent: Extent) {
    let authority = target.spec.pki.acme.canonical_name.as_str();
    checks.https(PKI, authority, "/acme/acme/directory", 200);
    if extent == Extent::Again || target.resolvers.is_empty() {
        return;
    }
    let name = format!("{}.{}", target.prober, target.spec.dns.platform_zone.name);
    let directory = format!("https://{authority}/acme/acme/directory");
    let account = secret_of(target, CredentialKind::AcmeAccount, "", PROBE_ACCOUNT);
    checks.add(PKI, ORDER, format!("acme: order for {name}"), Probe::Acme { directory, name, account });
}

/// An OpenID provider: what `asked` realms publish, and a token of each of `tokens`.
fn provider(checks: &mut Checks, phase: u8, host: &str, asked: &[&str], tokens: &[&str], target: &Target) {
    for realm in asked {
        checks.https(phase, host, &format!("/realms/{realm}/.well-known/openid-configuration"), 200);
    }
    for realm in tokens {
        checks.token(phase, &format!("https://{host}/realms/{realm}"), target);
    }
}

/// The registries over HTTPS, WHOIS and RDAP.
fn registries(checks: &mut Checks, spec: &Spec, extent: Extent) {
    let (world, domains) = (&spec.world_registry, &spec.domain_registry);
    let count = if extent == Extent::All { DIAGNOSED } else { 1 };
    let registered: Vec<&str> =
        domains.initial_domains.iter().take(count).map(|domain| domain.domain.as_str()).collect();
    if world.enabled {
        checks.https(REGISTRIES, world.canonical_name.as_str(), "/health", 200);
        if world.whois.enabled {
            let address = IpAddr::from(world.whois.listen_ip);
            let mut whois = |query: String, expect: String| {
                let probe = Probe::Whois { address, port: world.whois.port, query: query.clone(), expect };
                checks.add(REGISTRIES, CONVERSATION, format!("whois: {query} at {address}"), probe);
            };
            whois(format!("none.{}", spec.dns.platform_zone.name), "No match".to_owned());
            registered.iter().for_each(|domain| whois((*domain).to_owned(), (*domain).to_owned()));
        }
    }
    if domains.enabled {
        let host = domains.canonical_name.as_str();
        checks.https(REGISTRIES, host, "/health", 200);
        let mut rdap = |path: String, class: &str| {
            let url = format!("https://{host}/rdap/{path}");
            let probe = Probe::Rdap { url: url.clone(), class: class.to_owned() };
            checks.add(REGISTRIES, CONVERSATION, format!("rdap: {url}"), probe);
        };
        rdap("help".to_owned(), "");
        registered.iter().for_each(|name| rdap(format!("domain/{name}"), "domain"));
        if domains.registrar.enabled {
            checks.https(REGISTRIES, domains.registrar.canonical_name.as_str(), "/health", 200);
        }
    }
}

/// The hosts of ANDs by name and address, and their zones: what the world's resolver says of them in network `core`.
fn ands(checks: &mut Checks, target: &Target, before: Option<&Target>, extent: Extent) {
    let (platform, signed) = (target.spec.dns.platform_zone.name.as_str(), target.spec.pki.dnssec_enabled);
    let Some(resolver) = target.resolvers.first() else { return };
    let held: BTreeMap<_, _> =
        before.iter().flat_map(|before| &before.desired.ands).map(|and| (&and.name, and)).collect();
    let (same, other): (Vec<&AndNetwork>, Vec<_>) =
        target.desired.ands.iter().partition(|and| held.get(&and.name).is_some_and(|held| held == and));
    let (most, few) = if extent == Extent::All { (DIAGNOSED, DIAGNOSED) } else { (SAMPLE_ANDS, SAMPLE) };
    let other = other.into_iter().take(most);
    for and in other.chain(same.into_iter().take(few)) {
        let zone = and.suffix.as_deref();
        for host in &and.hosts {
            let name = format!("{}.{}", host.name, zone.unwrap_or(platform));
            for address in &host.addresses {
                let rtype = if address.is_ipv4() { "A" } else { "AAAA" };
                checks.dns(ANDS, *resolver, signed, &name, rtype, vec![address.to_string()]);
                if and.has_reverse {
                    checks.dns(ANDS, *resolver, signed, &reverse_name(*address), "PTR", vec![name.clone()]);
                }
            }
        }
        if let Some(zone) = zone {
            let routers = router_addresses(and).into_iter().filter(IpAddr::is_ipv4).map(|router| router.to_string());
            checks.dns(ANDS, *resolver, signed, &format!("gateway.{zone}"), "A", routers.collect());
        }
    }
}

/// What a host of an AND asks of its own router, and of the services where the AND may open flows. Its resolver is the router.
pub fn of_and(target: &Target, and: &AndNetwork) -> Vec<Planned> {
    let mut checks = Checks { planned: Vec::new() };
    let (spec, authority) = (&target.spec, target.spec.pki.acme.canonical_name.as_str());
    let listen = spec.listen_addresses();
    let named = listen.iter().find(|listen| listen.name == authority).map(|listen| listen.v4.to_string());
    for router in router_addresses(and) {
        if spec.substrate.ntp.enabled {
            let probe = Probe::Ntp { address: router, port: NTP_PORT };
            checks.add(ANDS, ONE_ANSWER, format!("ntp: {router}"), probe);
        }
        if let Some(address) = &named {
            checks.dns(ANDS, router, spec.pki.dnssec_enabled, authority, "A", vec![address.clone()]);
        }
    }
    let profile = spec.and_profile(&and.profile).unwrap_or_default();
    if permissions(&and.profile, &profile).opens && named.is_some() {
        checks.https(ANDS, authority, "/acme/acme/directory", 200);
    }
    for planned in &mut checks.planned {
        planned.name = format!("from {}: {}", and.name, planned.name);
    }
    checks.planned
}

fn secret_of(target: &Target, kind: CredentialKind, issuer: &str, name: &str) -> Option<Secret> {
    let mut held = target.desired.credentials.iter();
    let found = held.find(|held| held.kind == kind && held.issuer == issuer && held.name == name);
    found.map(|found| found.secret.clone())
}

fn both(v4: IpAddr, v6: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
    std::iter::once(v4).chain(v6)
}

/// The name that holds the PTR record of an address (RFC 1035, section 3.5; RFC 3596, section 2.5).
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let octets = v6.octets().into_iter().rev();
            let labels: String = octets.map(|octet| format!("{:x}.{:x}.", octet & 15, octet >> 4)).collect();
            format!("{labels}ip6.arpa")
        }
    }
}

#[cfg(test)]
#[path = "probes_tests.rs"]
mod tests;
