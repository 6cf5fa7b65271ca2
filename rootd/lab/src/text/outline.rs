//! Rulesets too long to be listed before anybody asks: where their rules stand, for those that a trace names later.

use std::collections::BTreeMap;

use super::{
    listing::{ChainKey, asks_conntrack, both},
    prepare::Prepared,
};

/// Rules of a text that is not listed as a whole; below, a listing takes less than asking twice does.
const MANY: usize = 500;

/// What the text alone says of its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Line and column of the rules of each chain, in the order in which they are added.
    places: BTreeMap<ChainKey, Vec<(u32, u32)>>,
    /// As [`Listing::tracks`](super::Listing::tracks).
    pub tracks: [bool; 2],
}

impl Outline {
    /// Of a long text, unless more of its rules must be known beforehand: rules that take packets to sockets, rules that switch tracing, and
    /// chains inside rules, which are listed with the rule alone.
    pub fn of(text: &str, prepared: &Prepared) -> Option<Self> {
        if prepared.rules.len() < MANY || prepared.nests || text.contains("tproxy") || text.contains("nftrace") {
            return None;
        }
        let mut places: BTreeMap<ChainKey, Vec<(u32, u32)>> = BTreeMap::new();
        for rule in &prepared.rules {
            let chain = (rule.family, rule.table.clone(), rule.chain.clone());
            places.entry(chain).or_default().push((rule.from.line, rule.from.column));
        }
        let asking =
            prepared.rules.iter().filter(|rule| text.get(rule.from.byte..=rule.to.byte).is_none_or(asks_conntrack));
        Some(Self { places, tracks: both(asking.map(|rule| rule.family)) })
    }

    /// The place of the rule of this number, from 0, of so many that were added to its chain.
    pub fn place(&self, chain: &ChainKey, number: u32, total: u32) -> Option<(u32, u32)> {
        let places = self.places.get(chain).filter(|places| places.len() == total as usize)?;
        places.get(number as usize).copied()
    }
}
