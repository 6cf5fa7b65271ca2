//! From texts to a [`Spec`], or to everything that is wrong with them.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    check::check,
    diagnostic::{Diagnostic, Severity},
    finding::{Finding, tell},
    model::Spec,
    overlay::{apply_set, expand, merge},
    parse::parse,
    schema::schema_ref,
    structure::structure,
    tree::{Data, Node, Span, Texts},
};

/// One text and what it is called in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What a spec is made of. Later wins: defaults, `base`, `overlay`, `sets` in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The spec file.
    pub base: Source,
    /// The environment file beside it.
    pub overlay: Option<Source>,
    /// The arguments of `--set`, each `path=VALUE`.
    pub sets: Vec<String>,
}

/// A spec that passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The spec, defaults filled in.
    pub spec: Spec,
    /// What the sources declare after merging, without defaults; [`load_json`] of it gives the same spec.
    pub value: Value,
    /// What is legal but probably unmeant.
    pub warnings: Vec<Diagnostic>,
}

/// The environment, for `${env:NAME}`.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Loads a spec from YAML.
///
/// # Errors
/// All errors (and warnings) together, in the order of their place.
pub fn load(sources: &Sources, environment: &Environment) -> Result<Loaded, Vec<Diagnostic>> {
    let mut texts = Texts::default();
    let mut findings = Vec::new();
    let mut read = |source: &Source| {
        let index = texts.add(&source.name, &source.text);
        let parsed = parse(index, &source.text, 0);
        let is_broken = parsed.root.is_none() && !parsed.findings.is_empty();
        findings.extend(parsed.findings);
        // An empty file declares nothing; it is an overlay that changes nothing, or a base without sections.
        let nothing = || {
            Rc::new(Node {
                data: Data::Map(Vec::new()),
                span: Span { source: index, line: 1, column: 1, ..Span::default() },
            })
        };
        let root = parsed.root.filter(|root| !root.is_null()).unwrap_or_else(nothing);
        (!is_broken).then_some(root)
    };
    let base = read(&sources.base);
    let overlay = sources.overlay.as_ref().map(&mut read);
    // What could not be parsed cannot be merged; its absence would bring errors that are not there.
    let (Some(base), Some(overlay)) = (base, overlay.map_or(Some(None), |overlay| overlay.map(Some))) else {
        return Err(tell(findings, &texts));
    };
    let mut root = overlay.map_or(Rc::clone(&base), |overlay| merge(base, overlay));
    for argument in &sources.sets {
        apply_set(&mut root, argument, &mut texts, &mut findings);
    }
    expand(&mut root, environment, &texts, &mut findings);
    finish(&root, findings, &texts)
}

/// Loads a merged spec from a JSON value, with the same checks. Positions are 0, paths are there.
///
/// `${env:NAME}` is not replaced here: the value comes from somebody else, and the environment is the loading process's own.
///
/// # Errors
/// All errors (and warnings) together.
pub fn load_json(value: &Value) -> Result<Loaded, Vec<Diagnostic>> {
    let texts = Texts::default();
    let root = match Node::from_json(value) {
        Ok(root) => root,
        Err(message) => return Err(tell(vec![Finding::error_at(Span::default(), message)], &texts)),
    };
    finish(&root, Vec::new(), &texts)
}

/// Structure, serde, checks across fields.
fn finish(root: &Rc<Node>, mut findings: Vec<Finding>, texts: &Texts) -> Result<Loaded, Vec<Diagnostic>> {
    let structured = structure(root, schema_ref());
    findings.extend(structured.findings);
    let spec = match Spec::deserialize(&structured.value) {
        Ok(spec) => spec,
        Err(why) => {
            let message = format!("cannot read the spec although its structure is sound: {why}");
            findings.push(Finding::error_at(root.span, message));
            return Err(tell(findings, texts));
        }
    };
    findings.extend(check(&spec, root, &structured.refused));
    let is_refused = findings.iter().any(|finding| finding.severity == Severity::Error);
    let told = tell(findings, texts);
    if is_refused { Err(told) } else { Ok(Loaded { spec, value: structured.value, warnings: told }) }
}
