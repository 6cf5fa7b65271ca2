//! Environment files, `--set`, and `${env:NAME}`.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use netengine_proto::limits::{SPEC_BYTES, SPEC_DEPTH};

use crate::{
    finding::{Finding, SpecPath, join, quoted},
    load::Environment,
    parse::parse,
    tree::{Data, Entry, Node, Span, Style, Texts},
};

/// The environment file beside a base file: `<stem or "spec">.<environment>.yaml`.
///
/// The stem is the base file's name without `.yaml` or `.yml`: `world.yaml` and `dev` give `world.dev.yaml`.
pub fn overlay_path(base: &Path, environment: &str) -> PathBuf {
    let name = base.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(name);
    let stem = if stem.is_empty() { "spec" } else { stem };
    base.with_file_name(format!("{stem}.{environment}.yaml"))
}

/// `base` with `over` laid on it: maps merge deeply, everything else is replaced.
pub(crate) fn merge(base: Rc<Node>, over: Rc<Node>) -> Rc<Node> {
    let (Data::Map(below), Data::Map(above)) = (&base.data, &over.data) else { return over };
    let mut entries = below.clone();
    let mut places: std::collections::HashMap<&str, usize> =
        below.iter().enumerate().map(|(index, entry)| (entry.key.as_str(), index)).collect();
    for entry in above {
        match places.get(entry.key.as_str()) {
            Some(&index) => {
                let value = merge(Rc::clone(&entries[index].value), Rc::clone(&entry.value));
                entries[index] = Entry { value, ..entry.clone() };
            }
            None => {
                places.insert(&entry.key, entries.len());
                entries.push(entry.clone());
            }
        }
    }
    Rc::new(Node { data: Data::Map(entries), span: base.span })
}

/// Applies one `--set path=VALUE`; VALUE is YAML.
pub(crate) fn apply_set(root: &mut Rc<Node>, argument: &str, texts: &mut Texts, findings: &mut Vec<Finding>) {
    let source = texts.add("--set", argument);
    let path_span = Span { source, line: 1, column: 1, start: 0, end: argument.find('=').unwrap_or(argument.len()) };
    let mut refuse = |message: String, help: &str| {
        let help = Some(help.to_owned()).filter(|help| !help.is_empty());
        findings.push(Finding { help, ..Finding::error_at(path_span, message) });
    };
    let Some((path, value)) = argument.split_once('=') else {
        return refuse(format!("{} has no '='", quoted(argument)), "write --set path.to.key=VALUE");
    };
    let segments: Vec<&str> = path.split('.').collect();
    if segments.iter().any(|segment| segment.is_empty()) || segments.len() > SPEC_DEPTH {
        return refuse(format!("{} is not a path", quoted(path)), "write --set path.to.key=VALUE");
    }
    let parsed = parse(source, argument, argument.len() - value.len());
    if !parsed.findings.is_empty() {
        return findings.extend(parsed.findings);
    }
    let value = parsed.root.unwrap_or_else(|| null(path_span));
    if let Err(message) = set(root, &segments, value, path_span) {
        refuse(message, "");
    }
}

fn set(root: &mut Rc<Node>, segments: &[&str], value: Rc<Node>, span: Span) -> Result<(), String> {
    let mut node = root;
    let mut walked = String::new();
    for segment in segments {
        let index = segment.parse::<usize>().ok().filter(|_| segment.bytes().all(|byte| byte.is_ascii_digit()));
        if node.is_null() {
            // Nothing is there yet: a number begins a list, a name a map.
            let data = if index.is_some() { Data::List(Vec::new()) } else { Data::Map(Vec::new()) };
            *node = Rc::new(Node { data, span });
        }
        let inner = Rc::make_mut(node);
        node = match (&mut inner.data, index) {
            (Data::Map(entries), _) => {
                let place = entries.iter().position(|entry| entry.key == *segment).unwrap_or_else(|| {
                    entries.push(Entry { key: (*segment).to_owned(), key_span: span, value: null(span) });
                    entries.len() - 1
                });
                entries[place].key_span = span;
                &mut entries[place].value
            }
            (Data::List(items), Some(index)) => {
                if index > items.len() {
                    return Err(format!("`{walked}` has {} entries; there is no entry {index}", items.len()));
                }
                if index == items.len() {
                    items.push(null(span));
                }
                &mut items[index]
            }
            (Data::List(_), None) => {
                return Err(format!("`{walked}` is a list; {} is not an index", quoted(segment)));
            }
            (Data::Scalar { .. }, _) => return Err(format!("`{walked}` is neither a map nor a list")),
        };
        walked = join(&walked, segment);
    }
    *node = value;
    Ok(())
}

fn null(span: Span) -> Rc<Node> {
    Rc::new(Node { data: Data::Scalar { text: String::new(), style: Style::Plain }, span })
}

/// Replaces `${env:NAME}` and `${env:NAME:-default}` in every text of the tree.
pub(crate) fn expand(root: &mut Rc<Node>, environment: &Environment, texts: &Texts, findings: &mut Vec<Finding>) {
    let mut expansion = Expansion { environment, texts, findings, bytes: 0 };
    if let Some(changed) = expansion.node(root, &SpecPath::Root) {
        *root = changed;
    }
}

struct Expansion<'a> {
    environment: &'a Environment<'a>,
    texts: &'a Texts,
    findings: &'a mut Vec<Finding>,
    bytes: usize,
}

impl Expansion<'_> {
    /// The node with its texts replaced; `None` when there was nothing to replace.
    fn node(&mut self, node: &Rc<Node>, path: &SpecPath) -> Option<Rc<Node>> {
        let data = match &node.data {
            Data::Scalar { text, .. } => {
                if !text.contains(OPEN) {
                    return None;
                }
                let text = self.text(text, node.span, path);
                self.bytes = self.bytes.saturating_add(text.len());
                if self.bytes > SPEC_BYTES {
                    let message = format!("the variables hold more than {SPEC_BYTES} bytes");
                    self.refuse(node.span, path, "", message, None);
                    return Some(null(node.span));
                }
                Data::Scalar { text, style: Style::Expanded }
            }
            Data::List(items) => {
                let mut changed = None;
                for (index, item) in items.iter().enumerate() {
                    if let Some(new) = self.node(item, &SpecPath::Index(path, index)) {
                        changed.get_or_insert_with(|| items.clone())[index] = new;
                    }
                }
                Data::List(changed?)
            }
            Data::Map(entries) => {
                let mut changed = None;
                for (index, entry) in entries.iter().enumerate() {
                    if let Some(new) = self.node(&entry.value, &SpecPath::Key(path, &entry.key)) {
                        changed.get_or_insert_with(|| entries.clone())[index].value = new;
                    }
                }
                Data::Map(changed?)
            }
        };
        Some(Rc::new(Node { data, span: node.span }))
    }

    fn text(&mut self, text: &str, span: Span, path: &SpecPath) -> String {
        let mut result = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(OPEN) {
            result.push_str(&rest[..at]);
            let reference = &rest[at..];
            let Some(end) = reference.find('}') else {
                let help = Some("write ${env:NAME} or ${env:NAME:-default}".to_owned());
                self.refuse(span, path, OPEN, "`${env:` has no closing brace".to_owned(), help);
                return result;
            };
            self.reference(&reference[..=end], span, path, &mut result);
            rest = &reference[end + 1..];
            if result.len() > SPEC_BYTES {
                return result;
            }
        }
        result.push_str(rest);
        result
    }

    /// Appends the value of one `${env:NAME}` or `${env:NAME:-default}`.
    fn reference(&mut self, reference: &str, span: Span, path: &SpecPath, result: &mut String) {
        let inner = &reference[OPEN.len()..reference.len() - 1];
        let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, text)| (name, Some(text)));
        let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            let help = Some("write ${env:NAME} or ${env:NAME:-default}".to_owned());
            return self.refuse(span, path, reference, format!("{} names no variable", quoted(reference)), help);
        }
        match ((self.environment)(name), default) {
            (Some(value), _) => result.push_str(&value),
            (None, Some(default)) => result.push_str(default),
            (None, None) => {
                let help = Some(format!("set it, or write ${{env:{name}:-default}}"));
                self.refuse(span, path, reference, format!("the environment variable {name} is not set"), help);
            }
        }
    }

    /// Notes an error at the reference itself, where the source shows it literally.
    fn refuse(&mut self, mut span: Span, path: &SpecPath, reference: &str, message: String, help: Option<String>) {
        let written = self.texts.text(span.source).get(span.start..span.end).unwrap_or_default();
        let at = written.find(reference).filter(|at| !reference.is_empty() && !written[..*at].contains('\n'));
        if let Some(at) = at {
            span.column += written[..at].chars().count();
            span.start += at;
            span.end = span.start + reference.len();
        }
        self.findings.push(Finding { path: path.text(), help, ..Finding::error_at(span, message) });
    }
}

const OPEN: &str = "${env:";
