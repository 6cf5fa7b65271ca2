//! Checks across fields: what the schema cannot say. Pure; each finding is put at the line that declares it.
//!
//! A check keeps away from values that the structural walk refused, so that one mistake is told once.

mod addresses;
mod ands;
mod features;
mod gateway;
mod identity;
mod networks;
mod org_apps;
mod records;
mod registries;
mod services;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Display,
    hash::Hash,
    rc::Rc,
};

use crate::{
    diagnostic::Severity,
    finding::Finding,
    model::Spec,
    structure::{UNKNOWN, nearest},
    tree::{Node, locate},
};

/// More findings than this are not collected: nobody reads them, and finding their places takes time.
const COLLECTED: usize = 512;

/// Checks a spec that passed the structural walk. `refused` are the paths whose values are not the user's.
pub(crate) fn check(spec: &Spec, root: &Rc<Node>, refused: &[String]) -> Vec<Finding> {
    let refused: BTreeSet<&str> = refused.iter().map(String::as_str).collect();
    let incomplete = LISTS.iter().filter(|list| list.is_incomplete(&refused)).map(|list| list.path).collect();
    let mut check = Check { spec, root, refused, incomplete, findings: Vec::new() };
    if !networks::check(&mut check) {
        return check.findings;
    }
    addresses::check(&mut check);
    registries::check(&mut check);
    records::check(&mut check);
    identity::check(&mut check);
    ands::check(&mut check);
    services::check(&mut check);
    org_apps::check(&mut check);
    gateway::check(&mut check);
    features::check(&mut check);
    check.findings
}

struct Check<'a> {
    spec: &'a Spec,
    root: &'a Rc<Node>,
    refused: BTreeSet<&'a str>,
    incomplete: HashSet<&'static str>,
    findings: Vec<Finding>,
}

impl<'a> Check<'a> {
    /// True when the value of this path and everything below it is what the user (or a default) says.
    fn trusts(&self, path: &str) -> bool {
        let is_above = |(at, _): (usize, &str)| self.refused.contains(&path[..at]);
        let is_below = |mark: char| {
            let from = format!("{path}{mark}");
            self.refused.range(from.as_str()..).next().is_some_and(|found| found.starts_with(&from))
        };
        let is_refused = self.refused.contains(path) || self.refused.contains("");
        !is_refused && !path.match_indices(['.', '[']).any(is_above) && !is_below('.') && !is_below('[')
    }

    /// True when every name that the list at this path declares is known.
    fn knows(&self, list: &str) -> bool {
        debug_assert!(LISTS.iter().any(|known| known.path == list), "{list} is not in LISTS");
        !self.incomplete.contains(list)
    }

    /// True when every network's subnet is known.
    fn knows_networks(&self) -> bool {
        let mut names = self.spec.substrate.networks.keys();
        self.knows(NETWORKS) && names.all(|name| self.trusts(&format!("{NETWORKS}.{name}.subnet")))
    }

    /// True when the path is written in a source; false when its value is a default.
    fn is_declared(&self, path: &str) -> bool {
        locate(self.root, path).is_exact
    }

    fn error(&mut self, path: &str, message: impl Into<String>, help: Option<String>) {
        self.find(Severity::Error, path, message.into(), help);
    }

    fn warn(&mut self, path: &str, message: impl Into<String>, help: Option<String>) {
        self.find(Severity::Warning, path, message.into(), help);
    }

    fn find(&mut self, severity: Severity, path: &str, message: String, help: Option<String>) {
        if self.findings.len() < COLLECTED && self.trusts(path) {
            let span = locate(self.root, path).value;
            self.findings.push(Finding { severity, span, path: path.to_owned(), message, help });
        }
    }

    /// Notes each value that appears a second time. `noun` says what it is ("the organisation").
    fn unique<T: Eq + Hash + Display>(&mut self, noun: &str, values: impl Iterator<Item = (String, T)>) {
        let mut seen: HashMap<T, String> = HashMap::new();
        for (path, value) in values {
            if !self.trusts(&path) {
                continue;
            }
            match seen.get(&value) {
                Some(first) => {
                    let message = format!("{noun} `{value}` is declared twice; first as `{first}`");
                    self.error(&path, message, None);
                }
                None => {
                    seen.insert(value, path);
                }
            }
        }
    }

    /// Notes a reference to something that is not declared. `list` is the path where such things are declared.
    fn refers(&mut self, path: &str, value: &str, noun: &str, list: &str, declared: &HashSet<&str>) {
        if declared.contains(value) || !self.knows(list) || self.findings.len() >= COLLECTED {
            return;
        }
        // Sorted, so that of two equally near names the same is told every time. In a long list the search takes too long.
        let mut names: Vec<&str> = if declared.len() > 256 { Vec::new() } else { declared.iter().copied().collect() };
        names.sort_unstable();
        let help = match nearest(value, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if !names.is_empty() && names.len() <= 12 => {
                format!("declare it under `{list}`, or use one of {}", names.join(", "))
            }
            None => format!("declare it under `{list}`"),
        };
        self.error(path, format!("the {noun} `{value}` is not declared"), Some(help));
    }

    /// The names of all organisations.
    fn org_names(&self) -> HashSet<&'a str> {
        let spec: &'a Spec = self.spec;
        spec.world_registry.organizations.iter().map(|org| org.name.as_str()).collect()
    }
}

const NETWORKS: &str = "substrate.networks";
const ORGS: &str = "world_registry.organizations";
const TLDS: &str = "dns.tlds";
const POOLS: &str = "domain_registry.address_space";
const DOMAINS: &str = "domain_registry.initial_domains";
const PROFILES: &str = "ands.profiles";
const INSTANCES: &str = "ands.instances";
const CATALOG: &str = "org_apps.catalog";

/// A list or map that declares what others refer to.
struct Declares {
    path: &'static str,
    /// The keys of an entry that a reference depends on.
    keys: &'static [&'static str],
}

const LISTS: &[Declares] = &[
    Declares { path: NETWORKS, keys: &[] },
    Declares { path: ORGS, keys: &["name"] },
    Declares { path: TLDS, keys: &["name"] },
    Declares { path: POOLS, keys: &["cidr", "label", "allocated_to"] },
    Declares { path: DOMAINS, keys: &["domain", "org"] },
    Declares { path: PROFILES, keys: &[] },
    Declares { path: INSTANCES, keys: &["name", "org"] },
    Declares { path: CATALOG, keys: &["name"] },
];

impl Declares {
    /// True when the user declared something here that is not known.
    fn is_incomplete(&self, refused: &BTreeSet<&str>) -> bool {
        let is_above = |at: usize| refused.contains(&self.path[..at]);
        if refused.contains("")
            || refused.contains(self.path)
            || self.path.match_indices('.').any(|(at, _)| is_above(at))
        {
            return true;
        }
        let below = |path: &str| {
            let rest = path.strip_prefix(self.path)?;
            let (entry, key) = rest.split_once(']').map_or((rest, ""), |(_, key)| ("", key));
            Some(entry == format!(".{UNKNOWN}") || (rest.starts_with('[') && self.depends_on(key)))
        };
        refused.iter().any(|path| below(path) == Some(true))
    }

    fn depends_on(&self, key: &str) -> bool {
        key.is_empty() || key.strip_prefix('.').is_some_and(|key| self.keys.contains(&key))
    }
}

/// Pairs of ranges that overlap: each range with the narrowest one around it, as (later, earlier) in the order given.
/// Ranges are inclusive and those of networks, which either nest or are apart; so one sweep with a stack finds them.
fn overlaps(ranges: &[(u128, u128)]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&index| (ranges[index].0, u128::MAX - ranges[index].1, index));
    let mut found = Vec::new();
    let mut around: Vec<usize> = Vec::new();
    for index in order {
        while around.pop_if(|outer| ranges[*outer].1 < ranges[index].0).is_some() {}
        if let Some(&outer) = around.last() {
            found.push((index.max(outer), index.min(outer)));
        }
        around.push(index);
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A network as a range: a base of 16 bits cut to a prefix.
    fn network() -> impl Strategy<Value = (u128, u128)> {
        (0u32..=16, any::<u16>()).prop_map(|(host_bits, base)| {
            let mask = (1u128 << host_bits) - 1;
            (u128::from(base) & !mask, u128::from(base) | mask)
        })
    }

    proptest! {
        #[test]
        fn the_sweep_finds_what_comparing_all_pairs_finds(ranges in proptest::collection::vec(network(), 0..12)) {
            let meet = |a: usize, b: usize| ranges[a].0 <= ranges[b].1 && ranges[b].0 <= ranges[a].1;
            let found = overlaps(&ranges);
            prop_assert!(found.iter().all(|&(later, earlier)| earlier < later && meet(later, earlier)));
            for one in 0..ranges.len() {
                let meets_another = (0..ranges.len()).any(|other| other != one && meet(one, other));
                let is_told = found.iter().any(|&(later, earlier)| later == one || earlier == one);
                prop_assert_eq!(meets_another, is_told);
            }
        }
    }
}
