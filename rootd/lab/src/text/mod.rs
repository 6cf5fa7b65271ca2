//! Ruleset texts, pure: what is done to one before nft reads it, and what nft's listing says.

pub mod counters;
pub mod lacks;
pub mod listing;
pub mod outline;
pub mod prepare;
mod scan;
#[cfg(test)]
mod tests;

pub use listing::Listing;
pub use outline::Outline;
pub use prepare::{Prepared, prepare};
