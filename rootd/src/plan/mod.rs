//! Pure: is a plan sound, and what differs between it and the kernel. No clock, no socket, no file.

pub mod check;
pub mod diff;
pub mod join;
pub mod observed;
pub mod path;
pub mod settings;
pub mod tag;
pub mod uplink;

#[cfg(test)]
pub(crate) mod tests;
