//! The registry as worldd holds it: real zones, a real database.

mod deciding;
mod leasing;
mod registering;
mod world;
