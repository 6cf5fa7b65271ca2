//! The services a world sees: one process per world, inside that world's service namespace, without privilege.
//!
//! Three roles of one binary. `worldd` serves the world's clients as userd asks over the control socket; `gateway` resolves
//! names for them on the router's own addresses. `prober` is the live checks' client: it runs in a vantage host, so what it
//! sees is what a host of that network sees.
//!
//! | module | what it holds | waits on |
//! |---|---|---|
//! | [`arguments`] | the command line | |
//! | [`start`] | the start order, numbered; the end | signals |
//! | [`socket`] | the control socket's file | |
//! | [`log`] | `worldd.log`, bounded, one safe line per event | |
//! | [`landlock`], [`seccomp`] | what the kernel is told to refuse | |
//! | [`control`] | accept loop, frames, who may speak | control socket |
//! | [`services`] | running services against desired ones | its queue of requests |
//! | [`prober`] | live checks, and the prober's own life | its probes |
//! | [`ntp`] | the NTPv4 server and a strict client | UDP sockets |
//!
//! Nothing here decides who may have what: userd does. worldd has no path to rootd and none out of the world.
#![forbid(unsafe_code)]

pub mod arguments;
pub mod control;
pub mod landlock;
pub mod log;
pub mod ntp;
pub mod prober;
pub mod seccomp;
pub mod services;
pub mod socket;
pub mod start;
