//! ACME over HTTPS, and certificates and lists over plain HTTP, on sockets that are given.

mod acme;
mod publication;
mod route;
mod serve;
mod tls;

pub use acme::router;
pub use publication::router as publication_router;
pub use serve::{Limit, Peer, serve, serve_tls};
pub use tls::{SwappedCertificate, TlsError, server_config};
