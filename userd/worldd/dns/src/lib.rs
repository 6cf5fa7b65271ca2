//! A world's name service: zones in one store, authoritative answers, transfers, updates, signing, resolver.
//!
//! The core is pure: `name`, `record`, `wire`, `zone`, `answer`, `transfer`, `update` and `plan` know no socket, clock or
//! file. `serve` moves messages between sockets that the caller bound and a [`serve::Handler`]; `journal` keeps changes in a file.
#![forbid(unsafe_code)]

pub mod answer;
pub mod authority;
pub mod dnssec;
pub mod journal;
pub mod name;
pub mod notify;
pub mod plan;
pub mod record;
pub mod resolve;
pub mod serve;
pub mod transfer;
pub mod update;
pub mod wire;
pub mod zone;
