//! The ACME state machine (RFC 8555), without clock, socket or file.
//!
//! ```text
//! body -> jose::Jws -> authenticate -> Command -> decide -> Outcome { changes, effects, reply }
//!                                                    State::apply(changes), store, effects, render(reply)
//! ```
//! `decide` reads [`State`] and answers what would change; nothing changes until the changes are applied. Beyond RFC
//! 8555: external account binding (its section 7.3.4), addresses (RFC 8738), tls-alpn-01 (RFC 8737), renewal
//! information (RFC 9773), profiles (draft-ietf-acme-profiles). Not offered: pre-authorization (`newAuthz`), terms of
//! service, `notBefore` and `notAfter` in orders.

mod authenticate;
mod decide;
mod limit;
mod nonce;
mod object;
mod policy;
mod problem;
mod render;
mod state;

pub use authenticate::{Signed, Signer, authenticate};
pub use decide::{
    Command, Context, Effect, Entropy, Outcome, Probe, Reply, Verdict, decide, issued, resume, validated,
};
pub use limit::Limits;
pub use nonce::Nonces;
pub use object::{
    Account, AccountStatus, Authorization, AuthorizationStatus, Certificate, Challenge, ChallengeKind, ChallengeStatus,
    Id, Order, OrderStatus,
};
pub use policy::{ExternalAccounts, ExternalKey, Policy};
pub use problem::{Kind, Problem};
pub use render::{Rendered, Urls, directory, render, renewal_info};
pub use state::{Change, Own, State};
