//! The words both sides of every NetEngine interface share.
//!
//! This crate is a leaf: it has no I/O and depends on nothing else of ours. A value of one of its
//! newtypes was parsed, so it needs no second check; text becomes a newtype at the edge and nowhere else.
//!
//! | module | what it holds | who uses it |
//! |---|---|---|
//! | [`names`], [`ids`], [`net`] | names, ids, addresses, link names, MACs | all |
//! | [`limits`] | every bound, each with its reason | all |
//! | [`bounded`] | a vector that cannot be decoded past its bound | all |
//! | [`plan`] | a world's network as one typed value | userd builds it, rootd applies it |
//! | [`root`], [`wire`] | the `Root` trait and its framing (feature `rpc`) | userd, rootd |
//! | [`exec`] | the frames of `exec.sock` | CLI, rootd |
//! | [`sandbox`] | the first bytes of `lab.sock` | userd, rootd |
//! | [`control`] | the frames between userd and a worldd or prober | userd, worldd |
//! | [`api`] | the HTTP API's types (feature `api`) | CLI, userd |

#[cfg(feature = "api")]
pub mod api;
pub mod bounded;
pub mod control;
pub mod ended;
pub mod exec;
pub mod ids;
pub mod limits;
pub mod names;
pub mod net;
pub mod plan;
#[cfg(feature = "rpc")]
pub mod root;
pub mod sandbox;
pub mod trust;
#[cfg(feature = "rpc")]
pub mod wire;
