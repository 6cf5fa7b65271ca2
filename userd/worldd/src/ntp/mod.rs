//! Network time (RFC 5905): a server with a stratum of its own, and a strict client for the live checks.
//!
//! Pure: [`packet`] (48 bytes to fields and back), [`answer`] (what to say), [`limit`] (whether to say it), [`check`]
//! (whether to believe an answer). With sockets and clocks: [`server`], [`client`], [`clock`].
//!
//! The subset: mode 3 in, mode 4 out, versions 3 and 4. No symmetric, broadcast or control modes (those are what
//! amplification attacks use), no authentication, no extension fields; the latter two are tolerated in a request and
//! left out of the answer, which is therefore never longer than the request.

pub mod answer;
pub mod check;
pub mod client;
pub mod clock;
pub mod limit;
pub mod packet;
pub mod server;
