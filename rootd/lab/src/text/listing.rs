//! What `nft -a list ruleset` printed: base chains with their hooks, rules with their handles.

use std::collections::{BTreeMap, BTreeSet};

use netengine_lab_proto::{Family, Hook};

use crate::text::{
    prepare::{Slot, SourceRule},
    scan::{Block, Event, scan},
};

/// Names a chain.
pub type ChainKey = (Family, String, String);

/// A loaded ruleset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Base chains.
    pub bases: BTreeMap<ChainKey, Base>,
    /// Rules by chain, in order.
    pub rules: BTreeMap<ChainKey, Vec<ListedRule>>,
}

/// A base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its hook.
    pub hook: Hook,
    /// Devices of ingress and egress.
    pub devices: BTreeSet<String>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRule {
    /// Its handle.
    pub handle: u64,
    /// As nft prints it.
    pub text: String,
    /// Line and column in the user's text, where they could be told.
    pub place: Option<(u32, u32)>,
}

impl Listing {
    /// Reads a listing; the table called `tracer` is left out.
    pub fn read(listing: &str, tracer: &str) -> Self {
        let mut found = Self::default();
        scan(listing, |event| {
            let Event::Statement { within: Some(Block::Chain(family, table, chain)), words, from, to, comment, .. } =
                event
            else {
                return;
            };
            if table == tracer {
                return;
            }
            let key = (*family, table.clone(), chain.clone());
            let text = &listing[from.byte..=to.byte.min(listing.len() - 1)];
            match words.first() {
                Some(&"type") => {
                    if let Some(base) = base(text) {
                        found.bases.insert(key, base);
                    }
                }
                Some(&("policy" | "comment" | "flags")) => {}
                _ => {
                    let handle =
                        comment.and_then(|comment| comment.strip_prefix("handle ")).and_then(|n| n.parse().ok());
                    if let Some(handle) = handle {
                        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                        found.rules.entry(key).or_default().push(ListedRule { handle, text, place: None });
                    }
                }
            }
        });
        found
    }

    /// Whether conntrack sees packets of IPv4, and of IPv6: some rule for them asks it, which has the kernel track all of them.
    pub fn tracks(&self) -> [bool; 2] {
        let families = self.rules.iter().filter(|(_, rules)| rules.iter().any(|rule| asks_conntrack(&rule.text)));
        both(families.map(|((family, ..), _)| *family))
    }

    /// The ports that `tproxy` gives packets to: only a transparent socket gets them (ip(7), IP_TRANSPARENT).
    pub fn proxies(&self) -> BTreeSet<u16> {
        let texts = self.rules.values().flatten().map(|rule| rule.text.as_str());
        let places = texts.filter_map(|text| text.split_once("tproxy ")?.1.split_once("to ")?.1.split(' ').next());
        places.filter_map(|place| place.rsplit_once(':')?.1.parse().ok()).collect()
    }

    /// Gives rules the places of the text they came from: those of each chain whose rules are as many as the text says.
    pub fn locate(&mut self, sources: &[SourceRule]) {
        let mut by_chain: BTreeMap<ChainKey, Vec<&SourceRule>> = BTreeMap::new();
        let mut unknown: BTreeSet<ChainKey> = BTreeSet::new();
        for source in sources {
            let key = (source.family, source.table.clone(), source.chain.clone());
            let of_chain = by_chain.entry(key.clone()).or_default();
            match source.slot {
                Slot::Before(at) if at <= of_chain.len() => of_chain.insert(at, source),
                Slot::Last => of_chain.push(source),
                Slot::Before(_) | Slot::Unknown => drop(unknown.insert(key)),
            }
        }
        for (chain, rules) in self.rules.iter_mut().filter(|(chain, _)| !unknown.contains(*chain)) {
            let Some(sources) = by_chain.get(chain).filter(|sources| sources.len() == rules.len()) else { continue };
            for (rule, source) in rules.iter_mut().zip(sources) {
                rule.place = Some((source.from.line, source.from.column));
            }
        }
    }
}

/// Whether a rule asks conntrack.
pub fn asks_conntrack(rule: &str) -> bool {
    const ASKS: [&str; 5] = ["ct", "dnat", "snat", "masquerade", "redirect"];
    // Every other piece stands in quotes.
    rule.split('"').step_by(2).any(|piece| piece.split_whitespace().any(|word| ASKS.contains(&word)))
}

/// Whether IPv4 is among what tables of these families see, and IPv6.
pub fn both(families: impl Iterator<Item = Family>) -> [bool; 2] {
    families.fold([false; 2], |[ip, ip6], family| {
        [ip || matches!(family, Family::Ip | Family::Inet), ip6 || matches!(family, Family::Ip6 | Family::Inet)]
    })
}

/// `type filter hook input device "eth0" priority filter`, or `devices = { "eth0", "eth1" }`.
fn base(text: &str) -> Option<Base> {
    let words: Vec<&str> =
        text.split([' ', '\t', ',', '{', '}', '=', '"', '\n']).filter(|word| !word.is_empty()).collect();
    let after = |name: &str| words.iter().position(|word| *word == name).map(|at| &words[at + 1..]);
    let hook = match *after("hook")?.first()? {
        "ingress" => Hook::Ingress,
        "prerouting" => Hook::Prerouting,
        "input" => Hook::Input,
        "forward" => Hook::Forward,
        "output" => Hook::Output,
        "postrouting" => Hook::Postrouting,
        "egress" => Hook::Egress,
        _ => return None,
    };
    let devices = after("device").or(after("devices")).unwrap_or(&[]);
    let devices = devices.iter().take_while(|word| **word != "priority").map(|word| (*word).to_owned()).collect();
    Some(Base { hook, devices })
}
