//! From a spec to zones: pure. What the name servers of a world are, and what each of them says.

mod apply;
mod build;
mod reverse;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use netengine_spec::Spec;
use serde::{Deserialize, Serialize};

pub use self::{
    apply::{Applied, ApplyError},
    reverse::{reverse_name, reverse_zone},
};
use crate::zone::SerialPolicy;

/// Time to live of what changes with the spec only, seconds.
pub const TTL: u32 = 3600;
/// How long a denial is believed, seconds: short, because names of a world are made while people watch.
pub const DENIAL_TTL: u32 = 5;

/// The zones that hold all names of addresses (RFC 1035, section 3.5; RFC 3596, section 2.5).
const REVERSE: [&str; 2] = ["in-addr.arpa", "ip6.arpa"];

/// A host of the world that is not in the spec: vantage hosts, the services' own addresses, hosts of ANDs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostAddress {
    /// Its name; without a dot it is taken as a name in the platform zone.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// A network that is not in the spec, with the names of its hosts: an Administrative Network Domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedNetwork {
    /// Its name, one label.
    pub name: String,
    /// The zone of its hosts; without one they are named in the platform zone.
    pub suffix: Option<String>,
    /// Whether its addresses have names.
    pub has_reverse: bool,
    /// Its networks.
    pub networks: Vec<IpNet>,
    /// The router's addresses in it, where a resolver answers too.
    pub routers: Vec<IpAddr>,
    /// Its hosts, each name one label.
    pub hosts: Vec<HostAddress>,
}

/// A zone of another world, as its name servers tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignZone {
    /// The zone, without the final dot.
    pub name: String,
    /// The name of its server.
    pub primary: String,
    /// Where it is served.
    pub addresses: Vec<IpAddr>,
    /// Data of its DS records.
    pub ds: Vec<String>,
}

/// One record in presentation form. Names are absolute, without the final dot but for the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlannedRecord {
    /// Whose it is.
    pub owner: String,
    /// Time to live, seconds.
    pub ttl: u32,
    /// Mnemonic of the type.
    pub rtype: String,
    /// The data.
    pub data: String,
}

/// One zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedZone {
    /// Its primary name server.
    pub primary: String,
    /// Where it is served.
    pub addresses: Vec<IpAddr>,
    /// Its records but SOA, sorted.
    pub records: Vec<PlannedRecord>,
}

/// How long the keys of signed zones are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLifetimes {
    /// Key-signing keys, days.
    pub ksk_days: u32,
    /// Zone-signing keys, days.
    pub zsk_days: u32,
}

/// Everything the name service of a world is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The zones by name.
    pub zones: BTreeMap<String, PlannedZone>,
    /// The responsible mailbox of all zones, as a name.
    pub mailbox: String,
    /// Serials count from 1 instead of telling the time.
    pub serials_counted: bool,
    /// Where resolvers begin: zone name and the addresses of its servers. The root alone, if the world has one.
    pub hints: Vec<(String, Vec<IpAddr>)>,
    /// Where a recursive resolver is to answer: the router's addresses in all networks.
    pub resolvers: Vec<IpAddr>,
    /// Zones are signed.
    pub dnssec: Option<KeyLifetimes>,
}

/// What a resolver needs of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// As [`Plan::hints`].
    pub hints: Vec<(String, Vec<IpAddr>)>,
    /// As [`Plan::addresses`].
    pub servers: Vec<IpAddr>,
    /// As [`Plan::resolvers`].
    pub resolvers: Vec<IpAddr>,
}

impl Outlook {
    /// That of [`Plan::beside`]. Below a root of the world's own its leased networks change nothing but where resolvers answer, so
    /// their zones are not planned.
    pub fn beside(spec: &Spec, hosts: &[HostAddress], leased: &[LeasedNetwork], foreign: &[ForeignZone]) -> Self {
        let (without, rest) = (build::plan(spec, hosts, &[], foreign), leased);
        let has_root = without.zones.contains_key(".");
        let mut plan = if has_root { without } else { build::plan(spec, hosts, leased, foreign) };
        if has_root {
            plan.resolvers.extend(rest.iter().flat_map(|network| network.routers.iter().copied()));
        }
        Self { servers: plan.addresses(), hints: plan.hints, resolvers: plan.resolvers }
    }
}

impl Plan {
    /// Plans the name service of a world whose further hosts are `hosts`.
    pub fn of(spec: &Spec, hosts: &[HostAddress]) -> Self {
        build::plan(spec, hosts, &[], &[])
    }

    /// As [`Plan::of`], with further networks: each has its zone, and where asked its reverse zones.
    pub fn with_leased(spec: &Spec, hosts: &[HostAddress], leased: &[LeasedNetwork]) -> Self {
        build::plan(spec, hosts, leased, &[])
    }

    /// As [`Plan::with_leased`], with zones of other worlds, which are delegated to them: top-level domains and reverse zones
    /// that this world has nothing of. Whatever else is among them is left out.
    pub fn beside(spec: &Spec, hosts: &[HostAddress], leased: &[LeasedNetwork], foreign: &[ForeignZone]) -> Self {
        build::plan(spec, hosts, leased, foreign)
    }

    /// The zones that others may delegate to this world: its top-level domains and the reverse zones of its networks.
    pub fn outward(&self) -> impl Iterator<Item = (&str, &PlannedZone)> {
        let is_outward = |name: &str| {
            let mut above = name.split_once('.').map(|(_, above)| above);
            let has = |zone: &str| self.zones.contains_key(zone);
            while let Some(zone) = above.filter(|zone| !has(zone)) {
                above = zone.split_once('.').map(|(_, above)| above);
            }
            name != "." && !REVERSE.contains(&name) && above.is_none_or(|parent| REVERSE.contains(&parent))
        };
        self.zones.iter().map(|(name, zone)| (name.as_str(), zone)).filter(move |(name, _)| is_outward(name))
    }

    /// How serials rise.
    pub fn policy(&self) -> SerialPolicy {
        if self.serials_counted { SerialPolicy::Counted } else { SerialPolicy::Timestamp }
    }

    /// The addresses where an authoritative server answers.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let all: std::collections::BTreeSet<_> =
            self.zones.values().flat_map(|zone| zone.addresses.iter().copied()).collect();
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
