//! The validating resolver, in a world without a network and with a clock set by hand.

mod ask;
mod bogus;
mod forward;
mod rollover;
mod secure;
mod world;
