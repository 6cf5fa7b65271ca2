//! The ACME server as a client of its own making sees it, which can also do everything a real client never would:
//! over the HTTP router, with a store in memory and challenges that are met or not as the test says.

mod accounts;
mod challenges;
mod client;
mod limits;
mod orders;
mod revocation;
mod signatures;
mod store;
