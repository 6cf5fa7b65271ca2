//! What is done with hostile bytes: one target for each parser that faces a world, a user or another process, and what targets
//! share: small servers in memory, each made of the product's own parts, and second readers.
//!
//! `packaging/fuzz` lets libFuzzer choose the bytes (tests/fuzz); the test `replay` takes the seeds and random edits of them.
//!
//! A target gets bytes, hands them to a parser or to such a server, and says what must hold of the outcome. A panic is a
//! finding. State is made anew for every input, so that an input that failed fails again by itself.

pub mod acme;
pub mod dns;
pub mod oidc;
pub mod registry;
pub mod targets;
