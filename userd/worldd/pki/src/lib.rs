//! A world's certificate authority and its ACME server.
//!
//! | module | what it is | clock, socket, file |
//! |---|---|---|
//! | [`name`] | what may be named in a certificate of this world | none |
//! | [`ca`] | the root, the intermediate, issuing, revocation lists, OCSP | none, but random serials and keys |
//! | [`jose`] | JWK and JWS (RFC 7515, 7517, 7638) | none |
//! | [`acme`] | the ACME state machine (RFC 8555, 9773): `decide`, `apply`, `render` | none |
//! | [`validate`] | challenges, checked by really connecting | sockets through [`validate::Connect`] |
//! | [`store`] | where state is kept: memory, SQLite | files |
//! | [`service`] | all of these joined; what worldd holds | clock |
//! | [`http`] | ACME, CRL and OCSP over HTTP and TLS on sockets that are given | sockets |
#![forbid(unsafe_code)]

pub mod acme;
pub mod ca;
pub mod clock;
pub mod http;
pub mod jose;
pub mod name;
pub mod service;
pub mod store;
pub mod validate;
