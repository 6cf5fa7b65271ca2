//! What really connects: challenges looked at over sockets of this machine's loopback, and what is served over them.

mod challenges;
mod dns;
mod serving;
