//! The algorithm of RFC 1034, section 4.3.2, as clarified for wildcards by RFC 4592.

use std::{ops::Bound, sync::Arc};

use super::{Node, Zone};
use crate::{name::LookupKey, record::Rtype};

/// What a zone knows of a name.
#[derive(Debug, Clone, Copy)]
pub enum Found<'z> {
    /// It owns records.
    Node(&'z Node),
    /// It owns none but names below it do: it exists (RFC 8020).
    Between,
    /// It does not exist and this wildcard answers for it.
    Wildcard(&'z Node),
    /// It is at or below a delegation, which this node holds.
    Cut(&'z Node),
    /// It does not exist.
    Absent,
}

impl Zone {
    /// Finds a name that is the apex or below it.
    pub fn find(&self, name: &LookupKey) -> Found<'_> {
        if self.cuts > 0 {
            for labels in self.apex_labels + 1..=name.labels() {
                if let Some(node) = self.at(name.ancestor(labels))
                    && node.get(Rtype::NS).is_some()
                {
                    return Found::Cut(node);
                }
            }
        }
        if let Some(node) = self.at(name.as_bytes()) {
            return Found::Node(node);
        }
        if self.has_below(name.as_bytes()) {
            return Found::Between;
        }
        self.wildcard(name).map_or(Found::Absent, Found::Wildcard)
    }

    /// How many labels the deepest existing ancestor of an absent name has.
    pub fn closest_encloser(&self, name: &LookupKey) -> usize {
        (self.apex_labels..name.labels())
            .rev()
            .find(|&labels| {
                let key = name.ancestor(labels);
                self.at(key).is_some() || self.has_below(key)
            })
            .unwrap_or(self.apex_labels)
    }

    fn wildcard(&self, name: &LookupKey) -> Option<&Node> {
        let mut key = name.ancestor(self.closest_encloser(name)).to_vec();
        key.extend_from_slice(b"*\0");
        self.at(&key)
    }

    fn at(&self, key: &[u8]) -> Option<&Node> {
        self.nodes.get(key).map(Arc::as_ref)
    }

    /// True when names below this key own records.
    fn has_below(&self, key: &[u8]) -> bool {
        let after = (Bound::Excluded(key), Bound::Unbounded);
        self.nodes.range::<[u8], _>(after).next().is_some_and(|(next, _)| next.as_bytes().starts_with(key))
    }

    /// The node of the NSEC chain at or before a name: the one that owns it or covers it. Names below a delegation are not
    /// part of the chain; the delegation stands for them.
    pub(crate) fn covering(&self, name: &LookupKey) -> Option<&Node> {
        self.covering_key(name.as_bytes())
    }

    /// As [`Zone::covering`], by key.
    pub(crate) fn covering_key(&self, key: &[u8]) -> Option<&Node> {
        let until = (Bound::Unbounded, Bound::Included(key));
        let last = self.nodes.range::<[u8], _>(until).next_back().or_else(|| self.nodes.last());
        let (_, node) = last?;
        if self.cuts == 0 {
            return Some(node);
        }
        let key = LookupKey::of(node.name.as_wire());
        match self.find(&key) {
            Found::Cut(cut) => Some(cut),
            _ => Some(node),
        }
    }

    /// The node after another in the NSEC chain; after the last comes the first.
    pub(crate) fn next_in_chain(&self, node: &Node) -> Option<&Node> {
        let key = node.name.key();
        let mut after = key.as_bytes().to_vec();
        if node.get(Rtype::NS).is_some() && node.name != self.apex {
            // All keys below begin with this one; the next greater that does not ends in 1 where this one ends in 0.
            after.pop();
            after.push(1);
        } else {
            // The least key that is greater.
            after.push(0);
        }
        let range = (Bound::Included(after.as_slice()), Bound::Unbounded);
        let next = self.nodes.range::<[u8], _>(range).next().or_else(|| self.nodes.first());
        next.map(|(_, node)| node.as_ref())
    }

    /// Calls `visit` with the nodes from a key on, in canonical order, until it says stop.
    pub(crate) fn walk(&self, from: &[u8], mut visit: impl FnMut(&Node) -> std::ops::ControlFlow<()>) {
        let range = (Bound::Included(from), Bound::Unbounded);
        let _ = self.nodes.range::<[u8], _>(range).try_for_each(|(_, node)| visit(node));
    }
}
