//! Firewall suites: their files, which of their cases, who judges them, and what else is made of them.

pub mod beside;
pub mod boundary;
pub mod captures;
pub mod compare;
pub mod daemon;
pub mod derive;
pub mod engine;
pub mod filter;
pub mod jobs;
pub mod mutate;
pub mod read;
pub mod watch;
