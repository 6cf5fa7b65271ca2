//! The tree against the JSON Schema: every structural error at once, and the lenient readings of scalars.
//!
//! The schema is made from the types, so a value that passes here can be read by serde. A value that is refused is left out,
//! or replaced by a stand-in where it is required, so that the rest of the file can still be checked; the path is noted as
//! refused and checks across fields keep away from it.

use std::rc::Rc;

use serde_json::{Map, Value};

use crate::{
    finding::{Finding, SpecPath, TOLD, join, quoted},
    formats,
    grammar::is_deceptive,
    tree::{Data, Entry, Node, Plain, Span, Style, resolve_plain},
};

/// Stands in a refused path for a key that is not known. No key that passes a check is like it.
pub(crate) const UNKNOWN: &str = "?";

/// What the walk gave.
pub(crate) struct Structured {
    /// The value, complete by the schema. Refused parts are absent or stand-ins.
    pub value: Value,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The paths whose values are not the user's.
    pub refused: Vec<String>,
}

/// Walks a tree along the schema of the spec.
pub(crate) fn structure(root: &Rc<Node>, schema: &Value) -> Structured {
    let mut walk = Walk { findings: Vec::new(), refused: Vec::new() };
    let at = At { node: root, key: root.span, path: SpecPath::Root };
    let value = walk.value(&at, schema).unwrap_or_else(|| stand_in(schema));
    Structured { value, findings: walk.findings, refused: walk.refused }
}

/// Where the walk is.
struct At<'a> {
    node: &'a Node,
    key: Span,
    path: SpecPath<'a>,
}

impl At<'_> {
    /// What messages call it.
    fn name(&self) -> String {
        name(&self.path)
    }
}

fn name(path: &SpecPath) -> String {
    match path {
        SpecPath::Root => "the spec".to_owned(),
        SpecPath::Key(_, key) => format!("`{}`", shown(key)),
        SpecPath::Index(list, index) => format!("entry {index} of {}", name(list)),
    }
}

struct Walk {
    findings: Vec<Finding>,
    refused: Vec<String>,
}

impl Walk {
    /// The value in the wanted type; `None` when it is refused (which has been noted).
    fn value(&mut self, at: &At, schema: &Value) -> Option<Value> {
        if is_nullable(schema) && at.node.is_null() {
            return Some(Value::Null);
        }
        if let Some(allowed) = allowed(schema) {
            return self.choice(at, &allowed);
        }
        match kind(schema) {
            "object" => self.object(at, schema),
            "array" => self.array(at, schema),
            "string" => self.string(at, schema),
            "integer" => self.integer(at, schema),
            "boolean" => self.boolean(at),
            // The schema is ours; a test walks all of it and finds no other kind.
            other => self.refuse(at, format!("{} has the unknown kind {other:?} in the schema", at.name()), None),
        }
    }

    fn refuse(&mut self, at: &At, message: String, help: Option<String>) -> Option<Value> {
        self.refused.push(at.path.text());
        self.findings.push(Finding { path: at.path.text(), help, ..Finding::error_at(at.node.span, message) });
        None
    }

    fn wrong_type(&mut self, at: &At, wanted: &str) -> Option<Value> {
        if at.node.is_null() {
            let help = match wanted {
                "a map" => "write `{}` to take the defaults",
                "a list" => "write `[]` for none",
                _ => "give it a value, or leave the key out",
            };
            return self.refuse(at, format!("{} is empty; it must be {wanted}", at.name()), Some(help.to_owned()));
        }
        let found = match &at.node.data {
            Data::Map(_) => "a map".to_owned(),
            Data::List(_) => "a list".to_owned(),
            Data::Scalar { text, style: Style::Plain } => match resolve_plain(text) {
                Plain::Number => format!("the number {text}"),
                Plain::Bool => format!("the truth value {text}"),
                Plain::Null | Plain::Text => format!("the text {}", quoted(text)),
            },
            Data::Scalar { text, .. } => format!("the text {}", quoted(text)),
        };
        let help = match &at.node.data {
            Data::Scalar { text, .. } if wanted == "a text" => Some(format!("write it in quotes: {}", quoted(text))),
            _ => None,
        };
        self.refuse(at, format!("{} must be {wanted}, not {found}", at.name()), help)
    }

    fn object(&mut self, at: &At, schema: &Value) -> Option<Value> {
        let Data::Map(entries) = &at.node.data else { return self.wrong_type(at, "a map") };
        let nothing = Map::new();
        let known = schema["properties"].as_object().unwrap_or(&nothing);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let mut value = Map::new();
        for entry in entries {
            let child = At { node: &entry.value, key: entry.key_span, path: SpecPath::Key(&at.path, &entry.key) };
            if let Some(schema) = known.get(&entry.key) {
                if let Some(read) = self.value(&child, schema) {
                    value.insert(entry.key.clone(), read);
                }
            } else if let Some(others) = others {
                if self.key_is_sound(at, &child, &entry.key, schema) {
                    let read = self.value(&child, others).unwrap_or_else(|| stand_in(others));
                    value.insert(entry.key.clone(), read);
                }
            } else {
                self.unknown_key(at, &child, &entry.key, known);
            }
        }
        self.required(at, schema, known, entries, &mut value);
        Some(Value::Object(value))
    }

    /// Checks a key that the user chose, such as a network's name.
    fn key_is_sound(&mut self, at: &At, child: &At, key: &str, schema: &Value) -> bool {
        let Some(format) = schema["propertyNames"]["format"].as_str().and_then(formats::find) else { return true };
        let Err(why) = (format.check)(key) else { return true };
        // One entry of the map is not known; the others are.
        self.refused.push(join(&at.path.text(), UNKNOWN));
        let message = format!("the name {} in {} {why}", quoted(key), at.name());
        self.findings.push(Finding { path: child.path.text(), ..Finding::error_at(child.key, message) });
        false
    }

    fn unknown_key(&mut self, at: &At, child: &At, key: &str, known: &Map<String, Value>) {
        let message = format!("unknown key {} in {}", quoted(key), at.name());
        // Past what is told anyway, searching would only cost time.
        let is_told = self.findings.len() < TOLD;
        let near = is_told.then(|| nearest(key, known.keys().map(String::as_str))).flatten();
        if let Some(near) = near {
            // What the user meant to say there is not known.
            self.refused.push(join(&at.path.text(), near));
        }
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known keys: {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        let finding = Finding::error_at(child.key, message);
        self.findings.push(Finding { path: child.path.text(), help: Some(help), ..finding });
    }

    /// Names the required keys that are missing, and puts stand-ins for those and for refused ones.
    fn required(
        &mut self,
        at: &At,
        schema: &Value,
        known: &Map<String, Value>,
        entries: &[Entry],
        value: &mut Map<String, Value>,
    ) {
        let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
        let mut missing = Vec::new();
        for key in required.iter().filter_map(Value::as_str) {
            if value.contains_key(key) {
                continue;
            }
            if !entries.iter().any(|entry| entry.key == key) {
                missing.push(key);
                self.refused.push(join(&at.path.text(), key));
            }
            value.insert(key.to_owned(), known.get(key).map_or(Value::Null, stand_in));
        }
        if missing.is_empty() {
            return;
        }
        let list = missing.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let (message, help) = if at.path.is_root() {
            let noun = if missing.len() == 1 { "section" } else { "sections" };
            let can_be_empty = missing.iter().find(|key| !matches!(**key, "metadata" | "substrate"));
            let help = can_be_empty.map(|key| format!("write `{key}: {{}}` to take the defaults"));
            (format!("the spec lacks the {noun} {list}"), help)
        } else {
            (format!("{} lacks {list}", at.name()), None)
        };
        self.findings.push(Finding { path: at.path.text(), help, ..Finding::error_at(at.key, message) });
    }

    fn array(&mut self, at: &At, schema: &Value) -> Option<Value> {
        let Data::List(items) = &at.node.data else { return self.wrong_type(at, "a list") };
        let wanted = &schema["items"];
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let child = At { node: item, key: item.span, path: SpecPath::Index(&at.path, index) };
            // A stand-in keeps the indices of the entries behind it.
            values.push(self.value(&child, wanted).unwrap_or_else(|| stand_in(wanted)));
        }
        Some(Value::Array(values))
    }

    fn string(&mut self, at: &At, schema: &Value) -> Option<Value> {
        let Some(format) = schema["format"].as_str().and_then(formats::find) else {
            // A test walks the whole schema and finds no text without a format.
            return self.refuse(at, format!("{} has no format in the schema", at.name()), None);
        };
        let Data::Scalar { text, style } = &at.node.data else { return self.wrong_type(at, format.noun) };
        let read = resolve_plain(text);
        let is_number = format.name == formats::PORTS && read == Plain::Number;
        if *style == Style::Plain && read != Plain::Text && !is_number {
            return self.wrong_type(at, if at.node.is_null() { format.noun } else { "a text" });
        }
        // A block scalar ends with a line break that nobody means.
        let is_line = format.name != "pem" && *style == Style::Block;
        let text = if is_line { text.trim_end_matches(['\n', '\r']) } else { text };
        match (format.check)(text) {
            Ok(()) => Some(Value::String(text.to_owned())),
            Err(why) => self.refuse(at, format!("{}: {} {why}", at.name(), quoted(text)), None),
        }
    }

    fn choice(&mut self, at: &At, allowed: &[&str]) -> Option<Value> {
        let list = allowed.join(", ");
        let Data::Scalar { text, style } = &at.node.data else {
            return self.wrong_type(at, &format!("one of {list}"));
        };
        if *style == Style::Plain && resolve_plain(text) != Plain::Text {
            return self.wrong_type(at, &format!("one of {list}"));
        }
        if allowed.contains(&text.as_str()) {
            return Some(Value::String(text.clone()));
        }
        let help = nearest(text, allowed.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        self.refuse(at, format!("{}: {} is not one of {list}", at.name(), quoted(text)), help)
    }

    fn integer(&mut self, at: &At, schema: &Value) -> Option<Value> {
        let Data::Scalar { text, .. } = &at.node.data else { return self.wrong_type(at, "a whole number") };
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.wrong_type(at, "a whole number");
        }
        let (least, most) = (schema["minimum"].as_i64().unwrap_or(0), schema["maximum"].as_i64().unwrap_or(i64::MAX));
        match text.parse::<i64>() {
            Ok(number) if (least..=most).contains(&number) => Some(Value::from(number)),
            _ => {
                self.refuse(at, format!("{} must be between {least} and {most}, not {}", at.name(), shown(text)), None)
            }
        }
    }

    fn boolean(&mut self, at: &At) -> Option<Value> {
        let text = match &at.node.data {
            Data::Scalar { text, .. } => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        match text.as_str() {
            "true" | "yes" | "on" => Some(Value::Bool(true)),
            "false" | "no" | "off" => Some(Value::Bool(false)),
            _ => self.wrong_type(at, "true or false"),
        }
    }
}

/// A key or number of the user inside backticks or behind "not": shortened, without control characters.
fn shown(text: &str) -> String {
    text.chars().take(72).map(|c| if is_deceptive(c) { '?' } else { c }).collect()
}

/// The kind of value that a schema wants; null does not count.
pub(crate) fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(kind) => kind,
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or(""),
        _ => "",
    }
}

pub(crate) fn is_nullable(schema: &Value) -> bool {
    let is_null = |value: &Value| value["type"] == "null";
    schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"))
        || schema["anyOf"].as_array().is_some_and(|options| options.iter().any(is_null))
}

/// The values of a closed set: `enum`, or `oneOf` constants, also inside the `anyOf` of an optional one.
pub(crate) fn allowed(schema: &Value) -> Option<Vec<&str>> {
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().find_map(allowed);
    }
    if let Some(values) = schema["enum"].as_array() {
        return Some(values.iter().filter_map(Value::as_str).collect());
    }
    if let Some(constant) = schema["const"].as_str() {
        return Some(vec![constant]);
    }
    let options = schema["oneOf"].as_array()?;
    Some(options.iter().filter_map(allowed).flatten().collect())
}

/// A value that a schema accepts.
pub(crate) fn stand_in(schema: &Value) -> Value {
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    if let Some(allowed) = allowed(schema) {
        return allowed.first().copied().map_or(Value::Null, Value::from);
    }
    match kind(schema) {
        "object" => {
            let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice).iter();
            let known = &schema["properties"];
            Value::Object(
                required.filter_map(Value::as_str).map(|key| (key.to_owned(), stand_in(&known[key]))).collect(),
            )
        }
        "array" => Value::Array(Vec::new()),
        "integer" => schema["minimum"].clone(),
        "boolean" => Value::Bool(false),
        _ => schema["format"].as_str().and_then(formats::find).map_or(Value::Null, |format| format.stand_in.into()),
    }
}

/// The candidate that a mistyped text most likely means.
pub(crate) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A long text is no typing error, and the distance costs the product of both lengths.
    if text.len() > 64 {
        return None;
    }
    let folded = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let text = folded(text);
    let near = candidates.filter_map(|candidate| {
        let tolerance = (candidate.len().max(text.len()) / 3).max(1);
        if candidate.len().abs_diff(text.len()) > tolerance {
            return None;
        }
        let distance = strsim::damerau_levenshtein(&text, &folded(candidate));
        (distance <= tolerance).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}
