//! Publishing in the zones of netengine-dns, exactly as `netengine_dns::plan` plans the spec's initial domains.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use netengine_dns::{
    name::Name,
    plan::{Plan, PlannedRecord, PlannedZone, TTL},
    record::{Record, Rtype},
    zone::{Catalog, Draft, Store, StoreError, View, Zone, ZoneError},
};
use netengine_spec::{Spec, model::SerialPolicy};

use super::{Names, NamesError};
use crate::{
    model::{Domain, RecordType},
    name::is_below,
    record::mnemonic,
};

/// A name server: its name and where it listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Server {
    name: String,
    addresses: Vec<IpAddr>,
}

/// The servers of a world.
#[derive(Debug, Default)]
struct Servers {
    tlds: BTreeMap<String, Server>,
    platform: Server,
    mailbox: String,
    serials_counted: bool,
}

/// What a domain is in DNS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Form {
    /// Records of its own zone, when a server of the world hosts it.
    zone: Option<Vec<Record>>,
    /// Records in the zone above it.
    above: Vec<Record>,
}

/// Domains in the zones of a world.
pub struct DnsNames {
    store: Arc<Store>,
    servers: ArcSwap<Servers>,
    changed: Box<dyn Fn() + Send + Sync>,
}

fn broken(domain: &Domain) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> NamesError {
    move |source| NamesError::Zone { name: domain.name.clone(), source }
}

/// Why a draft was left.
#[derive(Debug, thiserror::Error)]
enum DraftError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

impl DnsNames {
    /// Publishes in this store, which serves the plan of `spec`.
    pub fn new(store: Arc<Store>, spec: &Spec) -> Self {
        let names = Self { store, servers: ArcSwap::default(), changed: Box::new(|| ()) };
        names.follow(spec);
        names
    }

    /// Calls `changed` after zones came or went: where zones are signed, the new ones need keys (`Signing::refresh`).
    #[must_use]
    pub fn on_zones(mut self, changed: impl Fn() + Send + Sync + 'static) -> Self {
        self.changed = Box::new(changed);
        self
    }

    fn server<'s>(servers: &'s Servers, domain: &str) -> &'s Server {
        let above = servers.tlds.iter().filter(|(tld, _)| is_below(domain, tld));
        above.max_by_key(|(tld, _)| tld.len()).map_or(&servers.platform, |(_, server)| server)
    }

    /// What a domain is in DNS when `server` would host it.
    fn form(domain: &Domain, server: &Server) -> Result<Form, NamesError> {
        if !domain.is_served() {
            return Ok(Form::default());
        }
        let broken = broken(domain);
        let record = |owner: &str, ttl: u32, kind: &str, data: &str| {
            let rtype: Rtype = kind.parse().map_err(|_| broken("the type is unknown".into()))?;
            Record::parse(owner, ttl, rtype, data).map_err(|error| broken(Box::new(error)))
        };
        let own = domain.records.iter().filter(|it| it.kind == RecordType::Ns && it.name.as_str() == "@");
        let own: Vec<_> = own.map(|it| (it.value.as_str().trim_end_matches('.'), it.ttl)).collect();
        if own.iter().all(|(target, _)| *target == server.name) {
            let mut zone = vec![record(&domain.name, TTL, "NS", &server.name)?];
            for it in &domain.records {
                zone.push(record(&domain.owner(it), it.ttl, mnemonic(it.kind), it.value.as_str())?);
            }
            return Ok(Form { zone: Some(zone), above: vec![record(&domain.name, TTL, "NS", &server.name)?] });
        }
        let mut above = Vec::new();
        for (target, ttl) in own {
            above.push(record(&domain.name, ttl, "NS", target)?);
            for glue in domain.records.iter().filter(|glue| domain.owner(glue) == target) {
                if matches!(glue.kind, RecordType::A | RecordType::Aaaa) {
                    above.push(record(target, glue.ttl, mnemonic(glue.kind), glue.value.as_str())?);
                }
            }
        }
        Ok(Form { zone: None, above })
    }

    /// The zone of a domain that `server` hosts, made as the plan makes those of the spec.
    fn zone(servers: &Servers, server: &Server, domain: &Domain, now: u32) -> Result<Zone, NamesError> {
        let own = domain.records.iter().map(|it| PlannedRecord {
            owner: domain.owner(it),
            ttl: it.ttl,
            rtype: mnemonic(it.kind).to_owned(),
            data: it.value.to_string(),
        });
        let ns = PlannedRecord { owner: domain.name.clone(), ttl: TTL, rtype: "NS".into(), data: server.name.clone() };
        let records: std::collections::BTreeSet<_> = own.chain([ns]).collect();
        let planned = PlannedZone {
            primary: server.name.clone(),
            addresses: server.addresses.clone(),
            records: records.into_iter().collect(),
        };
        let plan = Plan {
            zones: BTreeMap::from([(domain.name.clone(), planned)]),
            mailbox: servers.mailbox.clone(),
            serials_counted: servers.serials_counted,
            hints: Vec::new(),
            resolvers: Vec::new(),
            dnssec: None,
        };
        let broken = broken(domain);
        let catalog = plan.catalog(now).map_err(|error| broken(Box::new(error)))?;
        let zone = catalog.zones().next().ok_or_else(|| broken("the plan has no zone".into()))?;
        Ok(Zone::clone(zone))
    }
}

/// The nearest zone above a domain.
fn above(catalog: &Catalog, domain: &Name) -> Option<Name> {
    let mut name = domain.parent()?;
    loop {
        if catalog.zone(&name).is_some() {
            return Some(name);
        }
        name = name.parent()?;
    }
}

/// Adds and removes: aliases make room first, and what is vital is added before its predecessor goes.
fn change(draft: &mut Draft, gone: &[Record], new: &[Record]) -> Result<(), ZoneError> {
    let (aliases, rest): (Vec<_>, Vec<_>) = gone.iter().partition(|record| record.rtype == Rtype::CNAME);
    let (new_aliases, new_rest): (Vec<_>, Vec<_>) = new.iter().partition(|record| record.rtype == Rtype::CNAME);
    for record in aliases {
        let _ = draft.remove(record)?;
    }
    for record in new_rest {
        let _ = draft.add(record.clone())?;
    }
    for record in rest {
        let _ = draft.remove(record)?;
    }
    for record in new_aliases {
        let _ = draft.add(record.clone())?;
    }
    Ok(())
}

/// The data that is in `old` and not in `new`; a time to live makes no difference.
fn without(old: Vec<Record>, new: &[Record]) -> Vec<Record> {
    let is_in = |record: &Record| {
        new.iter().any(|it| it.owner == record.owner && it.rtype == record.rtype && it.data == record.data)
    };
    old.into_iter().filter(|record| !is_in(record)).collect()
}

impl Names for DnsNames {
    fn follow(&self, spec: &Spec) {
        let listen = spec.listen_addresses();
        let server = |path: &str| {
            let found = listen.iter().find(|address| address.path == path)?;
            let addresses = [Some(IpAddr::V4(found.v4)), found.v6.map(IpAddr::V6)];
            Some(Server { name: found.name.clone(), addresses: addresses.into_iter().flatten().collect() })
        };
        let tlds = spec.dns.tlds.iter().enumerate();
        let tlds = tlds
            .filter_map(|(index, tld)| Some((tld.name.to_string(), server(&format!("dns.tlds[{index}].listen_ip"))?)));
        self.servers.store(Arc::new(Servers {
            tlds: tlds.collect(),
            platform: server("dns.platform_zone.listen_ip").unwrap_or_default(),
            mailbox: Plan::of(spec, &[]).mailbox,
            serials_counted: spec.dns.root.serial_policy == SerialPolicy::Fixed,
        }));
    }

    fn check(&self, before: Option<&Domain>, after: &Domain) -> Result<(), NamesError> {
        let broken = broken(after);
        let servers = self.servers.load();
        let server = Self::server(&servers, &after.name);
        let form = Self::form(after, server)?;
        // The zone is made even when it is on hold: what is taken must be good when the hold ends.
        let _ = Self::zone(&servers, server, after, 1)?;
        let apex = Name::parse(&after.name).map_err(|error| broken(Box::new(error)))?;
        let catalog = self.store.snapshot();
        let parent = above(&catalog, &apex).ok_or_else(|| NamesError::NoZone(after.name.clone()))?;
        let parent = catalog.zone(&parent).ok_or_else(|| NamesError::NoZone(after.name.clone()))?;
        if before.is_none() {
            let hides = catalog.zones().any(|zone| zone.apex().is_under(&apex))
                || parent.nodes().any(|node| node.name.is_under(&apex));
            if hides {
                return Err(NamesError::Reserved(after.name.clone()));
            }
        }
        let old = before.map(|before| Self::form(before, server)).transpose()?.unwrap_or_default();
        let mut draft = parent.edit();
        change(&mut draft, &without(old.above, &form.above), &form.above).map_err(|error| broken(Box::new(error)))
    }

    fn publish(&self, before: &[&Domain], after: Option<&Domain>, now: u32) -> Result<(), NamesError> {
        let Some(any) = after.or(before.first().copied()) else { return Ok(()) };
        let broken = broken(any);
        let servers = self.servers.load();
        let server = Self::server(&servers, &any.name);
        let apex = Name::parse(&any.name).map_err(|error| broken(Box::new(error)))?;
        let old = before.iter().map(|before| Self::form(before, server)).collect::<Result<Vec<_>, _>>()?;
        let had_zone = old.iter().any(|form| form.zone.is_some());
        let new = after.map(|after| Self::form(after, server)).transpose()?.unwrap_or_default();
        let mut arranged = false;
        // A zone must be there before it is delegated to, and its delegation be gone before it is.
        if let (Some(records), Some(domain)) = (&new.zone, after) {
            if self.store.look().zone(&apex).is_some() {
                let gone = old.iter().filter_map(|form| form.zone.clone()).flatten().collect();
                let gone = without(gone, records);
                self.store
                    .change(&apex, now, |draft| change(draft, &gone, records).map_err(DraftError::from))
                    .map_err(|error| broken(Box::new(error)))?;
            } else {
                let zone = Self::zone(&servers, server, domain, now)?;
                self.store.arrange(|catalog| catalog.insert_zone(zone));
                arranged = true;
            }
            arranged |= self.serve_at(&apex, &server.addresses);
        }
        let parent = above(&self.store.look(), &apex);
        if let Some(parent) = parent {
            let mut gone: Vec<Record> = old.into_iter().flat_map(|form| form.above).collect();
            if let Some(node) = self.store.look().zone(&parent).and_then(|zone| zone.node(&apex).cloned()) {
                // Nobody else delegates the domain: servers that a spec before had given it go as well.
                let kept = node.get(Rtype::NS).into_iter().flat_map(|set| set.data.iter().map(|data| (set.ttl, data)));
                gone.extend(kept.map(|(ttl, data)| Record {
                    owner: apex.clone(),
                    rtype: Rtype::NS,
                    ttl,
                    data: data.clone(),
                }));
            }
            let gone = without(gone, &new.above);
            let loses_keys = had_zone && new.zone.is_none();
            self.store
                .change(&parent, now, |draft| {
                    change(draft, &gone, &new.above)?;
                    if loses_keys {
                        // The digest is of the world's key: with other servers' keys it would make the domain bogus.
                        let _ = draft.remove_set(&apex, Rtype::DS)?;
                    }
                    Ok::<_, DraftError>(())
                })
                .map_err(|error| broken(Box::new(error)))?;
        } else if after.is_some() {
            return Err(NamesError::NoZone(any.name.clone()));
        }
        if had_zone && new.zone.is_none() && self.store.look().zone(&apex).is_some() {
            self.serve_at(&apex, &[]);
            self.store.arrange(|catalog| catalog.delete_zone(&apex));
            arranged = true;
        }
        if arranged {
            (self.changed)();
        }
        Ok(())
    }
}

impl DnsNames {
    /// Makes the servers at these addresses, and no others, answer for a zone. True when that was not so.
    fn serve_at(&self, apex: &Name, addresses: &[IpAddr]) -> bool {
        let now: Vec<IpAddr> = self.store.look().servers_of(apex).collect();
        if now.len() == addresses.len() && now.iter().all(|address| addresses.contains(address)) {
            return false;
        }
        self.store.arrange(|catalog| {
            for address in now.iter().filter(|address| !addresses.contains(address)) {
                if let Some(view) = catalog.view(*address).cloned() {
                    catalog.insert_view(*address, view.without(apex));
                }
            }
            for address in addresses {
                let view = catalog.view(*address).cloned().unwrap_or_else(View::default);
                catalog.insert_view(*address, view.with(apex));
            }
        });
        true
    }
}
