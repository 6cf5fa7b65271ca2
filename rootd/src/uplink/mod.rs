//! The way out of a world: a process without privileges in the host's network namespace that forwards in user space.
//!
//! `netengine-uplink.service` runs rootd's binary as `--role uplink`, as a user of its own and with no capability. For each
//! world with an uplink the broker hands it a packet socket of one link inside the world; it starts passt(1), which speaks
//! Ethernet on one side and makes ordinary sockets on the other, and carries frames between the two. So the host's
//! firewall, routes, links and settings stay as they are.

pub mod allowance;
pub mod filter;
pub mod relay;
pub mod serve;
