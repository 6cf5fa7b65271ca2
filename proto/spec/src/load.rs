//! From texts to a [`Spec`], or to everything that is wrong with them.

use serde_json::Value;

use crate::{
    diagnostic::{Diagnostic, Severity},
    model::Spec,
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
pub fn load(sources: &Sources, _environment: &Environment) -> Result<Loaded, Vec<Diagnostic>> {
    Err(vec![not_built(&sources.base.name)])
}

/// Loads a merged spec from a JSON value, with the same checks. Positions are 0, paths are there.
///
/// # Errors
/// All errors (and warnings) together.
pub fn load_json(_value: &Value) -> Result<Loaded, Vec<Diagnostic>> {
    Err(vec![not_built("spec")])
}

fn not_built(file: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        file: file.to_owned(),
        line: 0,
        column: 0,
        length: 1,
        path: String::new(),
        message: "the loader is not built yet".to_owned(),
        help: None,
        source_line: None,
    }
}
