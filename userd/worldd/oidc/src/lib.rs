//! A world's OpenID provider: realms, clients, tokens, login pages.
//!
//! `provider` holds the state and answers HTTP requests; everything that decides (`authorize`, `grant`, `exchange`,
//! `token`, `session`, `registration`, `throttle`) is pure: time and randomness are arguments, changes are a list.
#![forbid(unsafe_code)]

pub mod authorize;
pub mod client;
pub mod exchange;
pub mod form;
pub mod from_spec;
pub mod grant;
pub mod inspect;
pub mod jose;
pub mod metadata;
pub mod provider;
pub mod realm;
pub mod refusal;
pub mod registration;
pub mod secret;
pub mod serve;
pub mod session;
pub mod state;
pub mod store;
pub mod throttle;
pub mod token;
pub mod user;
pub mod web;
