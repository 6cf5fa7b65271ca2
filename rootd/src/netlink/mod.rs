//! Messages to and from the kernel. Sockets come from elsewhere (they are opened inside a namespace).

pub mod dump;
pub mod links;
pub mod policy;
pub mod request;
pub mod socket;
