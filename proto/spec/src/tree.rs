//! The spanned tree: what the sources say, and where each part of it was said.

use std::rc::Rc;

use netengine_proto::limits::{SPEC_DEPTH, SPEC_NODES};
use serde_json::Value;

/// A place in one of the sources. Lines and columns count from 1, columns in characters; line 0 means "no place".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// Index into [`Texts`].
    pub source: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// First byte in the source.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}

/// How a scalar was written; it decides together with the wanted type what the scalar may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes: `1.0` is a number.
    Plain,
    /// Quoted or tagged `!!str`: a text.
    Quoted,
    /// A block (`|` or `>`): a text.
    Block,
    /// It held `${env:...}`: a text, or what a text may become.
    Expanded,
}

/// One node. Children are shared, so that an alias costs nothing; a change copies only what is changed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub data: Data,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Scalar { text: String, style: Style },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Rc<Node>,
}

/// What a plain scalar is by YAML 1.2's core schema (section 10.3.2). `yes`, `no`, `on`, `off` are texts there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    Null,
    Bool,
    Number,
    Text,
}

/// Resolves a plain scalar.
pub(crate) fn resolve_plain(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Plain::Bool,
        ".nan" | ".NaN" | ".NAN" => Plain::Number,
        _ if is_number(text) => Plain::Number,
        _ => Plain::Text,
    }
}

fn is_number(text: &str) -> bool {
    let digits = |text: &str, radix| !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, 16);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, 8);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    // Rust also takes "inf" and "nan", which are texts in YAML.
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.ends_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.parse::<f64>().is_ok()
}

impl Node {
    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, style: Style::Plain } if resolve_plain(text) == Plain::Null)
    }

    /// The child of a map.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// A tree without places from a JSON value, within the bounds of a file.
    pub fn from_json(value: &Value) -> Result<Rc<Node>, String> {
        from_json(value, SPEC_DEPTH, &mut { SPEC_NODES })
    }
}

fn from_json(value: &Value, depth: usize, nodes: &mut usize) -> Result<Rc<Node>, String> {
    let depth = depth.checked_sub(1).ok_or_else(|| format!("the spec is nested deeper than {SPEC_DEPTH} levels"))?;
    *nodes = nodes.checked_sub(1).ok_or_else(|| format!("the spec holds more than {SPEC_NODES} values"))?;
    let plain = |text: String| Data::Scalar { text, style: Style::Plain };
    let data = match value {
        Value::Null => plain(String::new()),
        Value::Bool(truth) => plain(truth.to_string()),
        Value::Number(number) => plain(number.to_string()),
        Value::String(text) => Data::Scalar { text: text.clone(), style: Style::Quoted },
        Value::Array(items) => {
            Data::List(items.iter().map(|item| from_json(item, depth, nodes)).collect::<Result<_, _>>()?)
        }
        Value::Object(entries) => {
            let mut entry = |(key, value): (&String, &Value)| {
                let value = from_json(value, depth, nodes)?;
                Ok(Entry { key: key.clone(), key_span: Span::default(), value })
            };
            Data::Map(entries.iter().map(&mut entry).collect::<Result<_, String>>()?)
        }
    };
    Ok(Rc::new(Node { data, span: Span::default() }))
}

/// Where a path leads in a tree.
pub(crate) struct Place {
    /// The value's place.
    pub value: Span,
    /// The place of its key, or of the value itself in a list.
    pub key: Span,
    /// False when the path itself is not declared and this is its nearest declared ancestor.
    pub is_exact: bool,
}

/// Follows a path such as `dns.tlds[0].listen_ip` as far as it is declared.
pub(crate) fn locate(root: &Rc<Node>, path: &str) -> Place {
    let mut node = root;
    let mut place = Place { value: root.span, key: root.span, is_exact: true };
    for segment in path.split(['.', '[']).filter(|segment| !segment.is_empty()) {
        let child = match (segment.strip_suffix(']'), &node.data) {
            (Some(index), Data::List(items)) => {
                index.parse().ok().and_then(|index: usize| items.get(index)).map(|item| (item, item.span))
            }
            _ => node.entry(segment).map(|entry| (&entry.value, entry.key_span)),
        };
        let Some((child, key)) = child else {
            place.is_exact = false;
            // The ancestor's key says better where something is missing than its whole value does.
            place.value = place.key;
            return place;
        };
        place.value = child.span;
        place.key = key;
        node = child;
    }
    place
}

/// The sources' names and texts, for messages.
#[derive(Debug, Default)]
pub(crate) struct Texts(Vec<(String, String)>);

impl Texts {
    /// Adds a source and gives its index.
    pub fn add(&mut self, name: &str, text: &str) -> usize {
        self.0.push((name.to_owned(), text.to_owned()));
        self.0.len() - 1
    }

    pub fn name(&self, source: usize) -> &str {
        self.0.get(source).map_or("spec", |(name, _)| name)
    }

    pub fn text(&self, source: usize) -> &str {
        self.0.get(source).map_or("", |(_, text)| text)
    }

    /// The line that holds a place, without its line break.
    pub fn line(&self, span: &Span) -> &str {
        let text = self.text(span.source);
        let bytes = text.as_bytes();
        let is_break = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let at = span.start.min(bytes.len());
        let from = bytes[..at].iter().rposition(is_break).map_or(0, |index| index + 1);
        let to = bytes[at..].iter().position(is_break).map_or(bytes.len(), |index| at + index);
        text.get(from..to).unwrap_or_default().trim_start_matches('\u{feff}')
    }

    /// How many characters of its first line a place covers.
    pub fn length(&self, span: &Span) -> usize {
        let covered = self.text(span.source).get(span.start..span.end).unwrap_or_default();
        covered.chars().take_while(|c| !matches!(c, '\n' | '\r')).count().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_resolve_as_in_yaml_1_2() {
        for (text, wanted) in [
            ("", Plain::Null),
            ("~", Plain::Null),
            ("true", Plain::Bool),
            ("yes", Plain::Text),
            ("1", Plain::Number),
            ("-1", Plain::Number),
            ("1.0", Plain::Number),
            ("1e3", Plain::Number),
            ("0x1f", Plain::Number),
            ("0o17", Plain::Number),
            (".inf", Plain::Number),
            ("inf", Plain::Text),
            ("nan", Plain::Text),
            ("infinity", Plain::Text),
            ("10.0.0.1", Plain::Text),
            ("1.0.0", Plain::Text),
            ("1_000", Plain::Text),
            (".", Plain::Text),
            ("-", Plain::Text),
            ("0x", Plain::Text),
        ] {
            assert_eq!(resolve_plain(text), wanted, "{text:?}");
        }
    }
}
