//! What the fuzz targets share: small servers in memory, each made of the product's own parts, and second readers.
//!
//! A target gets bytes, hands them to a parser or to such a server, and says what must hold of the outcome. A panic is a
//! finding. State is made anew for every input, so that an input that failed fails again by itself.

pub mod acme;
pub mod dns;
pub mod oidc;
pub mod registry;
