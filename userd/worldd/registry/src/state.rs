//! Everything that is registered at one moment. A snapshot shares all but what changed with the one before it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use netengine_spec::model::InitialDomain;
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};

use crate::{
    model::{Domain, Lease, Network, Operator, Organisation, Pool, Tld},
    name::is_below,
};

/// An AND that the spec declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct And {
    /// Its name.
    pub name: String,
    /// The organisation it belongs to.
    pub organisation: String,
}

/// What an organisation is in the spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredOrganisation {
    /// What it is.
    pub description: Option<String>,
    /// What it may do.
    pub capabilities: std::collections::BTreeSet<crate::model::Capability>,
    /// The profile its ANDs are meant to have.
    pub and_profile: String,
}

/// What the spec said when it was last filled in: what differs from it in the next one is a change of the spec, what
/// differs from it in the state was changed in the running world.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The organisations by name.
    pub organisations: BTreeMap<String, DeclaredOrganisation>,
    /// The initial domains by name.
    pub domains: BTreeMap<String, InitialDomain>,
}

/// One thing that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Object {
    /// An organisation.
    Organisation(Organisation),
    /// An operator.
    Operator(Operator),
    /// A top-level domain.
    Tld(Tld),
    /// An address pool.
    Pool(Pool),
    /// A declared AND.
    And(And),
    /// A network of the substrate.
    Network(Network),
    /// A lease.
    Lease(Lease),
    /// A domain.
    Domain(Box<Domain>),
    /// What the spec said last.
    Declared(Box<Declared>),
}

impl Object {
    /// Its kind and its name within the kind: together its place in the store.
    pub fn place(&self) -> (&'static str, String) {
        match self {
            Self::Organisation(it) => ("organisation", it.name.clone()),
            Self::Operator(it) => ("operator", it.username.clone()),
            Self::Tld(it) => ("tld", it.tld.clone()),
            Self::Pool(it) => ("pool", it.cidr.to_string()),
            Self::And(it) => ("and", it.name.clone()),
            Self::Network(it) => ("network", it.name.clone()),
            Self::Lease(it) => ("lease", it.and.clone()),
            Self::Domain(it) => ("domain", it.name.clone()),
            Self::Declared(_) => ("declared", String::new()),
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The object is so now.
    Put(Object),
    /// The object at this one's place is gone.
    Delete(Object),
}

impl Change {
    /// A domain that is so now.
    pub fn domain(domain: Domain) -> Self {
        Self::Put(Object::Domain(Box::new(domain)))
    }
}

type Map<T> = RedBlackTreeMapSync<String, Arc<T>>;

/// Everything at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    organisations: Map<Organisation>,
    operators: Map<Operator>,
    tlds: Map<Tld>,
    pools: Map<Pool>,
    ands: Map<And>,
    networks: Map<Network>,
    leases: Map<Lease>,
    domains: Map<Domain>,
    declared: Arc<Declared>,
}

/// Makes reading and listing of one kind.
macro_rules! kind {
    ($($(#[$doc:meta])* $one:ident, $(#[$docs:meta])* $all:ident, $type:ty;)*) => {
        $(
            $(#[$doc])*
            pub fn $one(&self, name: &str) -> Option<&Arc<$type>> {
                self.$all.get(name)
            }

            $(#[$docs])*
            pub fn $all(&self) -> impl Iterator<Item = &Arc<$type>> {
                self.$all.values()
            }
        )*
    };
}

impl State {
    /// The state after these changes.
    #[must_use]
    pub fn after(&self, changes: &[Change]) -> Self {
        let mut next = self.clone();
        changes.iter().for_each(|change| next.apply(change));
        next
    }

    fn apply(&mut self, change: &Change) {
        /// Puts or removes in one map.
        macro_rules! set {
            ($map:ident, $name:expr, $it:expr, $is_put:expr) => {
                if $is_put {
                    self.$map.insert_mut($name, Arc::new($it.clone()));
                } else {
                    self.$map.remove_mut(&$name);
                }
            };
        }
        let (object, is_put) = match change {
            Change::Put(object) => (object, true),
            Change::Delete(object) => (object, false),
        };
        let (_, name) = object.place();
        match object {
            Object::Organisation(it) => set!(organisations, name, it, is_put),
            Object::Operator(it) => set!(operators, name, it, is_put),
            Object::Tld(it) => set!(tlds, name, it, is_put),
            Object::Pool(it) => set!(pools, name, it, is_put),
            Object::And(it) => set!(ands, name, it, is_put),
            Object::Network(it) => set!(networks, name, it, is_put),
            Object::Lease(it) => set!(leases, name, it, is_put),
            Object::Domain(it) => set!(domains, name, **it, is_put),
            Object::Declared(it) => self.declared = Arc::new(if is_put { (**it).clone() } else { Declared::default() }),
        }
    }

    kind! {
        /// The organisation of this name.
        organisation, /** All organisations, by name. */ organisations, Organisation;
        /// The operator of this name.
        operator, /** All operators, by name. */ operators, Operator;
        /// The top-level domain of this name.
        tld, /** All top-level domains, by name. */ tlds, Tld;
        /// The pool of this network, as text.
        pool, /** All pools, by their text; see [`State::pools_in_order`]. */ pools, Pool;
        /// The declared AND of this name.
        and, /** All declared ANDs, by name. */ ands, And;
        /// The substrate's network of this name.
        network, /** All networks of the substrate, by name. */ networks, Network;
        /// The lease of the AND of this name.
        lease, /** All leases, by AND. */ leases, Lease;
        /// The domain of this name, in lower case.
        domain, /** All domains, by name. */ domains, Domain;
    }

    /// What the spec said last.
    pub fn declared(&self) -> &Arc<Declared> {
        &self.declared
    }

    /// How many domains there are.
    pub fn domain_count(&self) -> usize {
        self.domains.size()
    }

    /// The domains from this name on, by name.
    pub fn domains_from(&self, name: &str) -> impl Iterator<Item = &Arc<Domain>> {
        self.domains
            .range::<str, _>((std::ops::Bound::Included(name), std::ops::Bound::Unbounded))
            .map(|(_, domain)| domain)
    }

    /// The pools in the order of the spec.
    pub fn pools_in_order(&self) -> Vec<&Arc<Pool>> {
        let mut all: Vec<_> = self.pools.values().collect();
        all.sort_by_key(|pool| pool.position);
        all
    }

    /// The top-level domain that a name lies below, itself excluded.
    pub fn tld_of(&self, name: &str) -> Option<&Arc<Tld>> {
        let mut rest = name;
        while let Some((_, above)) = rest.split_once('.') {
            if let Some(tld) = self.tlds.get(above) {
                return Some(tld);
            }
            rest = above;
        }
        None
    }

    /// The domain that is this name or the nearest one above it.
    pub fn domain_above(&self, name: &str) -> Option<&Arc<Domain>> {
        let mut rest = name;
        loop {
            if let Some(domain) = self.domains.get(rest) {
                return Some(domain);
            }
            rest = rest.split_once('.')?.1;
        }
    }

    /// The names of the servers that answer for a domain: its own, or the one that hosts it.
    pub fn servers_of(&self, domain: &Domain) -> Vec<String> {
        let own: Vec<_> = domain.name_servers().into_iter().map(|server| server.name).collect();
        if own.is_empty() { self.tld_of(&domain.name).map(|tld| tld.server.clone()).into_iter().collect() } else { own }
    }

    /// The smallest registered network that holds another one whole.
    pub fn holder_of(&self, network: IpNet) -> Option<Holder<'_>> {
        let leases = self.leases.values().flat_map(|lease| {
            let held = [Some(IpNet::V4(lease.network)), lease.network6.map(IpNet::V6)];
            held.into_iter().flatten().map(move |network| (network, Holder::Lease(lease, network)))
        });
        let pools = self.pools.values().map(|pool| (IpNet::V4(pool.cidr), Holder::Pool(pool)));
        let networks = self
            .networks
            .values()
            .flat_map(|it| it.subnets.iter().map(move |subnet| (*subnet, Holder::Network(it, *subnet))));
        let all = leases.chain(pools).chain(networks).filter(|(held, _)| held.contains(&network));
        let mut best: Option<(u8, Holder<'_>)> = None;
        for (held, holder) in all {
            // Where a lease is its whole pool, the lease is what is asked for: it comes first.
            if best.as_ref().is_none_or(|(length, _)| held.prefix_len() > *length) {
                best = Some((held.prefix_len(), holder));
            }
        }
        best.map(|(_, holder)| holder)
    }

    /// See [`State::holder_of`].
    pub fn holder_of_address(&self, address: IpAddr) -> Option<Holder<'_>> {
        self.holder_of(IpNet::from(address))
    }
}

/// Who holds a network.
#[derive(Debug, Clone, Copy)]
pub enum Holder<'s> {
    /// An AND, with the network of its that is asked for.
    Lease(&'s Arc<Lease>, IpNet),
    /// Nobody yet: a pool.
    Pool(&'s Arc<Pool>),
    /// The world itself.
    Network(&'s Arc<Network>, IpNet),
}

impl State {
    /// True when a name is a top-level domain of the world or lies below one.
    pub fn is_ours(&self, name: &str) -> bool {
        self.tlds.values().any(|tld| is_below(name, &tld.tld))
    }
}
