//! The real binary in a network namespace of its own, as an unprivileged user, with clients that others wrote.
//!
//! Needs root (to make the namespace), util-linux, iproute2, chrony, ntpdate, bind9-dnsutils and curl.

mod changes;
mod confined;
mod control;
mod harness;
mod https;
mod leases;
mod names;
mod ntp;
mod prober;
mod spec;
mod start;
