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
    structure::nearest,
    tree::{Node, locate},
};

/// More findings than this are not collected: nobody reads them, and finding their places takes time.
const COLLECTED: usize = 512;

/// Checks a spec that passed the structural walk. `refused` are the paths whose values are not the user's.
pub(crate) fn check(spec: &Spec, root: &Rc<Node>, refused: &[String]) -> Vec<Finding> {
    let refused = refused.iter().map(String::as_str).collect();
    let mut check = Check { spec, root, refused, findings: Vec::new() };
    networks::check(&mut check);
    addresses::check(&mut check);
    registries::check(&mut check);
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
        if declared.contains(value) || !self.trusts(list) {
            return;
        }
        // Sorted, so that of two equally near names the same is told every time; a long list holds no near name to tell.
        let mut names: Vec<&str> = declared.iter().copied().take(1000).collect();
        names.sort_unstable();
        let help = match nearest(value, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("declare it under `{list}`"),
            None if names.len() <= 12 => format!("declare it under `{list}`, or use one of {}", names.join(", ")),
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

/// The path of the organisations.
const ORGS: &str = "world_registry.organizations";

/// Pairs of ranges that overlap: of each overlapping range, the one it collides with. Ranges are inclusive; networks
/// either nest or are apart, so one sweep over the sorted ranges finds every range that collides with a wider or equal one.
fn overlaps(ranges: &[(u128, u128)]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..ranges.len()).collect();
    order.sort_by_key(|&index| (ranges[index].0, u128::MAX - ranges[index].1, index));
    let mut found = Vec::new();
    let mut cover: Option<usize> = None;
    for index in order {
        match cover {
            Some(wide) if ranges[index].0 <= ranges[wide].1 => found.push((index.max(wide), index.min(wide))),
            _ => cover = Some(index),
        }
    }
    found
}
