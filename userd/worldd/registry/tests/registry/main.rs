//! The registry as worldd holds it: real zones, a real database.

mod deciding;
mod http;
mod leasing;
mod registering;
mod sockets;
mod world;
