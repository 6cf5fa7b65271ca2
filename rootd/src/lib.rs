//! The root daemon: namespaces, links, addresses, routes, nftables policy and processes of worlds.
//!
//! One binary, several processes, each with what it needs and no more (docs/decisions.md, "rootd's processes"):
//!
//! - [`start`]: the numbered order in which the processes come to be and lock themselves in;
//! - [`broker`]: capless; the sockets, the journal, the tickets, what to do;
//! - [`worker`]: net, ns and spawn workers, the attendants and the holder: doing it;
//! - [`plan`]: pure; is a plan sound, what differs between a plan and the kernel;
//! - [`netlink`]: messages to and from the kernel;
//! - [`sandbox`]: capabilities, seccomp, Landlock;
//! - [`sys`]: the only unsafe code.

#![deny(unsafe_code)]

pub mod broker;
pub mod config;
pub mod netlink;
pub mod plan;
pub mod sandbox;
pub mod start;
#[allow(unsafe_code)]
pub mod sys;
pub mod uplink;
pub mod worker;
