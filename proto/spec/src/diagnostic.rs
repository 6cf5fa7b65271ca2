//! What is wrong with a spec, where, and what would help.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::grammar::is_deceptive;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The spec is refused.
    Error,
    /// The spec is accepted; this is legal but probably unmeant.
    Warning,
}

/// One finding about a spec.
///
/// Its `Display` is the text for people: `file:line:column`, the source line with carets below it, and the help. It holds
/// no terminal sequences, and control characters of the source are shown escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The source's name: a file, or `--set`.
    pub file: String,
    /// The line, from 1; 0 where the source has no lines (a spec that came as a JSON value).
    pub line: usize,
    /// The column in characters, from 1; 0 where the source has no lines.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub length: usize,
    /// The path in the spec, for example `dns.tlds[0].listen_ip`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would help.
    pub help: Option<String>,
    /// The source line.
    pub source_line: Option<String>,
}

/// Longest part of a source line that is shown, in characters.
const SHOWN: usize = 160;

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}", Escaped(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        } else if !self.path.is_empty() {
            write!(f, ": {}", Escaped(&self.path))?;
        }
        write!(f, ": {severity}: {}", Escaped(&self.message))?;
        if self.line > 0
            && let Some(source) = &self.source_line
        {
            self.fmt_source(f, source)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", Escaped(help))?;
        }
        Ok(())
    }
}

impl Diagnostic {
    fn fmt_source(&self, f: &mut fmt::Formatter<'_>, source: &str) -> fmt::Result {
        let margin = self.line.to_string().len();
        let start = self.column.saturating_sub(1);
        // A long line is shown around the place that is meant.
        let from = if start > SHOWN / 2 { start - SHOWN / 4 } else { 0 };
        let mut line = String::new();
        let (mut before, mut marked) = (0, 0);
        for (index, c) in source.chars().enumerate().skip(from).take(SHOWN) {
            let shown = Escaped(c.encode_utf8(&mut [0; 4])).to_string();
            let width = shown.chars().count();
            if index < start {
                before += width;
            } else if index < start + self.length {
                marked += width;
            }
            line.push_str(&shown);
        }
        write!(f, "\n{:margin$} |\n{} | {line}\n{:margin$} | ", "", self.line, "")?;
        write!(f, "{:before$}{}", "", "^".repeat(marked.max(1)))
    }
}

/// Text of unknown origin, with everything a terminal would obey or reorder shown as an escape.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c == '\t' {
                f.write_str(" ")?;
            } else if is_deceptive(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        Ok(())
    }
}
