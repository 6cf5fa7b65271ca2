//! What is done to a text before nft reads it.
//!
//! Newer nft lets a closing brace end a statement; nft 1.0.6 wants a separator. The separators it misses are put in, and each message's
//! column is mapped back. Nothing else is changed. Statements that read files, or that never end, are refused with their place.

use netengine_lab_proto::Family;

use crate::text::scan::{Block, Event, Place, family_of, place_of, scan};

/// A text that nft 1.0.6 reads as newer ones read the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// What nft is given.
    pub text: String,
    /// The rules in the order of the text.
    pub rules: Vec<SourceRule>,
    /// Some rule has a chain without a name inside.
    pub nests: bool,
    /// Lines and columns, in the prepared text, of what was put in.
    inserted: Vec<(u32, u32)>,
}

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRule {
    /// Family of the table.
    pub family: Family,
    /// Table.
    pub table: String,
    /// Chain.
    pub chain: String,
    /// Where it begins.
    pub from: Place,
    /// Where it ends.
    pub to: Place,
    /// Where in the chain it goes.
    pub slot: Slot,
}

/// Where in its chain a rule goes, of those that are there when it comes (nft(8), RULES).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Behind all.
    Last,
    /// Before the one of this number, from 0: `insert rule`, and where an `index` says so.
    Before(usize),
    /// Told by a handle: nobody knows without the kernel.
    Unknown,
}

/// Why a text is refused before nft sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct Refused {
    /// For people.
    pub message: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// Puts in what is missing and finds the rules' places.
///
/// # Errors
/// [`Refused`] for NUL bytes, `include`, `monitor`, and a table with the tracer's name.
pub fn prepare(text: &str, tracer: &str) -> Result<Prepared, Refused> {
    if let Some(byte) = text.find('\0') {
        let before = &text[..byte];
        let line = before.matches('\n').count() as u32 + 1;
        let column = (byte - before.rfind('\n').map_or(0, |n| n + 1)) as u32 + 1;
        return Err(Refused { message: "a NUL byte in the ruleset".into(), line, column });
    }
    let (mut rules, mut nests) = (Vec::new(), false);
    let mut separators: Vec<Place> = Vec::new();
    let mut refused = None;
    scan(text, |event| match event {
        Event::Statement { within, words, from, to, by_brace, .. } => {
            let refuse = match words.first() {
                Some(&"include") => Some("include is refused: a sandbox has no files"),
                Some(&"monitor") => Some("monitor is refused: it never ends"),
                _ => None,
            };
            if let (Some(message), None) = (refuse, &refused) {
                refused = Some(Refused { message: message.into(), line: from.line, column: from.column });
            }
            if by_brace && matches!(within, Some(Block::Chain(..) | Block::Anonymous | Block::SetLike)) {
                separators.push(after(to));
            }
            rules.extend(rule(within, words, (from, to)));
        }
        Event::Open { block: Block::Table(_, name), .. } if name == tracer && refused.is_none() => {
            let message = format!("the name {tracer:?} is taken by the lab");
            refused = Some(Refused { message, line: 1, column: 1 });
        }
        Event::Open { .. } => {}
        Event::Close { block, to } => {
            nests |= *block == Block::Anonymous;
            let rest = text[to.byte + 1..].trim_start_matches([' ', '\t', '\r']);
            let separated = rest.is_empty() || rest.starts_with(['\n', ';', '#', '\\']);
            if !separated && !matches!(block, Block::Elements | Block::Anonymous) {
                separators.push(after(to));
            }
        }
    });
    if let Some(refused) = refused {
        return Err(refused);
    }
    let mut prepared = String::with_capacity(text.len() + separators.len());
    let (mut done, mut inserted) = (0, Vec::with_capacity(separators.len()));
    let (mut line, mut on_line) = (0, 0);
    for place in separators {
        prepared.push_str(&text[done..place.byte]);
        prepared.push(';');
        done = place.byte;
        on_line = if place.line == line { on_line + 1 } else { 0 };
        line = place.line;
        inserted.push((line, place.column + on_line));
    }
    prepared.push_str(&text[done..]);
    Ok(Prepared { text: prepared, rules, nests, inserted })
}

impl Prepared {
    /// The place in the original of a place in the prepared text.
    pub fn original(&self, line: u32, column: u32) -> (u32, u32) {
        let before = self.inserted.iter().filter(|(at, from)| *at == line && *from < column).count();
        (line, column.saturating_sub(before as u32).max(1))
    }
}

/// The place just behind.
fn after(place: Place) -> Place {
    Place { line: place.line, column: place.column + 1, byte: place.byte + 1 }
}

fn rule(within: Option<&Block>, words: &[&str], (from, to): (Place, Place)) -> Option<SourceRule> {
    let source = |(family, table, chain): (Family, &str, &str), slot| SourceRule {
        family,
        table: table.to_owned(),
        chain: chain.to_owned(),
        from,
        to,
        slot,
    };
    let added = |words: &[&str], is_insert: bool| {
        let place = place_of(words)?;
        let named = if family_of(words.first()?).is_some() && words.len() > 2 { 3 } else { 2 };
        let after = words.get(named..).unwrap_or_default();
        let slot = match (after, is_insert) {
            (["index", number, ..], _) => match number.parse::<usize>() {
                Ok(number) => Slot::Before(number + usize::from(!is_insert)),
                Err(_) => Slot::Unknown,
            },
            (["position" | "handle", ..], _) => Slot::Unknown,
            (_, true) => Slot::Before(0),
            (_, false) => Slot::Last,
        };
        Some(source(place, slot))
    };
    match (within, words) {
        (Some(Block::Chain(family, table, chain)), words) => {
            let property = matches!(
                words,
                [
                    "type" | "policy" | "comment" | "flags" | "device" | "devices" | "define" | "redefine" | "undefine",
                    ..
                ]
            );
            (!property).then(|| source((*family, table, chain), Slot::Last))
        }
        (None, ["rule", rest @ ..] | ["add", "rule", rest @ ..]) => added(rest, false),
        (None, ["insert", "rule", rest @ ..]) => added(rest, true),
        _ => None,
    }
}
