//! Which rules packets reached, and which none did.

use std::collections::BTreeMap;

use netengine_lab_proto::{HopKind, RuleInfo};
use serde_json::{Value, json};

use crate::{
    case::Origin,
    judge::Judged,
    report::{Run, clean},
};

/// The rules of one ruleset text, as far as cases that were judged loaded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// Where the text stands.
    pub origin: Origin,
    /// Its rules, in the order of the text.
    pub rules: Vec<CoveredRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoveredRule {
    /// The rule.
    pub info: RuleInfo,
    /// Its place in the file.
    pub place: Option<(u32, u32)>,
    /// The packets that matched it: the case's name, and the number of the packet in it.
    pub reached_by: Vec<(String, u32)>,
}

/// The coverage of a run whose cases were asked for all rules (`CaseLimits::all_rules`). A rule is reached when a packet matched it: the
/// kernel tells of no rule that was tried in vain.
pub fn coverage(run: &Run<'_>) -> Vec<Covered> {
    // Two texts may stand on one line, and two files may have one name: the text tells them apart.
    let mut found: BTreeMap<(&str, u32, &str), Covered> = BTreeMap::new();
    for judged in run.cases() {
        let origin = &judged.case.rules;
        let covered = found
            .entry((&origin.file, origin.line, judged.case.request.ruleset.as_str()))
            .or_insert_with(|| Covered { origin: origin.clone(), rules: Vec::new() });
        add(covered, judged);
    }
    let mut all: Vec<Covered> = found.into_values().collect();
    for covered in &mut all {
        covered.rules.sort_by_key(|rule| (rule.place, rule.info.rule.handle));
    }
    all
}

fn add(covered: &mut Covered, judged: &Judged<'_>) {
    let tested = &judged.case.request.topology.tested;
    // The rules of tables beside the ruleset have no place in it.
    let is_own = |info: &&RuleInfo| info.line.is_some() || judged.case.request.beside.is_empty();
    for info in judged.rules.iter().filter(|info| info.rule.node == *tested).filter(is_own) {
        if covered.rules.iter().all(|rule| rule.info.rule != info.rule) {
            let place = info.line.map(|line| judged.case.rules.place(line, info.column.unwrap_or(1)));
            covered.rules.push(CoveredRule { info: info.clone(), place, reached_by: Vec::new() });
        }
    }
    for packet in &judged.packets {
        for rule in &mut covered.rules {
            let of = &rule.info.rule;
            let reached = packet.seen.path.iter().any(|hop| {
                hop.kind == HopKind::Rule
                    && hop.rule == of.handle
                    && hop.node == of.node
                    && hop.family == of.family
                    && hop.table == of.table
                    && hop.chain == of.chain
            });
            let by = (judged.case.name.clone(), packet.expected.number);
            if reached && !rule.reached_by.contains(&by) {
                rule.reached_by.push(by);
            }
        }
    }
}

/// Rules that were reached, and all.
pub fn counts(all: &[Covered]) -> (usize, usize) {
    let rules = || all.iter().flat_map(|covered| &covered.rules);
    (rules().filter(|rule| !rule.reached_by.is_empty()).count(), rules().count())
}

/// Packets that are named of those that reached one rule.
const NAMED: usize = 5;

/// For people: each rule with the packets that reached it.
pub fn pretty(all: &[Covered]) -> String {
    let (reached, total) = counts(all);
    let mut out = format!("coverage: {reached} of {total} rules were reached\n");
    for covered in all {
        for rule in &covered.rules {
            let place = rule.place.map(|(line, column)| format!("{}:{line}:{column}: ", covered.origin.file));
            let (place, text) = (clean(&place.unwrap_or_default()), clean(&rule.info.text));
            let number = rule.reached_by.len();
            if number == 0 {
                out += &format!("  {place}no packet reached `{text}`\n");
                continue;
            }
            let named = rule.reached_by.iter().take(NAMED);
            let named: Vec<_> =
                named.map(|(case, packet)| format!("{packet} of {}", clean(case).replace('\n', " "))).collect();
            let more = if number > NAMED { format!(" and {} more", number - NAMED) } else { String::new() };
            let word = if number == 1 { "packet" } else { "packets" };
            out += &format!("  {place}{word} {}{more} reached `{text}`\n", named.join(", "));
        }
    }
    out
}

/// As JSON.
pub fn json(all: &[Covered]) -> Value {
    let (reached, total) = counts(all);
    let rules = all.iter().flat_map(|covered| covered.rules.iter().map(move |rule| (covered, rule)));
    let rules = rules.map(|(covered, rule)| {
        let place = rule.place.unzip();
        json!({
            "file": covered.origin.file, "line": place.0, "column": place.1,
            "family": rule.info.rule.family, "table": rule.info.rule.table, "chain": rule.info.rule.chain,
            "handle": rule.info.rule.handle, "text": rule.info.text,
            "reached_by": rule.reached_by.iter().map(|(case, packet)| json!({"test": case, "packet": packet}))
                .collect::<Vec<_>>(),
        })
    });
    json!({"reached": reached, "rules": total, "each": rules.collect::<Vec<_>>()})
}
