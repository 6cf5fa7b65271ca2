//! The broker: capless; decides, journals, and has the workers do.
//!
//! | module | what |
//! |---|---|
//! | [`accept`] | accept loops, who may connect |
//! | [`guard`] | time limits of a connection |
//! | [`service`] | the verbs |
//! | [`state`] | what is held: worlds, processes, tickets |
//! | [`converge`] | making the kernel equal to a plan |
//! | [`delete`] | removing a world |
//! | [`processes`] | programs, leashes |
//! | [`exec`] | `exec.sock` |
//! | [`uplink`], [`allowed`] | ways out of worlds; who may have one, and still may |
//! | [`journal`], [`live`] | intent before effect; what of it still matters |
//! | [`reconcile`] | after a start: complete or undo |
//! | [`known`] | what was seen and still holds |
//! | [`workers`], [`watch`], [`holder`] | the other processes |

pub mod accept;
pub mod allowed;
pub mod client;
pub mod converge;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod gate;
pub mod guard;
pub mod holder;
mod join;
pub mod journal;
pub mod known;
pub mod live;
pub mod processes;
pub mod prove;
mod prove_frames;
pub mod reconcile;
pub mod service;
pub mod state;
pub mod uplink;
pub mod watch;
pub mod workers;
