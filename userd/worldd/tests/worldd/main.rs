//! The real binary in a network namespace of its own, as an unprivileged user, with clients that others wrote.
//!
//! Needs root (to make the namespace), util-linux, iproute2, chrony and ntpdate.

mod confined;
mod control;
mod harness;
mod ntp;
mod prober;
mod start;
