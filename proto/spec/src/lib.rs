//! The world spec, `netengine.spec.v1`: its model, its loader, its checks, its JSON Schema.
//!
//! This crate has no I/O: it takes texts and an environment, and gives a [`Spec`] or everything that is wrong with it.
//!
//! ```text
//! text --parse--> spanned tree --overlay, --set, ${env:}--> one tree --structure--> value --serde--> Spec --check--> Loaded
//! ```

#![forbid(unsafe_code)]

mod check;
pub mod diagnostic;
mod features;
mod finding;
mod formats;
mod grammar;
mod immutable;
mod load;
pub mod model;
mod overlay;
mod parse;
mod schema;
mod structure;
pub mod text;
mod tree;

pub use self::{
    diagnostic::{Diagnostic, Severity},
    features::{FeatureState, FeatureUse, explain},
    immutable::{ImmutableViolation, immutable_violations},
    load::{Environment, Loaded, Source, Sources, load, load_json},
    model::Spec,
    overlay::overlay_path,
    schema::schema,
};
