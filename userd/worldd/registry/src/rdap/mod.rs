//! RDAP (RFC 7480, 9082, 9083) and its bootstrap files (RFC 9224).
//!
//! | path | what |
//! |---|---|
//! | `domain/NAME`, `nameserver/NAME`, `entity/HANDLE` | one object; an entity is an organisation |
//! | `ip/ADDRESS`, `ip/ADDRESS/BITS`, `autnum/NUMBER` | the smallest network that holds it, the autonomous system |
//! | `domains?name=`, `domains?nsLdhName=`, `domains?nsIp=` | searches; a `*` ends a pattern or a label |
//! | `nameservers?name=`, `nameservers?ip=`, `entities?fn=`, `entities?handle=` | searches |
//! | `help` | this in short |
//! | `dns.json`, `ipv4.json`, `ipv6.json`, `asn.json` | bootstrap files that name this server |
//!
//! Conformance is `rdap_level_0`, with `cidr0` where networks are shown. There are no redirects: a world has one server.

mod bootstrap;
mod object;
mod serve;

pub use self::{object::Base, serve::router};
