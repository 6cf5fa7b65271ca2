//! From a world's spec to what is registered: pure, and idempotent.
//!
//! A changed spec adds and changes what comes from the spec. What was registered or changed in the running world stays:
//! only what differs between the spec before and the spec now is a change.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use netengine_spec::{Spec, model::InitialDomain};

use crate::{
    decide::{MAX_YEARS, YEAR_DAYS},
    model::{Domain, DomainRecord, Moment, Network, Operator, Organisation, Origin, Pool, Tld},
    record,
    state::{And, Change, Declared, DeclaredOrganisation, Object, State},
};

/// What a spec wants registered.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    declared: Declared,
    operators: Vec<Operator>,
    tlds: Vec<Tld>,
    pools: Vec<Pool>,
    ands: Vec<And>,
    networks: Vec<Network>,
}

impl Wanted {
    /// What this spec wants.
    pub fn of(spec: &Spec) -> Self {
        let registry = &spec.world_registry;
        let organisations = registry.organizations.iter().map(|it| {
            let declared = DeclaredOrganisation {
                description: it.description.as_ref().map(ToString::to_string),
                capabilities: it.capabilities.iter().copied().collect(),
                and_profile: it.and_profile.to_string(),
            };
            (it.name.to_string(), declared)
        });
        let initial = &spec.domain_registry.initial_domains;
        let domains = initial.iter().map(|domain| (domain.domain.to_string(), domain.clone()));
        let declared = Declared { organisations: organisations.collect(), domains: domains.collect() };
        let operators = registry.operators.iter();
        let pools = spec.domain_registry.address_space.iter().zip(0..);
        let ands = spec.ands.instances.iter();
        let networks = spec.substrate.networks.iter();
        Self {
            declared,
            operators: operators.map(|it| Operator { username: it.username.to_string(), role: it.role }).collect(),
            tlds: tlds(spec),
            pools: pools
                .map(|(pool, position)| Pool {
                    position,
                    cidr: pool.cidr.trunc(),
                    label: pool.label.as_ref().map(ToString::to_string),
                    allocated_to: pool.allocated_to.as_ref().map(ToString::to_string),
                    profiles: pool.profiles().into_iter().map(str::to_owned).collect(),
                })
                .collect(),
            ands: ands.map(|it| And { name: it.name.to_string(), organisation: it.org.to_string() }).collect(),
            networks: networks
                .map(|(name, network)| Network {
                    name: name.to_string(),
                    description: network.description.as_ref().map(ToString::to_string),
                    subnets: [Some(IpNet::V4(network.subnet)), network.subnet6.map(IpNet::V6)]
                        .into_iter()
                        .flatten()
                        .collect(),
                })
                .collect(),
        }
    }
}

/// The top-level domains, with who governs them.
fn tlds(spec: &Spec) -> Vec<Tld> {
    let listen = spec.listen_addresses();
    let delegated: BTreeMap<&str, &str> =
        spec.domain_registry.tld_delegations.iter().map(|it| (it.tld.as_str(), it.governed_by.as_str())).collect();
    let declared = spec.dns.tlds.iter().enumerate();
    declared
        .filter_map(|(index, tld)| {
            let governed_by = delegated.get(tld.name.as_str()).map(|&governor| governor.to_owned());
            let path = format!("dns.tlds[{index}].listen_ip");
            let server = listen.iter().find(|address| address.path == path)?;
            let addresses = [Some(server.v4.into()), server.v6.map(Into::into)];
            Some(Tld {
                tld: tld.name.to_string(),
                governed_by,
                server: server.name.clone(),
                addresses: addresses.into_iter().flatten().collect(),
            })
        })
        .collect()
}

/// The changes that make a state what the spec wants; none when it is.
pub fn fill(state: &State, wanted: &Wanted, now: Moment) -> Vec<Change> {
    let mut changes = Vec::new();
    let operators = wanted.operators.iter().cloned().map(Object::Operator);
    replace(&mut changes, state.operators().map(|it| Object::Operator((**it).clone())), operators);
    let tlds = wanted.tlds.iter().cloned().map(Object::Tld);
    replace(&mut changes, state.tlds().map(|it| Object::Tld((**it).clone())), tlds);
    let pools = wanted.pools.iter().cloned().map(Object::Pool);
    replace(&mut changes, state.pools().map(|it| Object::Pool((**it).clone())), pools);
    let ands = wanted.ands.iter().cloned().map(Object::And);
    replace(&mut changes, state.ands().map(|it| Object::And((**it).clone())), ands);
    let networks = wanted.networks.iter().cloned().map(Object::Network);
    replace(&mut changes, state.networks().map(|it| Object::Network((**it).clone())), networks);

    let (before, after) = (state.declared(), &wanted.declared);
    domains(&mut changes, state, before, after, now);
    let kept = state.after(&changes);
    organisations(&mut changes, &kept, before, after, now);
    if **before != *after {
        changes.push(Change::Put(Object::Declared(Box::new(after.clone()))));
    }
    changes
}

/// Puts what is new or different and deletes what is wanted no more.
fn replace(changes: &mut Vec<Change>, old: impl Iterator<Item = Object>, new: impl Iterator<Item = Object>) {
    let mut old: BTreeMap<String, Object> = old.map(|object| (object.place().1, object)).collect();
    for object in new {
        if old.remove(&object.place().1).as_ref() != Some(&object) {
            changes.push(Change::Put(object));
        }
    }
    changes.extend(old.into_values().map(Change::Delete));
}

fn organisations(changes: &mut Vec<Change>, state: &State, before: &Declared, after: &Declared, now: Moment) {
    for (name, new) in &after.organisations {
        let old = before.organisations.get(name);
        let known = state.organisation(name);
        if known.is_some_and(|known| known.active) && old == Some(new) {
            continue;
        }
        let mut next = known.map_or_else(
            || Organisation {
                name: name.clone(),
                description: None,
                capabilities: BTreeSet::new(),
                and_profile: String::new(),
                active: true,
                created: now,
                updated: now,
            },
            |known| Organisation::clone(known),
        );
        // Field by field: what an operator changed in the running world stays until the spec changes that very field.
        if old.is_none_or(|old| old.description != new.description) {
            next.description.clone_from(&new.description);
        }
        if old.is_none_or(|old| old.capabilities != new.capabilities) || !next.active {
            next.capabilities.clone_from(&new.capabilities);
        }
        next.and_profile.clone_from(&new.and_profile);
        next.active = true;
        if known.is_none_or(|known| **known != next) {
            next.updated = if known.is_some() { now } else { next.created };
            changes.push(Change::Put(Object::Organisation(next)));
        }
    }
    for gone in state.organisations().filter(|known| !after.organisations.contains_key(&known.name)) {
        let holds = state.domains().any(|domain| domain.organisation == gone.name);
        if !holds {
            changes.push(Change::Delete(Object::Organisation(Organisation::clone(gone))));
        } else if gone.active {
            // It holds domains that it registered itself: they stay known, it may do nothing more.
            let next = Organisation { active: false, updated: now, ..Organisation::clone(gone) };
            changes.push(Change::Put(Object::Organisation(next)));
        }
    }
}

fn domains(changes: &mut Vec<Change>, state: &State, before: &Declared, after: &Declared, now: Moment) {
    for (name, new) in &after.domains {
        match (before.domains.get(name), state.domain(name)) {
            (Some(old), _) if old == new => {}
            // Registered in the running world before the spec declared it: first come, first served.
            (None, Some(_)) => {}
            (_, None) => changes.push(Change::domain(initial(new, now))),
            (Some(old), Some(known)) => {
                let mut next = Domain::clone(known);
                if old.org != new.org && known.origin == Origin::Spec {
                    next.organisation = new.org.to_string();
                }
                merge(&mut next.records, &old.records, &new.records);
                if record::check(name, &next.records).is_err() {
                    // Old and new do not go together, such as an alias beside an address: the spec's are right by themselves.
                    next.records.clone_from(&new.records);
                }
                if next != **known {
                    next.updated = now;
                    changes.push(Change::domain(next));
                }
            }
        }
    }
    for name in before.domains.keys().filter(|name| !after.domains.contains_key(*name)) {
        if let Some(known) = state.domain(name).filter(|known| known.origin == Origin::Spec) {
            changes.push(Change::Delete(Object::Domain(Box::new(Domain::clone(known)))));
        }
    }
}

/// A domain of the spec.
pub fn initial(domain: &InitialDomain, now: Moment) -> Domain {
    Domain {
        name: domain.domain.to_string(),
        organisation: domain.org.to_string(),
        origin: Origin::Spec,
        records: domain.records.clone(),
        contacts: Vec::new(),
        status: BTreeSet::new(),
        created: now,
        updated: now,
        transferred: None,
        expires: now.plus_days(u64::from(MAX_YEARS) * YEAR_DAYS),
        transfer_digest: None,
    }
}

/// Makes the change from `old` to `new` in `records`, which may have others.
fn merge(records: &mut Vec<DomainRecord>, old: &[DomainRecord], new: &[DomainRecord]) {
    records.retain(|record| !old.contains(record) || new.contains(record));
    let added: Vec<_> =
        new.iter().filter(|record| !old.contains(record) && !records.contains(record)).cloned().collect();
    records.extend(added);
}
