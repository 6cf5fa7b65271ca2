//! Section `ands`.

use std::collections::{HashMap, HashSet};

use netengine_proto::limits;

use super::{
    Check, DOMAINS, INSTANCES, NETWORKS, ORGS, POOLS, PROFILES,
    registries::{by_name, profile_names},
};
use crate::{
    model::{AllowProto, RecordType},
    text::DnsName,
};

const ALLOW: &str = "ands.allow";
/// What the router is called in the zone of an AND.
const ROUTER: &str = "gateway";

pub(super) fn check(check: &mut Check) {
    let spec = check.spec;
    let instances = &spec.ands.instances;
    let path = |index: usize, key: &str| format!("{INSTANCES}[{index}].{key}");
    check.unique("the AND", instances.iter().enumerate().map(|(index, and)| (path(index, "name"), &and.name)));
    let suffixes = instances.iter().enumerate();
    check.unique(
        "the zone",
        suffixes.filter_map(|(index, and)| and.dns_suffix.as_ref().map(|suffix| (path(index, "dns_suffix"), suffix))),
    );
    let (orgs, profiles) = (check.org_names(), profile_names(check));
    let owners = by_name(check);
    for (index, and) in instances.iter().enumerate() {
        if spec.substrate.networks.keys().any(|network| network.as_str() == and.name.as_str()) {
            let message =
                format!("`{}` is already the name of a network; WORLD/{} would mean both", and.name, and.name);
            check.error(&path(index, "name"), message, None);
        }
        check.refers(&path(index, "org"), and.org.as_str(), "organisation", ORGS, &orgs);
        check.refers(&path(index, "profile"), and.profile.as_str(), "profile", PROFILES, &profiles);
        if let Some((at, org)) = owners.get(and.org.as_str()).filter(|(_, org)| org.and_profile != and.profile)
            && check.trusts(&format!("{ORGS}[{at}].and_profile"))
            && profiles.contains(and.profile.as_str())
        {
            let message = format!("the profile `{}` differs from that of its organisation `{}`", and.profile, and.org);
            let help = Some(format!("the organisation's `and_profile` is `{}`", org.and_profile));
            check.warn(&path(index, "profile"), message, help);
        }
    }
    if instances.len() > limits::DOMAINS {
        let message = format!("a world has at most {} ANDs, not {}", limits::DOMAINS, instances.len());
        check.error(INSTANCES, message, None);
    }
    zones(check);
    leases(check);
    allow(check);
}

/// The names of the ANDs' hosts: theirs alone, and in zones that the world's own servers answer for.
fn zones(check: &mut Check) {
    let spec = check.spec;
    let served: HashSet<String> = spec.listen_addresses().into_iter().map(|listen| listen.name).collect();
    let is_elsewhere = |domain: &&crate::model::InitialDomain| {
        domain.records.iter().any(|record| record.kind == RecordType::Ns && record.name.as_str() == "@")
    };
    let elsewhere: Vec<&DnsName> =
        spec.domain_registry.initial_domains.iter().filter(is_elsewhere).map(|domain| &domain.domain).collect();
    for (index, and) in spec.ands.instances.iter().enumerate() {
        let suffix = and.dns_suffix.as_ref();
        let name = format!("{}.{}", and.name, suffix.unwrap_or(&spec.dns.platform_zone.name));
        let path = format!("{INSTANCES}[{index}].name");
        if served.contains(&name) {
            check.error(&path, format!("`{name}`, the name of its host, is the name of a service"), None);
        } else if suffix.is_some() && and.name.as_str() == ROUTER {
            check.error(&path, format!("`{name}` is the name of its router"), None);
        } else if let Err(why) = DnsName::parse(&name) {
            check.error(&path, format!("the name of its host in its zone {why}"), None);
        }
        let Some(suffix) = suffix else { continue };
        let is_below = |domain: &&&DnsName| {
            suffix.as_str().strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if let Some(domain) = elsewhere.iter().find(is_below) {
            let message = format!("the zone `{suffix}` lies in `{domain}`, which has name servers of its own");
            let help = Some(format!("choose another suffix, or leave the NS records of `{domain}` out of `{DOMAINS}`"));
            check.error(&format!("{INSTANCES}[{index}].dns_suffix"), message, help);
        }
    }
}

/// Typed rules lead from one AND or network to another, and only protocols that have ports name some.
fn allow(check: &mut Check) {
    let spec = check.spec;
    let rules = &spec.ands.allow;
    if rules.len() > limits::ALLOW_RULES {
        let message = format!("a world has at most {} rules, not {}", limits::ALLOW_RULES, rules.len());
        check.error(ALLOW, message, None);
    }
    let ands = spec.ands.instances.iter().map(|and| and.name.as_str());
    let names: HashSet<&str> = ands.chain(spec.substrate.networks.keys().map(|name| name.as_str())).collect();
    for (index, rule) in rules.iter().enumerate() {
        let path = |key: &str| format!("{ALLOW}[{index}].{key}");
        for (key, name) in [("from", &rule.from), ("to", &rule.to)] {
            if check.knows(NETWORKS) {
                check.refers(&path(key), name.as_str(), "AND or network", INSTANCES, &names);
            }
        }
        if rule.from == rule.to {
            let message = format!("hosts of `{}` reach each other without the router", rule.to);
            check.error(&path("to"), message, Some("leave the rule out".to_owned()));
        }
        if !rule.ports.is_empty() && matches!(rule.proto, AllowProto::Any | AllowProto::Icmp) {
            let help = Some("write `proto: tcp` or `proto: udp`, or leave the ports out".to_owned());
            check.error(&path("ports"), "only tcp and udp have ports", help);
        }
        if rule.ports.len() > limits::PORT_RANGES {
            let message =
                format!("a rule has at most {} ports and ranges, not {}", limits::PORT_RANGES, rule.ports.len());
            check.error(&path("ports"), message, None);
        }
    }
}

/// Each AND needs a /24 (or a whole smaller pool) of a pool that serves its profile.
fn leases(check: &mut Check) {
    let spec = check.spec;
    if !check.knows(POOLS) {
        return;
    }
    let profiles = profile_names(check);
    let mut left: HashMap<&str, u64> = HashMap::new();
    for pool in &spec.domain_registry.address_space {
        for profile in pool.profiles() {
            *left.entry(profile).or_default() += 1 << 24u8.saturating_sub(pool.cidr.prefix_len());
        }
    }
    for (index, and) in spec.ands.instances.iter().enumerate() {
        let profile = and.profile.as_str();
        let path = format!("{INSTANCES}[{index}].profile");
        if !profiles.contains(profile) || !check.trusts(&path) {
            continue;
        }
        let leases = left.entry(profile).or_default();
        match leases.checked_sub(1) {
            Some(rest) => *leases = rest,
            None => {
                let message = format!("no network is left for this AND in the pools of the profile `{profile}`");
                let help = Some(format!("append a pool with `label: {profile}-pool` to `{POOLS}`"));
                check.error(&path, message, help);
            }
        }
    }
}
