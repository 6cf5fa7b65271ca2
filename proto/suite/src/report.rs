//! Reports of a run: for people, as JSON, JUnit and TAP.

mod json;
mod junit;
mod pretty;
mod tap;

use crate::judge::{Judged, Outcome};

pub use self::{
    json::json,
    junit::{escaped, junit},
    pretty::{Style, pretty, summary_line},
    tap::tap,
};

/// A run of one or more suites.
#[derive(Debug, Clone, PartialEq)]
pub struct Run<'a> {
    /// Each suite's file with its cases, in order.
    pub suites: Vec<(&'a str, Vec<Judged<'a>>)>,
    /// Milliseconds in all.
    pub millis: f64,
}

/// How many cases came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// As expected.
    pub passed: usize,
    /// Otherwise.
    pub failed: usize,
    /// Not observed.
    pub inconclusive: usize,
}

impl Run<'_> {
    /// All cases.
    pub fn cases(&self) -> impl Iterator<Item = &Judged<'_>> {
        self.suites.iter().flat_map(|(_, cases)| cases)
    }

    /// Counts them.
    pub fn summary(&self) -> Summary {
        let count = |outcome| self.cases().filter(|case| case.outcome == outcome).count();
        Summary {
            passed: count(Outcome::Passed),
            failed: count(Outcome::Failed),
            inconclusive: count(Outcome::Inconclusive),
        }
    }

    /// 0 all met, 1 a verdict differed, 3 inconclusive only.
    pub fn exit_code(&self) -> u8 {
        match self.summary() {
            Summary { failed: 1.., .. } => 1,
            Summary { inconclusive: 1.., .. } => 3,
            Summary { .. } => 0,
        }
    }
}

/// Replaces what a terminal or an XML reader would take for a command.
pub(crate) fn clean(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests;
