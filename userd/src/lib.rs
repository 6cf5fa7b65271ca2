//! The unprivileged daemon: API, state, orchestrator, quotas, events.
//!
//! | module | what it does | I/O |
//! |---|---|---|
//! | [`decide`] | who may do what; the only door to an effect | none |
//! | [`plan`] | spec and observation to steps | none |
//! | [`store`] | worlds, operations, steps, events, quotas in one database | SQL |
//! | [`seal`] | secrets at rest | its key's file |
//! | [`root_link`] | calls to rootd, with reconnection and deadlines | Unix socket |
//! | [`control`] | calls to a worldd or prober | Unix socket |
//! | [`orchestrator`] | runs steps, undoes them, repairs worlds | through the three above |
//! | [`http`] | accept loop, routes, server-sent events, OpenAPI | Unix sockets |
//! | [`start`] | configuration, sandbox, sockets from the service manager | process |

#![deny(unsafe_code)]

pub mod control;
pub mod decide;
pub mod doctor;
pub mod events;
pub mod http;
pub mod ids;
pub mod lab;
pub mod logs;
pub mod orchestrator;
pub mod plan;
pub mod problem;
pub mod root_link;
pub mod seal;
pub mod start;
pub mod store;
#[allow(unsafe_code, reason = "adopting inherited descriptors and clearing the environment have no safe form")]
mod sys;
pub mod time;

#[cfg(test)]
mod fake;
