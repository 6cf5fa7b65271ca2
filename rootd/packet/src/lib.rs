//! Frames and netlink reports as bytes.
//!
//! Pure: no socket, no clock, no unsafe code. Readers take any bytes and never panic; builders refuse what cannot be expressed.
//!
//! | module | what it does |
//! |---|---|
//! | [`build`] | typed packets to Ethernet frames or IP packets, with checksums and a nonce |
//! | [`read`] | frames, IP packets and truncated headers to fields |
//! | [`nonce`] | the number by which a packet is known again |
//! | [`attributes`] | netlink messages and attributes |
//! | [`trace`] | `NFT_MSG_TRACE` of nf_tables |
//! | [`conntrack`] | events of ctnetlink |
#![forbid(unsafe_code)]

pub mod attributes;
pub mod build;
pub mod conntrack;
pub mod nonce;
pub mod read;
pub mod trace;

#[cfg(test)]
mod tests;
