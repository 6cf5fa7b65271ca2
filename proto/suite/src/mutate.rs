//! Rulesets with one thing changed: would any case notice?

use std::ops::Range;

use netengine_lab_proto::RuleInfo;

use crate::outline::{Piece, Token, byte, elements, place, sets, statement, tokens};

/// Elements of one set that are removed, one at a time; the others stay.
const ELEMENTS: usize = 64;

/// A ruleset with one thing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// What was done, for people: `is removed`, `is turned (accept became drop)`.
    pub change: String,
    /// What was changed: a rule as nft lists it, a policy, an element.
    pub what: String,
    /// Where it stands in the text: line and column, from 1.
    pub place: (u32, u32),
    /// The bytes that are replaced, in order, and by what.
    changes: Vec<(Range<usize>, &'static str)>,
}

impl Mutant {
    /// The mutant of this text, the one it was made of: everything else stays on its line.
    pub fn of(&self, text: &str) -> String {
        let (mut mutant, mut done) = (String::with_capacity(text.len() + 8), 0);
        for (range, word) in &self.changes {
            mutant += &text[done..range.start];
            mutant += word;
            let gone = text[range.clone()].chars().skip(word.len());
            mutant.extend(gone.map(|c| if c == '\n' { '\n' } else { ' ' }));
            done = range.end;
        }
        mutant + &text[done..]
    }
}

/// The mutants of a text, and what has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mutants {
    /// In the order of what they change: rules, then policies, then elements of named sets.
    pub made: Vec<Mutant>,
    /// Rules whose place in the text is not known.
    pub without_place: usize,
    /// Elements of large sets that stay.
    pub kept_elements: usize,
}

/// Every rule removed; every `accept` and `drop` of rules, verdict maps and policies turned into the other, every `reject` into `accept`; every
/// element of a set or map removed; one at a time.
pub fn mutants(text: &str, rules: &[RuleInfo]) -> Mutants {
    let tokens = tokens(text);
    let mut found = Found { text, tokens: &tokens, mutants: Mutants::default() };
    for rule in rules {
        let start = rule.line.zip(rule.column).and_then(|(line, column)| byte(text, line, column));
        let first = start.and_then(|start| tokens.iter().position(|token| token.at.start >= start));
        let Some(first) = first else {
            found.mutants.without_place += 1;
            continue;
        };
        let tokens = statement(&tokens[first..]);
        let Some(all) = whole(tokens) else {
            found.mutants.without_place += 1;
            continue;
        };
        found.add("is removed".to_owned(), &rule.text, all.start, vec![(all, "")]);
        found.turned(&rule.text, tokens);
        let mut rest = tokens;
        while let Some(open) = rest.iter().position(|token| token.word() == "{") {
            // A set of one has no smaller one; the braces of `add @set { ... }`, of limits and of chains hold no elements.
            let of_set = !rest[..open]
                .iter()
                .rev()
                .take(1)
                .any(|token| token.word().starts_with('@') || matches!(token.word(), "jump" | "goto"));
            if of_set {
                found.smaller(&rule.text, &rest[open..], 2);
            }
            rest = &rest[open + 1..];
        }
    }
    for (at, pair) in tokens.windows(2).enumerate() {
        let begins = at == 0 || matches!(tokens[at - 1].piece, Piece::LineEnd | Piece::Word(";" | "{"));
        if begins && pair[0].word() == "policy" {
            found.turned(&format!("policy {}", pair[1].word()), &pair[1..]);
        }
        if begins && matches!(pair[0].word(), "define" | "redefine") {
            let define = statement(&tokens[at..]);
            if let Some(open) = define.iter().position(|token| token.word() == "{") {
                found.smaller(&format!("define {}", pair[1].word()), &define[open..], 2);
            }
        }
    }
    for set in sets(text) {
        let number = set.elements.len();
        for element in set.elements.iter().take(ELEMENTS) {
            if let Some(all) = whole(element) {
                let what = format!("{} of {}", &text[all.clone()], set.name);
                found.turned(&what, element);
                if number > 1 {
                    found.without(&what, all);
                }
            }
        }
        found.mutants.kept_elements += number.saturating_sub(ELEMENTS);
    }
    found.mutants
}

fn whole(tokens: &[Token<'_>]) -> Option<Range<usize>> {
    Some(tokens.first()?.at.start..tokens.last()?.at.end)
}

struct Found<'a> {
    text: &'a str,
    tokens: &'a [Token<'a>],
    mutants: Mutants,
}

impl Found<'_> {
    /// A mutant with other words in place of these bytes.
    fn add(&mut self, change: String, what: &str, at: usize, changes: Vec<(Range<usize>, &'static str)>) {
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        self.mutants.made.push(Mutant { change, what, place: place(self.text, at), changes });
    }

    /// Mutants with a verdict turned, one for each that these tokens have.
    fn turned(&mut self, what: &str, tokens: &[Token<'_>]) {
        for (number, token) in tokens.iter().enumerate() {
            let (other, to) = match token.word() {
                "accept" => ("drop", token.at.end),
                "drop" => ("accept", token.at.end),
                "reject" => {
                    // What it answers with goes too.
                    let rest =
                        tokens[number..].iter().take_while(|token| !matches!(token.word(), "comment" | "," | "}"));
                    ("accept", rest.last().map_or(token.at.end, |token| token.at.end))
                }
                _ => continue,
            };
            let change = format!("is turned ({} became {other})", token.word());
            self.add(change, what, token.at.start, vec![(token.at.start..to, other)]);
        }
    }

    /// Mutants of the set in these braces, each without one element, when it has at least so many.
    fn smaller(&mut self, rule: &str, braces: &[Token<'_>], least: usize) {
        let all = elements(braces);
        for element in all.iter().take(if all.len() < least { 0 } else { ELEMENTS }) {
            if let Some(range) = whole(element) {
                let what = format!("{} in {rule}", &self.text[range.clone()]);
                self.without(&what, range);
            }
        }
        if all.len() >= least {
            self.mutants.kept_elements += all.len().saturating_sub(ELEMENTS);
        }
    }

    /// A mutant without this element, and without the comma behind it or, at the end, before it.
    fn without(&mut self, what: &str, element: Range<usize>) {
        let first = self.tokens.partition_point(|token| token.at.start < element.start);
        let behind = self.tokens.partition_point(|token| token.at.start < element.end);
        let is_comma = |token: &&Token<'_>| token.word() == ",";
        let told = |token: &&Token<'_>| token.piece != Piece::LineEnd;
        let behind = self.tokens[behind..].iter().find(told).filter(is_comma);
        let before = self.tokens[..first].iter().rev().find(told).filter(is_comma);
        let mut changes = vec![(element.clone(), "")];
        match (behind, before) {
            (Some(comma), _) => changes.push((comma.at.clone(), "")),
            (None, Some(comma)) => changes.insert(0, (comma.at.clone(), "")),
            (None, None) => {}
        }
        self.add("is removed".to_owned(), what, element.start, changes);
    }
}

#[cfg(test)]
#[path = "mutate_tests.rs"]
mod tests;
