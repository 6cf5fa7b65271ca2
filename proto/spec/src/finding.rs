//! A finding before it is given a file, a line and a source line.

use crate::{
    diagnostic::{Diagnostic, Severity},
    tree::{Span, Texts},
};

/// How many findings of one load are told; a hostile file could hold a hundred thousand.
pub(crate) const TOLD: usize = 256;
/// Longest source line that a diagnostic carries.
const LINE_BYTES: usize = 4096;

/// What is wrong, where in the tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Finding {
    pub severity: Severity,
    pub span: Span,
    pub path: String,
    pub message: String,
    pub help: Option<String>,
}

impl Finding {
    pub fn error_at(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, span, path: String::new(), message: message.into(), help: None }
    }
}

/// Where a walk is; put into words only for what is told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SpecPath<'a> {
    Root,
    Key(&'a SpecPath<'a>, &'a str),
    Index(&'a SpecPath<'a>, usize),
}

impl SpecPath<'_> {
    pub fn is_root(&self) -> bool {
        matches!(self, SpecPath::Root)
    }

    /// As in messages: `a.b[1]`.
    pub fn text(&self) -> String {
        match self {
            SpecPath::Root => String::new(),
            SpecPath::Key(parent, key) => join(&parent.text(), key),
            SpecPath::Index(parent, index) => format!("{}[{index}]", parent.text()),
        }
    }
}

/// `parent.key`.
pub(crate) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { shortened(key) } else { format!("{parent}.{}", shortened(key)) }
}

/// A value of the user in quotes, shortened, with control characters escaped.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 72;
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// The findings in the order of their places, each with its file and source line.
pub(crate) fn tell(mut findings: Vec<Finding>, texts: &Texts) -> Vec<Diagnostic> {
    findings.sort_by_key(|finding| (finding.span.source, finding.span.line, finding.span.column));
    findings.dedup();
    let left_out = findings.len().saturating_sub(TOLD);
    // What does not fit must not be the errors.
    if left_out > 0 {
        findings.sort_by_key(|finding| finding.severity == Severity::Warning);
        findings.truncate(TOLD);
    }
    let mut told: Vec<Diagnostic> = findings.into_iter().map(|finding| diagnose(finding, texts)).collect();
    if left_out > 0 {
        let span = Span::default();
        told.push(diagnose(Finding::error_at(span, format!("{left_out} more findings are not shown")), texts));
    }
    told
}

fn diagnose(finding: Finding, texts: &Texts) -> Diagnostic {
    let Finding { severity, span, path, message, help } = finding;
    let has_place = span.line > 0;
    let line = texts.line(&span);
    Diagnostic {
        severity,
        file: texts.name(span.source).to_owned(),
        line: span.line,
        column: span.column,
        length: if has_place { texts.length(&span) } else { 1 },
        path,
        message,
        help,
        source_line: (has_place && line.len() <= LINE_BYTES).then(|| line.to_owned()),
    }
}
