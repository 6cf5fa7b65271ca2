//! DNSSEC (RFC 4033 to 4035, RFC 6605): ECDSA P-256, NSEC, keys that follow from one secret and the time.
//!
//! Nothing is signed ahead. A signature is made when somebody wants it and kept for who wants it next, so a change of one
//! record costs one signature, and a zone that nobody asks costs none.

pub(crate) mod denial;
mod key;
mod nsec3;
mod refresh;
mod schedule;
mod sign;
pub(crate) mod verify;

pub use self::{
    key::{KeyError, Role, Secret, ZoneKey},
    refresh::{Anchor, Signing, SigningError},
    schedule::{Generations, Lifetimes, Schedule},
    sign::{SignatureCache, Signatures, ZoneKeys},
};
