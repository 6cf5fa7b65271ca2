//! One YAML text to a spanned tree, within bounds.
//!
//! Aliases are expanded by sharing, so that their cost is the arithmetic of what they would expand to. Merge keys (`<<`)
//! are followed, because existing spec files use them; explicit keys win. Tags other than `!!str` are refused.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Tag, options};
use netengine_proto::limits::{SPEC_ALIASES, SPEC_BYTES, SPEC_DEPTH, SPEC_NODES};

use crate::{
    finding::{Finding, join, quoted},
    tree::{Data, Entry, Node, Plain, Span, Style, resolve_plain},
};

/// What a text says. `root` is absent when the text is empty or cannot be parsed; findings say which.
pub(crate) struct Parsed {
    pub root: Option<Rc<Node>>,
    pub findings: Vec<Finding>,
}

/// Parses `text[from..]`, which lies in the source with this index. `from` is on the first line.
pub(crate) fn parse(source: usize, text: &str, from: usize) -> Parsed {
    let columns = text[..from].chars().count();
    let mut build = Build {
        origin: Origin { source, bytes: from, columns },
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        bytes: 0,
        aliases: 0,
        root: None,
        findings: Vec::new(),
    };
    if let Err(finding) = build.run(text, &text[from..]) {
        build.findings.push(*finding);
        build.root = None;
    }
    Parsed { root: build.root.map(|(node, _)| node), findings: build.findings }
}

/// A finding that ends the parsing of a source.
type Fatal = Box<Finding>;

fn fatal(span: Span, message: impl Into<String>) -> Fatal {
    Box::new(Finding::error_at(span, message))
}

/// Where a text lies in its source.
struct Origin {
    source: usize,
    bytes: usize,
    columns: usize,
}

impl Origin {
    fn span(&self, start: &Marker, end: &Marker) -> Span {
        let shift = if start.line() == 1 { self.columns } else { 0 };
        let first = self.bytes + start.byte_offset().unwrap_or_default();
        Span {
            source: self.source,
            line: start.line(),
            column: start.col() + 1 + shift,
            start: first,
            end: first.max(self.bytes + end.byte_offset().unwrap_or_default()),
        }
    }
}

/// What a node would cost if it were written out.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
    height: usize,
}

impl Cost {
    fn add(&mut self, child: Cost) {
        self.nodes = self.nodes.saturating_add(child.nodes);
        self.bytes = self.bytes.saturating_add(child.bytes);
        self.height = self.height.max(child.height + 1);
    }
}

/// A collection that is still open.
struct Frame {
    span: Span,
    anchor: usize,
    cost: Cost,
    kind: FrameKind,
}

enum FrameKind {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<Entry>, seen: HashSet<String>, key: Option<Key>, merged: Vec<Entry> },
}

/// A key that waits for its value.
struct Key {
    text: String,
    span: Span,
    role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    First,
    /// The error is noted; its value is dropped.
    Duplicate,
    /// `<<`: the value's entries join the map.
    Merge,
}

struct Build {
    origin: Origin,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Rc<Node>, Cost)>,
    nodes: usize,
    bytes: usize,
    aliases: usize,
    root: Option<(Rc<Node>, Cost)>,
    findings: Vec<Finding>,
}

impl Build {
    fn run(&mut self, whole: &str, text: &str) -> Result<(), Fatal> {
        let start = Marker::new(0, 1, 0).with_byte_offset(Some(0));
        if whole.len() > SPEC_BYTES {
            let message = format!("the file holds {} bytes; at most {SPEC_BYTES} are allowed", whole.len());
            return Err(fatal(self.origin.span(&start, &start), message));
        }
        self.refuse_control_characters(text)?;
        let options = options! {
            emit_comments: false,
            flow_nesting_limit: SPEC_DEPTH + 1,
            block_nesting_limit: SPEC_DEPTH + 1,
        };
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|error| self.syntax_error(&error))?;
            let span = self.origin.span(&span.start, &span.end);
            match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(fatal(span, "a spec file holds one YAML document; a second one begins here"));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), span)?,
                Event::SequenceStart(_, anchor, tag) => {
                    self.open(span, anchor, tag.as_deref(), "seq", FrameKind::List(Vec::new()))?;
                }
                Event::MappingStart(_, anchor, tag) => {
                    let kind =
                        FrameKind::Map { entries: Vec::new(), seen: HashSet::new(), key: None, merged: Vec::new() };
                    self.open(span, anchor, tag.as_deref(), "map", kind)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Alias(anchor) => self.alias(anchor, span)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// YAML allows no other control characters (section 5.1), and a terminal would obey them.
    fn refuse_control_characters(&self, text: &str) -> Result<(), Fatal> {
        let is_refused = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
        let Some(at) = text.find(is_refused) else { return Ok(()) };
        let before = &text[..at];
        let line_start = before.rfind(['\n', '\r']).map_or(0, |index| index + 1);
        let breaks = before.matches('\n').count() + before.replace("\r\n", "").matches('\r').count();
        let bad = text[at..].chars().next().unwrap_or_default();
        let mark = Marker::new(0, breaks + 1, before[line_start..].chars().count()).with_byte_offset(Some(at));
        let end = mark.with_byte_offset(Some(at + bad.len_utf8()));
        let message =
            format!("the file holds the character U+{:04X}; control characters are not allowed", u32::from(bad));
        Err(fatal(self.origin.span(&mark, &end), message))
    }

    fn syntax_error(&self, error: &ScanError) -> Fatal {
        let span = self.origin.span(error.marker(), error.marker());
        let (message, help) = match error.kind() {
            ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation => {
                ("cannot parse YAML: a tab is used for indentation".to_owned(), Some("indent with spaces"))
            }
            ErrorKind::UnknownAnchor => ("cannot parse YAML: the alias names no anchor above it".to_owned(), None),
            // The scanner runs ahead of the events, so it may be the first to know.
            ErrorKind::RecursionLimitExceeded => return self.too_deep(span),
            _ => (format!("cannot parse YAML: {}", error.info()), None),
        };
        Box::new(Finding { help: help.map(str::to_owned), path: self.path(), ..Finding::error_at(span, message) })
    }

    fn too_deep(&self, span: Span) -> Fatal {
        fatal(span, format!("the file is nested deeper than {SPEC_DEPTH} levels"))
    }

    /// Counts what is about to become part of the tree.
    fn spend(&mut self, cost: Cost, span: Span) -> Result<(), Fatal> {
        self.nodes = self.nodes.saturating_add(cost.nodes);
        self.bytes = self.bytes.saturating_add(cost.bytes);
        if self.nodes > SPEC_NODES {
            return Err(fatal(span, format!("the file holds more than {SPEC_NODES} values, aliases expanded")));
        }
        if self.bytes > SPEC_BYTES {
            return Err(fatal(span, format!("the file holds more than {SPEC_BYTES} bytes, aliases expanded")));
        }
        if self.stack.len() + cost.height > SPEC_DEPTH { Err(self.too_deep(span)) } else { Ok(()) }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Fatal> {
        let cost = Cost { nodes: 1, bytes: text.len(), height: 0 };
        self.spend(cost, span)?;
        let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema_tag("str") || tag.parts() == ("!", ""));
        if let Some(tag) = tag.filter(|_| !is_text) {
            self.refuse_tag(tag, span);
        }
        let style = match style {
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
            ScalarStyle::Plain if !is_text => Style::Plain,
            _ => Style::Quoted,
        };
        if self.awaits_key() {
            self.key(text, style, span);
            return Ok(());
        }
        let node = Rc::new(Node { data: Data::Scalar { text: text.to_owned(), style }, span });
        self.complete(node, cost, anchor, span)
    }

    fn refuse_tag(&mut self, tag: &Tag, span: Span) {
        let message = format!("the tag {} is not supported", quoted(&tag.original()));
        let path = self.path();
        self.findings.push(Finding { path, ..Finding::error_at(span, message) });
    }

    fn open(&mut self, span: Span, anchor: usize, tag: Option<&Tag>, own: &str, kind: FrameKind) -> Result<(), Fatal> {
        self.refuse_collection_key(span)?;
        let cost = Cost { nodes: 1, bytes: 0, height: 1 };
        self.spend(cost, span)?;
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema_tag(own)) {
            self.refuse_tag(tag, span);
        }
        self.stack.push(Frame { span, anchor, cost, kind });
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { kind: FrameKind::Map { key: None, .. }, .. }))
    }

    /// Takes the next key of the innermost map.
    fn key(&mut self, text: &str, style: Style, span: Span) {
        let is_merge = style == Style::Plain && text == "<<";
        let is_text = style != Style::Plain || resolve_plain(text) == Plain::Text;
        let Some(Frame { kind: FrameKind::Map { seen, key, .. }, cost, .. }) = self.stack.last_mut() else { return };
        cost.bytes += text.len();
        let role = match is_merge {
            true => Role::Merge,
            false if seen.insert(text.to_owned()) => Role::First,
            false => Role::Duplicate,
        };
        *key = Some(Key { text: text.to_owned(), span, role });
        if role == Role::Duplicate {
            let help = Some("keep one of the two".to_owned());
            let finding = Finding::error_at(span, format!("the key {} appears twice in one map", quoted(text)));
            self.findings.push(Finding { path: self.path(), help, ..finding });
        } else if !is_text {
            let help = (!text.is_empty()).then(|| format!("write it in quotes: \"{text}\""));
            let finding = Finding::error_at(span, format!("the key {} is not a text", quoted(text)));
            self.findings.push(Finding { path: self.path(), help, ..finding });
        }
    }

    fn refuse_collection_key(&self, span: Span) -> Result<(), Fatal> {
        if self.awaits_key() {
            return Err(Box::new(Finding { path: self.path(), ..Finding::error_at(span, "a key must be a text") }));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fatal> {
        let Some(Frame { span, anchor, cost, kind }) = self.stack.pop() else { return Ok(()) };
        let data = match kind {
            FrameKind::List(items) => Data::List(items),
            FrameKind::Map { mut entries, mut seen, merged, .. } => {
                entries.extend(merged.into_iter().filter(|entry| seen.insert(entry.key.clone())));
                Data::Map(entries)
            }
        };
        self.complete(Rc::new(Node { data, span }), cost, anchor, span)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Fatal> {
        self.refuse_collection_key(span)?;
        self.aliases += 1;
        if self.aliases > SPEC_ALIASES {
            return Err(fatal(span, format!("the file holds more than {SPEC_ALIASES} aliases")));
        }
        let Some((node, cost)) = self.anchors.get(&anchor).cloned() else {
            return Err(fatal(span, "the alias stands inside what it names"));
        };
        self.spend(cost, span)?;
        self.complete(node, cost, 0, span)
    }

    /// Puts a finished node where it belongs. `span` is where it is used, which for an alias is not where it was written.
    fn complete(&mut self, mut node: Rc<Node>, cost: Cost, anchor: usize, span: Span) -> Result<(), Fatal> {
        if anchor != 0 {
            self.anchors.insert(anchor, (Rc::clone(&node), cost));
        }
        let Some(parent) = self.stack.last_mut() else {
            self.root = Some((node, cost));
            return Ok(());
        };
        parent.cost.add(cost);
        match &mut parent.kind {
            FrameKind::List(items) => items.push(node),
            FrameKind::Map { entries, key, merged, .. } => {
                let Some(key) = key.take() else { return Ok(()) };
                match key.role {
                    Role::Merge => return merge_key(&node, merged, span),
                    Role::Duplicate => return Ok(()),
                    Role::First => {}
                }
                if node.span.is_empty() {
                    // `key:` without a value: the key is the only place there is.
                    Rc::make_mut(&mut node).span = key.span;
                }
                entries.push(Entry { key: key.text, key_span: key.span, value: node });
            }
        }
        Ok(())
    }

    /// The path of the node that is being built.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match &frame.kind {
                FrameKind::List(items) => path.push_str(&format!("[{}]", items.len())),
                FrameKind::Map { key: Some(key), .. } => path = join(&path, &key.text),
                FrameKind::Map { .. } => {}
            }
        }
        path
    }
}

/// Notes the entries that a merge key brings (YAML 1.1, "Merge Key Language-Independent Type"): of one map, or of a list
/// of maps where earlier ones win.
fn merge_key(value: &Node, merged: &mut Vec<Entry>, span: Span) -> Result<(), Fatal> {
    let refuse = || Err(fatal(span, "a merge key (<<) needs a map or a list of maps"));
    match &value.data {
        Data::Map(entries) => merged.extend(entries.iter().cloned()),
        Data::List(items) => {
            for item in items {
                let Data::Map(entries) = &item.data else { return refuse() };
                merged.extend(entries.iter().cloned());
            }
        }
        Data::Scalar { .. } => return refuse(),
    }
    Ok(())
}
