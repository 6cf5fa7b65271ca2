//! WHOIS (RFC 3912): one line in, a text out.
//!
//! | query | answer |
//! |---|---|
//! | `shop.corp`, `domain shop.corp` | the domain |
//! | `corp` | the top-level domain, or the organisation of that name |
//! | `acme-corp`, `organisation acme-corp` | the organisation |
//! | `10.20.0.7`, `10.20.0.0/24`, `fd00::1` | the smallest registered network that holds it |
//! | `AS4200000000` | the AND of that autonomous system |
//! | `ns.shop.corp` with `nameserver` before it | the domains it serves |
//! | `help` | this list |
//!
//! What is not there is answered `No match for "QUERY".`

mod query;
mod render;
mod serve;

pub use self::{
    query::Query,
    render::answer,
    serve::{Limits, serve},
};
