//! The registry as worldd holds it: real zones, a real database.

mod registering;
mod world;
