//! The outline of a ruleset text: blocks, statements, their places. Not a grammar: nft's parser decides what is right.

use netengine_lab_proto::Family;

/// What a brace opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// `table FAMILY NAME {`
    Table(Family, String),
    /// `chain NAME {`, in a table or at the top.
    Chain(Family, String, String),
    /// `jump {` and `goto {`.
    Anonymous,
    /// `set`, `map`, `flowtable`.
    SetLike,
    /// Any other named object.
    Object,
    /// Elements, an anonymous set, a map: no statements inside.
    Elements,
}

/// A place in a text: line and column in bytes, both from 1, and the byte's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// From 0.
    pub byte: usize,
}

/// What the scanner comes across.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A statement ended.
    Statement {
        /// The block it is in.
        within: Option<&'a Block>,
        /// Its first words, up to eight.
        words: &'a [&'a str],
        /// Where it began.
        from: Place,
        /// Where it ended.
        to: Place,
        /// A comment that followed on the same line; `nft -a` puts handles there.
        comment: Option<&'a str>,
        /// Ended by a closing brace: no separator stood between.
        by_brace: bool,
    },
    /// A block was opened by the statement of these words.
    Open {
        /// The block.
        block: &'a Block,
        /// A comment that followed on the same line.
        comment: Option<&'a str>,
    },
    /// A block was closed; `to` is the place of the brace.
    Close {
        /// The block.
        block: &'a Block,
        /// The place of the closing brace.
        to: Place,
    },
}

const WORDS: usize = 8;

/// Walks through `text` and tells of each block and statement.
pub fn scan<'a>(text: &'a str, mut tell: impl FnMut(Event<'_>)) {
    let bytes = text.as_bytes();
    let mut stack: Vec<Block> = Vec::new();
    let mut words: Vec<&'a str> = Vec::new();
    let mut from: Option<Place> = None;
    // Statements around anonymous chains, which go on after them.
    let mut around: Vec<(Option<Place>, Vec<&'a str>)> = Vec::new();
    let mut last = Place::default();
    let (mut line, mut start) = (1_u32, 0_usize);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let place = Place { line, column: (at - start + 1) as u32, byte: at };
        let elements = stack.last() == Some(&Block::Elements);
        match byte {
            b'\\' if bytes.get(at + 1) == Some(&b'\n') => {
                at += 2;
                line += 1;
                start = at;
                continue;
            }
            b'#' => {
                at = text[at..].find('\n').map_or(bytes.len(), |n| at + n);
                continue;
            }
            b'\n' | b';' => {
                if !elements && let Some(begun) = from.take() {
                    let comment = comment_after(text, at);
                    let within = stack.last();
                    tell(Event::Statement { within, words: &words, from: begun, to: last, comment, by_brace: false });
                    words.clear();
                }
                if byte == b'\n' {
                    line += 1;
                    start = at + 1;
                }
            }
            b'{' => {
                let block = opened(stack.last(), &words);
                if from.is_none() {
                    from = Some(place);
                }
                last = place;
                if !matches!(block, Block::Elements | Block::Anonymous) {
                    let rest = &text[at + 1..text[at..].find('\n').map_or(text.len(), |n| at + n)];
                    tell(Event::Open { block: &block, comment: rest.trim().strip_prefix('#').map(str::trim) });
                    words.clear();
                    from = None;
                }
                if block == Block::Anonymous {
                    around.push((from.take(), std::mem::take(&mut words)));
                }
                stack.push(block);
            }
            b'}' => {
                if !elements && let Some(begun) = from.take() {
                    let within = stack.last();
                    tell(Event::Statement {
                        within,
                        words: &words,
                        from: begun,
                        to: last,
                        comment: None,
                        by_brace: true,
                    });
                    words.clear();
                }
                last = place;
                if let Some(block) = stack.pop() {
                    tell(Event::Close { block: &block, to: place });
                    // The statement around these goes on.
                    if block == Block::Anonymous {
                        (from, words) = around.pop().unwrap_or_default();
                    } else if block == Block::Elements {
                        from = from.or(Some(place));
                    }
                }
            }
            b'"' => {
                from = from.or(Some(place));
                let end = text[at + 1..].find(['"', '\n']).map_or(bytes.len(), |n| at + 1 + n);
                let end = if bytes.get(end) == Some(&b'"') { end } else { end.saturating_sub(1).max(at) };
                last = Place {
                    line,
                    column: (end.min(bytes.len() - 1) - start + 1) as u32,
                    byte: end.min(bytes.len() - 1),
                };
                at = end;
            }
            b' ' | b'\t' | b'\r' => {}
            _ => {
                from = from.or(Some(place));
                let end = text[at..]
                    .find([' ', '\t', '\r', '\n', ';', '{', '}', '#', '"', ','])
                    .map_or(bytes.len(), |n| at + n);
                if end > at {
                    if !elements && words.len() < WORDS {
                        words.push(&text[at..end]);
                    } else if !elements && matches!(&text[at..end], "jump" | "goto") {
                        // Anonymous chains are told by their last word, however long the rule.
                        words[WORDS - 1] = &text[at..end];
                    }
                    at = end - 1;
                }
                last = Place { line, column: (at - start + 1) as u32, byte: at };
            }
        }
        at += 1;
    }
    if let Some(begun) = from
        && stack.last() != Some(&Block::Elements)
    {
        tell(Event::Statement {
            within: stack.last(),
            words: &words,
            from: begun,
            to: last,
            comment: None,
            by_brace: false,
        });
    }
}

/// The comment that was skipped just before the newline at `end`.
fn comment_after(text: &str, end: usize) -> Option<&str> {
    let line = &text[text[..end].rfind('\n').map_or(0, |n| n + 1)..end];
    line.rsplit_once('#').map(|(_, comment)| comment.trim())
}

fn opened(within: Option<&Block>, words: &[&str]) -> Block {
    let words = match words.first() {
        Some(&("add" | "create" | "replace" | "destroy" | "delete")) => &words[1..],
        _ => words,
    };
    let last_jumps = matches!(words.last(), Some(&("jump" | "goto")));
    match (within, words.first().copied()) {
        (None, Some("table")) => match words {
            [_, family, name, ..] => Block::Table(family_of(family).unwrap_or(Family::Ip), (*name).to_owned()),
            [_, name] => Block::Table(Family::Ip, (*name).to_owned()),
            _ => Block::Object,
        },
        (None, Some("chain")) => match place_of(&words[1..]) {
            Some((family, table, chain)) => Block::Chain(family, table.to_owned(), chain.to_owned()),
            None => Block::Object,
        },
        (Some(Block::Table(family, table)), Some("chain")) => match words {
            [_, name, ..] => Block::Chain(*family, table.clone(), (*name).to_owned()),
            _ => Block::Object,
        },
        (None | Some(Block::Table(..)), Some("set" | "map" | "flowtable")) => Block::SetLike,
        (
            None | Some(Block::Table(..)),
            Some("counter" | "quota" | "limit" | "ct" | "secmark" | "synproxy" | "tunnel"),
        ) => Block::Object,
        (Some(Block::Chain(..) | Block::Anonymous), _) if last_jumps => Block::Anonymous,
        _ => Block::Elements,
    }
}

/// `[FAMILY] TABLE CHAIN`.
pub fn place_of<'a>(words: &[&'a str]) -> Option<(Family, &'a str, &'a str)> {
    match (words.first().and_then(|word| family_of(word)), words) {
        (Some(family), [_, table, chain, ..]) => Some((family, table, chain)),
        (_, [table, chain, ..]) => Some((Family::Ip, table, chain)),
        _ => None,
    }
}

/// The family of a word.
pub fn family_of(word: &str) -> Option<Family> {
    Family::ALL.into_iter().find(|family| family.as_str() == word)
}
