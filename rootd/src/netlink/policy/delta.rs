//! What must be said to the kernel so that a table which says one thing says another, and no more than that. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Chain, Elements, Family, Set, Table, Verdict};

/// From one table to another of the same sets. Done in the order of the fields: a chain is there before anything jumps to
/// it, and nothing jumps to a chain that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delta<'a> {
    /// Of both tables.
    pub family: Family,
    /// Chains to make; their rules come with those of `refilled`.
    pub new_chains: Vec<&'a Chain>,
    /// Elements to take out, by set. Of a verdict that changes, the former.
    pub gone_elements: Vec<Set>,
    /// Elements to put in, by set.
    pub new_elements: Vec<Set>,
    /// Chains that are there and whose rules are all replaced.
    pub refilled: Vec<&'a Chain>,
    /// Chains to remove.
    pub gone_chains: Vec<&'a str>,
}

impl<'a> Delta<'a> {
    /// What makes `new` of `old`; `None` where only a new table will do, or would cost less.
    pub fn between(old: &'a Table, new: &'a Table) -> Option<Self> {
        let mut delta = Self {
            family: new.family,
            new_chains: Vec::new(),
            gone_elements: Vec::new(),
            new_elements: Vec::new(),
            refilled: Vec::new(),
            gone_chains: Vec::new(),
        };
        if old.family != new.family || old.sets.len() != new.sets.len() {
            return None;
        }
        for (was, is) in old.sets.iter().zip(&new.sets) {
            if (was.name, was.key) != (is.name, is.key) {
                return None;
            }
            let (gone, come) = elements(&was.elements, &is.elements)?;
            let part = |elements: Elements| Set { name: is.name, key: is.key, elements };
            delta.gone_elements.extend(Some(part(gone)).filter(|set| !set.elements.is_empty()));
            delta.new_elements.extend(Some(part(come)).filter(|set| !set.elements.is_empty()));
        }
        let mut before: BTreeMap<&str, &Chain> = old.chains.iter().map(|chain| (chain.name.as_str(), chain)).collect();
        for chain in &new.chains {
            match before.remove(chain.name.as_str()) {
                Some(was) if was.base != chain.base => return None,
                Some(was) if was.rules != chain.rules => delta.refilled.push(chain),
                Some(_) => {}
                None if chain.base.is_some() => return None,
                None => delta.new_chains.push(chain),
            }
        }
        if before.values().any(|chain| chain.base.is_some()) {
            return None;
        }
        delta.gone_chains.extend(before.into_keys());
        // Each chain is read back on its own, so most of a table is cheaper as a whole.
        let touched = delta.new_chains.len() + delta.refilled.len() + delta.gone_chains.len();
        (touched <= old.chains.len() / 2).then_some(delta)
    }

    /// Whether nothing must be said.
    pub fn is_empty(&self) -> bool {
        self.new_chains.is_empty()
            && self.gone_elements.is_empty()
            && self.new_elements.is_empty()
            && self.refilled.is_empty()
            && self.gone_chains.is_empty()
    }

    /// Whether it puts elements into this set or takes some out.
    pub fn touches(&self, set: &Set) -> bool {
        self.gone_elements.iter().chain(&self.new_elements).any(|part| part.name == set.name)
    }
}

/// What is taken out, and what is put in; `None` when the one is a set and the other a map.
fn elements(old: &Elements, new: &Elements) -> Option<(Elements, Elements)> {
    match (old, new) {
        (Elements::Keys(old), Elements::Keys(new)) => {
            let only =
                |a: &BTreeSet<Vec<u8>>, b: &BTreeSet<Vec<u8>>| Elements::Keys(a.difference(b).cloned().collect());
            Some((only(old, new), only(new, old)))
        }
        (Elements::Verdicts(old), Elements::Verdicts(new)) => {
            let only = |a: &BTreeMap<Vec<u8>, Verdict>, b: &BTreeMap<Vec<u8>, Verdict>| {
                let own = a.iter().filter(|(key, verdict)| b.get(*key) != Some(*verdict));
                Elements::Verdicts(own.map(|(key, verdict)| (key.clone(), verdict.clone())).collect())
            };
            Some((only(old, new), only(new, old)))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
