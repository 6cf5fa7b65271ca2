//! A world's registries: organisations, operators, domains, address pools and their leases; the registrar's interface,
//! WHOIS and RDAP.
//!
//! | module | what it is | clock, socket, file |
//! |---|---|---|
//! | [`model`], [`name`], [`record`] | what is registered, and what may be | none |
//! | [`state`] | everything at one moment, and the changes that lead to the next | none |
//! | [`decide`], [`lease`], [`from_spec`] | what becomes of a request, an AND, a spec: refused, or changes | none |
//! | [`store`] | where changes are kept: SQLite | files |
//! | [`names`] | how a domain reaches the world's DNS | none of its own |
//! | [`registry`] | all of these joined; what worldd holds | clock |
//! | [`authenticate`] | who bears a token | none |
//! | [`http`] | registrar, domain registry, world registry over HTTP | none: sockets are the caller's |
//! | [`rdap`] | RDAP (RFC 7480, 9082, 9083, 9224) over HTTP | none |
//! | [`whois`] | WHOIS (RFC 3912) on a listener that is given | sockets |
#![forbid(unsafe_code)]

pub mod authenticate;
pub mod decide;
pub mod from_spec;
pub mod http;
pub mod lease;
pub mod model;
pub mod name;
pub mod names;
pub mod problem;
pub mod rdap;
pub mod record;
pub mod registry;
pub mod secret;
pub mod state;
pub mod store;
pub mod whois;
